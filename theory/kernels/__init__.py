"""The dynamics of Barlow Twins in kernel form: modes of K_Gamma, infinite width, changing kernels.

A kernel replaces the linear features: that of an infinitely wide network, or the tangent kernel of
a trained one.
"""

from theory.kernels.frozen import frozen_kernel_descent
from theory.kernels.infinite_width import infinite_width_kernels
from theory.kernels.modes import KernelModes, embed, kernel_initialization, kernel_modes
from theory.kernels.plateau import plateau_rate
from theory.kernels.refreshed import refreshed_curves

__all__ = [
    "KernelModes",
    "embed",
    "frozen_kernel_descent",
    "infinite_width_kernels",
    "kernel_initialization",
    "kernel_modes",
    "plateau_rate",
    "refreshed_curves",
]
