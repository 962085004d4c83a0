r"""The formulas of this package derived symbolically, as executable proofs.

Each function derives one formula with sympy from its loss or equation of motion, and returns it.
None imports the numerical modules, so that the two can check each other. Symbols: gamma (real;
positive if a mode is learned), s singular value, lambda = gamma s^2, t flow time (learning rate x
step), eta learning rate, mu momentum, b penalty of b ||W||_F^2, w factor of a deep product, r
growth factor of one iteration.

The aligned model is that of arXiv 2303.15438, section 4.
"""

from __future__ import annotations

from functools import cache

import sympy as sp

from theory.arrays import whole_number

GAMMA = sp.Symbol("gamma", positive=True)
REAL_GAMMA = sp.Symbol("gamma", real=True)
S, S0 = sp.symbols("s s0", positive=True)
LAM, LAM0 = sp.symbols("lambda lambda0", positive=True)
TIME = sp.Symbol("t", nonnegative=True)
ETA, MU, B = sp.symbols("eta mu b", positive=True)
W, R = sp.symbols("w r", positive=True)
HALF = sp.Rational(1, 2)


def mode_flow() -> sp.Expr:
    """Velocity ds/dt of an aligned mode, from its loss ``(1 - gamma s^2)^2``.

    Returns
    -------
    sympy.Expr
        Minus the derivative of the loss.

    Examples
    --------
    >>> mode_flow()
    4*gamma*s*(-gamma*s**2 + 1)
    """
    return sp.factor_terms(-sp.diff((1 - GAMMA * S**2) ** 2, S))


def mode_solution(gamma: sp.Expr = GAMMA) -> sp.Expr:
    """Singular value s(t) of an aligned mode that starts at s0.

    Parameters
    ----------
    gamma : sympy.Expr
        Eigenvalue; with ``REAL_GAMMA`` or a number the formula holds for any sign.

    Returns
    -------
    sympy.Expr
        Solution of :func:`mode_flow`; constant in the limit gamma = 0.

    Examples
    --------
    >>> mode_solution()
    1/sqrt(gamma + (-gamma + s0**(-2))*exp(-8*gamma*t))
    >>> sp.limit(mode_solution(REAL_GAMMA), REAL_GAMMA, 0)
    s0
    """
    return 1 / sp.sqrt(gamma + (S0**-2 - gamma) * sp.exp(-8 * gamma * TIME))


def eigenvalue_flow(penalty: sp.Expr | int = 0) -> sp.Expr:
    """Velocity dlambda/dt of ``lambda = gamma s^2``, with a penalty ``b s^2`` on the weights.

    Parameters
    ----------
    penalty : sympy.Expr or int
        Coefficient b of weight decay.

    Returns
    -------
    sympy.Expr
        Velocity from the loss ``(1 - gamma s^2)^2 + b s^2`` by the chain rule.

    Examples
    --------
    >>> eigenvalue_flow()
    -8*gamma*lambda*(lambda - 1)
    >>> eigenvalue_flow(B)
    -4*lambda*(b + 2*gamma*lambda - 2*gamma)
    """
    speed = -sp.diff((1 - GAMMA * S**2) ** 2 + penalty * S**2, S)
    return sp.factor((2 * GAMMA * S * speed).subs(S, sp.sqrt(LAM / GAMMA)))


@cache
def eigenvalue_solution() -> sp.Expr:
    """Eigenvalue lambda(t), :func:`eigenvalue_flow` integrated from lambda0.

    Returns
    -------
    sympy.Expr
        Logistic curve of rate 8 gamma.

    Examples
    --------
    >>> eigenvalue_solution()
    1/(1 + (1 - lambda0)*exp(-8*gamma*t)/lambda0)
    """
    curve = sp.Function("curve")
    equation = sp.Eq(curve(TIME).diff(TIME), eigenvalue_flow().subs(LAM, curve(TIME)))
    return sp.dsolve(equation, curve(TIME), ics={curve(0): LAM0}).rhs


def step_time(level: sp.Expr = HALF) -> sp.Expr:
    """Time at which lambda reaches a level, from :func:`eigenvalue_solution`.

    Parameters
    ----------
    level : sympy.Expr
        Level between 0 and 1; the step is at one half.

    Returns
    -------
    sympy.Expr
        ``log(1/lambda0 - 1) / (8 gamma)`` at one half.

    Examples
    --------
    >>> step_time()
    log(-1 + 1/lambda0)/(8*gamma)
    """
    # Solved for the exponential: solved for t, sympy would return eight complex branches.
    curve = eigenvalue_solution().subs(sp.exp(-8 * GAMMA * TIME), 1 / R)
    (grown,) = sp.solve(sp.Eq(curve, level), R)
    return sp.log(sp.expand(grown)) / (8 * GAMMA)


def rise_width() -> sp.Expr:
    """Time from 10 % to 90 % of a rise.

    Returns
    -------
    sympy.Expr
        Time, independent of lambda0: a smaller initialisation does not make rises steeper.

    Examples
    --------
    >>> rise_width()
    log(3)/(2*gamma)
    """
    late, early = step_time(sp.Rational(9, 10)), step_time(sp.Rational(1, 10))
    ratio = sp.simplify(sp.exp(8 * GAMMA * (late - early)))
    return sp.expand_log(sp.log(ratio), factor=True) / (8 * GAMMA)


