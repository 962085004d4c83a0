"""What mathematics predicts about self-supervised learning: closed forms, bounds, derivations.

It uses only NumPy, SciPy and SymPy: no networks, files or pictures. ``predict_steps`` is the main
function. The packages are ``pairs``, ``linear``, ``growth``, ``kernels``, ``losses``,
``prediction``, ``coding_rate``, ``memorization``, ``metrics`` and ``symbolic``.

Examples
--------
>>> import theory
>>> theory.linear.closed_form.step_times([1.0], [0.1]).round(3)
array([0.574])
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from theory.prediction.predict import StepPrediction, predict_steps, predict_steps_from

if TYPE_CHECKING:
    from theory import (
        coding_rate,
        growth,
        kernels,
        linear,
        losses,
        memorization,
        metrics,
        pairs,
        prediction,
        symbolic,
    )

__all__ = [
    "StepPrediction",
    "coding_rate",
    "growth",
    "kernels",
    "linear",
    "losses",
    "memorization",
    "metrics",
    "pairs",
    "predict_steps",
    "predict_steps_from",
    "prediction",
    "symbolic",
]


def __getattr__(name: str) -> Any:
    # A package is imported at its first use.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_module(f"{__name__}.{name}")


def __dir__() -> list[str]:
    return __all__
