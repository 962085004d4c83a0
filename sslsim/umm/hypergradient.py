r"""Hypergradients: derivatives of an outer loss through an inner minimisation.

With phi the parameters of the inner level and theta those of the outer,

    phi*(theta) = (near) argmin_phi inner(phi),      h = d outer(phi*(theta)) / d theta.

Theta enters the inner problem in one of two ways.

``unrolled`` and ``darts``: phi takes K gradient steps from phi = theta, and h is the derivative
through these steps, h = (I - lr H_0) ... (I - lr H_{K-1}) grad outer(phi_K), H_k the Hessian of the
inner loss at phi_k. ``unrolled`` uses automatic differentiation. ``darts`` computes the same
product with each H_k v as a central difference of two gradients (the single step of
arXiv 1806.09055, section 2.3, is K = 1).

``implicit``: an exact argmin of inner(phi) does not depend on the starting point, so theta must
be part of the problem. Here it enters by a proximal term (arXiv 1909.04630, eq. 3 and lemma 1),

    phi*(theta) = argmin_phi inner(phi) + rho/2 |phi - theta|^2,
    h = rho (H + rho I)^{-1} grad outer(phi*).

The minimiser does not depend on the path, so phi continues from the end of the last call. It exists
if rho exceeds the most negative curvature of the inner loss.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from sslsim.umm.options import SOLVERS

_TOLERANCE = 1e-10  # relative residual at which a system counts as solved

Product = Callable[[torch.Tensor], torch.Tensor]


def conjugate_gradients(
    product: Product, target: torch.Tensor, iterations: int, floor: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Solve A x = b by conjugate gradients; stop early where A has no positive curvature.

    Parameters
    ----------
    product : callable
        Function x -> A x, A symmetric.
    target : Tensor, shape (m,)
        Right-hand side b.
    iterations : int
        Maximum number of products.
    floor : float
        Number that replaces A if the curvature along b itself is not positive.

    Returns
    -------
    x : Tensor, shape (m,)
        Approximate solution.
    rest : Tensor, shape (m,)
        Residual b - A x.

    Notes
    -----
    It stops at such directions as Steihaug's method does: x is then the best point of the space
    spanned so far.

    Examples
    --------
    >>> a = torch.diag(torch.tensor([2.0, 4.0]))
    >>> conjugate_gradients(lambda x: a @ x, torch.tensor([2.0, 2.0]), 2, floor=1.0)[0]
    tensor([1.0000, 0.5000])
    """
    x, rest = torch.zeros_like(target), target.clone()
    direction, energy = rest.clone(), rest @ rest
    enough = _TOLERANCE**2 * energy
    for _ in range(iterations):
        if energy <= enough:
            break
        image = product(direction)
        curvature = direction @ image
        if curvature <= 0:
            # The quadratic has no minimum in this direction. If it is the first, leave out H.
            if not x.any():
                x, rest = direction / floor, target - image / floor
            break
        step = energy / curvature
        x, rest = x + step * direction, rest - step * image
        energy, before = rest @ rest, energy
        direction = rest + energy / before * direction
    return x, rest


