"""Variants of the mechanism: its ablations, its control, and interventions."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from sslsim.umm.options import UmmOptions

Variant = Literal[
    "full",
    "no_alignment",
    "no_coding_rate",
    "joint",
    "control",
    "align",
    "spread",
    "spread_held",
]

_CHANGES: dict[str, dict[str, float | bool]] = {
    "full": {},
    "no_alignment": {"beta": 0.0},
    "no_coding_rate": {"coding_rate": 0.0},
    "joint": {"joint": True},
    "control": {"joint": True, "beta": 0.0, "coding_rate": 0.0},
    # Interventions: one level, one pressure each on top of the control's loss.
    "align": {"joint": True, "coding_rate": 0.0},
    "spread": {"joint": True, "beta": 0.0},
    "spread_held": {"joint": True, "beta": 0.0},
}


def variant_options(
    options: UmmOptions, variant: str, push: float = 100.0, hold: float = 1e5
) -> UmmOptions:
    """Options of a variant.

    Parameters
    ----------
    options : UmmOptions
        Options of the full mechanism.
    variant : str
        ``full``; ``no_alignment``, ``no_coding_rate`` and ``joint``, its ablations; ``control``,
        plain further training by the learner's own loss; and interventions that add a single
        pressure to the control: ``align`` (lower the distance), ``spread`` (raise Delta R),
        ``spread_held`` (the same with the distance held where it was).
    push : float
        Weight of the alignment, for ``align``.
    hold : float
        Weight of the squared change of the distance, for ``spread_held``.

    Returns
    -------
    UmmOptions

    Raises
    ------
    ValueError
        If there is no such variant.

    Examples
    --------
    >>> changed = variant_options(UmmOptions(), "control")
    >>> changed.joint, changed.beta, changed.coding_rate
    (True, 0.0, 0.0)
    """
    if variant not in _CHANGES:
        raise ValueError(f"variant is {variant!r}; expected one of {', '.join(_CHANGES)}")
    changes: dict[str, float | bool] = dict(_CHANGES[variant])
    if variant == "align":
        changes["beta"] = push
    if variant == "spread_held":
        changes["hold"] = hold
    return replace(options, **changes)  # type: ignore[arg-type]
