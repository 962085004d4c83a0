"""The coding rate and its reduction: values, gradients, bounds, optima (2410.00772)."""

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
