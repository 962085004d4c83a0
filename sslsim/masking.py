"""Which patches of an image a masked autoencoder sees."""

from __future__ import annotations

import torch


def mask_patches(
    n: int, patches: int, share: float, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Choose the patches to keep and to mask, uniformly without replacement (2111.06377, 3).

    Parameters
    ----------
    n : int
        Number of images.
    patches : int
        Patches of an image.
    share : float
        Share of them to mask, rounded to whole patches; 3/4 in the paper.
    generator : torch.Generator
        Advanced; the result is on its device.

    Returns
    -------
    kept : Tensor of int64, shape (n, p - m)
        Places of the patches to keep, ascending in every row.
    masked : Tensor of int64, shape (n, m)
        Places of the others, ascending in every row.

    Raises
    ------
    ValueError
        If there is no image or not at least one patch to keep and one to mask.

    Notes
    -----
    Row i belongs to image i: a process that trains on rows of a batch takes those rows.

    Examples
    --------
    >>> kept, masked = mask_patches(2, 16, 0.75, torch.Generator().manual_seed(0))
    >>> kept.shape, masked.shape
    (torch.Size([2, 4]), torch.Size([2, 12]))
    """
    m = round(share * patches) if 0 < share < 1 else 0
    if n < 1 or not 1 <= m < patches:
        raise ValueError(
            f"share {share} of {patches} patches of {n} images; "
            "expected a share that keeps and masks at least one patch of at least one image"
        )
    draws = torch.rand(n, patches, generator=generator, device=generator.device)
    order = draws.argsort(dim=1, stable=True)
    return order[:, m:].sort(dim=1).values, order[:, :m].sort(dim=1).values
