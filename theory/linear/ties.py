r"""Initial singular values where eigenvalues are equal or close.

The QR factorisation of :mod:`theory.linear.initialization` needs separated eigenvalues: mode j has
to be learned before later columns of W(0) V grow to its size. At the half-rise time tau_j, column k
has, orthogonal to what was learned before j, the squared length (as a part of lambda = 1/2)

    rho_jk^2 = 2 gamma_k sum_{i >= j} R_ik^2 exp(8 gamma_k tau_j).

Modes with rho^2 above ``COUPLED`` form a block. Blocks are independent of each other: as in the QR
factorisation, W(0) is projected off the directions of earlier blocks. Two cases remain.

Equal eigenvalues
    No direction of the block comes first. The closed form is exact with the singular values of the
    projected block W(0) V_block (arXiv 2303.15438, section 4, with V_block rotated). A smaller W(0)
    does not help the QR factorisation here: its error is of order alpha^0. A block counts as equal
    if its spread grows the ratio of two columns by less than ``EQUAL``: 4 (gamma_first -
    gamma_last) tau < ``EQUAL``.
Close eigenvalues
    The flow of B = W V_K Gamma_K^{1/2}, shape (rows, K) with K modes in the block,

        dB/dt = 4 (I - B B^T) B Gamma_K,

    is integrated from the projected block until every eigenvalue of B B^T has passed 1/2. The
    growth up to ``||B|| = 1e-4`` is exponential and skipped. Initial singular values are those with
    which the closed form gives these times.

The integration costs about 30 gamma_first / gamma_last + 500 evaluations of 4 rows^2 K floating-
point operations. A block beyond ``BUDGET`` operations is first cut after the last mode of interest,
then split at its widest gap.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.integrate import DOP853
from scipy.optimize import brentq

from theory.arrays import Array, finite_array, whole_number
from theory.linear.closed_form import step_times
from theory.linear.initialization import equivalent_initialization

COUPLED = 1e-3
"""Least rho^2 of modes in one block; below it, step times change by less than 1e-4."""
EQUAL = 1e-3
"""Growth of the ratio of two columns below which their eigenvalues count as equal."""
BUDGET = 2e10
"""Floating-point operations that one block may take."""

_LINEAR = 1e-4  # size of B below which its growth is exponential to 1e-8
_LARGE = 1e3  # lambda(0) above which W(0) is far from small, and nothing is integrated
_DOUBTFUL = 0.1  # rho^2 between the parts of a block that is too costly, to be warned of


@dataclass(frozen=True)
class InitialModes:
    """Aligned initialisation that is equivalent to a small W(0), at any distance of eigenvalues.

    Attributes
    ----------
    left : ndarray, shape (d, k)
        Left singular vectors.
    s0 : ndarray, shape (k,)
        Singular values.
    right : ndarray, shape (m, k)
        Eigenvectors of Gamma; those of equal eigenvalues are rotated to the directions that grow
        independently.
    equal : ndarray of bool, shape (k,)
        Modes in blocks of equal eigenvalues.
    integrated : ndarray of bool, shape (k,)
        Modes in blocks of close eigenvalues. Their ``s0`` gives the right step time; the shape of
        their curves is that of a single mode.
    """

    left: Array
    s0: Array
    right: Array
    equal: NDArray[np.bool_]
    integrated: NDArray[np.bool_]


def initial_modes(
    w0: ArrayLike, gamma: ArrayLike, right: ArrayLike, dim: int | None = None
) -> InitialModes:
    """Aligned initialisation that is equivalent to a small W(0), also where eigenvalues are close.

    Parameters
    ----------
    w0 : array_like, shape (d, m)
        Weights at t = 0.
    gamma : array_like, shape (K,)
        Eigenvalues of Gamma, descending.
    right : array_like, shape (m, K)
        Their eigenvectors. Modes beyond ``dim`` count where they are close to it.
    dim : int, optional
        Number k of modes of interest, at most d and K. Default: the smaller of both.

    Returns
    -------
    InitialModes
        For the first ``dim`` modes.

    Raises
    ------
    ValueError
        If the shapes do not fit or a value is not finite.

    Examples
    --------
    >>> w0 = [[3e-3, 0.0], [4e-3, 1e-3]]
    >>> initial_modes(w0, [1.0, 0.1], np.eye(2)).s0.round(4).tolist()
    [0.005, 0.0006]
    >>> tied = initial_modes(w0, [1.0, 1.0], np.eye(2))
    >>> tied.s0.round(4).tolist(), tied.equal.tolist()
    ([0.0051, 0.0006], [True, True])
    """
    w0, gamma = finite_array("w0", w0, 2), finite_array("gamma", gamma, 1)
    axes = finite_array("right", right, 2)
    if w0.shape[1] != len(axes) or axes.shape[1] != len(gamma):
        raise ValueError(
            f"w0 has shape {w0.shape}, gamma {gamma.shape} and right {axes.shape}; "
            "expected (d, m), (K,) and (m, K)"
        )
    most = min(len(w0), len(gamma))
    dim = most if dim is None else whole_number("dim", dim, 1, most)
    vectors = axes[:, :dim].copy()
    left, s0 = equivalent_initialization(w0, vectors)
    equal, integrated = np.zeros(dim, dtype=bool), np.zeros(dim, dtype=bool)
    upper = left.T @ (w0 @ axes)
    upper[:, :dim] = np.triu(upper[:, :dim])
    times = step_times(gamma[:dim], s0)
    for start, stop in _blocks(gamma, upper, times):
        rows, columns = slice(start, min(stop, dim)), slice(start, stop)
        block = upper[rows, columns]
        last = np.max(times[rows], initial=0.0, where=np.isfinite(times[rows]))
        if 4.0 * (gamma[start] - gamma[stop - 1]) * last < EQUAL:
            turn, s0[rows], turn_right = np.linalg.svd(block, full_matrices=False)
            left[:, rows] = left[:, rows] @ turn
            vectors[:, rows] = axes[:, columns] @ turn_right.T
            equal[rows] = True
        elif np.max(np.abs(block) * np.sqrt(gamma[columns])) < _LARGE:
            # Modes keep the order in which they would be learned one by one.
            order = start + np.argsort(times[rows], kind="stable")
            passed = coupled_step_times(block, gamma[columns])
            later = passed > 0
            s0[order[later]] = _singular_values(gamma[order[later]], passed[later])
            integrated[rows] = True
    return InitialModes(left, s0, vectors, equal, integrated)


def coupled_step_times(block: ArrayLike, gamma: ArrayLike) -> Array:
    """Times at which the eigenvalues of a few coupled modes pass 1/2.

    Parameters
    ----------
    block : array_like, shape (r, K)
        W(0) in the eigenbasis, K >= r columns; rows that are zero never learn.
    gamma : array_like, shape (K,)
        Eigenvalues of Gamma, positive.

    Returns
    -------
    ndarray, shape (r,)
        Flow times, ascending; infinite for those that never pass.

    Raises
    ------
    ValueError
        If the shapes do not fit or an eigenvalue is not positive.

    Notes
    -----
    The integrator is DOP853 with a relative tolerance of 1e-8; crossings are located on its dense
    output.

    Examples
    --------
    >>> coupled_step_times([[1e-3, 0.0], [0.0, 1e-3]], [0.5, 0.4]).round(3).tolist()
    [3.627, 4.604]
    >>> step_times([0.5, 0.4], [1e-3, 1e-3]).round(3).tolist()
    [3.627, 4.604]
    """
    block, gamma = finite_array("block", block, 2), finite_array("gamma", gamma, 1)
    if block.shape[1] != len(gamma) or not np.all(gamma > 0):
        raise ValueError(
            f"block has shape {block.shape} and gamma {gamma}; expected (r, K) and K positive"
        )
    passed = np.full(len(block), np.inf)
    start = block * np.sqrt(gamma)
    start, gamma = start[:, np.any(start != 0, axis=0)], gamma[np.any(start != 0, axis=0)]
    start = start[np.any(start != 0, axis=1)]
    if not start.size:
        return passed
    rows = len(start)
    norms = np.linalg.norm(start, axis=0)
    t0 = max(0.0, float(np.min((math.log(_LINEAR) - np.log(norms)) / (4.0 * gamma))))
    start = start / norms * np.exp(np.log(norms) + 4.0 * gamma * t0)
    # The slowest mode alone, from the smallest column, with room for the others to hold it up.
    end = t0 + 3.0 * (1.0 + np.max(-np.log(norms))) / (4.0 * gamma.min())

    def derivative(_: float, flat: Array) -> Array:
        b = flat.reshape(rows, -1)
        return (4.0 * (b - (b @ b.T) @ b) * gamma).ravel()

    def eigenvalue(flat: Array, place: int) -> float:
        b = flat.reshape(rows, -1)
        return float(np.linalg.eigvalsh(b @ b.T)[-1 - place])

    solver = DOP853(derivative, t0, start.ravel(), end, rtol=1e-8, atol=1e-12)
    place = 0
    while place < rows and eigenvalue(solver.y, place) >= 0.5:
        passed[place], place = t0, place + 1
    while place < rows and solver.status == "running":
        solver.step()
        while place < rows and eigenvalue(solver.y, place) >= 0.5:
            curve, where = solver.dense_output(), place
            passed[place] = brentq(
                lambda t, curve=curve, where=where: eigenvalue(curve(t), where) - 0.5,
                solver.t_old,
                solver.t,
                xtol=1e-9 / gamma.max(),
            )
            place += 1
    return passed


def _blocks(gamma: Array, upper: Array, times: Array) -> list[tuple[int, int]]:
    """Ranges of at least two coupled modes; the last may go beyond the modes of interest."""
    dim = len(times)
    largest = np.abs(upper).max(initial=0.0) or 1.0  # squares of small numbers would underflow
    squares = np.cumsum((upper / largest)[::-1] ** 2, axis=0)[::-1]  # over rows from j on
    known = (gamma > 0) & (squares > 0) & np.isfinite(times)[:, None]
    known &= np.arange(len(gamma)) > np.arange(dim)[:, None]
    mode, other = np.nonzero(known)
    rho = np.full(known.shape, -np.inf)  # logarithm of rho^2
    rho[known] = np.log(2.0 * gamma[other]) + np.log(squares[known]) + 2.0 * math.log(largest)
    rho[known] += 8.0 * gamma[other] * times[mode]
    coupled = rho > math.log(COUPLED)
    reach = np.where(coupled.any(axis=1), len(gamma) - np.argmax(coupled[:, ::-1], axis=1), 0)
    reach = np.maximum(reach, np.arange(dim) + 1)
    blocks, start = [], 0
    while start < dim:
        stop = start + 1
        while (further := int(reach[start : min(stop, dim)].max())) > stop:
            stop = further
        if stop > start + 1:
            parts = _affordable(gamma, start, stop, dim)
            ends = {end for part in parts for end in part} - {start, stop}
            close = [end for end in sorted(ends) if rho[:end, end:].max() > math.log(_DOUBTFUL)]
            if close:
                warnings.warn(
                    f"{stop - start} close eigenvalues are too many to integrate together; step "
                    f"times around mode {', '.join(map(str, close))} may be off by some per cent",
                    stacklevel=4,
                )
            blocks += parts
        start = stop
    return blocks


def _affordable(gamma: Array, start: int, stop: int, dim: int) -> list[tuple[int, int]]:
    """Cut a block until each part takes at most ``BUDGET`` operations."""
    rows, ratio = min(stop, dim) - start, gamma[start] / gamma[stop - 1]
    if stop - start < 2:
        return []
    if (30.0 * ratio + 500.0) * 4.0 * rows**2 * (stop - start) <= BUDGET:
        return [(start, stop)]
    if stop > dim:
        return _affordable(gamma, start, max(dim, (dim + stop) // 2), dim)
    cut = start + 1 + int(np.argmin(gamma[start + 1 : stop] / gamma[start : stop - 1]))
    return _affordable(gamma, start, cut, dim) + _affordable(gamma, cut, stop, dim)


def _singular_values(gamma: Array, times: Array) -> Array:
    """Initial singular values with which single modes have these step times."""
    rise = 4.0 * gamma * times
    return np.exp(-rise - 0.5 * np.log1p(np.exp(-2.0 * rise))) / np.sqrt(gamma)