def weight_decay_fixed_point() -> sp.Expr:
    """Eigenvalue at which a mode under weight decay is stationary.

    Returns
    -------
    sympy.Expr
        Nonzero root of ``eigenvalue_flow(B)``; above zero only if gamma > b/2.

    Examples
    --------
    >>> weight_decay_fixed_point()
    -b/(2*gamma) + 1
    """
    (root,) = sp.solve(sp.cancel(eigenvalue_flow(B) / LAM), LAM)
    return sp.expand(root)


@cache
def weight_decay_solution() -> sp.Expr:
    """Eigenvalue lambda(t) under weight decay, the solution of ``eigenvalue_flow(B)``.

    Returns
    -------
    sympy.Expr
        Logistic curve of rate 8 gamma lambda* and height lambda*, the value of
        :func:`weight_decay_fixed_point`.

    Examples
    --------
    >>> sp.factor(weight_decay_solution().subs({B: GAMMA}))
    lambda0*exp(4*gamma*t)/(2*lambda0*exp(4*gamma*t) - 2*lambda0 + 1)
    """
    height = weight_decay_fixed_point()
    return height / (1 + (height / LAM0 - 1) * sp.exp(-8 * GAMMA * height * TIME))


def momentum_characteristic() -> sp.Expr:
    """Characteristic polynomial in r of heavy ball near the origin.

    Returns
    -------
    sympy.Expr
        Polynomial of ``s_{k+1} = s_k + 4 eta gamma s_k + mu (s_k - s_{k-1})`` with s_k = r^k.

    Examples
    --------
    >>> sp.collect(momentum_characteristic(), R)
    mu + r**2 + r*(-4*eta*gamma - mu - 1)
    """
    linear = sp.diff(mode_flow(), S).subs(S, 0)
    return sp.expand(R**2 - R - ETA * linear * R - MU * (R - 1))


def momentum_growth_root() -> sp.Expr:
    """Growth of s per iteration of heavy ball: the larger root of the polynomial.

    Returns
    -------
    sympy.Expr
        Root of :func:`momentum_characteristic`; 1 + 4 eta gamma without momentum.

    Examples
    --------
    >>> momentum_growth_root().subs({MU: 0, ETA: 2, GAMMA: 1})
    9
    """
    # A symbol without a sign keeps both roots.
    root = sp.Symbol("root")
    small, large = sp.roots(momentum_characteristic().subs(R, root), root)
    point = {ETA: 1, GAMMA: 1, MU: sp.Rational(1, 2)}
    return max(small, large, key=lambda r: r.subs(point))


def deep_linear_flow(depth: int) -> sp.Expr:
    """Velocity dw/dt of each factor of a balanced product s = w^N.

    Parameters
    ----------
    depth : int
        Number of layers N.

    Returns
    -------
    sympy.Expr
        Minus the derivative of ``(1 - gamma (w_1 ... w_N)^2)^2`` in w_1, at equal factors.

    Raises
    ------
    ValueError
        If ``depth`` is below 1.

    Examples
    --------
    >>> deep_linear_flow(2)
    -4*gamma*w**3*(gamma*w**4 - 1)
    """
    depth = whole_number("depth", depth, 1)
    loss = (1 - GAMMA * (S * W ** (depth - 1)) ** 2) ** 2
    return sp.factor(-sp.diff(loss, S).subs(S, W))


def deep_linear_time(depth: int) -> sp.Expr:
    """Antiderivative in w of ``1 / deep_linear_flow(depth)``, term by term.

    Parameters
    ----------
    depth : int
        Number of layers N.

    Returns
    -------
    sympy.Expr
        Antiderivative; its difference between two values of w with gamma w^2N < 1 is the flow time
        between them.

    Raises
    ------
    ValueError
        If ``depth`` is below 1.

    Notes
    -----
    With u = w^2 the integrand is ``1 / (8 gamma u^N (1 - gamma u^N))``, in partial fractions
    ``u^-N + gamma / (1 - gamma u^N)`` over 8 gamma. The first term makes step times algebraic
    in the initialisation for N > 1.

    Examples
    --------
    >>> speed = sp.diff(sp.hyperexpand(deep_linear_time(1)), W)
    >>> sp.simplify(speed * deep_linear_flow(1))
    1
    """
    depth = whole_number("depth", depth, 1)
    u = W**2
    head = sp.log(u) if depth == 1 else u ** (1 - depth) / (1 - depth)
    share = sp.Rational(1, depth)
    tail = GAMMA * u * sp.hyper((1, share), (1 + share,), GAMMA * u**depth)
    return (head + tail) / (8 * GAMMA)


def flow_time_error() -> sp.Expr:
    """Leading relative error of flow step times for gradient descent with learning rate eta.

    Returns
    -------
    sympy.Expr
        Relative excess of iterations from a small initialisation, to first order in eta: descent
        multiplies s by 1 + 4 eta gamma in an iteration, the flow by exp(4 eta gamma).

    Examples
    --------
    >>> flow_time_error()
    2*eta*gamma
    """
    growth = 1 + ETA * sp.diff(mode_flow(), S).subs(S, 0)
    ratio = 4 * ETA * GAMMA / sp.log(growth)
    return (sp.series(ratio, ETA, 0, 2).removeO() - 1).expand()
