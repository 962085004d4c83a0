r"""Deep linear networks: N balanced layers, solved in closed form.

For a product W = W_N ... W_1 whose factors are aligned with Gamma and balanced
(W_{i+1}^T W_{i+1} = W_i W_i^T, see :func:`balanced_factors`), every factor has the singular value
w = s^(1/N) of each mode, and gradient flow on the loss of :mod:`theory.linear.closed_form` is

    dw/dt = 4 gamma w^(2N-1) (1 - gamma w^(2N)),
    dlambda/dt = 8 N gamma^(1/N) lambda^(2 - 1/N) (1 - lambda)      with lambda = gamma w^(2N).

Times are therefore algebraic in the initialisation, not logarithmic. They follow from partial
fractions of the reciprocal right-hand side, with a hypergeometric function (derived from the flow
of arXiv 2303.15438, section 4). A generic, unbalanced initialisation is not covered: there scalar
equations and the QR equivalence of :mod:`theory.linear.initialization` are wrong by factors of two
to three.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import digamma, expit, hyp2f1, log_expit

from theory.arrays import Array, finite_array, positive_number, whole_number
from theory.linear import closed_form
from theory.linear.closed_form import flow_times, half_rise_share, level_logits, mode_arrays
from theory.linear.momentum import momentum_coefficient

# One minus lambda is rounding error in float64 beyond this logit.
_FAR = 37.0
# Bisections: a bracket of width 1e4 shrinks below 1e-14.
_HALVINGS = 60


def eigenvalue_curves(t: ArrayLike, gamma: ArrayLike, s0: ArrayLike, layers: int) -> Array:
    """Eigenvalues lambda = gamma s^2 of the embedding cross-correlation along the flow.

    Parameters
    ----------
    t : array_like, shape (...)
        Flow times, learning rate x step, not negative; infinity is allowed.
    gamma, s0 : array_like, shape (k,)
        Eigenvalues of Gamma, of any sign, and singular values of the product at t = 0 (each factor
        has their N-th root).
    layers : int
        Number N of factors.

    Returns
    -------
    ndarray, shape (..., k)
        Curves. With more layers, rises are shorter in comparison with plateaus. Modes with
        gamma < 0 decay to zero.

    Raises
    ------
    ValueError
        If shapes do not fit, a value is not finite, a time is negative, or layers is not a whole
        number from 1.

    Notes
    -----
    The closed-form time is a function of lambda. It is inverted by bisection in the logarithm of
    the distance to the fixed points.

    Examples
    --------
    >>> tau = step_times([0.5], [1e-3], 3)
    >>> eigenvalue_curves(tau, [0.5], [1e-3], 3).round(9).ravel().tolist()
    [0.5]
    """
    gamma, s0 = mode_arrays(gamma, s0)
    layers = whole_number("layers", layers, 1)
    if layers == 1:
        return closed_form.eigenvalue_curves(t, gamma, s0)
    t = flow_times(t)
    curves = np.empty((*t.shape, len(gamma)))
    for j, (eigenvalue, value) in enumerate(zip(gamma.tolist(), s0.tolist(), strict=True)):
        curves[..., j] = _curve(t, eigenvalue, value, layers)
    return curves


def step_times(gamma: ArrayLike, s0: ArrayLike, layers: int) -> Array:
    """Flow time at which each mode has half risen, lambda = 1/2.

    Parameters
    ----------
    gamma, s0 : array_like, shape (k,)
        Eigenvalues of Gamma and singular values of the product at t = 0.
    layers : int
        Number N of factors; 1 gives :func:`theory.linear.closed_form.step_times`.

    Returns
    -------
    ndarray, shape (k,)
        Times; infinite for gamma <= 0 or s0 = 0 (never learned), zero for a mode that starts above
        1/2.

    Raises
    ------
    ValueError
        As in :func:`eigenvalue_curves`.

    Examples
    --------
    >>> step_times([1.0, -1.0], [1e-2, 1e-2], 2).round(4).tolist()
    [12.4321, inf]
    """
    return level_times(0.5, gamma, s0, layers)


def level_times(level: ArrayLike, gamma: ArrayLike, s0: ArrayLike, layers: int) -> Array:
    """Flow time at which each mode rises through given levels of lambda.

    Parameters
    ----------
    level : array_like, shape (...)
        Levels between 0 and 1, both excluded.
    gamma, s0 : array_like, shape (k,)
        Eigenvalues of Gamma and singular values of the product at t = 0.
    layers : int
        Number N of factors.

    Returns
    -------
    ndarray, shape (..., k)
        ``tau = (1/4 gamma) [(w0^-(2N-2) - w1^-(2N-2)) / (2N-2) + G(w1) - G(w0)]`` with
        ``G(w) = (gamma w^2 / 2) 2F1(1, 1/N; 1 + 1/N; gamma w^2N)`` and w1 at the level. Infinite
        for gamma <= 0 or s0 = 0, zero for a mode that starts above the level.

    Raises
    ------
    ValueError
        As in :func:`eigenvalue_curves`, or if a level is not between 0 and 1.

    Notes
    -----
    ``1 / (w^(2N-1) (1 - gamma w^2N)) = w^-(2N-1) + gamma w / (1 - gamma w^2N)``, integrated term by
    term.

    Examples
    --------
    >>> level_times([0.1, 0.9], [1.0], [1e-2], 2).round(4).ravel().tolist()
    [12.1444, 12.5943]
    """
    gamma, s0 = mode_arrays(gamma, s0)
    layers = whole_number("layers", layers, 1)
    target = level_logits(level)
    times = np.full((*target.shape, len(gamma)), np.inf)
    for j in np.flatnonzero((gamma > 0) & (s0 > 0)):
        log_lam = float(np.log(gamma[j]) + 2.0 * np.log(s0[j]))
        times[..., j] = 0.0
        if log_lam >= 0:
            continue
        start = log_lam - float(np.log(-np.expm1(log_lam)))
        later = target > start
        if layers == 1:
            times[later, j] = (target[later] - start) / (8.0 * gamma[j])
            continue
        with np.errstate(over="ignore"):
            clock = _rising(target[later], layers) - _rising(np.array(start), layers)
            times[later, j] = clock / (8.0 * layers) * gamma[j] ** (-1.0 / layers)
    return times


def descent_curves(
    iterations: ArrayLike,
    gamma: ArrayLike,
    s0: ArrayLike,
    layers: int,
    learning_rate: float,
    *,
    momentum: float = 0.0,
) -> Array:
    """Eigenvalues lambda at given iterations of gradient descent on the factors.

    Parameters
    ----------
    iterations : array_like of int, shape (T,)
        Iteration numbers, ascending.
    gamma, s0 : array_like, shape (k,)
        Eigenvalues of Gamma and singular values of the product at iteration 0.
    layers : int
        Number N of balanced factors.
    learning_rate : float
        Step size eta.
    momentum : float
        Heavy ball coefficient as in ``torch.optim.SGD``, from rest.

    Returns
    -------
    ndarray, shape (T, k)
        Curves of the modes.

    Raises
    ------
    ValueError
        As in :func:`eigenvalue_curves`, or if the learning rate or momentum is out of range.

    Notes
    -----
    Balanced, aligned factors stay so under gradient descent with the same step for each:
    ``w <- w + 4 eta gamma w^(2N-1) (1 - gamma w^(2N))``.

    Examples
    --------
    >>> descent_curves([0, 1], [1.0], [0.25], 2, 0.1).round(4).tolist()
    [[0.0625], [0.0894]]
    """
    gamma, s0 = mode_arrays(gamma, s0)
    wanted = np.asarray(iterations, dtype=np.int64)
    chosen = set(wanted.tolist())
    states = _descend(gamma, s0, layers, learning_rate, momentum, int(wanted.max(initial=0)))
    return np.array([lam for n, lam in enumerate(states) if n in chosen]).reshape(-1, len(gamma))


def descent_step_iterations(
    gamma: ArrayLike,
    s0: ArrayLike,
    layers: int,
    learning_rate: float,
    *,
    momentum: float = 0.0,
    limit: int = 200_000,
) -> Array:
    """Iteration of gradient descent on the factors at which each mode has half risen.

    Parameters
    ----------
    gamma, s0, layers, learning_rate, momentum
        As in :func:`descent_curves`.
    limit : int
        Number of iterations at which to stop.

    Returns
    -------
    ndarray, shape (k,)
        Fractional iterations; infinite for a step that does not come within the limit.

    Raises
    ------
    ValueError
        As in :func:`descent_curves`, or if the recursion diverges.

    Examples
    --------
    >>> descent_step_iterations([1.0, -1.0], [1e-2, 1e-2], 2, 0.01).round(1).tolist()
    [1246.1, inf]
    """
    gamma, s0 = mode_arrays(gamma, s0)
    limit = whole_number("limit", limit, 1)
    crossed = np.full(gamma.shape, np.inf)
    waiting = (gamma > 0) & (s0 > 0)
    before = np.zeros_like(gamma)
    for n, lam in enumerate(_descend(gamma, s0, layers, learning_rate, momentum, limit)):
        if not waiting.any():
            break
        for j in np.flatnonzero(waiting & (lam >= 0.5)):
            crossed[j] = n - 1 + half_rise_share(before[j], lam[j]) if n else 0.0
            waiting[j] = False
        before = lam
    return crossed


def balanced_factors(
    s0: ArrayLike,
    left: ArrayLike,
    right: ArrayLike,
    widths: Sequence[int],
    rng: np.random.Generator | None = None,
) -> list[Array]:
    """Balanced, aligned factors of ``U diag(s0) V^T``, the initialisation of this theory.

    Parameters
    ----------
    s0 : array_like, shape (k,)
        Singular values of the product, not negative.
    left : array_like, shape (d, k)
        Left singular vectors U, orthonormal.
    right : array_like, shape (m, k)
        Eigenvectors V of Gamma, orthonormal.
    widths : sequence of int
        The N - 1 hidden widths, each at least k; empty for a single factor.
    rng : numpy.random.Generator, optional
        Generator of random hidden bases. Default: the first k coordinate axes.

    Returns
    -------
    list of ndarray
        ``[W_1, ..., W_N]`` of shapes (h_1, m), (h_2, h_1), ..., (d, h_{N-1}); the network is
        ``W_N ... W_1``.

    Raises
    ------
    ValueError
        If shapes do not fit, a value is not finite, a singular value is negative, or vectors are
        not orthonormal.

    Examples
    --------
    >>> first, second = balanced_factors([0.25], [[1.0]], [[0.0], [1.0]], [3])
    >>> first.shape, second.shape, (second @ first).tolist()
    ((3, 2), (1, 3), [[0.0, 0.25]])
    """
    s0 = finite_array("s0", s0, 1)
    if np.any(s0 < 0):
        raise ValueError(f"s0 has a smallest value of {s0.min()}; expected none below zero")
    bases = [finite_array("right", right, 2)]
    for width in widths:
        basis = np.eye(whole_number("width", width, len(s0)), len(s0))
        if rng is not None:
            basis = np.linalg.qr(rng.standard_normal(basis.shape))[0]
        bases.append(basis)
    bases.append(finite_array("left", left, 2))
    for name, basis in (("right", bases[0]), ("left", bases[-1])):
        if basis.shape[1] != len(s0):
            raise ValueError(f"{name} has shape {basis.shape}; expected {len(s0)} columns as s0")
        if not np.allclose(basis.T @ basis, np.eye(len(s0)), atol=1e-6):
            raise ValueError(f"{name} has columns that are not orthonormal; expected eigenvectors")
    root = s0 ** (1.0 / (len(bases) - 1))
    return [(out * root) @ inner.T for inner, out in pairwise(bases)]


def _descend(
    gamma: Array, s0: Array, layers: int, learning_rate: float, momentum: float, last: int
) -> Iterator[Array]:
    """Eigenvalues of gradient descent on balanced factors, from iteration 0 to ``last``."""
    layers = whole_number("layers", layers, 1)
    eta, mu = positive_number("learning_rate", learning_rate), momentum_coefficient(momentum)
    w, velocity = s0 ** (1.0 / layers), np.zeros_like(s0)
    for n in range(last + 1):
        with np.errstate(over="ignore", invalid="ignore"):
            lam = gamma * w ** (2 * layers)
        if not np.all(np.abs(lam) < 1e100):
            raise ValueError(
                f"learning_rate is {learning_rate:g}; expected a smaller one: descent diverges"
            )
        yield lam
        if n < last:
            velocity = mu * velocity - 4.0 * gamma * w ** (2 * layers - 1) * (1.0 - lam)
            w = w - eta * velocity


def _curve(t: Array, gamma: float, s0: float, layers: int) -> Array:
    """Eigenvalue lambda of one mode at times of any shape, for N >= 2."""
    if gamma == 0 or s0 == 0:
        return np.zeros_like(t)
    log_size = float(np.log(abs(gamma)) + 2.0 * np.log(s0))
    with np.errstate(over="ignore", divide="ignore"):
        elapsed = 8.0 * layers * abs(gamma) ** (1.0 / layers) * t
        if gamma < 0:
            return 0.0 - np.exp(-_invert(_falling, -log_size, elapsed, layers))
        if log_size < 0:
            start = log_size - float(np.log(-np.expm1(log_size)))
            return expit(_invert(_rising, start, elapsed, layers))
        if log_size == 0:
            return np.ones_like(t)
        start = -float(np.log(np.expm1(log_size)))
        return 1.0 + np.exp(-_invert(_settling, start, elapsed, layers))


def _invert(
    clock: Callable[[Array, int], Array], start: float, elapsed: Array, layers: int
) -> Array:
    """Coordinate z >= start at which the increasing function ``clock`` has grown by ``elapsed``."""
    low = np.full(elapsed.shape, start)
    high = np.full(elapsed.shape, max(start, _FAR))
    if clock is _falling:
        # exp(power z) grows at most at power (1 + |lambda(0)|) per unit of the clock.
        power = (layers - 1.0) / layers
        drift = np.logaddexp(0.0, -start) + np.log(power) + np.log(elapsed)
        high = np.logaddexp(power * start, drift) / power
    base = clock(np.array(start), layers)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2.0
        early = clock(middle, layers) - base < elapsed
        low, high = np.where(early, middle, low), np.where(early, high, middle)
    return (low + high) / 2.0


def _rising(z: Array, layers: int) -> Array:
    """Clock of a mode below 1 at lambda = expit(z): integral of lambda^(1/N - 2) / (1 - lambda)."""
    power = (layers - 1.0) / layers
    return -np.exp(-power * log_expit(z)) / power + _beta(1.0 / layers, z)


def _settling(z: Array, layers: int) -> Array:
    """Clock of a mode above 1 at lambda = 1 + exp(-z): the same integral in x = 1 / lambda."""
    # x = expit(z), and the integrand becomes x^(1 - 1/N) / (1 - x).
    return _beta(2.0 - 1.0 / layers, z)


def _falling(z: Array, layers: int) -> Array:
    """Clock of a mode with gamma < 0 at |lambda| = exp(-z): integral over |lambda| down to it."""
    power, b = (layers - 1.0) / layers, 1.0 / layers
    size = np.exp(-z)
    return np.exp(power * z) / power + np.exp(-b * z) / b * hyp2f1(1.0, b, 1.0 + b, -size)


def _beta(b: float, z: Array) -> Array:
    """Integral of x^(b-1) / (1 - x) from 0 to expit(z), accurate even close to 1."""
    x, rest = expit(z), expit(-z)
    near = rest < 0.1
    inner = np.where(near, 0.5, x)
    far_value = inner**b / b * hyp2f1(1.0, b, 1.0 + b, inner)
    # The same function in powers of 1 - x: scipy's hyp2f1 loses all digits close to 1.
    outer, term = np.where(near, rest, 0.0), np.ones_like(rest)
    series, log_rest = np.zeros_like(rest), log_expit(-z)
    for n in range(18):
        series += term * (digamma(n + 1.0) - digamma(b + n) - log_rest)
        term = term * outer * (b + n) / (n + 1.0)
    return np.where(near, x**b * series, far_value)
