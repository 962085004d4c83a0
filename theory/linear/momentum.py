r"""Step times under heavy ball momentum, in iterations.

Gradient descent with momentum mu in the convention of ``torch.optim.SGD`` starts from rest and does

    v <- mu v + grad,      W <- W - eta v,

which for an aligned mode of linear Barlow Twins (:mod:`theory.linear.closed_form`), with
h = 4 eta gamma, is the two-term recursion

    s[n+1] - s[n] = mu (s[n] - s[n-1]) + h s[n] (1 - gamma s[n]^2),      s[-1] = s[0].

A small s grows by the larger root of r^2 - (1 + mu + h) r + mu = 0 per iteration, and to leading
order the recursion follows the gradient flow at t = eta n / (1 - mu) (arXiv 2303.15438 states the
flow; the discrete results here are derived from the recursion). With mu = 0 everything reduces to
plain gradient descent (:mod:`theory.linear.gradient_descent`).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from theory.arrays import Array, finite_array, positive_number, whole_number
from theory.linear.closed_form import flow_times, mode_arrays

# Below this lambda the recursion is treated as linear. The error in the logarithm of s is half of
# this number, while the logarithm still rises by ten.
_LINEAR = 1e-9
# Above this value of h (1 + mu) / (2 (1 - mu)^2) the recursion is iterated. Below it, the expansion
# in that small number is accurate to 1e-7 of the iterations and costs nothing.
_SMALL = 2e-3
# Below this range of h a mode counts as never learned. Above it, h is set to the upper end, since
# the mode jumps within its first iterations.
_LEAST, _MOST = 1e-300, 1e100


def growth_root(gamma: ArrayLike, learning_rate: float, momentum: float) -> Array:
    """Factor by which a small singular value grows per iteration.

    Parameters
    ----------
    gamma : array_like, shape (k,)
        Eigenvalues of Gamma.
    learning_rate : float
        Step size eta.
    momentum : float
        Coefficient mu, from 0 to below 1.

    Returns
    -------
    ndarray, shape (k,)
        Larger modulus of the roots of ``r^2 - (1 + mu + h) r + mu``, h = 4 eta gamma. For
        gamma > 0 it is ``[1 + mu + h + sqrt((1 + mu + h)^2 - 4 mu)] / 2``, above 1; the
        eigenvalue lambda of the embedding grows by its square.

    Raises
    ------
    ValueError
        If a value is not finite, the learning rate is not positive or the momentum is out of range.

    Notes
    -----
    It follows from the recursion in the module's docstring, linearised at s = 0.

    Examples
    --------
    >>> growth_root([1.0], 0.05, 0.0).tolist()
    [1.2]
    >>> growth_root([1.0], 0.05, 0.9).round(4).tolist()
    [1.5]
    """
    gamma = finite_array("gamma", gamma, 1)
    h = 4.0 * positive_number("learning_rate", learning_rate) * gamma
    mu = momentum_coefficient(momentum)
    trace = 1.0 + mu + h
    # (1 + mu + h)^2 - 4 mu, written so that nothing cancels; negative for complex roots, whose
    # modulus is sqrt(mu).
    disc = (1.0 - mu) ** 2 + 2.0 * h * (1.0 + mu) + h**2
    real = (np.abs(trace) + np.sqrt(np.maximum(disc, 0.0))) / 2.0
    return np.where(disc >= 0, real, math.sqrt(mu))


def stable_learning_rate(gamma: ArrayLike, momentum: float) -> float:
    """Largest learning rate at which the learned map is locally stable.

    This is not enough to reach it: with strong momentum a small W(0) overshoots and may diverge
    well below this bound (at 0.6 of it for mu = 0.9). :func:`safe_learning_rate` is enough.

    Parameters
    ----------
    gamma : array_like, shape (k,)
        Eigenvalues of Gamma.
    momentum : float
        Coefficient mu, from 0 to below 1.

    Returns
    -------
    float
        ``(1 + mu) / (4 gamma_1)``, that is 2 (1 + mu) over the curvature 8 gamma_1 of the loss at
        convergence. A negative eigenvalue has the curvature 4 abs(gamma) at s = 0 and sets the
        bound if it is more than twice as large; infinite if every eigenvalue is zero.

    Raises
    ------
    ValueError
        If gamma is empty or not finite, or the momentum out of range.

    Notes
    -----
    At s = gamma^-1/2 the recursion has the characteristic polynomial
    ``x^2 - (1 + mu - 2 h) x + mu``, whose roots stay inside the unit circle until one reaches -1
    at h = 1 + mu.

    Examples
    --------
    >>> stable_learning_rate([1.0, 0.5], 0.9)
    0.475
    """
    gamma = finite_array("gamma", gamma, 1)
    if gamma.size == 0:
        raise ValueError("gamma has shape (0,); expected at least one eigenvalue")
    mu = momentum_coefficient(momentum)
    curvature = float(max(8.0 * gamma.max(), -4.0 * gamma.min()))
    return 2.0 * (1.0 + mu) / curvature if curvature > 0 else math.inf


def safe_learning_rate(gamma: ArrayLike, momentum: float, dim: int = 1) -> float:
    """Learning rate at which no small start diverges.

    Parameters
    ----------
    gamma : array_like, shape (k,)
        Eigenvalues of Gamma.
    momentum : float
        Coefficient mu, from 0 to below 1.
    dim : int
        Number of modes that share directions: the embedding dimension d for a generic W(0), 1 for
        an aligned one, whose modes are independent.

    Returns
    -------
    float
        ``(1 - mu) / (2 gamma_1 (2 + 3 sqrt(dim)))``, for an aligned W(0) (1 - mu) / (10 gamma_1). A
        negative eigenvalue more than 5/4 as large as gamma_1 sets the bound of an aligned W(0) in
        its place, as (1 - mu) / (8 abs(gamma)). Infinite if every eigenvalue is zero.

    Raises
    ------
    ValueError
        If gamma is empty or not finite, the momentum out of range, or gamma has a negative
        eigenvalue and ``dim`` is above 1, where nothing is proven.

    Notes
    -----
    Derived. With v_n = W_n - W_{n-1} the energy ``L(W_n) + mu / (2 eta) ||v_n||^2`` does not grow
    if eta <= 2 (1 - mu) / H, where H bounds the curvature of L on the sublevel set of the start:
    L(W_{n+1}) - L(W_n) <= (mu v_n . v_{n+1} - ||v_{n+1}||^2) / eta + H/2 ||v_{n+1}||^2, and
    2 v_n . v_{n+1} <= ||v_n||^2 + ||v_{n+1}||^2. A step cannot leave the set either: at the point
    of the step on its boundary the same inequality gives less than the energy of the start. Where
    L = ||C - I||^2 is below dim, the value at W = 0, C is below 1 + sqrt(dim) and H = 4 gamma_1
    (2 + 3 sqrt(dim)). The start has to be at rest with L(W(0)) below dim: any small W(0). Along a
    negative eigenvalue L = (1 + a s^2)^2 is convex with the curvature 4 a (1 + 3 a s^2), at most
    16 a for a s^2 <= 1.

    Examples
    --------
    >>> round(safe_learning_rate([1.0, 0.5], 0.9), 6), stable_learning_rate([1.0, 0.5], 0.9)
    (0.01, 0.475)
    """
    gamma = finite_array("gamma", gamma, 1)
    dim = whole_number("dim", dim, 1)
    if gamma.size == 0:
        raise ValueError("gamma has shape (0,); expected at least one eigenvalue")
    if dim > 1 and gamma.min() < 0:
        raise ValueError(
            f"gamma has the eigenvalue {gamma.min():g} and dim is {dim}; expected none below zero, "
            "or dim 1"
        )
    mu = momentum_coefficient(momentum)
    upper, lower = max(float(gamma.max()), 0.0), max(-float(gamma.min()), 0.0)
    curvature = max(4.0 * upper * (2.0 + 3.0 * math.sqrt(dim)), 16.0 * lower)
    return 2.0 * (1.0 - mu) / curvature if curvature > 0 else math.inf


def flow_time(iterations: ArrayLike, learning_rate: float, momentum: float) -> Array:
    """Gradient-flow time that corresponds to a number of iterations.

    Parameters
    ----------
    iterations : array_like, shape (...)
        Numbers of iterations, not negative.
    learning_rate : float
        Step size eta.
    momentum : float
        Coefficient mu, from 0 to below 1.

    Returns
    -------
    ndarray, shape (...)
        ``eta n / (1 - mu)``, exact to leading order in eta after the velocity has built up.

    Raises
    ------
    ValueError
        If a count is negative or NaN, the learning rate is not positive or the momentum is out of
        range.

    Examples
    --------
    >>> float(flow_time(100, 0.01, 0.9).round(9))
    10.0
    """
    eta = positive_number("learning_rate", learning_rate)
    return flow_times(iterations) * eta / (1.0 - momentum_coefficient(momentum))


def momentum_step_iterations(
    gamma: ArrayLike, s0: ArrayLike, learning_rate: float, momentum: float
) -> Array:
    """Iteration at which each mode has half risen, lambda = 1/2.

    Parameters
    ----------
    gamma, s0 : array_like, shape (k,)
        Eigenvalues of Gamma and singular values at iteration 0.
    learning_rate : float
        Step size eta.
    momentum : float
        Coefficient mu, from 0 to below 1.

    Returns
    -------
    ndarray, shape (k,)
        Fractional iterations, interpolated linearly in the logit of lambda between the two
        iterations around the crossing. Infinite for gamma <= 0 or s0 = 0, zero for a mode that
        starts above one half. If an iteration jumps from below 1/2 to 1 or more, its start counts.

    Raises
    ------
    ValueError
        As in :func:`growth_root` and :func:`theory.linear.closed_form.mode_arrays`.

    Notes
    -----
    The linear phase is skipped by a power of the recursion's 2 x 2 matrix. The rest is iterated. If
    kappa sigma is small (kappa = h/(1 - mu), sigma = (1 + mu)/(2 (1 - mu))), it is computed from
    the backward-error expansion of the recursion's slow manifold. In u^2 = lambda,

        n = D[ln u] / ln r0 + D[ln(1 - u^2)] / ln r1 + (15/2) kappa (sigma^2 - 1/6) D[u^2],

    where D is the difference between the ends and r0, r1 are the slow multipliers at u = 0 and
    u = 1. Both logarithms are exact; the remainder is of order kappa^2 sigma^3. This count is
    smooth in time; without momentum it differs from the interpolation by at most 0.1 h^2.

    Examples
    --------
    >>> momentum_step_iterations([1.0, -1.0], [1e-3, 1e-3], 0.01, 0.9).round(2).tolist()
    [44.39, inf]
    """
    gamma, s0 = mode_arrays(gamma, s0)
    eta = positive_number("learning_rate", learning_rate)
    mu = momentum_coefficient(momentum)
    with np.errstate(over="ignore"):
        h = np.minimum(4.0 * eta * gamma, _MOST)
    count = np.full(gamma.shape, np.inf)
    learned = (h > _LEAST) & (s0 > 0)
    log_u = np.full(gamma.shape, -np.inf)
    log_u[learned] = 0.5 * np.log(gamma[learned]) + np.log(s0[learned])
    rising = learned & (log_u < -0.5 * math.log(2.0))
    count[learned & ~rising] = 0.0
    count[rising] = _half_rise(log_u[rising], h[rising], mu)
    return count


def momentum_coefficient(momentum: float) -> float:
    """Check a momentum coefficient.

    Parameters
    ----------
    momentum : float
        Coefficient mu.

    Returns
    -------
    float
        The number.

    Raises
    ------
    ValueError
        If ``momentum`` is not from 0 to below 1.

    Examples
    --------
    >>> momentum_coefficient(0.9)
    0.9
    """
    mu = float(momentum)
    if not 0.0 <= mu < 1.0:
        raise ValueError(f"momentum is {momentum}; expected a number from 0 to below 1")
    return mu


def _half_rise(log_u: Array, h: Array, mu: float) -> Array:
    """Iterations from u = sqrt(lambda) below sqrt(1/2), at rest, to the half-rise."""
    # Roots of the linear recursion. r - 1 must not cancel when h is small.
    spread = np.sqrt((1.0 - mu) ** 2 + 2.0 * h * (1.0 + mu) + h**2)
    gap = 1.0 - mu - h
    excess = np.where(gap > 0, 2.0 * h / (np.abs(gap) + spread), (np.abs(gap) + spread) / 2.0)
    growth = np.log1p(excess)
    small_root = mu / (1.0 + excess)
    # The exact linear phase: u and its last increment after `skip` iterations from rest.
    skip = np.maximum(np.floor((0.5 * math.log(_LINEAR) - log_u) / growth), 0.0)
    fading = np.power(small_root / (1.0 + excess), skip)
    start = (1.0 + h - small_root - (h - excess) * fading) / spread
    scale = np.exp(log_u + skip * growth)
    u, step = scale * start, scale * h * (1.0 - fading) / spread

    kappa, sigma = h / (1.0 - mu), (1.0 + mu) / (2.0 * (1.0 - mu))
    slow = kappa * sigma < _SMALL
    count = np.empty_like(h)
    fast = ~slow
    count[fast] = skip[fast] + _iterate(u[fast], step[fast], h[fast], mu)[0]
    if slow.any():
        # The velocity must have settled before the slow manifold takes over.
        settled = mu == 0 or bool(np.all(fading[slow] < 1e-16))
        wait = 0 if settled else math.ceil(math.log(1e-16) / math.log(mu))
        crossed, late = _iterate(u[slow], step[slow], h[slow], mu, wait)
        expansion = wait + _expansion(late, h[slow], kappa[slow], growth[slow], sigma, mu)
        count[slow] = skip[slow] + np.where(np.isfinite(crossed), crossed, expansion)
    return count


def _expansion(u: Array, h: Array, kappa: Array, growth: Array, sigma: float, mu: float) -> Array:
    """Iterations from u to sqrt(1/2) along the slow manifold."""
    trace = 1.0 - mu + 2.0 * h
    loss = 4.0 * h / (trace + np.sqrt(trace**2 - 8.0 * h))  # one minus the multiplier at u = 1
    logs = (-0.5 * math.log(2.0) - np.log(u)) / growth
    logs += (-math.log(2.0) - np.log1p(-(u**2))) / np.log1p(-loss)
    return logs + 7.5 * kappa * (sigma**2 - 1.0 / 6.0) * (0.5 - u**2)


def _iterate(
    u: Array, step: Array, h: Array, mu: float, limit: float = math.inf
) -> tuple[Array, Array]:
    """Iterate until every mode has crossed or ``limit`` is reached; fractional counts and last u.

    Counts are infinite for modes that do not cross within the limit.
    """
    half = math.sqrt(0.5)
    count, last = np.full(u.shape, np.inf), u.copy()
    index, n = np.arange(len(u)), 0
    while len(index) and n < limit:
        step = mu * step + h * u * (1.0 - u * u)
        grown = u + step
        over = grown >= half
        if over.any():
            before, after = _logit(u[over]), _logit(grown[over])
            count[index[over]] = n - before / (after - before)
            last[index[over]] = half
            keep = ~over
            index, step, h, grown = index[keep], step[keep], h[keep], grown[keep]
        u, n = grown, n + 1
    last[index] = u
    return count, last


def _logit(u: Array) -> Array:
    """Logit of u^2, infinite from 1 on."""
    lam = np.minimum(u, 1.0) ** 2
    with np.errstate(divide="ignore"):
        return 2.0 * np.log(u) - np.log1p(-lam)
