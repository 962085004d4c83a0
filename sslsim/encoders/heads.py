"""Projectors and predictors on top of representations."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import nn

from sslsim.encoders.checks import check_count, check_counts


def projector(widths: Sequence[int], batch_norm: bool = True) -> nn.Sequential:
    """Linear, BatchNorm, ReLU, ..., linear, as in Barlow Twins and VICReg.

    Parameters
    ----------
    widths : sequence of int, two or more
        Dimensions of the representation, the hidden layers and the embedding. Barlow Twins and
        VICReg use (2048, 8192, 8192, 8192) (arXiv 2103.03230, section 2.2; 2105.04906,
        section 4.2).
    batch_norm : bool
        Whether hidden layers are normalised. Their linear maps have a bias only if they are not,
        since BatchNorm removes it. The last map has no bias.

    Returns
    -------
    nn.Sequential
        (n, widths[0]) -> (n, widths[-1]); its last module is the ``nn.Linear``. It has torch's
        default initialisation, from the global generator (see :func:`sslsim.core.seeds.seeded`).

    Raises
    ------
    ValueError
        If there are fewer than two widths or one is not above zero.

    Examples
    --------
    >>> [type(layer).__name__ for layer in projector((4, 8, 2))]
    ['Linear', 'BatchNorm1d', 'ReLU', 'Linear']
    """
    sizes = check_counts("widths", widths)
    if len(sizes) < 2:
        raise ValueError(f"widths is {widths!r}; expected two or more")
    layers: list[nn.Module] = []
    for a, b in pairwise(sizes[:-1]):
        layers.append(nn.Linear(a, b, bias=not batch_norm))
        if batch_norm:
            layers.append(nn.BatchNorm1d(b))
        layers.append(nn.ReLU())
    return nn.Sequential(*layers, nn.Linear(sizes[-2], sizes[-1], bias=False))


def predictor(dim: int, hidden: int) -> nn.Sequential:
    """BYOL's predictor: linear, BatchNorm, ReLU, linear (arXiv 2006.07733, section 3.3).

    Parameters
    ----------
    dim : int
        Dimension of the embedding and of the prediction; 256 in BYOL.
    hidden : int
        Width of the hidden layer; 4096 in BYOL.

    Returns
    -------
    nn.Sequential
        (n, dim) -> (n, dim), without biases before BatchNorm and in the last map.

    Raises
    ------
    ValueError
        If a width is not above zero.

    Examples
    --------
    >>> len(predictor(16, 64))
    4
    """
    return projector((check_count("dim", dim), check_count("hidden", hidden), dim))
