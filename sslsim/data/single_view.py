"""One view of every image: a pure function of the images and a generator."""

from __future__ import annotations

from functools import partial

import torch

from sslsim.core.names import VIEWS
from sslsim.data.augmentation import (
    MASK,
    SIMCLR,
    STRONG,
    WEAK,
    Recipe,
    change_images,
    draw_changes,
    recipe_without,
    take_rows,
)
from sslsim.data.own_views import Kind, is_own, own_view, own_view_shape

RECIPES: dict[str, tuple[Recipe, Recipe]] = {  # recipes of the first and the second view
    "simclr": (SIMCLR, SIMCLR),
    "weak": (WEAK, WEAK),
    "strong": STRONG,
    "mask": (MASK, MASK),
}

NOISE = 0.1  # standard deviation of the noise view, for pixels in [0, 1]


def view_shape(kind: Kind, shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Shape of one view of an image.

    Parameters
    ----------
    kind : str or callable
        Kind of the views, one of ``VIEWS``, or a function as for
        :func:`sslsim.data.own_views.own_view`.
    shape : tuple of int or torch.Size, length 3
        Channels, height and width of the image.

    Returns
    -------
    tuple of int
        Channels, height and width of the view.

    Raises
    ------
    ValueError
        If the kind is unknown or the image is too small to crop.

    Examples
    --------
    >>> view_shape("crops", (3, 32, 32))
    (3, 24, 24)
    """
    if is_own(kind):
        return own_view_shape(kind, tuple(shape))
    if kind not in VIEWS:
        raise ValueError(
            f"unknown views {kind!r}; expected one of {', '.join(VIEWS)}, or package.module:name"
        )
    channels, height, width = shape
    if kind != "crops":
        return channels, height, width
    edge = 3 * min(height, width) // 4
    if edge < 1:
        raise ValueError(f"images are {height} x {width}; expected at least 2 x 2 to crop")
    return channels, edge, edge


def draw_view(
    images: torch.Tensor,
    kind: Kind,
    generator: torch.Generator,
    *,
    which: int = 0,
    dtype: torch.dtype = torch.float32,
    noise: float = NOISE,
) -> torch.Tensor:
    """Draw one view of every image.

    Parameters
    ----------
    images : Tensor of uint8, shape (n, c, h, w)
        The images; views are drawn on their device.
    kind : {"crops", "noise", "simclr", "weak", "strong", "mask"} or callable
        ``crops``: a square of 3/4 of the shorter edge (24 of 32 pixels) at a uniform place,
        mirrored left to right with probability 1/2. ``noise``: the image plus independent normal
        noise on every pixel, not clamped. The others are recipes of
        :mod:`sslsim.data.augmentation`: SimCLR's (``simclr``), crop and flip only (``weak``), the
        asymmetric one of BYOL and Barlow Twins (``strong``), and the crop and flip of masked
        autoencoders (``mask``). Or a function of the user's, or its name, as for
        :func:`sslsim.data.own_views.own_view`.
    generator : torch.Generator
        Generator on the device of the images.
    which : {0, 1}
        First or second view of a pair; they differ only for ``strong``.
    dtype : torch.dtype
        Floating type of the result. The draws do not depend on it.
    noise : float
        Standard deviation of ``noise``, in units of the full range of a pixel.

    Returns
    -------
    Tensor, shape (n, c, h', w')
        Views of the shape of :func:`view_shape`. Pixels are in [0, 1]; those of noise views may
        leave it.

    Raises
    ------
    ValueError
        If the images are not uint8 of that shape, the kind or the view is unknown, or the noise is
        negative.

    Notes
    -----
    Sample i of the result depends on the state of the generator, the batch size, i and image i, but
    not on other images.

    Examples
    --------
    >>> images = torch.full((2, 1, 8, 8), 51, dtype=torch.uint8)
    >>> view = draw_view(images, "crops", torch.Generator().manual_seed(0))
    >>> tuple(view.shape), view.unique().tolist()
    ((2, 1, 6, 6), [0.20000000298023224])
    """
    return placed_view(images, kind, generator, which=which, dtype=dtype, noise=noise)[0]


def placed_view(
    images: torch.Tensor,
    kind: Kind,
    generator: torch.Generator,
    *,
    which: int = 0,
    dtype: torch.dtype = torch.float32,
    noise: float = NOISE,
    rows: slice = slice(None),
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Draw one view of some rows of a batch, with its position in the image.

    Parameters
    ----------
    images, kind, generator, which, dtype, noise
        As in :func:`draw_view`; ``images`` are all images of the batch.
    rows : slice
        Rows to compute. Draws are made for all rows, so that on the CPU the result has the same
        bits as these rows of the whole batch.

    Returns
    -------
    view : Tensor, shape (r, c, h', w')
        Views of these rows.
    boxes : Tensor of float32, shape (r, 5), or None
        Top, left, height and width in pixels of the image, and 1 if the view is mirrored, else 0.
        None for noise, which moves nothing, and for functions of the user's.

    Raises
    ------
    ValueError
        As in :func:`draw_view`.

    Examples
    --------
    >>> images = torch.zeros(2, 1, 8, 8, dtype=torch.uint8)
    >>> _, boxes = placed_view(images, "crops", torch.Generator().manual_seed(0))
    >>> boxes[:, 2:4].tolist()
    [[6.0, 6.0], [6.0, 6.0]]
    """
    check_images(images)
    shape = view_shape(kind, images.shape[1:])
    if which not in (0, 1):
        raise ValueError(f"which is {which}; expected 0 or 1, the first or the second view")
    if not 0 <= noise < float("inf"):
        raise ValueError(f"noise is {noise}; expected a finite number of at least 0")
    if is_own(kind):
        return own_view(images, kind, generator, which=which, dtype=dtype, rows=rows), None
    assert isinstance(kind, str)
    if kind == "crops":
        return _crops(images, shape[-1], generator, dtype, rows)
    if kind == "noise":
        normal = torch.randn(images.shape, generator=generator, device=images.device)
        pixels = images[rows].to(dtype).div_(255)
        return pixels.add_(normal[rows].to(dtype).mul_(noise)), None
    return recipe_view(images, RECIPES[kind][which], generator, dtype=dtype, rows=rows)


def recipe_view(
    images: torch.Tensor,
    recipe: Recipe,
    generator: torch.Generator,
    *,
    size: tuple[int, int] | None = None,
    dtype: torch.dtype = torch.float32,
    rows: slice = slice(None),
) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw one view of some rows of a batch by a recipe.

    Parameters
    ----------
    images : Tensor of uint8, shape (n, c, h, w)
        All images of the batch.
    recipe : Recipe
        Recipe, as in :mod:`sslsim.data.augmentation`.
    generator : torch.Generator
        Generator on the device of the images.
    size : tuple of int
        Height and width of the view. Default: those of the images.
    dtype : torch.dtype
        Floating type of the view.
    rows : slice
        Rows to compute.

    Returns
    -------
    view : Tensor, shape (r, c, h', w')
        Views with pixels in [0, 1].
    boxes : Tensor of float32, shape (r, 5)
        Boxes, as in :func:`placed_view`.

    Raises
    ------
    ValueError
        If the images are not uint8 of that shape.

    Examples
    --------
    >>> images = torch.zeros(3, 1, 8, 8, dtype=torch.uint8)
    >>> view, boxes = recipe_view(images, WEAK, torch.Generator(), size=(4, 4), rows=slice(2))
    >>> tuple(view.shape), tuple(boxes.shape)
    ((2, 1, 4, 4), (2, 5))
    """
    check_images(images)
    n, _, height, width = images.shape
    changes = take_rows(draw_changes(n, height, width, recipe, generator, size=size), rows)
    view = change_images(images[rows], changes, size=size, dtype=dtype)
    return view, torch.cat([changes.boxes, changes.flip[:, None].to(changes.boxes)], dim=1)


def views_without(
    images: torch.Tensor, generator: torch.Generator, *, kind: str, part: str
) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw two views of every image by the recipes of a kind without one part.

    The function is of the form of :func:`sslsim.data.own_views.own_view`:
    ``simclr_without_jitter`` and the others below can be named as views, as in
    ``--views sslsim.data.single_view:simclr_without_jitter``.

    Parameters
    ----------
    images : Tensor of uint8, shape (n, c, h, w)
        The images.
    generator : torch.Generator
        Generator on the device of the images.
    kind : {"simclr", "weak", "strong", "mask"}
        Kind of the views.
    part : str
        Part that is left out, one of :data:`sslsim.data.augmentation.PARTS`.

    Returns
    -------
    tuple of Tensor, shape (n, c, h, w)
        Views with pixels in [0, 1].

    Raises
    ------
    ValueError
        If the kind has no recipe, the part is unknown, or the images are not uint8 of that shape.

    Examples
    --------
    >>> images = torch.arange(48, dtype=torch.uint8).reshape(1, 3, 4, 4)
    >>> first, _ = views_without(images, torch.Generator(), kind="weak", part="flip")
    >>> first.shape
    torch.Size([1, 3, 4, 4])
    """
    if kind not in RECIPES:
        raise ValueError(f"views is {kind!r}; expected one of {', '.join(RECIPES)}")
    first, second = (
        recipe_view(images, recipe_without(recipe, part), generator)[0] for recipe in RECIPES[kind]
    )
    return first, second


simclr_without_crop = partial(views_without, kind="simclr", part="crop")
simclr_without_flip = partial(views_without, kind="simclr", part="flip")
simclr_without_jitter = partial(views_without, kind="simclr", part="jitter")
simclr_without_grey = partial(views_without, kind="simclr", part="grey")
simclr_without_colour = partial(views_without, kind="simclr", part="colour")
simclr_without_blur = partial(views_without, kind="simclr", part="blur")


def check_images(images: torch.Tensor) -> None:
    """Raise an error unless images are bytes with one or three channels.

    Parameters
    ----------
    images : Tensor
        Images to check.

    Raises
    ------
    ValueError
        If ``images`` is not uint8 of shape (n, c, h, w) with c of 1 or 3.

    Examples
    --------
    >>> check_images(torch.zeros(2, 3, 8, 8, dtype=torch.uint8))
    """
    if images.ndim != 4 or images.dtype != torch.uint8 or images.shape[1] not in (1, 3):
        raise ValueError(
            f"images is {images.dtype} of shape {tuple(images.shape)}; "
            "expected uint8 of shape (n, c, h, w) with c of 1 or 3"
        )


def _crops(
    images: torch.Tensor,
    edge: int,
    generator: torch.Generator,
    dtype: torch.dtype,
    rows: slice,
) -> tuple[torch.Tensor, torch.Tensor]:
    n, _, height, width = images.shape
    device = images.device
    top = torch.randint(height - edge + 1, (n, 1), generator=generator, device=device)[rows]
    left = torch.randint(width - edge + 1, (n, 1), generator=generator, device=device)[rows]
    mirrored = torch.randint(2, (n, 1), generator=generator, device=device)[rows]
    along = torch.arange(edge, device=device)
    down = (top + along)[:, :, None]  # (r, e, 1)
    across = (left + torch.where(mirrored.bool(), along.flip(0), along))[:, None, :]  # (r, 1, e)
    places = torch.arange(n, device=device)[rows, None, None]
    crops = images[places, :, down, across].permute(0, 3, 1, 2)
    sides = torch.full_like(top, edge)
    boxes = torch.cat([top, left, sides, sides, mirrored], dim=1)
    return crops.to(dtype).div_(255), boxes.to(torch.float32)
