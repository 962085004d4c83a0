r"""How fast the modes of an embedding grow: exact rates at one set of parameters.

Mode u is an eigenvector of C = (Z^T Z' + Z'^T Z) / (2n) and f_u = u . f its function on the 2n
views; its eigenvalue is lambda_u = f_u^T P f_u / (2n), P the swap of the two views. Under gradient
flow on a loss L, and with C's eigenvalues distinct,

    d lambda_u / dt = - grad lambda_u . grad L,

an identity for every network and loss. Its own part counts the loss's pull on f_u alone and leaves
out what the pull on other directions does to f_u through shared parameters. For Barlow Twins,
L = sum_v (1 - lambda_v)^2, the whole is 2 sum_v (1 - lambda_v) grad lambda_u . grad lambda_v and
the own part its term v = u: (4/n) (1 - lambda_u) f_u^T P K_u P f_u / (f_u^T P f_u) times lambda_u,
with K_u the tangent kernel of f_u. That kernel is not needed: a backward pass gives
||grad lambda_u||^2 = f_u^T P K_u P f_u / n^2, and how parameters share in it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from sslsim.measures.snapshots import HeldOutPairs, batch_statistics

SPECTRA = ("cross", "covariance")
Objective = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True, eq=False)
class Growth:
    """Modes of an embedding and their rates, in inverse flow time.

    Attributes
    ----------
    lam : Tensor, shape (d,)
        Eigenvalues, descending.
    directions : Tensor, shape (d, d)
        Eigenvectors u in columns.
    functions : Tensor, shape (2n, d)
        f_u on the stacked views, the first ones first; centred for the covariance.
    rates : Tensor, shape (k,)
        d ln(lambda_u) / dt of the given modes.
    own : Tensor, shape (k,)
        Part of it by the pull on the mode itself.
    shares : Tensor, shape (k, p)
        Part of ``own`` that every parameter tensor carries, in the module's order.
    names : tuple of str
        Names of these p parameters.
    loss : float
        The objective on these pairs.
    """

    lam: torch.Tensor
    directions: torch.Tensor
    functions: torch.Tensor
    rates: torch.Tensor
    own: torch.Tensor
    shares: torch.Tensor
    names: tuple[str, ...]
    loss: float


def growth(
    encoder: nn.Module,
    pairs: HeldOutPairs,
    objective: Objective,
    modes: Sequence[int],
    *,
    spectrum: str = "cross",
) -> Growth:
    """Modes of the embedding of some pairs, and how fast they grow under gradient flow.

    Parameters
    ----------
    encoder : nn.Module
        (n, ...) -> (n, d); left as it is. Computed in float64 on a copy in evaluation mode, but
        that BatchNorm goes by the statistics of the pairs, as in training on all of them at once.
    pairs : HeldOutPairs
        n pairs.
    objective : callable
        Loss of the embeddings (n, d) of both views.
    modes : sequence of int
        Whose rates are wanted, from 0; each costs two backward passes.
    spectrum : {"cross", "covariance"}
        Eigenvalues of C, or of the covariance of all 2n embeddings.

    Returns
    -------
    Growth
        Float64 tensors, detached.

    Raises
    ------
    ValueError
        If a mode is out of range, the spectrum unknown, or no parameter moves.

    Notes
    -----
    arXiv 2303.15438 has the linear case: there the rate of a mode is 8 gamma_j (1 - lambda_j).

    Examples
    --------
    >>> from sslsim.objectives import barlow_twins
    >>> layer = nn.Linear(2, 1, bias=False)
    >>> _ = layer.weight.data.copy_(torch.tensor([[1e-3, 0.0]]))
    >>> x = torch.eye(2)  # gamma is 1/2 in every direction
    >>> growth(layer, HeldOutPairs(x, x), barlow_twins, [0]).rates.round(decimals=3)
    tensor([4.], dtype=torch.float64)
    """
    if spectrum not in SPECTRA:
        raise ValueError(f"spectrum is {spectrum!r}; expected one of {', '.join(SPECTRA)}")
    moving, parameters, names = _copied(encoder)
    sizes = [parameter.numel() for parameter in parameters]
    with batch_statistics(moving):
        z, z_prime = moving(pairs.x.double()), moving(pairs.x_prime.double())
    lam, directions = _modes(z.detach(), z_prime.detach(), spectrum)
    if not all(0 <= mode < len(lam) for mode in modes):
        raise ValueError(f"modes is {list(modes)}; expected numbers from 0 to {len(lam) - 1}")
    loss = objective(z, z_prime)
    # Zeros where the loss does not look at one of the views.
    pulls = torch.autograd.grad(loss, (z, z_prime), retain_graph=True, materialize_grads=True)
    downhill = _gradient(loss, parameters)
    rows = []
    for mode in modes:
        u = directions[:, mode]
        # Eigenvectors change at first order, eigenvalues as if they did not.
        uphill = _gradient(_eigenvalue(z @ u, z_prime @ u, spectrum), parameters)
        pulled = sum(
            (side @ u) @ (pull @ u) for side, pull in zip((z, z_prime), pulls, strict=True)
        )
        own = -uphill * _gradient(pulled, parameters)
        by_parameter = torch.stack([part.sum() for part in own.split(sizes)])
        rows.append(torch.cat([-(uphill @ downhill)[None], by_parameter]) / lam[mode])
    functions = torch.cat([z, z_prime]).detach() @ directions
    if spectrum == "covariance":
        functions = functions - functions.mean(dim=0)
    rates = torch.stack(rows).detach() if rows else lam.new_zeros(0, 1 + len(sizes))
    total, shares = rates[:, 0], rates[:, 1:]
    own_rates = shares.sum(dim=1)
    return Growth(lam, directions, functions, total, own_rates, shares, names, float(loss.detach()))


def gradient_flow_step(
    encoder: nn.Module, pairs: HeldOutPairs, objective: Objective, time: float
) -> tuple[nn.Module, float]:
    """The network a short flow time later, by one explicit step down the gradient.

    Parameters
    ----------
    encoder, pairs, objective
        As in :func:`growth`; the encoder is left as it is.
    time : float
        Flow time, of either sign.

    Returns
    -------
    network : nn.Module
        A copy in float64.
    slope : float
        Squared norm of the gradient: the loss falls by this times ``time`` to first order.

    Examples
    --------
    >>> from sslsim.objectives import barlow_twins
    >>> layer = nn.Linear(2, 1, bias=False)
    >>> pairs = HeldOutPairs(*torch.rand(2, 8, 2))
    >>> later, slope = gradient_flow_step(layer, pairs, barlow_twins, 0.0)
    >>> bool((later.weight == layer.weight).all()), slope > 0
    (True, True)
    """
    later, parameters, _ = _copied(encoder)
    with batch_statistics(later):
        loss = objective(later(pairs.x.double()), later(pairs.x_prime.double()))
    gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
    slope = 0.0
    with torch.no_grad():
        for parameter, gradient in zip(parameters, gradients, strict=True):
            if gradient is not None:
                parameter.sub_(time * gradient)
                slope += float(gradient.square().sum())
    return later, slope


def hessian_product(
    encoder: nn.Module, pairs: Sequence[HeldOutPairs], objective: Objective
) -> tuple[Callable[[torch.Tensor], torch.Tensor], int]:
    """Product of a vector with the Hessian of the mean loss over some batches.

    Parameters
    ----------
    encoder : nn.Module
        As in :func:`growth`.
    pairs : sequence of HeldOutPairs
        Batches; losses that compare samples depend on their size.
    objective : callable
        As in :func:`growth`.

    Returns
    -------
    product : callable
        (p,) float64 -> (p,), over the parameters that require gradients in their order.
    size : int
        p.

    Notes
    -----
    Each product differentiates twice: three to four times the cost of a gradient, and the memory
    of the graph of one batch.

    Examples
    --------
    >>> layer = nn.Linear(1, 1, bias=False)
    >>> product, size = hessian_product(
    ...     layer, [HeldOutPairs(torch.ones(2, 1), torch.ones(2, 1))], lambda z, w: (z * w).sum()
    ... )
    >>> size, product(torch.ones(1, dtype=torch.float64))  # the loss is 2 w^2
    (1, tensor([4.], dtype=torch.float64))
    """
    copied, parameters, _ = _copied(encoder)
    size = sum(parameter.numel() for parameter in parameters)

    def product(vector: torch.Tensor) -> torch.Tensor:
        total = torch.zeros(size, dtype=torch.float64, device=vector.device)
        for batch in pairs:
            with batch_statistics(copied):
                loss = objective(copied(batch.x.double()), copied(batch.x_prime.double()))
            gradients = torch.autograd.grad(loss, parameters, create_graph=True, allow_unused=True)
            slope = _flat(gradients, parameters) @ vector
            if slope.requires_grad:
                again = torch.autograd.grad(slope, parameters, allow_unused=True)
                total += _flat(again, parameters) / len(pairs)
        return total

    return product, size


def _copied(encoder: nn.Module) -> tuple[nn.Module, list[nn.Parameter], tuple[str, ...]]:
    """A copy in float64, and the parameters that move."""
    copied = copy.deepcopy(encoder).double().eval()
    moving = {name: value for name, value in copied.named_parameters() if value.requires_grad}
    if not moving:
        raise ValueError("the encoder has no parameter that requires a gradient; expected one")
    return copied, list(moving.values()), tuple(moving)


def _modes(
    z: torch.Tensor, z_prime: torch.Tensor, spectrum: str
) -> tuple[torch.Tensor, torch.Tensor]:
    if spectrum == "cross":
        matrix = z.T @ z_prime / len(z)
        matrix = (matrix + matrix.T) / 2
    else:
        stacked = torch.cat([z, z_prime])
        stacked = stacked - stacked.mean(dim=0)
        matrix = stacked.T @ stacked / len(stacked)
    values, vectors = torch.linalg.eigh(matrix)
    return values.flip(0), vectors.flip(1)


def _eigenvalue(f: torch.Tensor, f_prime: torch.Tensor, spectrum: str) -> torch.Tensor:
    if spectrum == "cross":
        return f @ f_prime / len(f)
    return torch.cat([f, f_prime]).var(correction=0)


def _gradient(value: torch.Tensor, parameters: Sequence[nn.Parameter]) -> torch.Tensor:
    gradients = torch.autograd.grad(value, parameters, retain_graph=True, allow_unused=True)
    return _flat(gradients, parameters)


def _flat(
    gradients: Sequence[torch.Tensor | None], parameters: Sequence[nn.Parameter]
) -> torch.Tensor:
    return torch.cat(
        [
            torch.zeros_like(parameter).flatten() if gradient is None else gradient.flatten()
            for gradient, parameter in zip(gradients, parameters, strict=True)
        ]
    )
