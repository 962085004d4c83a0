r"""Memorisation scores of a linear model by leaving out every point.

This is the exact counterpart of :func:`theory.memorization.first_order.first_order_scores`. In the
eigenbasis of Gamma, every point with k pairs subtracts a matrix of rank 2k from a diagonal matrix.
The top modes of the result are computed in a small subspace, with a bound on the error.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from theory.arrays import Array, positive_number
from theory.memorization.first_order import (
    CHUNK_BYTES,
    Indices,
    Points,
    alignment_losses,
    chunks_of_points,
)

_EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True, eq=False)
class LeaveOneOut:
    """Scores of leaving out every point.

    Attributes
    ----------
    scores : ndarray, shape (n,)
        Scores ``2 tr[(M_{-x} - M) S_x]``, high for memorised points.
    errors : ndarray, shape (n,)
        Bounds on the errors of scores, up to rounding; zero if the whole problem was solved.
    whole : int
        Number of points whose whole problem was solved, because no small one was accurate enough.
    """

    scores: Array
    errors: Array
    whole: int


def leave_one_out_scores(
    points: Points, tolerance: float = 1e-6, *, chunk_bytes: int = CHUNK_BYTES
) -> LeaveOneOut:
    r"""Memorisation scores of leaving every point out, to a certified precision.

    Parameters
    ----------
    points : Points
        From :mod:`theory.memorization.first_order`.
    tolerance : float
        Largest accepted error, as a share of the alignment loss over the number of pairs: about
        the size of a score.
    chunk_bytes : int
        Memory limit: bytes of the arrays of points that are treated together (one at least).

    Returns
    -------
    LeaveOneOut
        Scores and error bounds. Modes that are not positive without a point count as not learned.

    Notes
    -----
    In the eigenbasis, H = diag(gamma) - B/N is compressed to the top modes, a few more than d, and
    to U, R U, ... with the columns U of B in the other modes and R the inverse of
    ``gamma_d - gamma``. Up to higher powers, the top eigenvectors of a low-rank update are in this
    subspace. With residuals r_j of the d Ritz vectors w_j, these are exact for H - E, where
    E = sum_j (r_j w_j^T + w_j r_j^T). Entries of f(H) - f(H - E) between eigenvectors of the two
    are divided differences of f times those of E, so

        |error| <= 2 ||S_x||_F sqrt(2 sum ||r_j||^2) / (theta_d min(theta_d, gap)),

    where the gap follows from an exact count of the eigenvalues of H above a level, by the inertia
    of a 2k x 2k matrix (Haynsworth). If the small problem is not accurate enough for a point, a
    larger one is solved, and finally the whole. The cost per point is
    2 r s^2 + 10 (d + s)^3 + 2 V r s operations with s = 2k x depth directions, instead of 10 r^3.

    Examples
    --------
    >>> from theory.memorization.first_order import linear_points
    >>> x = np.array([[2.0, 0.0], [0.0, 1.0], [2.0, 0.0]])
    >>> points = linear_points(x, x, 1, augmentations=np.stack([x, -x], axis=1), every=True)
    >>> leave_one_out_scores(points).scores.round(4).tolist()
    [1.0, 0.0, 1.0]
    """
    tolerance = positive_number("tolerance", tolerance)
    before, rank = alignment_losses(points), len(points.gamma)
    after, errors = np.empty_like(before), np.full_like(before, np.inf)
    accepted = tolerance * before / points.n_pairs
    for extra, depth in ((12, 4), (32, 5)):
        size = points.dim + extra + 2 * points.sums.shape[1] * depth
        left = np.flatnonzero(errors > accepted)
        # Above half the size, a small problem saves nothing.
        if 2 * size > rank or not len(left):
            break
        for part in chunks_of_points(len(left), 4 * rank * (size - points.dim), chunk_bytes):
            rows = left[part]
            after[rows], errors[rows] = _compressed(points, rows, points.dim + extra, depth)
    left = np.flatnonzero(errors > accepted)
    for part in chunks_of_points(len(left), 3 * rank**2, chunk_bytes):
        rows = left[part]
        after[rows], errors[rows] = _whole(points, rows), 0.0
    return LeaveOneOut(after - before, errors, len(left))


def _losses_after(points: Points, rows: Indices, theta: Array, vectors: Array, a: Array) -> Array:
    """``2 tr(M_{-x} S_x)`` from the top modes (theta, vectors) of H = Gamma - B/N, as columns."""
    floor = _EPS * 2 * points.n_pairs * np.abs(points.gamma).max()
    scale = np.divide(1.0, theta, out=np.zeros_like(theta), where=theta > floor)
    share = 1.0 - points.counts[rows] / points.n_pairs
    return 2.0 * share * np.sum((a @ vectors) ** 2 * scale[:, None, :], axis=(1, 2))


def _whole(points: Points, rows: Indices) -> Array:
    p, q = points.sums[rows], points.differences[rows]
    removed = p.swapaxes(1, 2) @ p - q.swapaxes(1, 2) @ q
    theta, vectors = np.linalg.eigh(np.diag(points.gamma) - removed / points.n_pairs)
    dim = points.dim
    return _losses_after(points, rows, theta[:, -dim:], vectors[:, :, -dim:], points.factors[rows])


def _compressed(points: Points, rows: Indices, top_modes: int, depth: int) -> tuple[Array, Array]:
    """Losses without each point from a small problem, and bounds on their errors."""
    gamma, dim, n_pairs = points.gamma, points.dim, points.n_pairs
    head, tail = gamma[:top_modes], gamma[top_modes:]
    u = np.concatenate([points.sums[rows], points.differences[rows]], axis=1).swapaxes(1, 2)
    width = u.shape[2]  # 2k columns
    sign = np.repeat([-1.0 / n_pairs, 1.0 / n_pairs], width // 2)  # H = diag(gamma) + U sign U^T
    resolvent = gamma[dim - 1] - tail
    if resolvent[0] <= 0:
        return np.zeros(len(rows)), np.full(len(rows), np.inf)
    powers = [(resolvent[0] / resolvent) ** i for i in range(depth)]
    raw = np.concatenate([u[:, top_modes:] * power[:, None] for power in powers], axis=2)
    basis = np.linalg.qr(raw)[0]  # (n, r - top_modes, width * depth)
    applied = tail[:, None] * basis
    inner = basis.swapaxes(1, 2) @ applied
    small = np.concatenate([u[:, :top_modes], basis.swapaxes(1, 2) @ u[:, top_modes:]], axis=1)
    compressed = (small * sign) @ small.swapaxes(1, 2)
    compressed[:, np.arange(top_modes), np.arange(top_modes)] += head
    compressed[:, top_modes:, top_modes:] += inner
    theta, ritz = np.linalg.eigh(compressed)
    theta, ritz = theta[:, ::-1], ritz[:, :, ::-1]
    top = ritz[:, :, :dim]
    # U is in the basis, so the residual is the part of diag(gamma) times the tail outside it.
    residual = (applied - basis @ inner) @ top[:, top_modes:]
    size = np.sqrt(2.0 * np.sum(residual**2, axis=(1, 2)))

    level = theta[:, dim] + (theta[:, dim - 1] - theta[:, dim]) / 4.0
    gap = theta[:, dim - 1] - level - size
    # The d-th Ritz value is at most that of H, so only eigenvalues above the level are counted.
    certain = (gap > 0) & (theta[:, dim - 1] > 0) & (_above(gamma, u, sign, level) == dim)
    a = points.factors[rows]
    spread = np.sqrt(np.sum((a @ a.swapaxes(1, 2)) ** 2, axis=(1, 2)))
    slope = 1.0 / (theta[:, dim - 1] * np.minimum(theta[:, dim - 1], gap))
    bound = np.where(certain, 2.0 * spread * size * slope, np.inf)
    projected = np.concatenate([a[:, :, :top_modes], a[:, :, top_modes:] @ basis], axis=2)
    return _losses_after(points, rows, theta[:, :dim], top, projected), bound


def _above(gamma: Array, u: Array, sign: Array, level: Array) -> Array:
    """Number of eigenvalues of diag(gamma) + U diag(sign) U^T above a level, from inertia."""
    shifted = gamma - level[:, None]
    if np.any(shifted == 0):
        return np.full(len(level), -1)
    schur = -np.diag(1.0 / sign) - (u / shifted[:, :, None]).swapaxes(1, 2) @ u
    positive = np.count_nonzero(np.linalg.eigvalsh(schur) > 0, axis=1)
    return np.count_nonzero(shifted > 0, axis=1) + positive - np.count_nonzero(sign < 0)
