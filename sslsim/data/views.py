"""Augmented views of the images of a training step, and the size of a network's input."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn

from sslsim.core.names import TRAINING_VIEWS
from sslsim.data.augmentation import STRONG
from sslsim.data.datasets import Images
from sslsim.data.own_views import Kind, is_own
from sslsim.data.pairs import PairStream, draw_pairs
from sslsim.data.single_view import (
    NOISE,
    VIEWS,
    check_images,
    draw_view,
    placed_view,
    recipe_view,
    view_shape,
)
from sslsim.encoders.vit import default_patch_size

__all__ = [
    "NOISE",
    "TRAINING_VIEWS",
    "VIEWS",
    "PairStream",
    "Views",
    "draw_pairs",
    "draw_view",
    "draw_views",
    "view_shape",
]

LOCAL_VIEWS = 6
LOCAL_SHARE = 3 / 7  # of the side of an image: 96 of 224 pixels
MASKED_SHARE = 0.75  # of the patches (2111.06377, section 3)

_RESIZED = 256  # images at a time
_LEAST_AREA = 0.05  # of a local crop


def mask_patches(
    n: int, patches: int, share: float, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Choose the visible and the masked patches, uniformly without replacement.

    Parameters
    ----------
    n : int
        Number of images.
    patches : int
        Number of patches of an image.
    share : float
        Share of patches to mask, rounded to whole patches; 3/4 in the paper.
    generator : torch.Generator
        Generator of the draws; the result is on its device.

    Returns
    -------
    visible : Tensor of int64, shape (n, p - m)
        Indices of the visible patches, ascending in every row.
    masked : Tensor of int64, shape (n, m)
        Indices of the masked patches, ascending in every row.

    Raises
    ------
    ValueError
        If there is no image, no visible patch or no masked patch.

    Notes
    -----
    arXiv 2111.06377, section 3. Row i belongs to image i: a process that trains on some rows of a
    batch uses these rows.

    Examples
    --------
    >>> visible, masked = mask_patches(2, 16, 0.75, torch.Generator().manual_seed(0))
    >>> visible.shape, masked.shape
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


@dataclass(frozen=True, eq=False)
class Views:
    """Views of some rows of a batch, the result of :func:`draw_views`.

    Attributes
    ----------
    views : tuple of Tensor, each of shape (r, c, h', w')
        The two views of a pair, or the single view of ``mask``. For ``multicrop`` the two global
        views, then the smaller local views.
    boxes : Tensor of float32, shape (r, v, 5), or None
        Position of view v in its image: top, left, height and width in pixels of the image, and 1
        if it is mirrored, else 0. None for noise, which moves nothing.
    visible, masked : Tensor of int64, shape (r, k) and (r, p - k), or None
        Visible and masked patches of a view of ``mask``, from :func:`mask_patches`; three quarters
        are masked. Patches are squares of ``sslsim.encoders.vit.default_patch_size``. None for
        other kinds, and if patches do not tile the image or there is only one.
    """

    views: tuple[torch.Tensor, ...]
    boxes: torch.Tensor | None
    visible: torch.Tensor | None = None
    masked: torch.Tensor | None = None

    def each(self, change: Callable[[torch.Tensor], torch.Tensor]) -> Views:
        """Apply a function to every tensor, for instance select rows or move to a device."""
        boxes, visible, masked = (
            None if tensor is None else change(tensor)
            for tensor in (self.boxes, self.visible, self.masked)
        )
        return Views(tuple(map(change, self.views)), boxes, visible, masked)


def draw_views(
    images: torch.Tensor,
    kind: Kind,
    generator: torch.Generator,
    *,
    dtype: torch.dtype = torch.float32,
    noise: float = NOISE,
    rows: slice = slice(None),
    local_views: int = LOCAL_VIEWS,
    local_size: tuple[int, int] | None = None,
    split: float = 0.4,
) -> Views:
    """Draw the views of a training step.

    Parameters
    ----------
    images : Tensor of uint8, shape (n, c, h, w)
        The images of the whole batch.
    kind : str or callable
        Kind of the views, one of ``TRAINING_VIEWS``: those of :func:`draw_view`, also a function,
        and ``multicrop``: two global views at the size of the images and several smaller local
        views, with the colour changes of ``strong``; half of the local views are blurred
        (2006.09882, section 3;
        2104.14294, section 3.1).
    generator : torch.Generator
        Generator on the device of the images; its draws do not depend on ``rows``.
    dtype : torch.dtype
        Floating type of the views. The draws do not depend on it.
    noise : float
        Standard deviation of the noise, as in :func:`draw_view`.
    rows : slice
        Rows of the batch to compute. On the CPU the views have the same bits as these rows of the
        views of the whole batch. Pixels of other rows are not computed; only noise, which has one
        draw for each pixel, is drawn for all rows.
    local_views : int
        Number of local views of ``multicrop``, at least 0.
    local_size : tuple of int
        Height and width of local views. Default: 3/7 of the images', rounded, at least 1.
    split : float
        Area of the smallest global and the largest local crop, as a share of the image; the
        smallest local crop has 0.05.

    Returns
    -------
    Views
        The views, with their boxes or patches.

    Raises
    ------
    ValueError
        If the images are not uint8 of that shape, the kind is unknown, or an option out of range.

    Examples
    --------
    >>> images = torch.zeros(4, 3, 14, 14, dtype=torch.uint8)
    >>> batch = draw_views(images, "multicrop", torch.Generator(), rows=slice(0, 2), local_views=1)
    >>> [tuple(view.shape) for view in batch.views], tuple(batch.boxes.shape)
    ([(2, 3, 14, 14), (2, 3, 14, 14), (2, 3, 6, 6)], (2, 3, 5))
    """
    _check_kind(kind)
    if kind != "multicrop":
        drawn = [
            placed_view(images, kind, generator, which=i, dtype=dtype, noise=noise, rows=rows)
            for i in range(1 if kind == "mask" else 2)
        ]
        views = _gather(drawn)
        return _mask(views, images, generator, rows) if kind == "mask" else views
    check_images(images)
    height, width = images.shape[2:]
    small = local_size or (max(1, round(LOCAL_SHARE * height)), max(1, round(LOCAL_SHARE * width)))
    if local_views < 0 or len(small) != 2 or min(small) < 1:
        raise ValueError(
            f"local_views is {local_views} and local_size {small}; "
            "expected a count of at least 0 and two sides of at least 1"
        )
    if not _LEAST_AREA < split < 1:
        raise ValueError(f"split is {split}; expected a share between {_LEAST_AREA} and 1")
    recipes = [replace(recipe, area=(split, 1.0)) for recipe in STRONG]
    local = replace(STRONG[0], area=(_LEAST_AREA, split), blur_share=0.5)
    return _gather(
        [recipe_view(images, r, generator, dtype=dtype, rows=rows) for r in recipes]
        + [
            recipe_view(images, local, generator, size=small, dtype=dtype, rows=rows)
            for _ in range(local_views)
        ]
    )


def _check_kind(kind: Kind) -> None:
    if not is_own(kind) and kind not in TRAINING_VIEWS:
        raise ValueError(
            f"unknown views {kind!r}; expected one of {', '.join(TRAINING_VIEWS)}, or "
            "package.module:name"
        )


def _mask(views: Views, images: torch.Tensor, generator: torch.Generator, rows: slice) -> Views:
    n, _, height, width = images.shape
    size = default_patch_size(height, width)
    if height % size or width % size or height * width == size**2:
        return views
    visible, masked = mask_patches(n, height * width // size**2, MASKED_SHARE, generator)
    return replace(views, visible=visible[rows], masked=masked[rows])


def _gather(drawn: Sequence[tuple[torch.Tensor, torch.Tensor | None]]) -> Views:
    boxes = [box for _, box in drawn if box is not None]
    return Views(tuple(view for view, _ in drawn), torch.stack(boxes, dim=1) if boxes else None)


def crop_to_input(data: Images, kind: Kind) -> Images:
    """Crop plain images to the size of a network's input.

    Parameters
    ----------
    data : Images
        Images of any split.
    kind : str
        Kind of the views that the network was built for.

    Returns
    -------
    Images
        The centre of each image if views are smaller crops, else the images. For views of a
        function of the user's, images resized to their shape.

    Examples
    --------
    >>> from sslsim.data.datasets import load_images
    >>> crop_to_input(load_images(limit=20), "crops").images.shape
    torch.Size([20, 1, 6, 6])
    """
    shape = fed_shape(data, kind)
    if is_own(kind):
        return replace(data, images=_resized(data.images, shape))
    height, width = shape[1:]
    top, left = (data.images.shape[2] - height) // 2, (data.images.shape[3] - width) // 2
    return replace(data, images=data.images[..., top : top + height, left : left + width])


def _resized(images: torch.Tensor, shape: tuple[int, int, int]) -> torch.Tensor:
    """Bytes (n, c, h, w) at the shape of a view; grey images are repeated in every channel."""
    if images.shape[1] != shape[0]:
        if images.shape[1] != 1:
            raise ValueError(
                f"views have {shape[0]} channels and images {images.shape[1]}; expected as many, "
                "or grey images"
            )
        images = images.expand(-1, shape[0], -1, -1)
    if images.shape[2:] == shape[1:]:
        return images
    parts = [
        nn.functional.interpolate(part.float(), shape[1:], mode="bilinear", antialias=True)
        for part in images.split(_RESIZED)
    ]
    return torch.cat([part.round().clamp(0, 255).to(torch.uint8) for part in parts])


def fed_shape(data: Images, kind: Kind) -> tuple[int, int, int]:
    """Shape of a network's input.

    Parameters
    ----------
    data : Images
        The training images.
    kind : str
        Kind of the views.

    Returns
    -------
    tuple of int
        Channels, height and width of a view; for multi-crop those of the global views.

    Raises
    ------
    ValueError
        If the kind is unknown.

    Examples
    --------
    >>> from sslsim.data.datasets import load_images
    >>> fed_shape(load_images(limit=20), "crops")
    (1, 6, 6)
    """
    _check_kind(kind)
    shape = (data.images.shape[1], data.images.shape[2], data.images.shape[3])
    return view_shape(kind, shape) if is_own(kind) or kind in VIEWS else shape
