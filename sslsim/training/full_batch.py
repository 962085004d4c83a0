r"""Barlow Twins trained by full-batch gradient descent on fixed pairs.

The linear model is f(x) = W x with W in R^{d x m}. Each iteration embeds both views of all n pairs,
computes

    C = (Z^T Z' + Z'^T Z) / (2n),      L = ||C - I_d||_F^2      (samples in rows),

and differentiates the loss automatically (arXiv 2303.15438, section 4). It uses no part of the
solution: neither the cross-correlation of the inputs nor its eigenvectors.

The only shortcut is a change of coordinates. Gradients lie in the span of the 2n views. If 2n < m,
the map is trained in an orthonormal basis of that span, from a QR factorisation of the stacked
views. The part of W(0) outside it changes by weight decay only, and is added at the end.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import nn
from tqdm import tqdm

from sslsim.core.checks import real_array
from sslsim.objectives._barlow_twins import barlow_twins

Array = NDArray[np.float64]

_RECORDS_AT_ONCE = 256  # correlations whose eigenvalues are computed in one batch


@dataclass(frozen=True, eq=False)
class LinearRun:
    """Records of the training of a linear map.

    Attributes
    ----------
    iterations : ndarray of int, shape (T,)
        Iterations of the records: 0 (before the first update), every ``record_every``-th, and the
        last.
    times : ndarray, shape (T,)
        Flow times of the records, learning rate x iterations / (1 - momentum).
    loss : ndarray, shape (T,)
        Loss ``||C - I||_F^2``, without the weight decay.
    eigenvalues : ndarray, shape (T, d)
        Eigenvalues of C, descending.
    weights : ndarray, shape (d, m)
        The map after the last iteration; embeddings of samples in rows are ``x @ weights.T``.
    """

    iterations: NDArray[np.int64]
    times: Array
    loss: Array
    eigenvalues: Array
    weights: Array


def train_linear(
    x: ArrayLike,
    x_prime: ArrayLike,
    w0: ArrayLike,
    learning_rate: float,
    iterations: int,
    *,
    record_every: int = 1,
    momentum: float = 0.0,
    weight_decay: float = 0.0,
    progress: bool = False,
) -> LinearRun:
    """Train a linear map by full-batch gradient descent on the Barlow Twins loss.

    Parameters
    ----------
    x, x_prime : array_like, shape (n, m)
        The two views of every pair, samples in rows.
    w0 : array_like, shape (d, m)
        Initial map.
    learning_rate : float
        Learning rate, above zero.
    iterations : int
        Number of updates.
    record_every : int
        Iterations between records; the first and the last are always recorded.
    momentum : float
        Heavy-ball coefficient in [0, 1), as in ``torch.optim.SGD``.
    weight_decay : float
        Weight decay as in ``torch.optim.SGD``: a penalty of ``weight_decay / 2`` times
        ``||W||_F^2``.
    progress : bool
        Show a progress bar.

    Returns
    -------
    LinearRun
        Records in float64.

    Raises
    ------
    ValueError
        If shapes do not fit, a value is not finite, an option is out of range, or the loss
        diverges.

    Notes
    -----
    Gradient descent is stable at convergence iff ``learning_rate < 1 / (4 gamma_1)``, gamma_1 the
    largest eigenvalue of the cross-correlation of the inputs.

    Examples
    --------
    >>> x = [[2.0, 0.0], [0.0, 1.0]]
    >>> run = train_linear(x, x, [[1e-3, 1e-3]], learning_rate=0.02, iterations=200)
    >>> run.eigenvalues[[0, -1]].ravel().round(6).tolist()
    [2e-06, 1.0]
    >>> abs(run.weights).round(2).tolist()
    [[0.71, 0.01]]
    """
    views = torch.stack([_matrix("x", x), _matrix("x_prime", x_prime, np.shape(x))])  # (2, n, m)
    w_start = _matrix("w0", w0)
    n, m = views.shape[1:]
    if n < 2 or w_start.shape[1] != m:
        raise ValueError(
            f"x has shape {(n, m)} and w0 {tuple(w_start.shape)}; "
            "expected (n, m) with n of at least 2 and (d, m)"
        )
    _check_options(learning_rate, iterations, record_every, momentum, weight_decay)

    basis = None
    if 2 * n < m:
        basis = torch.linalg.qr(views.reshape(2 * n, m).T)[0]  # (m, 2n), orthonormal columns
        views = views @ basis  # (2, n, r), r the dimension of the span
    stacked = views.reshape(2 * n, -1)
    w = (w_start if basis is None else w_start @ basis).requires_grad_()
    eye = torch.eye(len(w), dtype=w.dtype)
    velocity = torch.zeros_like(w)
    outside, outside_velocity = 1.0, 0.0  # factor on the part of W(0) outside the basis
    record = _Record(len(w))

    for iteration in tqdm(range(iterations + 1), desc="linear", disable=not progress):
        corr = _correlation(w, stacked)
        loss = (corr - eye).square().sum()
        value = _finite(loss, iteration, learning_rate)
        if iteration % record_every == 0 or iteration == iterations:
            record.add(iteration, value, corr.detach())
        if iteration == iterations:
            break
        (gradient,) = torch.autograd.grad(loss, w)
        with torch.no_grad():
            velocity.mul_(momentum).add_(gradient).add_(w, alpha=weight_decay)
            w.sub_(velocity, alpha=learning_rate)
        outside_velocity = momentum * outside_velocity + weight_decay * outside
        outside -= learning_rate * outside_velocity

    final = w.detach()
    if basis is not None:
        final = final @ basis.T + outside * (w_start - (w_start @ basis) @ basis.T)
    recorded = np.array(record.iterations)
    return LinearRun(
        iterations=recorded,
        times=learning_rate * recorded / (1.0 - momentum),
        loss=np.array(record.loss),
        eigenvalues=record.eigenvalues(),
        weights=final.numpy(),
    )


def train_linear_fresh(
    draw: Callable[[int], tuple[torch.Tensor, torch.Tensor]],
    w0: ArrayLike,
    learning_rate: float,
    iterations: int,
    *,
    record_every: int = 1,
    progress: bool = False,
) -> LinearRun:
    """Train a linear map by gradient descent with new views in every iteration.

    Parameters
    ----------
    draw : callable
        Function from the number of an iteration, from 0, to two float64 views (n, m) of the same
        samples. The last call, after the last update, is only recorded.
    w0, learning_rate, iterations, record_every, progress
        As in :func:`train_linear`.

    Returns
    -------
    LinearRun
        Records in float64. Loss and eigenvalues are those of the new views before the update, which
        the map has not seen.

    Raises
    ------
    ValueError
        As in :func:`train_linear`.

    Examples
    --------
    >>> x = torch.tensor([[2.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    >>> run = train_linear_fresh(lambda _: (x, x), [[1e-3, 1e-3]], 0.02, iterations=200)
    >>> run.eigenvalues[[0, -1]].ravel().round(6).tolist()
    [2e-06, 1.0]
    """
    w = _matrix("w0", w0).requires_grad_()
    _check_options(learning_rate, iterations, record_every, 0.0, 0.0)
    eye = torch.eye(len(w), dtype=w.dtype)
    record = _Record(len(w))
    for iteration in tqdm(range(iterations + 1), desc="linear", disable=not progress):
        stacked = torch.cat(draw(iteration))
        if iteration == 0 and (stacked.ndim != 2 or stacked.shape[1] != w.shape[1]):
            raise ValueError(
                f"views have the shape {tuple(stacked.shape[1:])} and w0 {tuple(w.shape)}; "
                "expected (m,) and (d, m)"
            )
        corr = _correlation(w, stacked)
        loss = (corr - eye).square().sum()
        value = _finite(loss, iteration, learning_rate)
        if iteration % record_every == 0 or iteration == iterations:
            record.add(iteration, value, corr.detach())
        if iteration < iterations:
            (gradient,) = torch.autograd.grad(loss, w)
            with torch.no_grad():
                w.sub_(gradient, alpha=learning_rate)
    recorded = np.array(record.iterations)
    return LinearRun(
        iterations=recorded,
        times=learning_rate * recorded,
        loss=np.array(record.loss),
        eigenvalues=record.eigenvalues(),
        weights=w.detach().numpy(),
    )


def _correlation(w: torch.Tensor, stacked: torch.Tensor) -> torch.Tensor:
    """C of the embeddings of both views, stacked (2n, m)."""
    n = len(stacked) // 2
    # Embeddings in columns: these thin products run twice as fast as those with Z in rows.
    z, z_prime = (w @ stacked.T).split(n, dim=1)  # (d, n) each
    cross = z @ z_prime.T
    return (cross + cross.T) / (2 * n)


def _finite(loss: torch.Tensor, iteration: int, learning_rate: float) -> float:
    """Value of the loss, unless training diverges."""
    value = loss.item()
    if not np.isfinite(value):
        raise ValueError(
            f"the loss is {value} at iteration {iteration}; expected a learning rate small "
            f"enough to converge, below {learning_rate}"
        )
    return value


class _Record:
    """Records so far; eigenvalues of many correlations are computed in one batch."""

    def __init__(self, dim: int) -> None:
        self.iterations: list[int] = []
        self.loss: list[float] = []
        self._pending: list[torch.Tensor] = []
        self._done: list[torch.Tensor] = [torch.empty(0, dim, dtype=torch.float64)]

    def add(self, iteration: int, loss: float, corr: torch.Tensor) -> None:
        self.iterations.append(iteration)
        self.loss.append(loss)
        self._pending.append(corr)
        if len(self._pending) == _RECORDS_AT_ONCE:
            self._flush()

    def eigenvalues(self) -> Array:
        if self._pending:
            self._flush()
        return torch.cat(self._done).numpy()

    def _flush(self) -> None:
        self._done.append(torch.linalg.eigvalsh(torch.stack(self._pending)).flip(-1))
        self._pending.clear()


def _matrix(name: str, value: ArrayLike, shape: tuple[int, ...] | None = None) -> torch.Tensor:
    array = real_array(name, value).copy()
    if array.ndim != 2 or (shape is not None and array.shape != tuple(shape)):
        expected = "a matrix" if shape is None else f"{tuple(shape)}, the shape of x"
        raise ValueError(f"{name} has shape {array.shape}; expected {expected}")
    if not np.all(np.isfinite(array)):
        raise ValueError(f"{name} holds NaN or infinite values; expected finite numbers")
    return torch.from_numpy(array)


def _check_options(
    learning_rate: float, iterations: int, record_every: int, momentum: float, weight_decay: float
) -> None:
    if not 0 < learning_rate < np.inf:
        raise ValueError(f"learning_rate is {learning_rate}; expected a finite number above zero")
    if iterations < 1 or record_every < 1:
        raise ValueError(
            f"iterations is {iterations} and record_every {record_every}; expected at least 1"
        )
    if not 0 <= momentum < 1:
        raise ValueError(f"momentum is {momentum}; expected a number from 0 up to below 1")
    if not 0 <= weight_decay < np.inf:
        raise ValueError(f"weight_decay is {weight_decay}; expected a finite number of at least 0")


@dataclass(frozen=True, eq=False)
class FullBatchRun:
    """Records of every iteration, from 0 (before the first update).

    Attributes
    ----------
    loss : ndarray, shape (T,)
        Loss ``||C - I||_F^2``.
    eigenvalues : ndarray, shape (T, d)
        Eigenvalues of C, descending.
    """

    loss: NDArray[np.float64]
    eigenvalues: NDArray[np.float64]


def train_full_batch(
    module: nn.Module,
    x: torch.Tensor,
    x_prime: torch.Tensor,
    learning_rate: float,
    iterations: int,
    *,
    stop_above: float = math.inf,
    progress: bool = False,
) -> FullBatchRun:
    """Train a module in place by full-batch gradient descent.

    Parameters
    ----------
    module : nn.Module
        Module (2n, ...) -> (2n, d). Parameters that do not require gradients do not change.
    x, x_prime : Tensor, shape (n, ...)
        The two views of every pair.
    learning_rate : float
        Learning rate, above zero.
    iterations : int
        Maximum number of updates.
    stop_above : float
        Stop when the smallest eigenvalue of C exceeds this number.
    progress : bool
        Show a progress bar.

    Returns
    -------
    FullBatchRun
        Loss and eigenvalues of every iteration.

    Raises
    ------
    ValueError
        If the views do not fit, an option is out of range, no parameter can be trained, or the loss
        diverges.

    Examples
    --------
    >>> layer = nn.Linear(2, 1, bias=False).double()
    >>> _ = nn.init.constant_(layer.weight, 1e-3)
    >>> x = torch.tensor([[2.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    >>> run = train_full_batch(layer, x, x, learning_rate=0.02, iterations=200)
    >>> run.eigenvalues[[0, -1]].ravel().round(6).tolist()
    [2e-06, 1.0]
    """
    if x.shape != x_prime.shape or x.ndim < 2 or len(x) < 2:
        raise ValueError(
            f"x has shape {tuple(x.shape)} and x_prime {tuple(x_prime.shape)}; expected equal "
            "shapes (n, ...) with n of at least 2"
        )
    if not 0 < learning_rate < math.inf:
        raise ValueError(f"learning_rate is {learning_rate}; expected a finite number above zero")
    if iterations < 1:
        raise ValueError(f"iterations is {iterations}; expected at least 1")
    parameters = [p for p in module.parameters() if p.requires_grad]
    if not parameters:
        raise ValueError("module has no parameter to train; expected at least one")
    views = torch.cat([x, x_prime])
    losses: list[float] = []
    curves: list[torch.Tensor] = []
    for iteration in tqdm(range(iterations + 1), desc="full batch", disable=not progress):
        z, z_prime = module(views).split(len(x))
        loss = barlow_twins(z, z_prime, form="theory")
        losses.append(_finite(loss, iteration, learning_rate))
        curves.append(_eigenvalues(z.detach(), z_prime.detach()))
        if iteration == iterations or curves[-1][-1] > stop_above:
            break
        gradients = torch.autograd.grad(loss, parameters)
        with torch.no_grad():
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.sub_(gradient, alpha=learning_rate)
    return FullBatchRun(np.array(losses), torch.stack(curves).numpy())


def _eigenvalues(z: torch.Tensor, z_prime: torch.Tensor) -> torch.Tensor:
    cross = z.double().T @ z_prime.double()
    return torch.linalg.eigvalsh((cross + cross.T) / (2 * len(z))).flip(-1).cpu()
