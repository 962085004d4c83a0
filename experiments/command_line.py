"""What can be asked of ``sslsim``: its commands, and their options from arguments."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from typing import Annotated, Any, Union

import tyro

from experiments.options import CompareOptions, ForecastOptions, NtkOptions, PredictOptions


def commands() -> dict[str, type]:
    """Class of the options of every command.

    Returns
    -------
    dict of str to type
        By the command's name, in the order of the help. Of a command with kinds, as ``bench``, the
        class has one field, a union of theirs.

    Examples
    --------
    >>> list(commands())[:3]
    ['predict', 'compare', 'train']
    """
    from experiments.bench.options import BenchOptions
    from experiments.campaign.options import CampaignOptions
    from experiments.figures_options import FiguresOptions
    from experiments.memorization.options import MemorizationOptions
    from experiments.memorization.removal_options import PenaltyOptions, RemovalOptions
    from experiments.overfitting_options import OverfittingOptions
    from experiments.report.options import ReportOptions
    from experiments.train_options import TrainOptions
    from experiments.umm_options import UmmCommand, UmmSweepCommand

    return {
        "predict": PredictOptions,
        "compare": CompareOptions,
        "train": TrainOptions,
        "ntk": NtkOptions,
        "forecast": ForecastOptions,
        "overfitting": OverfittingOptions,
        "umm": UmmCommand,
        "umm-sweep": UmmSweepCommand,
        "memorization": MemorizationOptions,
        "memorization-removal": RemovalOptions,
        "memorization-penalty": PenaltyOptions,
        "report": ReportOptions,
        "figures": FiguresOptions,
        "campaign": CampaignOptions,
        "bench": BenchOptions,
    }


def parsed(arguments: Sequence[str]) -> Any:
    """Options of the command asked for.

    Parameters
    ----------
    arguments : sequence of str
        After the program's name.

    Returns
    -------
    dataclass
        Of the class that :func:`commands` gives.

    Raises
    ------
    ValueError
        If they cannot be read: the complaint in one line.
    SystemExit
        Of ``--help``, printed.

    Examples
    --------
    >>> parsed(["compare", "--dim", "3"]).dim
    3
    >>> parsed(["dance"])  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ValueError: ...
    """
    kinds = [Annotated[kind, tyro.conf.subcommand(name)] for name, kind in commands().items()]
    union: Any = Union[tuple(kinds)]  # noqa: UP007  (made of a list)
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            return tyro.cli(
                union,
                prog="sslsim",
                description="Predict what self-supervised learning learns and when, and check it. "
                "`sslsim COMMAND --help` explains a command; `sslsim --version` is for itself.",
                args=list(arguments),
                config=(tyro.conf.OmitSubcommandPrefixes,),
            )
    except SystemExit as stop:
        if not stop.code:  # --help
            raise
        lines = [line.strip("│ ") for line in complaint.getvalue().splitlines()]
        told = [line for line in lines if line and not set(line) & set("╭╰─")]
        raise ValueError(" ".join(told) or "the command line cannot be read") from None
