"""The coding rate and its reduction (2006.08558): values and gradients.

The modules ``bounds``, ``optima`` and ``flow`` have its bounds, largest values and
curves in training.
"""

from theory.coding_rate.rate import (
    coding_rate,
    coding_rate_gradient,
    coding_rate_reduction,
    coding_rate_reduction_gradient,
)

__all__ = [
    "coding_rate",
    "coding_rate_gradient",
    "coding_rate_reduction",
    "coding_rate_reduction_gradient",
]
