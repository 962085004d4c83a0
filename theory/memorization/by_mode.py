r"""Memorisation scores of a linear model, mode by mode.

The alignment loss of a point is a sum over learned modes, 2 tr(M S_x) = sum_j 2 s_jj / gamma_j with
s_jk = v_j^T S_x v_k. So is its memorisation score, if mode j of the map trained without the point
is compared with mode j of the map trained with it, both ordered by gamma:

    score_j = 2 v'_j^T S_x v'_j / gamma'_j - 2 s_jj / gamma_j,        sum_j score_j = score.

With k pairs of the point among N, and b_jk = v_j^T B v_k as in
:mod:`theory.memorization.first_order`, perturbation of gamma_j and v_j gives to first order

    score_j = 2 / (N - k) [(b_jj - k gamma_j) s_jj / gamma_j^2
                           - 2 / gamma_j sum_{i != j} b_ij s_ij / (gamma_j - gamma_i)].

The first term is the change of the mode's scale, the second its rotation. Which modes carry
memorisation follows: a mode is weighted by 1 / gamma_j, and a point counts by its energy b_jj in
units of gamma_j. Where augmentations move all directions alike, S_x = s I, there is no second term,
and over Gaussian points the scores of mode j have mean 0 and the spread of :func:`expected_spread`.
It grows as 1 / gamma_j, and as 1 / gamma_j^2 for modes below the noise: the modes learned last
carry memorisation. In units of the mode's own alignment loss, 2 s / gamma_j, all modes above the
noise memorise alike.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from theory.arrays import Array, finite_array, positive_number, whole_number
from theory.memorization.first_order import CHUNK_BYTES, Points, chunks_of_points

_EPS = float(np.finfo(np.float64).eps)


def losses_by_mode(points: Points) -> Array:
    """Alignment losses of the points in every learned mode.

    Parameters
    ----------
    points : Points
        From :func:`theory.memorization.first_order.linear_points` or ``kernel_points``.

    Returns
    -------
    ndarray, shape (n, d)
        Losses ``2 s_jj / gamma_j``; their sum is
        :func:`theory.memorization.first_order.alignment_losses`.

    Examples
    --------
    >>> from theory.memorization.first_order import linear_points
    >>> x = np.array([[2.0, 0.0], [0.0, 1.0], [2.0, 0.0]])
    >>> points = linear_points(x, x, 1, augmentations=np.stack([x, -x], axis=1), every=True)
    >>> losses_by_mode(points).round(4).tolist()
    [[3.0], [0.0], [3.0]]
    """
    top = points.factors[:, :, : points.dim]
    return 2.0 * np.sum(top**2, axis=1) / points.gamma[: points.dim]


def first_order_by_mode(points: Points, *, chunk_bytes: int = CHUNK_BYTES) -> Array:
    """Memorisation scores to first order in the share of a point, mode by mode.

    Parameters
    ----------
    points : Points
        From :func:`theory.memorization.first_order.linear_points` or ``kernel_points``.
    chunk_bytes : int
        Memory limit: bytes of the arrays of points that are treated together (one at least).

    Returns
    -------
    ndarray, shape (n, d)
        Scores; their sum over modes is
        :func:`theory.memorization.first_order.first_order_scores`.

    Raises
    ------
    ValueError
        If two neighbouring eigenvalues are equal up to rounding and one of them is learned: the
        modes are then not defined.

    Notes
    -----
    arXiv 2401.12233, section 3, for the linear model of arXiv 2303.15438, section 4. Rotations
    between two learned modes that are close move score from one to the other; the sum is not
    affected.

    Examples
    --------
    >>> from theory.memorization.first_order import linear_points
    >>> x = np.array([[2.0, 0.0], [0.0, 1.0], [2.0, 0.0]])
    >>> points = linear_points(x, x, 2, augmentations=np.stack([x, -x], axis=1), every=True)
    >>> (first_order_by_mode(points).round(4) + 0.0).tolist()
    [[0.75, 0.0], [0.0, 6.0], [0.75, 0.0]]
    """
    gamma, dim, n_pairs = points.gamma, points.dim, points.n_pairs
    top = gamma[:dim]
    gaps = -np.diff(gamma[: dim + 1])
    if len(gaps) and gaps.min() <= _EPS * len(gamma) * np.abs(gamma).max():
        first = int(gaps.argmin()) + 1
        raise ValueError(
            f"modes {first} and {first + 1} both have gamma {gamma[first]:.6g}; expected modes "
            "that differ"
        )
    between = top[:, None] - gamma  # (d, r)
    rotation = np.divide(2.0, between, out=np.zeros_like(between), where=between != 0)
    scores = np.empty((len(points.counts), dim))
    for part in chunks_of_points(len(scores), 3 * dim * len(gamma), chunk_bytes):
        a, p, q = points.factors[part], points.sums[part], points.differences[part]
        counts = points.counts[part, None]
        spread = a[:, :, :dim].swapaxes(1, 2) @ a  # rows j <= d of S_x
        removed = p[:, :, :dim].swapaxes(1, 2) @ p - q[:, :, :dim].swapaxes(1, 2) @ q
        own, lost = (np.einsum("njj->nj", each[:, :, :dim]) for each in (spread, removed))
        scale = (lost - counts * top) * own / top**2
        turn = np.einsum("jk,njk,njk->nj", rotation, removed, spread) / top
        scores[part] = 2.0 * (scale - turn) / (n_pairs - counts)
    return scores


def leave_one_out_by_mode(points: Points, *, chunk_bytes: int = CHUNK_BYTES) -> Array:
    """Memorisation scores of leaving every point out, mode by mode.

    Parameters
    ----------
    points : Points
        From :func:`theory.memorization.first_order.linear_points` or ``kernel_points``.
    chunk_bytes : int
        Memory limit: bytes of the arrays of points that are treated together (one at least).

    Returns
    -------
    ndarray, shape (n, d)
        Scores, modes of either map by descending gamma; their sum over modes is that of
        :func:`theory.memorization.leave_one_out.leave_one_out_scores`. Modes that are not positive
        without a point count as not learned.

    Notes
    -----
    An eigenproblem of size r for every point.

    Examples
    --------
    >>> from theory.memorization.first_order import linear_points
    >>> x = np.array([[2.0, 0.0], [0.0, 1.0], [2.0, 0.0]])
    >>> points = linear_points(x, x, 1, augmentations=np.stack([x, -x], axis=1), every=True)
    >>> leave_one_out_by_mode(points).round(4).tolist()
    [[1.0], [0.0], [1.0]]
    """
    gamma, dim, n_pairs = points.gamma, points.dim, points.n_pairs
    floor = _EPS * 2 * n_pairs * np.abs(gamma).max()
    after = np.empty((len(points.counts), dim))
    for part in chunks_of_points(len(after), 3 * len(gamma) ** 2, chunk_bytes):
        p, q = points.sums[part], points.differences[part]
        removed = p.swapaxes(1, 2) @ p - q.swapaxes(1, 2) @ q
        theta, vectors = np.linalg.eigh(np.diag(gamma) - removed / n_pairs)
        theta, vectors = theta[:, ::-1][:, :dim], vectors[:, :, ::-1][:, :, :dim]
        weight = np.divide(1.0, theta, out=np.zeros_like(theta), where=theta > floor)
        share = 1.0 - points.counts[part, None] / n_pairs  # Gamma_{-x} is H over this share
        after[part] = 2.0 * share * weight * np.sum((points.factors[part] @ vectors) ** 2, axis=1)
    return after - losses_by_mode(points)


def expected_spread(gamma: ArrayLike, noise: float, n_pairs: int) -> Array:
    r"""Standard deviation over points of the scores of every mode, for isotropic augmentations.

    Parameters
    ----------
    gamma : array_like, shape (d,)
        Eigenvalues of Gamma, all above zero.
    noise : float
        Variance of the augmentations along every direction, above zero.
    n_pairs : int
        Number N of pairs, one a point, at least 2.

    Returns
    -------
    ndarray, shape (d,)
        ``2 noise sqrt((gamma + noise)^2 + gamma^2) / ((N - 1) gamma^2)``: about
        ``2.8 noise / (N gamma)`` above the noise, ``2 noise^2 / (N gamma^2)`` below it.

    Raises
    ------
    ValueError
        If a number is not above zero, or there are fewer than two pairs.

    Notes
    -----
    Points are Gaussian with covariance Gamma; their pairs, and the views compared, are moved by
    independent noise. Then b_jj is a product of two Gaussians of variance gamma_j + noise and
    covariance gamma_j, and S_x is ``noise`` times the identity, so that no mode turns.

    Examples
    --------
    >>> expected_spread([1.0, 0.1, 0.01], noise=0.1, n_pairs=101).round(4).tolist()
    [0.003, 0.0447, 2.2091]
    """
    values = finite_array("gamma", gamma, 1)
    if values.min(initial=np.inf) <= 0:
        raise ValueError(f"gamma holds {values.min():.3g}; expected eigenvalues above zero")
    noise = positive_number("noise", noise)
    n_pairs = whole_number("n_pairs", n_pairs, 2)
    deviation = np.hypot(values + noise, values)
    return 2.0 * noise * deviation / ((n_pairs - 1) * values**2)
