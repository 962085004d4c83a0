"""Spectral contrastive loss: a low-rank factorisation of the graph of augmentations."""

from __future__ import annotations

import torch

from sslsim.objectives._common import batch

DIAGONALS = ("exclude", "include")


def spectral_contrastive(
    z: torch.Tensor, z_prime: torch.Tensor, *, diagonal: str = "exclude"
) -> torch.Tensor:
    """Spectral contrastive loss, ``-2 E[f(x)^T f(x+)] + E[(f(x)^T f(x-))^2]``.

    Parameters
    ----------
    z, z_prime : Tensor, shape (n, d)
        Embeddings of the two views of the whole batch, n >= 2, neither centred nor scaled.
    diagonal : {"exclude", "include"}
        Pairs (z_i, z'_j) that represent x and an independent x-. ``"exclude"``: pairs of different
        samples, as in the authors' code; the loss of a batch is then an unbiased estimate of that
        of the population. ``"include"``: all n^2 pairs; this is the exact loss if the n samples are
        the whole population, where x- comes from the same sample with probability 1 / n.

    Returns
    -------
    Tensor, scalar
        Loss. With ``"include"`` and equal views it is ``||Z^T Z / n - I||_F^2 - d``, with minimum
        -d; the constant is left out, as in the paper. Half precision is converted to float32.

    Raises
    ------
    ValueError
        If shapes differ or are not (n, d), n < 2, or ``diagonal`` is unknown.

    Notes
    -----
    arXiv 2106.04156, section 3.2. The authors' code also shrinks embeddings to a ball, which is not
    part of the loss.

    Examples
    --------
    >>> z = torch.tensor([[1.0, 1.0], [1.0, -1.0]])
    >>> float(spectral_contrastive(z, z, diagonal="include")), float(spectral_contrastive(z, z))
    (-2.0, -4.0)
    """
    z, z_prime = batch(z=z, z_prime=z_prime)
    if diagonal not in DIAGONALS:
        raise ValueError(f"diagonal is {diagonal!r}; expected one of {', '.join(DIAGONALS)}")
    n = len(z)
    products = z @ z_prime.T  # (n, n)
    attraction = products.diagonal().mean()
    if diagonal == "include":
        return products.square().mean() - 2 * attraction
    others = products.square().sum() - products.diagonal().square().sum()
    return others / (n * (n - 1)) - 2 * attraction
