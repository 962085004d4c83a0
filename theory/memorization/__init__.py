"""Memorisation of single points in closed form, to first order and exactly (2401.12233)."""

from theory.memorization.by_mode import first_order_by_mode, leave_one_out_by_mode
from theory.memorization.first_order import first_order_scores, kernel_points, linear_points
from theory.memorization.leave_one_out import leave_one_out_scores

__all__ = [
    "first_order_by_mode",
    "first_order_scores",
    "kernel_points",
    "leave_one_out_by_mode",
    "leave_one_out_scores",
    "linear_points",
]
