"""The ``sslsim`` command: studies, campaigns of them, reports, benchmarks.

Results go to standard output and into the run folder; errors and warnings to standard error, one
line each. Exit status: 0 done, 2 bad input, 130 interrupted.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, TextIO

from experiments.command_line import parsed
from experiments.options import CompareOptions, ForecastOptions, NtkOptions, PredictOptions


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments after the program's name. Default: those of the process.

    Returns
    -------
    int
        Exit status.

    Examples
    --------
    >>> main(["--version"])
    sslsim 0.1.0
    0
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments == ["--version"]:
        print(f"sslsim {metadata.version('sslsim')}")
        return 0
    from sslsim.interruption import Interrupted  # with torch, which --version can do without

    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = _show_warning
        try:
            folder = _run(parsed(arguments))
            if folder is not None and os.environ.get("RANK", "0") == "0":  # of torchrun: one speaks
                print(f"written to {folder}", flush=True)
        except Interrupted as stop:
            print(f"sslsim: {stop}; the same command goes on from there", file=sys.stderr)
            return 130
        except BrokenPipeError:  # whoever read the output has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        except MemoryError as error:
            print(f"sslsim: error: out of memory: {_one_line(error)}", file=sys.stderr)
            return 2
        except (ValueError, OSError) as error:
            print(f"sslsim: error: {_one_line(error)}", file=sys.stderr)
            return 2
        except KeyboardInterrupt:
            print("sslsim: interrupted", file=sys.stderr)
            return 130
    return 0


def _run(options: Any) -> Path | None:
    """Run the study that the options belong to, draw its picture and return its folder, if any."""
    if isinstance(options, PredictOptions):
        from experiments.predict import predict
        from paper_figs.prediction import draw as draw_prediction

        return draw_prediction(predict(options)).parent
    if isinstance(options, CompareOptions):
        if options.run is not None:
            from experiments.compare_run import compare_run
            from paper_figs.run import draw_run_comparison

            return draw_run_comparison(compare_run(options)).parent
        if options.width:
            from experiments.wide import wide
            from paper_figs.wide import draw as draw_wide

            return draw_wide(wide(options)).parent
        from experiments.compare import compare
        from paper_figs.staircase import draw as draw_staircase

        return draw_staircase(compare(options)).parent
    from experiments.train_options import TrainOptions

    if isinstance(options, TrainOptions):
        return _train(options)
    if isinstance(options, NtkOptions):
        from experiments.ntk import ntk
        from paper_figs.ntk import draw as draw_ntk

        return draw_ntk(ntk(options)).parent
    if isinstance(options, ForecastOptions):
        from experiments.forecast import forecast
        from paper_figs.forecast import draw as draw_forecast

        return draw_forecast(forecast(options)).parent
    from experiments.umm_options import UmmCommand, UmmSweepCommand

    if isinstance(options, UmmCommand):
        from experiments.umm import umm
        from paper_figs.umm import draw as draw_umm

        return draw_umm(umm(options)).parent
    if isinstance(options, UmmSweepCommand):
        from experiments.umm_sweep import umm_sweep
        from paper_figs.umm import draw_sweep

        return draw_sweep(umm_sweep(options)).parent
    from experiments.overfitting_options import OverfittingOptions

    if isinstance(options, OverfittingOptions):
        from experiments.overfitting import overfitting
        from paper_figs.overfitting import draw as draw_overfitting

        return draw_overfitting(overfitting(options)).parent
    from experiments.memorization.options import MemorizationOptions

    if isinstance(options, MemorizationOptions):
        from experiments.memorization.study import memorization
        from paper_figs.memorization import draw as draw_memorization

        return draw_memorization(memorization(options)).parent
    from experiments.memorization.removal_options import PenaltyOptions, RemovalOptions

    if isinstance(options, RemovalOptions):
        from experiments.memorization.removal import memorization_removal
        from paper_figs.memorization_removal import draw as draw_removal

        return draw_removal(memorization_removal(options)).parent
    if isinstance(options, PenaltyOptions):
        from experiments.memorization.penalty import memorization_penalty
        from paper_figs.memorization_penalty import draw as draw_penalty

        return draw_penalty(memorization_penalty(options)).parent
    from experiments.report.options import ReportOptions

    if isinstance(options, ReportOptions):
        from experiments.report import report

        return report(options)
    from experiments.figures_options import FiguresOptions

    if isinstance(options, FiguresOptions):
        from paper_figs.figures import figures

        return figures(options.only, options.results, options.out)
    from experiments.campaign.options import CampaignOptions

    if isinstance(options, CampaignOptions):
        from experiments.campaign.campaign import campaign

        return campaign(options)
    from experiments.bench.coding_rate import BenchCodingRateOptions, bench_coding_rate
    from experiments.bench.memorization import BenchMemorizationOptions, bench_memorization
    from experiments.bench.ntk import BenchNtkOptions, bench_ntk
    from experiments.bench.theory import BenchTheoryOptions, bench_theory
    from experiments.bench.throughput import BenchThroughputOptions, bench_throughput
    from experiments.bench.train import bench_train

    if isinstance(options.study, BenchTheoryOptions):
        return bench_theory(options.study)
    if isinstance(options.study, BenchThroughputOptions):
        return bench_throughput(options.study)
    if isinstance(options.study, BenchMemorizationOptions):
        return bench_memorization(options.study)
    if isinstance(options.study, BenchNtkOptions):
        return bench_ntk(options.study)
    if isinstance(options.study, BenchCodingRateOptions):
        return bench_coding_rate(options.study)
    return bench_train(options.study)


def _train(options: Any) -> Path:
    from experiments.train import train_network
    from paper_figs.embeddings import animate
    from paper_figs.run import draw_run

    folder = train_network(options)
    if os.environ.get("RANK", "0") == "0":  # of torchrun: one process draws
        draw_run(folder)
        animate(folder)
    return folder


def _one_line(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        place = f"{error.filename}: " if error.filename else ""
        return place + error.strerror
    return " ".join(str(error).split()) or type(error).__name__


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    print(f"sslsim: warning: {' '.join(str(message).split())}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
