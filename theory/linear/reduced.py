r"""Linear Barlow Twins in the top eigenbasis of Gamma: one reduced equation for many ways to train.

With A = W V, where V holds K top eigenvectors of Gamma, the embedding cross-correlation is
C = A diag(gamma) A^T, up to the other modes. The map A (d x K) follows

    dA/dt = -4 (M * (C - I)) A diag(gamma) - 4 N(A) - c A,      M_ii = 1, M_ij = lambda_off,

which neither assumes an aligned W(0) nor separate eigenvalues. Here ``*`` is the elementwise
product, lambda_off the weight of the off-diagonal entries of C in the loss (unnormalised Barlow
Twins, arXiv 2103.03230), c the weight decay of ``torch.optim.SGD``, and N(A) the mean effect of
mini-batches (:mod:`theory.linear.minibatch`): the gradient of the extra loss
``sum_ij M_ij var[(A g A^T)_ij]`` with g = (a b^T + b a^T) / 2, a = V^T x, b = V^T x', and the
variance of a mean over one batch. Preconditioners (:mod:`theory.linear.preconditioned`) multiply
the gradient.

:func:`reduced_flow` solves the equation for small learning rates, :func:`descent_step_iterations`
iterates gradient descent with momentum. The cost does not depend on the data.

Off-diagonal weight
    With j modes learned from a generic direction and lambda_off < 1, the loss has a plateau at
    C = lambda P, where P projects on j dimensions and has the constant diagonal j/d. There
    lambda = d / (j + lambda_off (d - j)), far above 1 for a small weight
    (:func:`plateau_height`), and the next mode grows at 8 gamma lambda_off lambda only
    (derived; the slowest rate of a plain mode is 8 gamma).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.integrate import OdeSolution, solve_ivp
from scipy.optimize import brentq, minimize

from theory.arrays import Array, finite_array, non_negative_number, positive_number, whole_number
from theory.linear.closed_form import flow_times, half_rise_share
from theory.linear.closed_form import step_times as logistic_step_times
from theory.linear.momentum import momentum_coefficient
from theory.linear.orthogonalised import polar_factor

NEVER = 1e-3
"""A mode whose final height is below this one counts as never learned."""

_LONGEST = 200.0  # the flow is followed up to this multiple of the first guess of its length
_SIDES = ("embedding", "input")

Side = tuple[str, float, float]
"""Side of a preconditioner, its exponent and its regulariser."""


def preconditioners(precondition: Side | tuple[Side, ...] | None) -> dict[str, tuple[float, float]]:
    """Exponent and regulariser of the preconditioner on each side.

    Parameters
    ----------
    precondition : (str, float, float), tuple of these, or None
        ``('embedding', p, rho)``, ``('input', q, delta)``, or both.

    Returns
    -------
    dict
        From ``'embedding'`` and ``'input'``, where they are given, to the two numbers.

    Raises
    ------
    ValueError
        If a side is unknown or given twice, or a number is out of range.

    Examples
    --------
    >>> preconditioners((("embedding", 1.0, 0.1), ("input", 0.5, 0.1)))
    {'embedding': (1.0, 0.1), 'input': (0.5, 0.1)}
    >>> preconditioners(("left", 1.0, 0.1))
    Traceback (most recent call last):
    ValueError: precondition is on the side 'left'; expected embedding or input
    """
    if not precondition:
        return {}
    given = (precondition,) if isinstance(precondition[0], str) else precondition
    sides: dict[str, tuple[float, float]] = {}
    for side, power, ridge in given:
        if side not in _SIDES:
            raise ValueError(
                f"precondition is on the side {side!r}; expected {' or '.join(_SIDES)}"
            )
        if side in sides:
            raise ValueError(f"precondition is on the side {side!r} twice; expected it once")
        non_negative_number("power", power)
        positive_number("ridge", ridge)
        if side == "input" and power >= 1:
            raise ValueError(
                f"power is {power} on the input side; expected below 1, so that modes keep order"
            )
        sides[side] = (power, ridge)
    return sides


@dataclass(frozen=True, eq=False)
class Law:
    """What is different from plain gradient flow on the loss ``||C - I||_F^2``.

    Attributes
    ----------
    off_diagonal : float
        Weight lambda_off of the squared off-diagonal entries of C; 1 is the plain loss.
    weight_decay : float
        Weight decay c as in ``torch.optim.SGD``, which adds ``c W`` to the gradient.
    noise : ndarray, shape (K, K, K, K), optional
        Covariances of the entries g_jk and g_lm of a batch, from
        :func:`theory.linear.minibatch.batch_covariance`. Default: full batches.
    precondition : (str, float, float) or tuple of these, optional
        ``('embedding', p, rho)`` multiplies the gradient by ``(C + rho I)^-p``, and
        ``('input', q, delta)`` by ``(|Gamma| + delta I)^-q``; a tuple of both does both. Default:
        none.
    orthogonalised : bool
        Replace updates by their polar factors (:mod:`theory.linear.orthogonalised`); for
        iterations only.

    Raises
    ------
    ValueError
        If a value is out of range, or a preconditioner or orthogonalised updates are combined with
        noise or weight decay.

    Examples
    --------
    >>> Law(precondition=("left", 1.0, 0.1))
    Traceback (most recent call last):
    ValueError: precondition is on the side 'left'; expected embedding or input
    """

    off_diagonal: float = 1.0
    weight_decay: float = 0.0
    noise: Array | None = None
    precondition: Side | tuple[Side, ...] | None = None
    orthogonalised: bool = False

    def __post_init__(self) -> None:
        positive_number("off_diagonal", self.off_diagonal)
        non_negative_number("weight_decay", self.weight_decay)
        plain = not (self.weight_decay or self.noise is not None)
        if preconditioners(self.precondition) and not plain:
            raise ValueError(
                "precondition is given with weight decay or batches; expected it without them"
            )
        if self.orthogonalised and not plain:
            raise ValueError(
                "orthogonalised is given with weight decay or batches; expected it without them"
            )


PLAIN = Law()
"""The plain loss by full batches."""


@dataclass(frozen=True, eq=False)
class ReducedFlow:
    """A solution of the reduced equation.

    Attributes
    ----------
    gamma : ndarray, shape (K,)
        Eigenvalues of Gamma.
    law : Law
        The loss and its gradient.
    ceilings : ndarray, shape (d,)
        Final heights of the eigenvalues of C, descending.
    step_times : ndarray, shape (d,)
        Flow time at which the j-th largest eigenvalue of C first passes half of its final height;
        infinite for a final height below ``NEVER`` and for a step after ``end``.
    end : float
        Flow time up to which the equation was solved; the map is constant from there.
    """

    gamma: Array
    law: Law
    ceilings: Array
    step_times: Array
    end: float
    _solution: OdeSolution
    _dim: int

    def maps(self, t: ArrayLike) -> Array:
        """Maps A (..., d, K) at flow times ``t`` (...)."""
        t = np.minimum(flow_times(t), self.end)
        flat = self._solution(t.ravel()).T
        return flat.reshape(*t.shape, self._dim, len(self.gamma))

    def eigenvalue_curves(self, t: ArrayLike) -> Array:
        """Eigenvalues (..., d) of C, descending, at flow times ``t`` (...)."""
        return _eigenvalues(self.maps(t), self.gamma)

    def loss(self, t: ArrayLike) -> Array:
        """Loss of all pairs at flow times ``t`` (...), without weight decay."""
        maps = self.maps(t)
        residual = (maps * self.gamma) @ np.swapaxes(maps, -1, -2) - np.eye(self._dim)
        return np.sum(_mask(self._dim, self.law.off_diagonal) * residual**2, axis=(-1, -2))

    def passages(self, share: float) -> Array:
        """Flow times (d,) at which eigenvalues first pass a share of their final heights."""
        return _passages(self._solution, self.gamma, self._dim, share * self.ceilings)


def reduced_flow(
    gamma: ArrayLike,
    w0_v: ArrayLike,
    until: float | None = None,
    *,
    law: Law = PLAIN,
    tolerance: float = 1e-8,
) -> ReducedFlow:
    """Solve the reduced equation for small learning rates.

    Parameters
    ----------
    gamma : array_like, shape (K,)
        Top eigenvalues of Gamma.
    w0_v : array_like, shape (d, K)
        ``W(0) V``, the initial map in the eigenbasis.
    until : float, optional
        Flow time at which to stop. Default: some time after every mode has risen to 90 % of its
        final height, or at 200 times the time that plain training would take.
    law : Law
        Loss and gradient.
    tolerance : float
        Relative accuracy of the solver.

    Returns
    -------
    ReducedFlow
        Curves and step times.

    Raises
    ------
    ValueError
        If shapes do not fit, a value is not finite, ``until`` is not positive, or the law has
        orthogonalised updates, whose flow is not smooth.

    Examples
    --------
    >>> flow = reduced_flow([1.0, 0.5], 1e-3 * np.eye(2))
    >>> flow.step_times.round(3).tolist(), flow.ceilings.round(6).tolist()
    ([1.727, 3.627], [1.0, 1.0])
    """
    if law.orthogonalised:
        raise ValueError("law is orthogonalised; expected a smooth one, or descent_curves")
    gamma, start = _start(gamma, w0_v)
    dim = len(start)
    ceilings = final_eigenvalues(gamma, dim, law)
    gradient = _gradient(gamma, dim, law)

    def slope(_: float, flat: Array) -> Array:
        a = flat.reshape(start.shape)
        return -(gradient(a) + law.weight_decay * a).ravel()

    guess = _plain_length(gamma, start)
    end = guess if until is None else positive_number("until", until)
    times, pieces, state, now, last_lap = [0.0], [], start.ravel(), 0.0, False
    atol = 1e-3 * tolerance * (float(np.abs(start).max()) or 1.0)
    while True:
        solved = solve_ivp(
            slope, (now, end), state, "DOP853", dense_output=True, rtol=tolerance, atol=atol
        )
        if solved.status != 0:
            raise ValueError(f"the reduced equation has no solution beyond t = {solved.t[-1]:g}")
        times += solved.t[1:].tolist()
        pieces += solved.sol.interpolants
        state, now = solved.y[:, -1], end
        solution = OdeSolution(np.array(times), pieces)
        if until is not None or end >= _LONGEST * guess:
            break
        if last_lap:
            break
        risen = _passages(solution, gamma, dim, 0.9 * ceilings)
        last_lap = bool(np.all(np.isfinite(risen) | (ceilings < NEVER)))
        end = end + guess if last_lap else 2.0 * end
    steps = _passages(solution, gamma, dim, 0.5 * ceilings)
    return ReducedFlow(gamma, law, ceilings, steps, end, solution, dim)


def descent_step_iterations(
    gamma: ArrayLike,
    w0_v: ArrayLike,
    learning_rate: float,
    *,
    law: Law = PLAIN,
    momentum: float = 0.0,
    limit: int = 200_000,
) -> Array:
    """Iteration of gradient descent at which each eigenvalue passes half of its final height.

    Parameters
    ----------
    gamma : array_like, shape (K,)
        Top eigenvalues of Gamma.
    w0_v : array_like, shape (d, K)
        Initial map in the eigenbasis.
    learning_rate : float
        Step size eta.
    law : Law
        Loss and gradient.
    momentum : float
        Heavy ball coefficient as in ``torch.optim.SGD``, from rest.
    limit : int
        Number of iterations at which to stop.

    Returns
    -------
    ndarray, shape (d,)
        Fractional iterations, interpolated in the logit of the share of the final height. Infinite
        for a step that does not come within the limit.

    Raises
    ------
    ValueError
        If shapes do not fit, a value is out of range, or the recursion diverges.

    Examples
    --------
    >>> descent_step_iterations([1.0], [[1e-3]], 0.01).round(2).tolist()
    [175.61]
    """
    gamma, start = _start(gamma, w0_v)
    limit = whole_number("limit", limit, 1)
    ceilings = final_eigenvalues(gamma, len(start), law)
    crossed = np.full(len(start), np.inf)
    waiting = ceilings >= NEVER
    before = np.zeros(len(start))
    for n, curves in _blocks(_descend(gamma, start, learning_rate, momentum, law, limit), gamma):
        shares = np.vstack([before, curves / np.where(waiting, ceilings, np.inf)])
        for j in np.flatnonzero(waiting & np.any(shares[1:] >= 0.5, axis=0)):
            row = int(np.argmax(shares[1:, j] >= 0.5))
            crossed[j] = (
                0.0
                if n + row == 0
                else n + row - 1 + half_rise_share(*shares[row : row + 2, j].tolist())
            )
            waiting[j] = False
        if not waiting.any():
            break
        before = shares[-1]
    return crossed


def descent_curves(
    iterations: ArrayLike,
    gamma: ArrayLike,
    w0_v: ArrayLike,
    learning_rate: float,
    *,
    law: Law = PLAIN,
    momentum: float = 0.0,
) -> Array:
    """Eigenvalues of C at given iterations of gradient descent.

    Parameters
    ----------
    iterations : array_like of int, shape (T,)
        Iteration numbers, ascending.
    gamma, w0_v, learning_rate, law, momentum
        As in :func:`descent_step_iterations`.

    Returns
    -------
    ndarray, shape (T, d)
        Eigenvalues, descending.

    Raises
    ------
    ValueError
        As in :func:`descent_step_iterations`.

    Examples
    --------
    >>> descent_curves([0, 1], [1.0], [[0.5]], 0.1).tolist()
    [[0.25], [0.42250000000000004]]
    """
    gamma, start = _start(gamma, w0_v)
    wanted = np.asarray(iterations, dtype=np.int64)
    states = _descend(gamma, start, learning_rate, momentum, law, int(wanted.max(initial=0)))
    chosen = set(wanted.tolist())
    maps = np.array([a for n, a in enumerate(states) if n in chosen])
    return _eigenvalues(maps.reshape(-1, *start.shape), gamma)


def final_eigenvalues(gamma: ArrayLike, dim: int, law: Law = PLAIN) -> Array:
    """Final heights of the eigenvalues of C.

    Parameters
    ----------
    gamma : array_like, shape (K,)
        Top eigenvalues of Gamma.
    dim : int
        Embedding dimension d.
    law : Law
        Loss and gradient.

    Returns
    -------
    ndarray, shape (dim,)
        Heights, descending: 1 for each positive eigenvalue of Gamma without noise or weight decay,
        else at the minimum of the expected loss of a batch plus weight decay.

    Raises
    ------
    ValueError
        If shapes do not fit or a value is not finite.

    Examples
    --------
    >>> final_eigenvalues([1.0, 0.5, -0.5], 3, Law(weight_decay=0.4)).round(4).tolist()
    [0.9, 0.8, 0.0]
    """
    gamma = finite_array("gamma", gamma, 1)
    dim = whole_number("dim", dim, 1)
    positive = np.flatnonzero(gamma > 0)
    heights = np.zeros(dim)
    if law.noise is None and not law.weight_decay:
        heights[: len(positive)] = 1.0
        return heights
    if len(positive) == 0:
        return heights
    root = np.sqrt(gamma[positive])
    gradient = _gradient(gamma, dim, Law(law.off_diagonal, 0.0, law.noise))
    mask = _mask(dim, law.off_diagonal)

    def expected_loss(flat: Array) -> tuple[float, Array]:
        a = np.zeros((dim, len(gamma)))
        a[:, positive] = flat.reshape(dim, -1) / root
        residual = (a * gamma) @ a.T - np.eye(dim)
        slope = gradient(a)
        # The noise is of fourth order in A, so that its loss is <A, gradient> / 4.
        noise = slope - 4.0 * (mask * residual) @ (a * gamma)
        value = np.sum(mask * residual**2) + np.sum(a * noise) / 4.0
        value += law.weight_decay * np.sum(a**2) / 2.0
        return float(value), ((slope + law.weight_decay * a)[:, positive] / root).ravel()

    # From a map with every mode present, in a rotated basis that no symmetry protects.
    turn = np.linalg.qr(np.random.default_rng(0).standard_normal((dim, dim)))[0]
    first = 0.7 * turn @ np.eye(dim, len(positive))
    best = minimize(
        expected_loss, first.ravel(), jac=True, method="L-BFGS-B",
        options={"maxiter": 5000, "maxfun": 10000, "ftol": 1e-15, "gtol": 1e-9},
    )  # fmt: skip
    scaled = best.x.reshape(dim, -1)
    found = np.linalg.eigvalsh(scaled @ scaled.T)[::-1]
    return np.where(found > 1e-9, found, 0.0)


def plateau_height(dim: int, modes: int, off_diagonal: float) -> float:
    """Eigenvalue of C shared by the learned modes on a plateau, for a weight of at most 1.

    Parameters
    ----------
    dim : int
        Embedding dimension d.
    modes : int
        Number j of modes learned.
    off_diagonal : float
        Weight lambda_off of the off-diagonal entries, from 0 to 1.

    Returns
    -------
    float
        ``lambda = d / (j + lambda_off (d - j))``. The next mode grows at the rate
        ``8 gamma lambda_off lambda``.

    Raises
    ------
    ValueError
        If a number is out of range.

    Notes
    -----
    On C = lambda P with P_ii = j/d the loss is ``d (1 - lambda j/d)^2 + lambda_off lambda^2 j
    (1 - j/d)``, smallest at this lambda. A direction u outside P grows at 8 gamma times
    ``1 - (1 - lambda_off) lambda j/d = lambda_off lambda``.

    Examples
    --------
    >>> round(plateau_height(5, 1, 0.2), 3), plateau_height(5, 2, 1.0)
    (2.778, 1.0)
    """
    dim = whole_number("dim", dim, 1)
    modes = whole_number("modes", modes, 1, dim)
    if not 0.0 <= off_diagonal <= 1.0:
        raise ValueError(f"off_diagonal is {off_diagonal}; expected a weight from 0 to 1")
    return dim / (modes + off_diagonal * (dim - modes))


def _start(gamma: ArrayLike, w0_v: ArrayLike) -> tuple[Array, Array]:
    gamma, start = finite_array("gamma", gamma, 1), finite_array("w0_v", w0_v, 2)
    if start.shape[1] != len(gamma) or len(start) == 0:
        raise ValueError(
            f"w0_v has shape {start.shape} and gamma {gamma.shape}; expected (d, K) and (K,)"
        )
    return gamma, start


def _mask(dim: int, off_diagonal: float) -> Array:
    return off_diagonal + (1.0 - off_diagonal) * np.eye(dim)


def _eigenvalues(maps: Array, gamma: Array) -> Array:
    corr = (maps * gamma) @ np.swapaxes(maps, -1, -2)
    return np.asarray(np.linalg.eigvalsh(corr)[..., ::-1], dtype=np.float64)


def _gradient(gamma: Array, dim: int, law: Law) -> Callable[[Array], Array]:
    """Gradient of the expected loss, preconditioned, without weight decay."""
    size, eye, mask = len(gamma), np.eye(dim), _mask(dim, law.off_diagonal)
    by_row = by_map = None
    if law.noise is not None:
        if law.noise.shape != (size,) * 4:
            raise ValueError(f"noise has shape {law.noise.shape}; expected {(size,) * 4}")
        by_row = law.noise.reshape(size**2, size**2)
        by_map = np.ascontiguousarray(law.noise.transpose(0, 3, 1, 2)).reshape(by_row.shape)
    sides = preconditioners(law.precondition)
    columns = None
    if "input" in sides:
        power, ridge = sides["input"]
        columns = (np.abs(gamma) + ridge) ** -power

    def gradient(a: Array) -> Array:
        corr = (a * gamma) @ a.T
        slope = 4.0 * (mask * (corr - eye)) @ (a * gamma)
        if by_row is not None and by_map is not None:
            shared = (by_map @ (a.T @ a).ravel()).reshape(size, size)
            slope += 4.0 * law.off_diagonal * a @ shared
            if law.off_diagonal != 1.0:
                squares = (a[:, :, None] * a[:, None, :]).reshape(dim, -1)
                own = (squares @ by_row).reshape(dim, size, size)
                slope += 4.0 * (1.0 - law.off_diagonal) * np.einsum("ij,ijk->ik", a, own)
        if columns is not None:
            slope = slope * columns
        if "embedding" in sides:
            power, ridge = sides["embedding"]
            values, vectors = np.linalg.eigh(corr)
            slope = (vectors * (values.clip(0.0) + ridge) ** -power) @ (vectors.T @ slope)
        return slope

    return gradient


def _plain_length(gamma: Array, start: Array) -> float:
    """Time that plain training takes, with some more for the last rise."""
    positive = gamma > 0
    count = min(len(start), int(positive.sum()))
    if count == 0:
        return 1.0 / (float(np.abs(gamma).max()) or 1.0)
    top = np.flatnonzero(positive)[:count]
    singular = np.abs(np.diagonal(np.linalg.qr(start[:, top], mode="r")))
    times = logistic_step_times(gamma[top], singular)
    last = float(np.max(times[np.isfinite(times)], initial=0.0))
    return 1.2 * last + 1.0 / float(gamma[top].min())


def _passages(solution: OdeSolution, gamma: Array, dim: int, levels: Array) -> Array:
    """First times at which the sorted eigenvalues of C pass their levels."""

    def curve(t: float | Array) -> Array:
        flat = solution(t).T
        return _eigenvalues(flat.reshape(*flat.shape[:-1], dim, len(gamma)), gamma)

    curves = curve(solution.ts)
    passed = np.full(dim, np.inf)
    for j in np.flatnonzero(levels >= 0.05 * NEVER):
        above = curves[:, j] >= levels[j]
        if not above.any():
            continue
        row = int(np.argmax(above))
        low, high = solution.ts[max(row - 1, 0)], solution.ts[row]
        passed[j] = 0.0
        if row:
            passed[j] = brentq(lambda t, j=j: curve(t)[j] - levels[j], low, high, rtol=1e-12)
    return passed


def _descend(
    gamma: Array, start: Array, learning_rate: float, momentum: float, law: Law, last: int
) -> Iterator[Array]:
    """Maps of gradient descent, from iteration 0 to ``last``."""
    eta, mu = positive_number("learning_rate", learning_rate), momentum_coefficient(momentum)
    gradient = _gradient(gamma, len(start), law)
    a, velocity = start, np.zeros_like(start)
    yield a
    for _ in range(last):
        with np.errstate(over="ignore", invalid="ignore"):
            velocity = mu * velocity + gradient(a) + law.weight_decay * a
            a = a - eta * (polar_factor(velocity) if law.orthogonalised else velocity)
        if not np.all(np.abs(a) < 1e100):
            raise ValueError(
                f"learning_rate is {learning_rate:g}; expected a smaller one: descent diverges"
            )
        yield a


def _blocks(states: Iterator[Array], gamma: Array, most: int = 256) -> Iterator[tuple[int, Array]]:
    """Numbers of the first iterations of blocks, and the eigenvalues (block, d) in them."""
    block: list[Array] = []
    n = 0
    for state in states:
        block.append(state)
        if len(block) == most:
            yield n, _eigenvalues(np.array(block), gamma)
            n, block = n + most, []
    if block:
        yield n, _eigenvalues(np.array(block), gamma)