def neumann(
    product: Product, target: torch.Tensor, lr: float, iterations: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Solve A x = b by the partial sum lr sum_j (I - lr A)^j b.

    Parameters
    ----------
    product, target, iterations
        As in :func:`conjugate_gradients`.
    lr : float
        Step, below 2 / |A|; otherwise the series diverges.

    Returns
    -------
    x, rest : Tensor, shape (m,)
        As in :func:`conjugate_gradients`; rest is (I - lr A)^iterations b.

    Examples
    --------
    >>> neumann(lambda x: 2 * x, torch.tensor([2.0]), 0.25, 2)  # x = 0.5 (1 + 0.5)
    (tensor([0.7500]), tensor([0.5000]))
    """
    x, rest = torch.zeros_like(target), target.clone()
    for _ in range(iterations):
        x = x + lr * rest
        rest = rest - lr * product(rest)
        if rest.norm() <= _TOLERANCE * target.norm():
            break
    return x, rest


Parameters = tuple[torch.Tensor, ...]
Loss = Callable[[Parameters], torch.Tensor]


@dataclass(frozen=True, eq=False)
class Hypergradient:
    """A hypergradient and its inner steps.

    Attributes
    ----------
    gradient : tuple of Tensor
        Gradient of the outer loss with respect to theta, in the shapes of theta.
    outer : float
        Outer loss at phi*.
    phi : tuple of Tensor
        phi*, the end of the inner steps.
    inner_start, inner_end : float
        Inner loss, including the proximal term, before and after the inner steps.
    residual : float
        |A x - b| / |b| of the linear system of ``implicit``; 0 for the other methods.
    """

    gradient: Parameters
    outer: float
    phi: Parameters
    inner_start: float
    inner_end: float
    residual: float = 0.0


def unrolled(
    inner: Loss, outer: Loss, theta: Sequence[torch.Tensor], lr: float, steps: int
) -> Hypergradient:
    """Exact differentiation through K inner gradient steps from phi = theta.

    Parameters
    ----------
    inner, outer : callable
        Losses of a tuple of tensors in the shapes of theta; ``inner`` is twice differentiable.
    theta : sequence of Tensor
        Parameters of the outer level; left as they are.
    lr : float
        Learning rate of the inner steps, above zero.
    steps : int
        Number K of inner steps, at least 1.

    Returns
    -------
    Hypergradient
        The result, exact up to rounding.

    Raises
    ------
    ValueError
        If ``lr`` or ``steps`` is out of range.

    Notes
    -----
    arXiv 1703.01785, reverse mode. The graphs of all K inner gradients are in memory at the same
    time; each needs two to three times the memory of one forward and backward pass.

    Examples
    --------
    >>> inner, outer = lambda phi: phi[0].square().sum() / 2, lambda phi: phi[0].sum()
    >>> result = unrolled(inner, outer, [torch.ones(1)], lr=0.5, steps=2)  # phi_2 = theta / 4
    >>> result.gradient, result.phi
    ((tensor([0.2500]),), (tensor([0.2500]),))
    """
    _check(lr, steps)
    start = _leaves(theta)
    phi, values = start, []
    with torch.enable_grad():
        for _ in range(steps):
            value = inner(phi)
            gradient = _gradient(value, phi, create_graph=True)
            phi = tuple(p - lr * g for p, g in zip(phi, gradient, strict=True))
            values.append(float(value.detach()))
        value = outer(phi)
        hypergradient = _gradient(value, start)
    end = tuple(p.detach() for p in phi)
    return Hypergradient(hypergradient, float(value.detach()), end, values[0], _value(inner, end))


def darts(
    inner: Loss,
    outer: Loss,
    theta: Sequence[torch.Tensor],
    lr: float,
    steps: int,
    *,
    radius: float = 0.01,
) -> Hypergradient:
    """The derivative of :func:`unrolled`, with Hessian-vector products by central differences.

    Parameters
    ----------
    inner, outer, theta, lr, steps
        As in :func:`unrolled`; ``inner`` is once differentiable.
    radius : float
        Length of the step to both sides along the vector, 0.01 as published, above zero. The error
        is of the order of radius^2 times a fourth derivative, plus machine epsilon / radius, if no
        ReLU switches within the radius. If one does, the error can be as large as the result.

    Returns
    -------
    Hypergradient
        The result, up to the error of the differences.

    Raises
    ------
    ValueError
        If ``lr``, ``steps`` or ``radius`` is out of range.

    Notes
    -----
    arXiv 1806.09055, eq. 7 and 8, here with K steps and with phi starting at theta. It needs memory
    for one graph and for K copies of the parameters.

    Examples
    --------
    >>> inner, outer = lambda phi: phi[0].square().sum() / 2, lambda phi: phi[0].sum()
    >>> theta = [torch.ones(1, dtype=torch.float64)]
    >>> abs(darts(inner, outer, theta, lr=0.5, steps=2).gradient[0].item() - 0.25) < 1e-12
    True
    """
    _check(lr, steps)
    if not 0 < radius < math.inf:
        raise ValueError(f"radius is {radius}; expected a finite number above zero")
    path = [_leaves(theta)]
    values = []
    for _ in range(steps):
        value, gradient = _value_and_gradient(inner, path[-1])
        path.append(tuple((p - lr * g).detach() for p, g in zip(path[-1], gradient, strict=True)))
        values.append(value)
    end = path.pop()
    outer_value, vector = _value_and_gradient(outer, end)
    for phi in reversed(path):
        length = _norm(vector)
        if length == 0:
            break
        reach = radius / length
        either = [
            _value_and_gradient(
                inner, tuple(p + sign * reach * v for p, v in zip(phi, vector, strict=True))
            )[1]
            for sign in (1, -1)
        ]
        vector = tuple(
            v - lr * (up - down) / (2 * reach) for v, up, down in zip(vector, *either, strict=True)
        )
    return Hypergradient(vector, outer_value, end, values[0], _value(inner, end))


def implicit(
    inner: Loss,
    outer: Loss,
    theta: Sequence[torch.Tensor],
    lr: float,
    steps: int,
    *,
    phi: Sequence[torch.Tensor] | None = None,
    proximal: float = 1.0,
    damping: float = 0.0,
    solver: str = "cg",
    iterations: int = 20,
) -> Hypergradient:
    """Implicit differentiation of the proximal inner problem.

    Parameters
    ----------
    inner, outer, theta, lr, steps
        As in :func:`unrolled`; the steps descend ``inner(phi) + rho/2 |phi - theta|^2``. The
        derivative is that of the exact minimiser: the farther the steps end from it, the larger the
        error. If phi continues from the last call and lr times steps times rho is well below one,
        phi lags behind theta.
    phi : sequence of Tensor, optional
        Start of the steps, usually phi of the previous call; by default theta.
    proximal : float
        Weight rho of the proximal term, above zero.
    damping : float
        Number added to the Hessian in the linear system only, at least 0. It shortens h along
        directions of small curvature, and makes the system definite if the Hessian is not.
    solver : {"cg", "neumann"}
        Conjugate gradients, which stop early at a direction without positive curvature, or the
        Neumann series lr sum_j (I - lr A)^j, which converges if lr |A| < 2.
    iterations : int
        Maximum number of products with the Hessian, at least 1.

    Returns
    -------
    Hypergradient
        The result, with the residual of the linear system.

    Raises
    ------
    ValueError
        If a number is out of range or the solver unknown.

    Notes
    -----
    arXiv 1909.04630, section 3; the series as in arXiv 1911.02590, section 4. It needs memory for
    one graph of an inner gradient, for any number of steps.

    Examples
    --------
    >>> inner, outer = lambda phi: phi[0].square().sum() / 2, lambda phi: phi[0].sum()
    >>> result = implicit(inner, outer, [torch.ones(1)], lr=0.5, steps=1)  # phi* = theta / 2
    >>> result.gradient, result.phi
    ((tensor([0.5000]),), (tensor([0.5000]),))
    """
    _check(lr, steps)
    if not 0 < proximal < math.inf:
        raise ValueError(f"proximal is {proximal}; expected a finite number above zero")
    if not 0 <= damping < math.inf:
        raise ValueError(f"damping is {damping}; expected a finite number of at least 0")
    if solver not in SOLVERS:
        raise ValueError(f"solver is {solver!r}; expected one of {', '.join(SOLVERS)}")
    if iterations < 1:
        raise ValueError(f"iterations is {iterations}; expected at least 1")
    centre = _leaves(theta)

    def whole(point: Parameters) -> torch.Tensor:
        apart = (p - c.detach() for p, c in zip(point, centre, strict=True))
        squares = torch.stack([gap.square().sum() for gap in apart]).sum()
        return inner(point) + proximal / 2 * squares

    at = centre if phi is None else _leaves(phi)
    first = None
    for _ in range(steps):
        value, gradient = _value_and_gradient(whole, at)
        first = value if first is None else first
        at = _leaves([p - lr * g for p, g in zip(at, gradient, strict=True)])
    assert first is not None
    outer_value, right = _value_and_gradient(outer, at)
    with torch.enable_grad():
        slope = _gradient(inner(at), at, create_graph=True)
    flat_slope = _flat(slope)

    def product(vector: torch.Tensor) -> torch.Tensor:
        # A constant slope, of a linear inner loss, has no graph.
        curved = torch.zeros_like(vector)
        if flat_slope.requires_grad:
            curved = _flat(_gradient(flat_slope @ vector, at, retain_graph=True))
        return curved + (proximal + damping) * vector

    target = _flat(right)
    if solver == "cg":
        solution, rest = conjugate_gradients(product, target, iterations, proximal + damping)
    else:
        solution, rest = neumann(product, target, lr, iterations)
    size = float(target.norm())
    hypergradient = _unflat(proximal * solution, at)
    end = tuple(p.detach() for p in at)
    residual = float(rest.norm()) / size if size > 0 else 0.0
    return Hypergradient(hypergradient, outer_value, end, first, _value(whole, end), residual)


def _check(lr: float, steps: int) -> None:
    if not 0 < lr < math.inf:
        raise ValueError(f"lr is {lr}; expected a finite number above zero")
    if steps < 1:
        raise ValueError(f"steps is {steps}; expected at least 1 inner step")


def _leaves(values: Sequence[torch.Tensor]) -> Parameters:
    return tuple(value.detach().requires_grad_() for value in values)


def _gradient(
    value: torch.Tensor,
    at: Parameters,
    *,
    create_graph: bool = False,
    retain_graph: bool | None = None,
) -> Parameters:
    # A loss may not depend on all parameters: the coding rate does not depend on other heads.
    return torch.autograd.grad(
        value, at, create_graph=create_graph, retain_graph=retain_graph, materialize_grads=True
    )


def _value_and_gradient(loss: Loss, at: Sequence[torch.Tensor]) -> tuple[float, Parameters]:
    leaves = _leaves(at)
    with torch.enable_grad():
        value = loss(leaves)
    return float(value.detach()), _gradient(value, leaves)


def _value(loss: Loss, at: Parameters) -> float:
    with torch.enable_grad():  # the loss may differentiate within
        return float(loss(at).detach())


def _flat(values: Sequence[torch.Tensor]) -> torch.Tensor:
    return torch.cat([value.reshape(-1) for value in values])


def _unflat(flat: torch.Tensor, like: Parameters) -> Parameters:
    parts = flat.split([value.numel() for value in like])
    return tuple(part.reshape(value.shape) for part, value in zip(parts, like, strict=True))


def _norm(values: Parameters) -> float:
    return float(_flat(values).norm())
