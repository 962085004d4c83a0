"""Images as sequences of patches, and the patches' fixed positions."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from sslsim.encoders.checks import check_count, check_counts


def patchify(images: torch.Tensor, patch_size: int) -> torch.Tensor:
    """Cut images into square patches, row by row from the top left.

    Parameters
    ----------
    images : Tensor, shape (n, c, h, w)
        Any type.
    patch_size : int
        Side p of the patches, which divides h and w.

    Returns
    -------
    Tensor, shape (n, h w / p^2, c p^2)
        Each patch channel by channel, in a channel row by row.

    Raises
    ------
    ValueError
        If there are no four axes or patches do not tile the images.

    Examples
    --------
    >>> patchify(torch.arange(8).reshape(1, 1, 2, 4), 2).tolist()
    [[[0, 1, 4, 5], [2, 3, 6, 7]]]
    """
    if images.ndim != 4:
        raise ValueError(f"images have shape {tuple(images.shape)}; expected (n, c, h, w)")
    n, c, height, width = images.shape
    rows, columns = patch_grid(height, width, patch_size)
    cut = images.reshape(n, c, rows, patch_size, columns, patch_size)
    return cut.permute(0, 2, 4, 1, 3, 5).reshape(n, rows * columns, c * patch_size**2)


def unpatchify(patches: torch.Tensor, patch_size: int, shape: Sequence[int]) -> torch.Tensor:
    """Put patches together again, the inverse of ``patchify``.

    Parameters
    ----------
    patches : Tensor, shape (n, h w / p^2, c p^2)
        As ``patchify`` returns them.
    patch_size : int
        Side p of the patches.
    shape : (int, int, int)
        Channels c, height h and width w of the images.

    Returns
    -------
    Tensor, shape (n, c, h, w)

    Raises
    ------
    ValueError
        If shapes do not fit or patches do not tile the images.

    Examples
    --------
    >>> images = torch.rand(2, 3, 8, 4)
    >>> torch.equal(unpatchify(patchify(images, 4), 4, (3, 8, 4)), images)
    True
    """
    c, height, width = check_counts("shape", shape, 3)
    rows, columns = patch_grid(height, width, patch_size)
    expected = (rows * columns, c * patch_size**2)
    if patches.ndim != 3 or tuple(patches.shape[1:]) != expected:
        raise ValueError(f"patches have shape {tuple(patches.shape)}; expected (n, *{expected})")
    cut = patches.reshape(len(patches), rows, columns, c, patch_size, patch_size)
    return cut.permute(0, 3, 1, 4, 2, 5).reshape(len(patches), c, height, width)


def position_embedding(rows: int, columns: int, width: int) -> torch.Tensor:
    r"""Sines and cosines of the places in a grid (arXiv 1706.03762, section 3.5, on each axis).

    Parameters
    ----------
    rows, columns : int
        Of the grid.
    width : int
        Of the tokens, a multiple of 4.

    Returns
    -------
    Tensor, shape (rows columns, width)
        Row by row from the top left. With frequencies :math:`10000^{-4 i / width}`, i from 0, four
        quarters: sines and cosines of the row's, sines and cosines of the column's number.

    Raises
    ------
    ValueError
        If a size is not above zero or the width no multiple of 4.

    Examples
    --------
    >>> position_embedding(1, 2, 4)[0].tolist()
    [0.0, 1.0, 0.0, 1.0]
    """
    check_counts("rows and columns", (rows, columns))
    if check_count("width", width) % 4:
        raise ValueError(f"width is {width}; expected a multiple of 4")
    quarter = width // 4
    frequency = 10_000 ** (-torch.arange(quarter, dtype=torch.float64) / quarter)
    places = torch.cartesian_prod(torch.arange(rows), torch.arange(columns))  # (rows columns, 2)
    angle = places[:, :, None] * frequency  # (rows columns, 2, width / 4)
    waves = torch.stack([angle.sin(), angle.cos()], dim=2)
    return waves.reshape(rows * columns, width).to(torch.get_default_dtype())


def patch_grid(height: int, width: int, patch_size: int) -> tuple[int, int]:
    """Rows and columns of patches.

    Parameters
    ----------
    height, width : int
        Size of the images in pixels.
    patch_size : int
        Side of the patches in pixels.

    Returns
    -------
    (int, int)

    Raises
    ------
    ValueError
        If patches do not tile the image.

    Examples
    --------
    >>> patch_grid(8, 12, 4)
    (2, 3)
    """
    check_count("patch_size", patch_size)
    if height % patch_size or width % patch_size:
        raise ValueError(
            f"patch_size is {patch_size}; expected a divisor of height {height} and width {width}"
        )
    return height // patch_size, width // patch_size


def default_patch_size(height: int, width: int) -> int:
    """4 for images whose longer side is below 64 pixels, 8 below 128, else 16.

    Parameters
    ----------
    height, width : int
        Size of the images in pixels.

    Returns
    -------
    int

    Examples
    --------
    >>> default_patch_size(32, 32), default_patch_size(96, 96), default_patch_size(224, 224)
    (4, 8, 16)
    """
    side = max(height, width)
    return 4 if side < 64 else 8 if side < 128 else 16
