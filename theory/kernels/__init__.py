"""The dynamics of Barlow Twins in kernel form: modes of K_Gamma, infinite width, changing kernels.

A kernel replaces the linear features: that of an infinitely wide network, the tangent kernel of a
trained one, or any other.
"""

from theory.kernels.convolutional import convolutional_kernels
from theory.kernels.features import (
    KernelFeatures,
    choose_landmarks,
    kernel_features,
    landmark_features,
    stacked_kernel,
)
from theory.kernels.frozen import frozen_kernel_descent
from theory.kernels.infinite_width import infinite_width_kernels
from theory.kernels.modes import KernelModes, embed, kernel_initialization, kernel_modes
from theory.kernels.plateau import plateau_rate
from theory.kernels.radial import rbf_kernel
from theory.kernels.random_functions import step_time_law
from theory.kernels.refreshed import refreshed_curves

__all__ = [
    "KernelFeatures",
    "KernelModes",
    "choose_landmarks",
    "convolutional_kernels",
    "embed",
    "frozen_kernel_descent",
    "infinite_width_kernels",
    "kernel_features",
    "kernel_initialization",
    "kernel_modes",
    "landmark_features",
    "plateau_rate",
    "rbf_kernel",
    "refreshed_curves",
    "stacked_kernel",
    "step_time_law",
]
