r"""Mini-batches: a Lotka-Volterra law for the modes of linear Barlow Twins.

On a batch of B pairs the loss contains squares of C's sampling error, so that the mean gradient is
not that of all pairs. With a = V^T x, b = V^T x' and g = (a b^T + b a^T) / 2 of one pair,

    E[loss of a batch] = ||C - I||_F^2 + sum_ij var[(A g A^T)_ij] / B,      A = W V,

an exact statement for every A, as is its gradient. Where distinct entries of g are uncorrelated,
aligned modes stay aligned, and at small learning rates

    dlambda_j/dt = 8 gamma_j lambda_j (1 - lambda_j - sum_k M_jk lambda_k / B),
    M_jk = var[g_jk] / (gamma_j gamma_k),

which is the equation of competing species. Its ceilings ``lambda = (I + M/B)^-1 1`` are below 1:
unnormalised Barlow Twins by small batches does not reach C = I. Correlated entries couple
and rotate the modes; the reduced equation (:mod:`theory.linear.reduced`) with
:func:`batch_covariance` keeps them all. Both hold to first order in the learning rate; the noise of
the weights themselves adds terms of order learning rate x gamma M/B (:func:`noise_order`).

Batches drawn without replacement from n pairs have (n - 1)/(n - B) times smaller variances. If each
batch draws new views of its images, only the variance between images is reduced so
(:func:`fresh_covariance`).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.integrate import solve_ivp

from theory.arrays import Array, finite_array, paired_views, positive_number, whole_number
from theory.linear.closed_form import flow_times, mode_arrays


def batch_covariance(
    a: ArrayLike, b: ArrayLike, batch_size: int, pairs: int | None = None
) -> Array:
    """Covariances of the entries of the cross-correlation of a batch.

    Parameters
    ----------
    a, b : array_like, shape (n, K)
        The two views of each pair in the top eigenbasis, ``x @ V`` and ``x' @ V``.
    batch_size : int
        Number B of pairs in a batch.
    pairs : int, optional
        Number of pairs from which a batch is drawn without replacement. Default: batches are drawn
        with replacement.

    Returns
    -------
    ndarray, shape (K, K, K, K)
        ``cov(g_jk, g_lm) / B``, times (n - B)/(n - 1) without replacement. It takes 8 K^4 bytes.

    Raises
    ------
    ValueError
        If the views do not fit or the batch is larger than the pairs.

    Examples
    --------
    >>> batch_covariance([[1.0], [3.0]], [[1.0], [1.0]], 2).ravel().tolist()
    [0.5]
    >>> batch_covariance([[1.0], [3.0]], [[1.0], [1.0]], 2, pairs=2).ravel().tolist()
    [0.0]
    """
    a, b = paired_views(a, b)
    n, size = a.shape
    total, squares = np.zeros(size**2), np.zeros((size**2, size**2))
    for first in range(0, n, 4096):
        rows = slice(first, first + 4096)
        g = a[rows, :, None] * b[rows, None, :]
        g = ((g + g.transpose(0, 2, 1)) / 2.0).reshape(-1, size**2)
        total += g.sum(axis=0)
        squares += g.T @ g
    covariance = squares / n - np.outer(total, total) / n**2
    return (covariance * batch_share(batch_size, pairs)).reshape((size,) * 4)


def fresh_covariance(views: ArrayLike, batch_size: int) -> Array:
    """Covariances of the entries of the cross-correlation of a batch with new views.

    Parameters
    ----------
    views : array_like, shape (n, k, K)
        k >= 4 views of each image in the top eigenbasis.
    batch_size : int
        Number B of images in a batch, drawn without replacement, with a new pair of views each.

    Returns
    -------
    ndarray, shape (K, K, K, K)
        ``(within + between (n - B)/(n - 1)) / B``: covariances of g over pairs of views of an image
        and over images. All pairs count, k/2 disjoint ones at a time.

    Raises
    ------
    ValueError
        If there are fewer than four views, fewer than two images or a larger batch.

    Examples
    --------
    >>> views = np.repeat([[1.0], [3.0]], 4, axis=0).reshape(2, 4, 1)
    >>> fresh_covariance(views, 1).ravel().tolist(), fresh_covariance(views, 2).ravel().tolist()
    ([16.0], [0.0])
    """
    views = finite_array("views", views, 3)
    n, k, size = views.shape
    if n < 2 or k < 4:
        raise ValueError(
            f"{k} views of {n} image(s) are given with batch_size; expected at least 4 views of "
            "at least 2, which tell the noise of views from that of images"
        )
    each = k // 2
    total, squares = np.zeros(size**2), np.zeros((size**2, size**2))
    means = np.zeros_like(squares)
    for places in _matchings(k):
        for first in range(0, n, max(4096 // each, 1)):
            chosen = views[first : first + max(4096 // each, 1)]
            a, b = chosen[:, places[0]], chosen[:, places[1]]
            g = a[..., :, None] * b[..., None, :]
            g = ((g + g.swapaxes(-1, -2)) / 2.0).reshape(len(chosen), each, size**2)
            mean, flat = g.mean(axis=1), g.reshape(-1, size**2)
            total += flat.sum(axis=0)
            squares += flat.T @ flat
            means += mean.T @ mean
    rounds = n * (k - 1 if k % 2 == 0 else k)
    overall = total / (rounds * each)
    every = squares / (rounds * each) - np.outer(overall, overall)
    within = (squares / each - means) / (rounds * (each - 1)) * each
    share = batch_share(batch_size, n)
    return (share * every + (1.0 / batch_size - share) * within).reshape((size,) * 4)


def batch_share(batch_size: int, pairs: int | None = None) -> float:
    """Variance of the mean over a batch, relative to that of one pair.

    Parameters
    ----------
    batch_size : int
        Number B of pairs in a batch.
    pairs : int, optional
        Number n of pairs from which a batch is drawn without replacement.

    Returns
    -------
    float
        ``1 / B``, or ``(n - B) / ((n - 1) B)`` without replacement.

    Raises
    ------
    ValueError
        If the batch is empty or larger than the pairs.

    Examples
    --------
    >>> batch_share(4), batch_share(4, 4)
    (0.25, 0.0)
    """
    size = whole_number("batch_size", batch_size, 1, pairs)
    if pairs is None:
        return 1.0 / size
    return (pairs - size) / (max(pairs - 1, 1) * size)


def competition(gamma: ArrayLike, covariance: ArrayLike) -> Array:
    """Competition between modes, M / B.

    Parameters
    ----------
    gamma : array_like, shape (K,)
        Top eigenvalues of Gamma.
    covariance : array_like, shape (K, K, K, K)
        From :func:`batch_covariance`.

    Returns
    -------
    ndarray, shape (K, K)
        ``var[g_jk] / (gamma_j gamma_k)`` of a batch; zero where an eigenvalue is not positive.

    Raises
    ------
    ValueError
        If shapes do not fit.

    Examples
    --------
    >>> competition([0.5], [[[[0.5]]]]).tolist()
    [[2.0]]
    """
    gamma, noise = finite_array("gamma", gamma, 1), finite_array("covariance", covariance, 4)
    if noise.shape != (len(gamma),) * 4:
        raise ValueError(f"covariance has shape {noise.shape}; expected {(len(gamma),) * 4}")
    variances = np.einsum("jkjk->jk", noise)
    inverse = np.divide(1.0, gamma, out=np.zeros_like(gamma), where=gamma > 0)
    return variances * np.outer(inverse, inverse)


def ceilings(gamma: ArrayLike, rivalry: ArrayLike) -> Array:
    """Final heights of the modes under the Lotka-Volterra law.

    Parameters
    ----------
    gamma : array_like, shape (K,)
        Eigenvalues of Gamma.
    rivalry : array_like, shape (K, K)
        Competition ``M / B`` from :func:`competition`.

    Returns
    -------
    ndarray, shape (K,)
        ``(I + M/B)^-1 1`` among the modes that survive; modes whose ceiling would be negative are
        left out one by one, the most negative first, and have zero, as have those of gamma <= 0.

    Raises
    ------
    ValueError
        If shapes do not fit.

    Examples
    --------
    >>> ceilings([1.0, 0.5], [[1.0, 0.5], [0.5, 1.0]]).round(3).tolist()
    [0.4, 0.4]
    """
    gamma, rivalry = _law(gamma, rivalry)
    heights = np.zeros(len(gamma))
    alive = np.flatnonzero(gamma > 0)
    while len(alive):
        levels = np.linalg.solve(
            np.eye(len(alive)) + rivalry[np.ix_(alive, alive)], np.ones(len(alive))
        )
        if levels.min() >= 0:
            heights[alive] = levels
            break
        alive = np.delete(alive, int(np.argmin(levels)))
    return heights


def eigenvalue_curves(t: ArrayLike, gamma: ArrayLike, s0: ArrayLike, rivalry: ArrayLike) -> Array:
    """Eigenvalues lambda of aligned modes under the Lotka-Volterra law.

    Parameters
    ----------
    t : array_like, shape (T,)
        Flow times, ascending.
    gamma, s0 : array_like, shape (K,)
        Positive eigenvalues of Gamma, and singular values above zero at t = 0.
    rivalry : array_like, shape (K, K)
        Competition ``M / B``.

    Returns
    -------
    ndarray, shape (T, K)
        Curves of the modes, in their order.

    Raises
    ------
    ValueError
        If shapes do not fit or a value is out of range.

    Examples
    --------
    >>> eigenvalue_curves([0.0, 50.0], [1.0], [1e-3], [[0.25]]).round(6).ravel().tolist()
    [1e-06, 0.8]
    """
    gamma, s0 = mode_arrays(gamma, s0)
    gamma, rivalry = _law(gamma, rivalry)
    times = flow_times(t)
    if np.any(gamma <= 0) or np.any(s0 <= 0):
        raise ValueError("gamma or s0 holds a value that is not positive; expected positive ones")
    system = np.eye(len(gamma)) + rivalry

    def slope(_: float, logs: Array) -> Array:
        return 8.0 * gamma * (1.0 - system @ np.exp(logs))

    end = float(times[-1]) or 1.0
    logs = np.log(gamma) + 2.0 * np.log(s0)
    solved = solve_ivp(slope, (0.0, end), logs, "LSODA", t_eval=times, rtol=1e-9, atol=1e-9)
    return np.exp(solved.y.T)


def noise_order(
    gamma: ArrayLike, rivalry: ArrayLike, heights: ArrayLike, learning_rate: float
) -> float:
    """Size of the effects that the law leaves out, of first order in the learning rate.

    Parameters
    ----------
    gamma : array_like, shape (K,)
        Eigenvalues of Gamma.
    rivalry : array_like, shape (K, K)
        Competition ``M / B``.
    heights : array_like, shape (K,)
        Heights lambda of the modes.
    learning_rate : float
        Step size eta.

    Returns
    -------
    float
        Largest ``2 eta gamma_j sum_k M_jk lambda_k / B``: what the noise of one update adds to a
        ceiling is at most this. Step times and ceilings were off by two to three times as much in
        training.

    Raises
    ------
    ValueError
        If shapes do not fit or the learning rate is not positive.

    Notes
    -----
    The noise of the gradient of A_kj at aligned modes is ``4 s_k g_kj (lambda_k + lambda_j - 1)``.
    The mean square of its step adds ``16 eta gamma_j^2 sum_k M_jk lambda_k (...)^2 / B`` to
    dlambda_j/dt (Ito's formula), which is divided by ``8 gamma_j`` here; the last factor is at most
    1.

    Examples
    --------
    >>> round(noise_order([0.5], [[0.25]], [0.8], 0.1), 6)
    0.02
    """
    eta = positive_number("learning_rate", learning_rate)
    gamma, rivalry = _law(gamma, rivalry)
    lam = finite_array("heights", heights, 1)
    if lam.shape != gamma.shape:
        raise ValueError(f"heights has shape {lam.shape} and gamma {gamma.shape}; expected equal")
    return float(np.max(2.0 * eta * gamma * (rivalry @ lam), initial=0.0))


def _law(gamma: ArrayLike, rivalry: ArrayLike) -> tuple[Array, Array]:
    gamma, rivalry = finite_array("gamma", gamma, 1), finite_array("rivalry", rivalry, 2)
    if rivalry.shape != (len(gamma),) * 2:
        raise ValueError(f"rivalry has shape {rivalry.shape}; expected {(len(gamma),) * 2}")
    return gamma, rivalry


def _matchings(k: int) -> Iterator[NDArray[np.int64]]:
    """All pairs of k places, (2, k // 2) disjoint ones at a time: a round-robin tournament."""
    players = np.arange(k + k % 2)
    for _ in range(len(players) - 1):
        half = len(players) // 2
        pairs = np.stack([players[:half], players[: half - 1 : -1]])
        yield pairs[:, (pairs < k).all(axis=0)]
        players = np.r_[players[0], np.roll(players[1:], 1)]
