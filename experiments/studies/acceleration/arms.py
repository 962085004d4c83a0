"""Ways to train that ``sslsim accelerate`` compares."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from experiments.studies.acceleration.options import AccelerateOptions
from sslsim.core.names import OPTIMIZERS

_SIDES = ("embedding", "inputs")
_RATES = {
    "sgd": (0.01, 0.03, 0.1),
    "adamw": (0.001, 0.002, 0.005),
    "lars": (0.3, 1.0, 3.0),
    "muon": (0.005, 0.01, 0.02),
}
_CHOSEN = ("optimizer", "precondition_embedding", "precondition_inputs")


@dataclass(frozen=True)
class Arm:
    """A way to train.

    Attributes
    ----------
    name : str
        Optimiser and sides, joined by a plus.
    optimizer : str
        The optimiser.
    sides : tuple of {"embedding", "inputs"}
        Where gradients are preconditioned.
    rates : tuple of float
        Learning rates to choose from.
    """

    name: str
    optimizer: str
    sides: tuple[str, ...]
    rates: tuple[float, ...]

    def options(self, base: AccelerateOptions, rate: float, seed: int) -> AccelerateOptions:
        """Options of a training in this way; only sgd clips its gradients."""
        changes: dict[str, Any] = {f"precondition_{side}": "covariance" for side in self.sides}
        changes |= {"optimizer": self.optimizer, "lr": rate, "seed": seed}
        if self.optimizer != "sgd":
            changes["clip_norm"] = None
        return replace(base, **changes)


def chosen_arms(options: AccelerateOptions) -> list[Arm]:
    """The arms that options name, each with its learning rates.

    Raises
    ------
    ValueError
        If an arm or its rates are unknown, given twice or out of range, or an option of the
        training is given that arms set.

    Examples
    --------
    >>> [arm.sides for arm in chosen_arms(AccelerateOptions(arms=("sgd", "muon+embedding")))]
    [(), ('embedding',)]
    """
    if not options.arms:
        raise ValueError("arms is empty; expected some, such as sgd muon+embedding")
    for name in _CHOSEN:
        if getattr(options, name) != getattr(AccelerateOptions, name):
            raise ValueError(
                f"{name} is {getattr(options, name)!r}, which arms set; expected none given"
            )
    rates = dict(_rates(entry, options.arms) for entry in options.rates)
    if len(rates) < len(options.rates):
        raise ValueError(f"rates is {' '.join(options.rates)}; expected every arm once")
    arms = []
    for name in options.arms:
        optimizer, *sides = name.split("+")
        if (
            optimizer not in OPTIMIZERS
            or len(set(sides)) < len(sides)
            or not set(sides) <= set(_SIDES)
        ):
            raise ValueError(
                f"arms holds {name!r}; expected one of {', '.join(OPTIMIZERS)}, and +embedding or "
                "+inputs once each"
            )
        arms.append(Arm(name, optimizer, tuple(sides), rates.get(name, _RATES[optimizer])))
    kinds = [(arm.optimizer, frozenset(arm.sides)) for arm in arms]
    if len(set(kinds)) < len(kinds):
        raise ValueError(f"arms is {' '.join(options.arms)}; expected every one once")
    return arms


def _rates(entry: str, arms: tuple[str, ...]) -> tuple[str, tuple[float, ...]]:
    """Arm and learning rates of ARM=RATE,RATE."""
    name, _, values = entry.partition("=")
    try:
        rates = tuple(sorted({float(value) for value in values.split(",")}))
    except ValueError:
        rates = ()
    if name not in arms or not rates or not all(0 < rate < math.inf for rate in rates):
        raise ValueError(
            f"rates holds {entry!r}; expected ARM=RATE,RATE with an arm of {' '.join(arms)} and "
            "numbers above zero"
        )
    return name, rates
