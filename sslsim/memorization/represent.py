"""Representations of one batch under several encoders and layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn

from sslsim.core.names import DISTANCES
from sslsim.core.unit_rows import unit_rows
from sslsim.encoders.build import Encoder
from sslsim.encoders.features import features
from sslsim.encoders.output import as_parameters, network_output

Represent = Callable[[torch.Tensor], Sequence[torch.Tensor]]


def representations(
    encoders: Sequence[Callable[[torch.Tensor], torch.Tensor]],
    layers: Sequence[str] | None = None,
) -> Represent:
    """A function that gives the representations of a batch under every encoder and layer.

    Parameters
    ----------
    encoders : sequence of callable
        Each maps views (b, c, h, w) to representations (b, d). Of an ``Encoder`` the backbone's
        output is taken; modules are run in evaluation mode, on their device and in their floating
        type, and left as they were.
    layers : sequence of str, optional
        Layers of the encoders, all of which must then be of ``Encoder``: those that
        :func:`sslsim.encoders.features.features` takes, for scores by layer in one forward pass.

    Returns
    -------
    callable
        Views -> list of representations, layer by layer of the first encoder, then of the next.

    Raises
    ------
    ValueError
        If there are no encoders, or layers are named of something that is no ``Encoder``.

    Examples
    --------
    >>> represent = representations([nn.Flatten(), lambda views: views.mean(dim=(2, 3))])
    >>> [tuple(z.shape) for z in represent(torch.rand(2, 3, 4, 4))]
    [(2, 48), (2, 3)]
    """
    if not encoders:
        raise ValueError("no encoders were given; expected at least one")
    for encoder in encoders:
        if layers is not None and not isinstance(encoder, Encoder):
            raise ValueError(
                f"layers is {list(layers)} for a {type(encoder).__name__}; expected an Encoder"
            )

    def represent(views: torch.Tensor) -> list[torch.Tensor]:
        outputs: list[torch.Tensor] = []
        for encoder in encoders:
            if isinstance(encoder, Encoder):
                names = ["backbone"] if layers is None else layers
                fed = as_parameters(encoder, views)
                outputs += features(encoder, fed, names, batch_size=len(views)).values()
            elif isinstance(encoder, nn.Module):
                outputs.append(_evaluate(encoder, views))
            else:
                outputs.append(network_output(encoder, views))
        return outputs

    return represent


def _evaluate(module: nn.Module, views: torch.Tensor) -> torch.Tensor:
    flags = [(part, part.training) for part in module.modules()]
    try:
        module.eval()
        return network_output(module, views)
    finally:
        for part, training in flags:
            part.training = training


def distances(
    z: torch.Tensor, z_prime: torch.Tensor, distance: str = "l2", *, normalise: bool = True
) -> torch.Tensor:
    r"""Distance between every row and its partner.

    Parameters
    ----------
    z, z_prime : Tensor, shape (n, d)
        Representations of two views, samples in rows.
    distance : {"l2", "l1", "cosine", "angular", "sqeuclidean"}
        Euclidean, sum of absolute differences, one minus the cosine of the angle, that angle in
        radians (arccos of the cosine), squared Euclidean.
    normalise : bool
        Divide rows by their Euclidean norm first, as the published code does. Cosine and angular
        distances do not depend on it. A row of zeros stays, and is at a right angle to all others.

    Returns
    -------
    Tensor, shape (n,)
        None negative; exactly zero for equal rows.

    Raises
    ------
    ValueError
        If the shapes differ or are no matrices, or the distance is unknown.

    Notes
    -----
    arXiv 2401.12233, section 3. With a = ||u - v|| and b = ||u + v|| of unit rows the angle is
    2 atan2(a, b) and one minus its cosine 2 a^2 / (a^2 + b^2): the arccos of a rounded cosine would
    turn the angle of two equal rows into one of 1e-8.

    Examples
    --------
    >>> z, z_prime = torch.tensor([[3.0, 0.0]]), torch.tensor([[0.0, 2.0]])
    >>> [round(distances(z, z_prime, name).item(), 4) for name in DISTANCES]
    [1.4142, 2.0, 1.0, 1.5708, 2.0]
    """
    if distance not in DISTANCES:
        raise ValueError(f"distance is {distance!r}; expected one of {', '.join(DISTANCES)}")
    if z.ndim != 2 or z.shape != z_prime.shape:
        raise ValueError(
            f"z has shape {tuple(z.shape)} and z_prime {tuple(z_prime.shape)}; "
            "expected equal shapes (n, d)"
        )
    if z.is_complex() or z_prime.is_complex():
        raise ValueError("z or z_prime is complex; expected real numbers")
    angles = distance in ("cosine", "angular")
    if normalise or angles:
        z, z_prime = unit_rows(z), unit_rows(z_prime)
    gap = z - z_prime
    if distance == "l1":
        return gap.abs().sum(dim=1)
    squares = gap.square().sum(dim=1)
    if distance == "sqeuclidean":
        return squares
    if not angles:
        return squares.sqrt()
    sums = (z + z_prime).square().sum(dim=1)
    if distance == "angular":
        return 2 * torch.atan2(squares.sqrt(), sums.sqrt())
    return 2 * squares / torch.where(squares == 0, 1.0, squares + sums)
