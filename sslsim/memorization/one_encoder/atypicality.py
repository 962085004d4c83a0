"""How atypical images are to an encoder that took no part in scoring them, without labels."""

from __future__ import annotations

import torch

from sslsim.core.unit_rows import unit_rows
from sslsim.data.datasets import Images
from sslsim.encoders.checks import check_count
from sslsim.measures.frozen import FrozenEncoder
from sslsim.measures.layers import features_of

_AT_ONCE = 2**24  # distances held at once


def atypicality(
    encoder: FrozenEncoder,
    images: torch.Tensor,
    population: torch.Tensor,
    k: int = 10,
    *,
    own: torch.Tensor | None = None,
) -> torch.Tensor:
    """Mean distance of every image to its nearest neighbours in an encoder's representation.

    Parameters
    ----------
    encoder : FrozenEncoder
        Its backbone represents the images, as they are and not as views. Where it takes smaller
        crops, it is fed with the centre.
    images : Tensor of uint8, shape (n, c, h, w)
        Images to measure.
    population : Tensor of uint8, shape (m, c, h, w)
        Images among which neighbours are looked for.
    k, own
        As for :func:`neighbour_distances`.

    Returns
    -------
    Tensor of float64, shape (n,)
        High for atypical images; on the CPU.

    Raises
    ------
    ValueError
        As :func:`neighbour_distances`.

    Examples
    --------
    >>> from sslsim.encoders.build import build_encoder
    >>> encoder = FrozenEncoder(build_encoder("linear", (1, 8, 8), 2, seed=0), None, "weak")
    >>> images = torch.randint(256, (6, 1, 8, 8), dtype=torch.uint8)
    >>> atypicality(encoder, images, images, k=2, own=torch.arange(6)).shape
    torch.Size([6])
    """

    def represented(part: torch.Tensor) -> torch.Tensor:
        return features_of(encoder, Images(part, None, ""), ["backbone"])["backbone"]

    return neighbour_distances(represented(images), represented(population), k, own=own)


def neighbour_distances(
    points: torch.Tensor,
    population: torch.Tensor,
    k: int = 10,
    *,
    own: torch.Tensor | None = None,
) -> torch.Tensor:
    """Mean distance of every point to its k nearest neighbours, representations of unit norm.

    Parameters
    ----------
    points : Tensor, shape (n, d)
        Representations; rows are scaled to unit norm.
    population : Tensor, shape (m, d)
        Representations of the possible neighbours, likewise.
    k : int
        Number of neighbours.
    own : Tensor of int64, shape (n,), optional
        Place of every point in the population, -1 where it is not in it: a point is no neighbour
        of itself. Default: no point is in it.

    Returns
    -------
    Tensor of float64, shape (n,)

    Raises
    ------
    ValueError
        If shapes do not fit, a value is not finite, or there are fewer than k neighbours.

    Examples
    --------
    >>> points = torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]])
    >>> neighbour_distances(points, points, 1, own=torch.arange(3)).round(decimals=4).tolist()
    [0.0, 0.0, 1.4142]
    """
    if points.ndim != 2 or population.ndim != 2 or points.shape[1] != population.shape[1]:
        raise ValueError(
            f"points has shape {tuple(points.shape)} and population {tuple(population.shape)}; "
            "expected (n, d) and (m, d) with equal d"
        )
    own = torch.full((len(points),), -1) if own is None else own
    if own.shape != (len(points),):
        raise ValueError(f"own has shape {tuple(own.shape)}; expected ({len(points)},)")
    check_count("k", k)
    others = len(population) - int(bool((own >= 0).any()))
    if k > others:
        raise ValueError(f"k is {k}; expected at most {others}, the other points")
    if not (bool(torch.isfinite(points).all()) and bool(torch.isfinite(population).all())):
        raise ValueError("points or population hold NaN or infinite values; expected finite")
    unit, others_unit = unit_rows(points.double()), unit_rows(population.double())
    squares = others_unit.square().sum(dim=1)
    means = []
    for rows in torch.arange(len(unit)).split(max(1, _AT_ONCE // len(others_unit))):
        part = unit[rows]
        gaps = part.square().sum(dim=1, keepdim=True) + squares - 2 * part @ others_unit.T
        inside = own[rows] >= 0
        gaps[inside.nonzero()[:, 0], own[rows][inside]] = torch.inf
        means.append(gaps.topk(k, dim=1, largest=False).values.clamp(min=0).sqrt().mean(dim=1))
    return torch.cat(means)
