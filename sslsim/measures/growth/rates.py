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

The actual velocity of a run differs from gradient flow: momentum lags and rings. Given the velocity
of the parameters, which the optimiser's buffers hold, the eigenvalue's own is grad lambda_u . v.

A matrix whose rows are followed by a normalisation is free of scale: every row w is orthogonal to
its gradient. A mode's amplitude a then depends on an angle theta with
|w| |d ln(a)/dw| = cot(theta), and the square of this number is the room in which the direction can
still turn towards the mode.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from sslsim.measures.growth.parameters import copied_parameters, flat_gradient, flattened
from sslsim.measures.growth.pull import SPECTRA, Objective, pull_curve
from sslsim.measures.snapshots import HeldOutPairs, batch_statistics

_FREE_OF_SCALE = 0.01  # cosine of rows with their gradients, below which they are orthogonal


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
    actual : Tensor, shape (k,)
        d ln(lambda_u) / dt by the velocity of the parameters; NaN if none was given.
    rooms : Tensor, shape (k, p)
        cot^2(theta) of every parameter tensor that is free of scale, infinite for others.
    z, z_prime : Tensor, shape (n, d)
        Embeddings of both views.
    """

    lam: torch.Tensor
    directions: torch.Tensor
    functions: torch.Tensor
    rates: torch.Tensor
    own: torch.Tensor
    shares: torch.Tensor
    names: tuple[str, ...]
    loss: float
    actual: torch.Tensor
    rooms: torch.Tensor
    z: torch.Tensor
    z_prime: torch.Tensor


def growth(
    encoder: nn.Module,
    pairs: HeldOutPairs,
    objective: Objective,
    modes: Sequence[int],
    *,
    spectrum: str = "cross",
    velocity: Sequence[torch.Tensor] | None = None,
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
    velocity : sequence of Tensor, optional
        Velocities of the parameters that require gradients, in their order, in flow time.

    Returns
    -------
    Growth
        Float64 tensors, detached.

    Raises
    ------
    ValueError
        If a mode is out of range, the spectrum unknown, no parameter moves, or the velocities are
        not those of the parameters.

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
    moving, parameters, names = copied_parameters(encoder)
    sizes = [parameter.numel() for parameter in parameters]
    with batch_statistics(moving):
        z, z_prime = moving(pairs.x.double()), moving(pairs.x_prime.double())
    lam, directions = _modes(z.detach(), z_prime.detach(), spectrum)
    if not all(0 <= mode < len(lam) for mode in modes):
        raise ValueError(f"modes is {list(modes)}; expected numbers from 0 to {len(lam) - 1}")
    loss = objective(z, z_prime)
    # Zeros where the loss does not look at one of the views.
    pulls = torch.autograd.grad(loss, (z, z_prime), retain_graph=True, materialize_grads=True)
    downhill = flat_gradient(loss, parameters)
    speed = None if velocity is None else _velocity(velocity, parameters)
    rows, rooms = [], []
    for mode in modes:
        u = directions[:, mode]
        # Eigenvectors change at first order, eigenvalues as if they did not.
        uphill = flat_gradient(_eigenvalue(z @ u, z_prime @ u, spectrum), parameters)
        own = uphill * _own_velocity((z, z_prime), pulls, u, spectrum, parameters)
        by_parameter = torch.stack([part.sum() for part in own.split(sizes)])
        actual = uphill.new_tensor(torch.nan) if speed is None else uphill @ speed
        first = torch.stack([-(uphill @ downhill), actual])
        rows.append(torch.cat([first, by_parameter]) / lam[mode])
        rooms.append(_rooms(uphill / lam[mode], parameters))
    functions = torch.cat([z, z_prime]).detach() @ directions
    if spectrum == "covariance":
        functions = functions - functions.mean(dim=0)
    rates = torch.stack(rows).detach() if rows else lam.new_zeros(0, 2 + len(sizes))
    shares = rates[:, 2:]
    return Growth(
        lam=lam,
        directions=directions,
        functions=functions,
        rates=rates[:, 0],
        own=shares.sum(dim=1),
        shares=shares,
        names=names,
        loss=float(loss.detach()),
        actual=rates[:, 1],
        rooms=torch.stack(rooms) if rooms else lam.new_zeros(0, len(sizes)),
        z=z.detach(),
        z_prime=z_prime.detach(),
    )


def adaptation(
    encoder: nn.Module,
    pairs: HeldOutPairs,
    objective: Objective,
    mode: int,
    *,
    spectrum: str = "cross",
    growth_by: float = 0.01,
    now: Growth | None = None,
) -> float:
    """How much the own rate of a mode grows with it: d ln(rate / g) / d ln(lambda).

    Parameters
    ----------
    encoder, pairs, objective, spectrum
        As in :func:`growth`; the encoder is left as it is.
    mode : int
        Number of the mode, from 0.
    growth_by : float
        ln(lambda) gained by the step along the own flow of the mode, other than 0. Large steps mix
        the mode with learned ones.
    now : Growth, optional
        :func:`growth` of this mode alone at this encoder, where it is known already.

    Returns
    -------
    float
        0 for a fixed kernel whose mode keeps its shape, 1/2 for two balanced factors, 1 - 1/N for
        N, negative where features are used up; NaN if the loss does not pull the mode up.

    Raises
    ------
    ValueError
        As in :func:`growth`, and if ``growth_by`` is 0 or not finite.

    Notes
    -----
    A difference between two networks, the second a small step further along the pull on this mode
    alone. The pull g itself is measured on the embeddings of the first and divided out. See
    :mod:`theory.growth.adaptation`.

    Examples
    --------
    >>> from sslsim.objectives import barlow_twins
    >>> layer = nn.Linear(2, 1, bias=False)  # one layer: a fixed kernel
    >>> _ = layer.weight.data.copy_(torch.tensor([[0.1, 0.0]]))
    >>> round(adaptation(layer, HeldOutPairs(torch.eye(2), torch.eye(2)), barlow_twins, 0), 6)
    0.0
    """
    if not (math.isfinite(growth_by) and growth_by != 0):
        raise ValueError(f"growth_by is {growth_by}; expected a finite number other than 0")
    if now is None:
        now = growth(encoder, pairs, objective, [mode], spectrum=spectrum)
    rate = float(now.own[0])
    if rate <= 0:
        return math.nan
    later, parameters, _ = copied_parameters(encoder)
    with batch_statistics(later):
        z, z_prime = later(pairs.x.double()), later(pairs.x_prime.double())
    loss = objective(z, z_prime)
    pulls = torch.autograd.grad(loss, (z, z_prime), retain_graph=True, materialize_grads=True)
    u = now.directions[:, mode]
    step = _own_velocity((z, z_prime), pulls, u, spectrum, parameters) * (growth_by / rate)
    with torch.no_grad():
        sizes = [parameter.numel() for parameter in parameters]
        for parameter, part in zip(parameters, step.split(sizes), strict=True):
            parameter.add_(part.view_as(parameter))
    then = growth(later, pairs, objective, [mode], spectrum=spectrum)
    grown = float(torch.log(then.lam[mode] / now.lam[mode]))
    strength = pull_curve(
        now.z, now.z_prime, u, objective, [1.0, math.exp(grown)], spectrum=spectrum
    )
    ratio = float(then.own[0]) / rate / float(strength[1] / strength[0])
    return math.log(ratio) / grown if ratio > 0 and grown != 0 else math.nan


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
    later, parameters, _ = copied_parameters(encoder)
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


def _own_velocity(
    embeddings: tuple[torch.Tensor, torch.Tensor],
    pulls: Sequence[torch.Tensor],
    u: torch.Tensor,
    spectrum: str,
    parameters: Sequence[nn.Parameter],
) -> torch.Tensor:
    """Velocity of the parameters by the pull of the loss on the mode u alone."""
    f, f_prime = (side @ u for side in embeddings)
    if spectrum == "covariance":  # the mode is what varies
        mean = torch.cat([f, f_prime]).mean()
        f, f_prime = f - mean, f_prime - mean
    return -flat_gradient(f @ (pulls[0] @ u) + f_prime @ (pulls[1] @ u), parameters)


def _velocity(velocity: Sequence[torch.Tensor], parameters: Sequence[nn.Parameter]) -> torch.Tensor:
    shapes = [[tuple(part.shape) for part in parts] for parts in (velocity, parameters)]
    if shapes[0] != shapes[1]:
        raise ValueError(
            f"velocity has {len(shapes[0])} tensors of other shapes than the {len(shapes[1])} "
            "parameters; expected one for each"
        )
    return flattened([part.double() for part in velocity], parameters)


def _rooms(slope: torch.Tensor, parameters: Sequence[nn.Parameter]) -> torch.Tensor:
    """cot^2(theta) of each tensor by the gradient of ln(lambda), infinite unless free of scale."""
    rooms = []
    for part, parameter in zip(
        slope.split([p.numel() for p in parameters]), parameters, strict=True
    ):
        room = torch.inf
        if parameter.ndim > 1:
            rows, gradients = parameter.detach().flatten(1), part.view_as(parameter).flatten(1)
            along = float((rows * gradients).sum(dim=1).square().sum())
            whole = float((rows.square().sum(dim=1) * gradients.square().sum(dim=1)).sum())
            if 0 <= along < _FREE_OF_SCALE**2 * whole:
                room = whole / 4  # of the amplitude, whose square lambda is
        rooms.append(room)
    return slope.new_tensor(rooms)
