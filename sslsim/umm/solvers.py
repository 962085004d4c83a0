"""Linear systems A x = b of which only products with A are known, A = H + floor I."""

from __future__ import annotations

from collections.abc import Callable

import torch

_TOLERANCE = 1e-10  # relative residual at which a system counts as solved

Product = Callable[[torch.Tensor], torch.Tensor]


def conjugate_gradients(
    product: Product, target: torch.Tensor, iterations: int, floor: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Solve by conjugate gradients, ended early where A has no positive curvature.

    Parameters
    ----------
    product : callable
        x -> A x, A symmetric.
    target : Tensor, shape (m,)
        b.
    iterations : int
        Most products.
    floor : float
        What stands in for A if the curvature along b itself is not positive.

    Returns
    -------
    x : Tensor, shape (m,)
        Solution, as far as it got.
    rest : Tensor, shape (m,)
        b - A x.

    Notes
    -----
    Ended at such directions as in Steihaug's method: x is then the best point of the space spanned
    before.

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
            # The quadratic has no minimum this way. At the very first, do as if there were no H.
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
    """Solve by the partial sum lr sum_j (I - lr A)^j b.

    Parameters
    ----------
    product, target, iterations
        As for :func:`conjugate_gradients`.
    lr : float
        Below 2 / |A|, or the series diverges.

    Returns
    -------
    x, rest : Tensor, shape (m,)
        As of :func:`conjugate_gradients`; rest is (I - lr A)^iterations b.

    Examples
    --------
    >>> neumann(lambda x: 2 * x, torch.tensor([2.0]), 0.25, 2)  # half of what is left, twice
    (tensor([0.7500]), tensor([0.5000]))
    """
    x, rest = torch.zeros_like(target), target.clone()
    for _ in range(iterations):
        x = x + lr * rest
        rest = rest - lr * product(rest)
        if rest.norm() <= _TOLERANCE * target.norm():
            break
    return x, rest
