r"""Barlow Twins trained by gradient descent on fixed pairs, or on new views in every iteration.

The linear model is f(x) = W x with W in R^{d x m}. Each iteration embeds both views of all n pairs,
or of a batch of B, computes

    C = (Z^T Z' + Z'^T Z) / (2n),      L = ||C - I_d||_F^2      (samples in rows),

and differentiates the loss automatically (arXiv 2303.15438, section 4). It uses no part of the
solution: neither the cross-correlation of the inputs nor its eigenvectors (a preconditioner on the
input side needs both). The off-diagonal entries of C - I may have a weight of their own, and W may
be a product of layers.

The only shortcut is a change of coordinates. Gradients lie in the span of the 2n views. If 2n < m
and pairs are fixed, the map is trained in an orthonormal basis of that span, from a QR
factorisation of the stacked views. The part of W(0) outside it changes by weight decay only, and is
added at the end.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import nn
from tqdm import tqdm

from sslsim.core.checks import real_array
from sslsim.objectives._barlow_twins import barlow_twins

Array = NDArray[np.float64]

Side = tuple[str, float, float]

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
        Flow times of the records, learning rate x iterations / (1 - momentum); with ``muon``,
        learning rate x iterations.
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
    w0: ArrayLike | tuple[Array, ...],
    learning_rate: float,
    iterations: int,
    *,
    record_every: int = 1,
    momentum: float = 0.0,
    weight_decay: float = 0.0,
    batch_size: int | None = None,
    seed: int = 0,
    off_diagonal: float = 1.0,
    precondition: Side | tuple[Side, ...] | None = None,
    optimizer: str = "sgd",
    progress: bool = False,
) -> LinearRun:
    """Train a linear map by gradient descent on the Barlow Twins loss.

    Parameters
    ----------
    x, x_prime : array_like, shape (n, m)
        The two views of every pair, samples in rows.
    w0 : array_like, shape (d, m), or tuple of arrays
        Initial map; or layers, of shapes (h, m), ..., (d, h'), whose product is the map.
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
    batch_size : int, optional
        Pairs in a batch, drawn without replacement in every epoch; the last, smaller batch of an
        epoch is left out. Records are of all pairs. Default: all pairs in every iteration.
    seed : int
        Seed of the batches.
    off_diagonal : float
        Weight of the squared off-diagonal entries of C in the loss.
    precondition : (str, float, float) or tuple of these, optional
        ``('embedding', p, rho)`` multiplies the gradient by ``(C + rho I)^-p`` from the left,
        ``('input', q, delta)`` by ``(|Gamma| + delta I)^-q`` from the right. Not with layers.
    optimizer : {'sgd', 'muon'}
        Subtract the buffer of the gradients, or its polar factor by a singular value decomposition
        (exact Muon without Nesterov's step or a factor for the shape).
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
    layers = _layers(w0)
    w_start = layers[0]
    n, m = views.shape[1:]
    if n < 2 or w_start.shape[1] != m:
        raise ValueError(
            f"x has shape {(n, m)} and w0 {tuple(w_start.shape)}; "
            "expected (n, m) with n of at least 2 and (d, m)"
        )
    _check_options(learning_rate, iterations, record_every, momentum, weight_decay)
    sides = _checked_sides(off_diagonal, precondition, len(layers))
    _check_optimizer(optimizer, weight_decay)

    basis = None
    if 2 * n < m:
        basis = torch.linalg.qr(views.reshape(2 * n, m).T)[0]  # (m, 2n), orthonormal columns
        views = views @ basis  # (2, n, r), r the dimension of the span
    stacked = views.reshape(2 * n, -1)
    input_side = None
    if "input" in sides:
        input_side = _power(_correlation(stacked.T), *sides["input"])
    rows = None if batch_size is None else epoch_batches(n, batch_size, seed)
    parameters = [w_start if basis is None else w_start @ basis, *layers[1:]]
    record = _descend(
        parameters,
        lambda _: stacked,
        None if rows is None else lambda _: views[:, next(rows)].flatten(0, 1),
        learning_rate,
        iterations,
        record_every=record_every,
        momentum=momentum,
        weight_decay=weight_decay,
        off_diagonal=off_diagonal,
        embedding_side=sides.get("embedding"),
        input_side=input_side,
        optimizer=optimizer,
        progress=progress,
    )
    if basis is not None:
        outside, velocity = 1.0, 0.0  # factor on the part of W(0) outside the basis
        for _ in range(iterations if weight_decay else 0):
            velocity = momentum * velocity + weight_decay * outside
            outside -= learning_rate * velocity
        rest = w_start - (w_start @ basis) @ basis.T
        parameters[0] = parameters[0] @ basis.T + outside * rest
    return record.run(parameters, _time_per_update(learning_rate, momentum, optimizer))


def train_linear_fresh(
    draw: Callable[[int], tuple[torch.Tensor, torch.Tensor]],
    w0: ArrayLike | tuple[Array, ...],
    learning_rate: float,
    iterations: int,
    *,
    draw_batch: Callable[[int], tuple[torch.Tensor, torch.Tensor]] | None = None,
    record_every: int = 1,
    momentum: float = 0.0,
    weight_decay: float = 0.0,
    off_diagonal: float = 1.0,
    precondition: Side | tuple[Side, ...] | None = None,
    optimizer: str = "sgd",
    progress: bool = False,
) -> LinearRun:
    """Train a linear map by gradient descent with new views in every iteration.

    Parameters
    ----------
    draw : callable
        Function from the number of an iteration, from 0, to two float64 views (n, m) of the same
        samples. The last call, after the last update, is only recorded.
    draw_batch : callable, optional
        The same for the updates alone, with views of a batch of the samples; ``draw`` then gives
        the records. Default: updates use the views of ``draw``.
    w0, learning_rate, iterations, record_every, momentum, weight_decay, off_diagonal
        As in :func:`train_linear`.
    precondition : (str, float, float), optional
        As in :func:`train_linear`, on the side of the embedding only: no Gamma is known.
    optimizer, progress
        As in :func:`train_linear`.

    Returns
    -------
    LinearRun
        Records in float64. Loss and eigenvalues are those of new views before the update, which
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
    layers = _layers(w0)
    m = layers[0].shape[1]
    _check_options(learning_rate, iterations, record_every, momentum, weight_decay)
    sides = _checked_sides(off_diagonal, precondition, len(layers))
    _check_optimizer(optimizer, weight_decay)
    if "input" in sides:
        raise ValueError("precondition is on the side of the input; expected fixed pairs for it")

    def stacked(
        views: Callable[[int], tuple[torch.Tensor, torch.Tensor]], number: int
    ) -> torch.Tensor:
        both = torch.cat(views(number))
        if both.ndim != 2 or both.shape[1] != m:
            raise ValueError(
                f"views have the shape {tuple(both.shape[1:])} and w0 {tuple(layers[0].shape)}; "
                "expected (m,) and (d, m)"
            )
        return both

    record = _descend(
        layers,
        partial(stacked, draw),
        None if draw_batch is None else partial(stacked, draw_batch),
        learning_rate,
        iterations,
        record_every=record_every,
        momentum=momentum,
        weight_decay=weight_decay,
        off_diagonal=off_diagonal,
        embedding_side=sides.get("embedding"),
        optimizer=optimizer,
        progress=progress,
    )
    return record.run(layers, _time_per_update(learning_rate, momentum, optimizer))


def epoch_batches(n: int, size: int, seed: int) -> Iterator[torch.Tensor]:
    """Row numbers of batches, one permutation of all rows per epoch.

    Parameters
    ----------
    n, size : int
        Number of rows, and of those in a batch. What is left of an epoch is not used.
    seed : int
        Seed of the permutations.

    Yields
    ------
    Tensor of int64, shape (size,)
        Row numbers, without end.

    Raises
    ------
    ValueError
        If a batch is empty or larger than all rows.

    Examples
    --------
    >>> batches = epoch_batches(4, 2, seed=0)
    >>> sorted([*next(batches).tolist(), *next(batches).tolist()])
    [0, 1, 2, 3]
    """
    if not 1 <= size <= n:
        raise ValueError(f"batch_size is {size}; expected from 1 to the {n} pairs")
    return _endless_epochs(n, size, seed)


def _endless_epochs(n: int, size: int, seed: int) -> Iterator[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    while True:
        order = torch.randperm(n, generator=generator)
        for start in range(0, n - size + 1, size):
            yield order[start : start + size]


def _descend(
    parameters: list[torch.Tensor],
    everything: Callable[[int], torch.Tensor],
    batch: Callable[[int], torch.Tensor] | None,
    learning_rate: float,
    iterations: int,
    *,
    record_every: int,
    momentum: float,
    weight_decay: float,
    off_diagonal: float,
    embedding_side: tuple[float, float] | None,
    input_side: torch.Tensor | None = None,
    optimizer: str,
    progress: bool,
) -> _Record:
    """Train layers in place, on stacked views (2n, m) of all pairs or of a batch."""
    eye = torch.eye(len(parameters[-1]), dtype=parameters[-1].dtype)
    mask = None if off_diagonal == 1.0 else off_diagonal + (1.0 - off_diagonal) * eye
    velocities = [torch.zeros_like(layer) for layer in parameters]
    record = _Record(len(eye))

    def loss_of(stacked: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        z = stacked.T
        # Embeddings in columns: these thin products run twice as fast as those with Z in rows.
        for layer in parameters:
            z = layer @ z
        corr = _correlation(z)
        error = (corr - eye).square()
        return (error if mask is None else mask * error).sum(), corr

    for layer in parameters:
        layer.requires_grad_()
    for iteration in tqdm(range(iterations + 1), desc="linear", disable=not progress):
        recorded_now = iteration % record_every == 0 or iteration == iterations
        if batch is None or recorded_now:
            with torch.set_grad_enabled(batch is None):
                loss, corr = loss_of(everything(iteration))
            value = _finite(loss, iteration, learning_rate)
            if recorded_now:
                record.add(iteration, value, corr.detach())
        if iteration == iterations:
            break
        if batch is not None:
            loss, corr = loss_of(batch(iteration))
        gradients = torch.autograd.grad(loss, parameters)
        with torch.no_grad():
            if input_side is not None:
                gradients = (gradients[0] @ input_side,)
            if embedding_side is not None:
                gradients = (_power(corr, *embedding_side) @ gradients[0],)
            for layer, velocity, gradient in zip(parameters, velocities, gradients, strict=True):
                velocity.mul_(momentum).add_(gradient).add_(layer, alpha=weight_decay)
                update = _polar_factor(velocity) if optimizer == "muon" else velocity
                layer.sub_(update, alpha=learning_rate)
    for layer in parameters:
        layer.requires_grad_(False)
    return record


def _correlation(z: torch.Tensor) -> torch.Tensor:
    """C of the embeddings of both views, stacked in columns (d, 2n)."""
    n = z.shape[1] // 2
    first, second = z.split(n, dim=1)
    cross = first @ second.T
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


def _power(matrix: torch.Tensor, power: float, ridge: float) -> torch.Tensor:
    """``(|matrix| + ridge I)^-power`` of a symmetric matrix."""
    values, vectors = torch.linalg.eigh(matrix)
    return (vectors * (values.abs() + ridge) ** -power) @ vectors.T


def _polar_factor(matrix: torch.Tensor) -> torch.Tensor:
    """The matrix with all singular values set to 1, except those that are zero up to rounding."""
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    least = values[0] * max(matrix.shape) * torch.finfo(matrix.dtype).eps
    return (left * (values > least)) @ right


def _time_per_update(learning_rate: float, momentum: float, optimizer: str) -> float:
    return learning_rate / (1.0 if optimizer == "muon" else 1.0 - momentum)


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

    def run(self, layers: list[torch.Tensor], time: float) -> LinearRun:
        """The records and the product of the layers; ``time`` is that of one iteration."""
        weights = layers[0]
        for layer in layers[1:]:
            weights = layer @ weights
        iterations = np.array(self.iterations)
        return LinearRun(
            iterations=iterations,
            times=time * iterations,
            loss=np.array(self.loss),
            eigenvalues=self.eigenvalues(),
            weights=weights.numpy(),
        )

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


def _layers(w0: ArrayLike | tuple[Array, ...]) -> list[torch.Tensor]:
    """Copies of the layers, from the input on."""
    layers = [_matrix("w0", layer) for layer in (w0 if isinstance(w0, tuple) else [w0])]
    if any(outer.shape[1] != len(inner) for inner, outer in pairwise(layers)):
        raise ValueError("w0 holds layers that do not fit; expected (h, m), ..., (d, h')")
    return layers


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


def _checked_sides(
    off_diagonal: float, precondition: Side | tuple[Side, ...] | None, layers: int
) -> dict[str, tuple[float, float]]:
    """Exponent and regulariser of the preconditioner on each side, after checks."""
    if not 0 <= off_diagonal < np.inf:
        raise ValueError(f"off_diagonal is {off_diagonal}; expected a finite number of at least 0")
    if not precondition:
        return {}
    given = (precondition,) if isinstance(precondition[0], str) else precondition
    sides = {side: (power, ridge) for side, power, ridge in given}
    known = set(sides) <= {"embedding", "input"} and len(sides) == len(given)
    in_range = all(power >= 0 and ridge > 0 for power, ridge in sides.values())
    if not known or not in_range or layers > 1:
        raise ValueError(
            f"precondition is {precondition} on {layers} layer(s); expected 'embedding' or "
            "'input', a power of at least 0, a ridge above 0, and one layer"
        )
    return sides


def _check_optimizer(optimizer: str, weight_decay: float) -> None:
    if optimizer not in ("sgd", "muon"):
        raise ValueError(f"optimizer is {optimizer!r}; expected sgd or muon")
    if optimizer == "muon" and weight_decay:
        raise ValueError(f"weight_decay is {weight_decay} with muon; expected 0")


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
