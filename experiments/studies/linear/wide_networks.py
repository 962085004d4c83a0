"""One wide network with small outputs, and what its kernels say of its steps."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from experiments.options import CompareOptions
from experiments.studies.linear.kernels import (
    KernelChoice,
    kernel_and_covariance,
    parse_kernel,
)
from sslsim.encoders.build import build_encoder
from sslsim.encoders.centred import Centred
from sslsim.encoders.initialization import scale_initialization
from sslsim.measures.steps import half_rise_times
from sslsim.ntk import empirical_ntk, pair_ntk
from sslsim.training.full_batch import train_full_batch
from theory.kernels.frozen import frozen_kernel_descent
from theory.kernels.modes import kernel_initialization, kernel_modes
from theory.linear.gradient_descent import descent_singular_values, descent_step_iterations

Array = NDArray[np.float64]

WAYS = ("last", "centred")
"""How outputs are made small: the last layer's weights scaled, or initial outputs subtracted."""

_IDLE = 100  # iterations where no step is predicted
_LONGER = 1.5  # training and iterated kernels go on beyond the last step predicted by this factor
_DONE = 0.95  # and end once every eigenvalue has risen so far


@dataclass(frozen=True, eq=False)
class Followed:
    """One network trained, and what its kernels say.

    Attributes
    ----------
    step_times : dict of str to ndarray, shape (d,)
        In order of time, infinite where there is none: ``measured``, and by ``kernel`` (trace of
        the tangent kernel at initialisation over d, in closed form), ``full_kernel`` (all its
        blocks between outputs, iterated) and ``limit`` (of infinite width, in closed form).
    curves : dict of str to ndarray, shape (T, d)
        Eigenvalues at iterations 0 to T - 1: ``measured``, ``kernel``, ``full_kernel``.
    kernel_change : float
        Of the trace kernel in training, relative, in the Frobenius norm.
    kernel_distance : float
        The same between initialisation and infinite width.
    """

    step_times: dict[str, Array]
    curves: dict[str, Array]
    kernel_change: float
    kernel_distance: float


def small_network(
    width: int, shape: tuple[int, ...], options: CompareOptions, way: str, seed: int
) -> nn.Module:
    """A ReLU network on views of a shape, whose outputs start small by ``init_scale``."""
    choice = network_kernel(options)
    network = build_encoder(
        "convnet" if choice.kind == "conv" else "mlp",
        shape if len(shape) == 3 else (1, 1, *shape),
        options.dim,
        seed=seed,
        widths=(width,) * choice.depth,
        parameterization="ntk",
    ).double()
    if way == "centred":
        return Centred(network, options.init_scale)
    scale_initialization(network, options.init_scale, "last")
    return network


def network_kernel(options: CompareOptions) -> KernelChoice:
    """The kernel of infinite width of the networks.

    >>> network_kernel(CompareOptions(kernel="rbf:1"))
    Traceback (most recent call last):
    ValueError: kernel is rbf:1; with --width, expected relu:DEPTH or conv:DEPTH
    """
    text = options.kernel or "relu:1"
    choice = parse_kernel(text)
    if choice.kind not in ("relu", "conv") or choice.last:
        raise ValueError(f"kernel is {text}; with --width, expected relu:DEPTH or conv:DEPTH")
    return choice


def infinite_width_kernel(views: Array, way: str, options: CompareOptions) -> tuple[Array, Array]:
    """Tangent kernel and covariance of :func:`small_network` at infinite width."""
    choice = replace(network_kernel(options), last=way == "last")
    flat = views.reshape(len(views), -1)
    kernel, covariance = kernel_and_covariance(
        choice, flat, flat, views.shape[1:], options.init_scale
    )
    assert covariance is not None
    return kernel, covariance


def train_and_predict(
    network: nn.Module, views: Array, limit: Array, learning_rate: float, most: int
) -> Followed:
    """Predict a network's steps from its kernel at initialisation, then train it in place.

    ``views`` has a row, or an image, for each of the stacked views.

    >>> views = np.random.default_rng(0).standard_normal((20, 3)).repeat(2, axis=0)
    >>> options = CompareOptions(dim=1)
    >>> network = small_network(16, (3,), options, "last", seed=0)
    >>> limit, _ = infinite_width_kernel(views, "last", options)
    >>> train_and_predict(network, views, limit, 0.05, most=1000).curves["measured"].shape[1]
    1
    """
    stacked = torch.from_numpy(views)
    n = len(views) // 2
    network.eval()
    full = empirical_ntk(network, stacked, output="full").numpy()
    with torch.no_grad():
        start = network(stacked).numpy()
    kernel = np.trace(full, axis1=2, axis2=3) / start.shape[1]
    gamma, s0 = _aligned(kernel, start)
    iterations = descent_step_iterations(gamma, s0, learning_rate)
    learned = iterations[np.isfinite(iterations)]
    enough = min(most, math.ceil(_LONGER * learned.max(initial=_IDLE)))
    frozen = frozen_kernel_descent(full, start, learning_rate, enough, stop_above=_DONE)
    run = train_full_batch(
        network,
        stacked[:n],
        stacked[n:],
        learning_rate,
        enough,
        stop_above=_DONE,
        progress=sys.stderr.isatty(),
    )
    singular = descent_singular_values(np.arange(len(run.loss)), gamma, s0, learning_rate)
    end = pair_ntk(network, stacked[:n], stacked[n:]).numpy()
    return Followed(
        step_times={
            "measured": _passages(run.eigenvalues, learning_rate),
            "kernel": learning_rate * np.sort(iterations),
            "full_kernel": _passages(frozen, learning_rate),
            "limit": learning_rate
            * np.sort(descent_step_iterations(*_aligned(limit, start), learning_rate)),
        },
        curves={"measured": run.eigenvalues, "kernel": gamma * singular**2, "full_kernel": frozen},
        kernel_change=_distance(end, kernel),
        kernel_distance=_distance(limit, kernel),
    )


def _aligned(kernel: Array, start: Array) -> tuple[Array, Array]:
    """Eigenvalues and equivalent initial singular values of the modes of a kernel."""
    modes = kernel_modes(kernel, start.shape[1])
    _, s0 = kernel_initialization(modes, start)
    return modes.gamma[: len(s0)], s0


def _passages(curves: Array, learning_rate: float) -> Array:
    return half_rise_times(learning_rate * np.arange(len(curves)), curves)


def _distance(kernel: Array, reference: Array) -> float:
    return float(np.linalg.norm(kernel - reference) / np.linalg.norm(reference))
