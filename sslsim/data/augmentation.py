"""Augmentation of batches, with separate draws for every sample.

A :class:`Recipe` gives the probability and strength of each change, :func:`draw_changes` draws the
:class:`Changes` of a batch from one generator, and :func:`change_images` applies them. The draws of
an image are a few numbers, so a process makes them for the whole batch and computes only its own
rows. All calls of exp, sqrt and cos belong to the draws. Pixels are resampled, multiplied and added
one operation after the other, so that a view has the same bits in every batch. Compared with matrix
products, this costs a sixth of the speed at 32 pixels and nothing at 96. Crop and flip are one
resampling; all changes of colour are one 3x3 matrix and one offset for each image.
There are four differences from a chain of torchvision's transforms on single images (2002.05709,
appendix A):

- crop boxes are not rounded to whole pixels, and shrinking is bilinear without antialiasing;
- colour changes have the fixed order brightness, contrast, saturation, hue, greyscale, and values
  are clamped to [0, 1] once, at the end;
- hue is a rotation about the grey axis, not a shift of the angle in HSV. The two agree at thirds of
  a turn; in between, the rotation keeps the mean of the channels, the shift their extremes. Within
  the range of the jitter, their changes have a cosine of at least 0.8;
- images whose shorter side is below 32 pixels are not blurred, since the kernel would be too
  small.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import torch

from sslsim.data.geometric import CROP_AREA, crop_boxes, resized_crop
from sslsim.data.photometric import (
    blur_edge,
    colour_factors,
    colour_jitter,
    gaussian_blur,
    gaussian_kernels,
    solarise,
)

BLUR_FROM = 32  # pixels of the shorter side of a view
BLUR_SIGMA = (0.1, 2.0)  # pixels

_CHUNK = 2**19  # values that a thread on the CPU changes at a time, to stay in its cache


@dataclass(frozen=True)
class Recipe:
    """Probability and strength of the changes of one view.

    Attributes
    ----------
    area : tuple of float
        Smallest and largest area of the crop, as a share of the image.
    jitter : tuple of float
        Largest change of brightness, contrast and saturation (factors are uniform in 1 - j to
        1 + j) and of hue (in full turns, uniform in -j to j).
    jitter_share, grey_share, blur_share, solarise_share, flip_share : float
        Probability of each change, from 0 to 1.

    Raises
    ------
    ValueError
        If a probability, an area or a strength is out of range.
    """

    area: tuple[float, float] = CROP_AREA
    jitter: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    jitter_share: float = 0.0
    grey_share: float = 0.0
    blur_share: float = 0.0
    solarise_share: float = 0.0
    flip_share: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.area[0] <= self.area[1] <= 1:
            raise ValueError(f"area is {self.area}; expected two ascending shares above 0")
        if len(self.jitter) != 4 or not all(0 <= j <= 1 for j in self.jitter):
            raise ValueError(f"jitter is {self.jitter}; expected four strengths from 0 to 1")
        for field in fields(self):
            share = getattr(self, field.name)
            if field.name.endswith("_share") and not 0 <= share <= 1:
                raise ValueError(f"{field.name} is {share}; expected a probability from 0 to 1")


# SimCLR's at colour strength 1/2 (2002.05709, appendices A and B.9).
SIMCLR = Recipe(jitter=(0.4, 0.4, 0.4, 0.1), jitter_share=0.8, grey_share=0.2, blur_share=0.5)
WEAK = Recipe(area=(0.5, 1.0))
# The two views of BYOL and Barlow Twins differ (2006.07733, table 6; 2103.03230, section 3).
_STRONG = (0.4, 0.4, 0.2, 0.1)
STRONG = (
    Recipe((0.08, 1.0), _STRONG, jitter_share=0.8, grey_share=0.2, blur_share=1.0),
    Recipe(
        (0.08, 1.0), _STRONG, jitter_share=0.8, grey_share=0.2, blur_share=0.1, solarise_share=0.2
    ),
)
MASK = Recipe(area=(0.2, 1.0))  # masked autoencoders crop and flip only (2111.06377, table 8)

_WITHOUT: dict[str, dict[str, Any]] = {  # what a recipe without a part has instead
    "crop": {"area": (1.0, 1.0)},
    "flip": {"flip_share": 0.0},
    "jitter": {"jitter_share": 0.0},
    "grey": {"grey_share": 0.0},
    "colour": {"jitter_share": 0.0, "grey_share": 0.0},
    "blur": {"blur_share": 0.0},
    "solarise": {"solarise_share": 0.0},
}
PARTS = tuple(_WITHOUT)
"""Parts of a recipe that can be left out: ``colour`` is jitter and greyscale together."""


def recipe_without(recipe: Recipe, part: str) -> Recipe:
    """Leave one part out of a recipe.

    Parameters
    ----------
    recipe : Recipe
        The recipe.
    part : str
        One of ``PARTS``. Without ``crop`` a view is the whole image.

    Returns
    -------
    Recipe
        The same if it has no such part.

    Raises
    ------
    ValueError
        If the part is unknown.

    Examples
    --------
    >>> recipe_without(SIMCLR, "jitter").jitter_share, recipe_without(SIMCLR, "jitter").grey_share
    (0.0, 0.2)
    """
    if part not in _WITHOUT:
        raise ValueError(f"part is {part!r}; expected one of {', '.join(PARTS)}")
    return replace(recipe, **_WITHOUT[part])


@dataclass(frozen=True, eq=False)
class Changes:
    """The drawn changes of n images, one row for each image.

    Attributes
    ----------
    boxes : Tensor of float32, shape (n, 4)
        Top, left, height and width of the crop in pixels.
    flip : Tensor of bool, shape (n,)
        Whether an image is mirrored.
    factors : Tensor of float64, shape (n, 5), or None
        Colour factors of :func:`sslsim.data.photometric.colour_factors`; None if the recipe has
        neither jitter nor greyscale.
    grey : Tensor of bool, shape (n,)
        Whether an image becomes grey.
    kernels : Tensor of float64, shape (n, r + 1), or None
        Kernels of :func:`sslsim.data.photometric.gaussian_kernels`; None without blur.
    solarised : Tensor of bool, shape (n,), or None
        Whether an image is solarised; None without solarising.
    """

    boxes: torch.Tensor
    flip: torch.Tensor
    factors: torch.Tensor | None
    grey: torch.Tensor
    kernels: torch.Tensor | None
    solarised: torch.Tensor | None


def draw_changes(
    n: int,
    height: int,
    width: int,
    recipe: Recipe,
    generator: torch.Generator,
    *,
    size: tuple[int, int] | None = None,
) -> Changes:
    """Draw the changes of a batch.

    Parameters
    ----------
    n : int
        Number of images.
    height, width : int
        Size of the images.
    recipe : Recipe
        Probability and strength of the changes.
    generator : torch.Generator
        Generator of the draws, which are on its device.
    size : tuple of int
        Height and width of the views. Default: those of the images. They determine whether views
        are blurred, and the size of the kernels.

    Returns
    -------
    Changes
        Drawn changes.

    Examples
    --------
    >>> changes = draw_changes(4, 8, 8, WEAK, torch.Generator().manual_seed(0))
    >>> changes.boxes.shape, changes.factors
    (torch.Size([4, 4]), None)
    """
    device = generator.device
    boxes = crop_boxes(n, height, width, generator, area=recipe.area)
    flip, jittered, grey = torch.rand(3, n, generator=generator, device=device)
    jitter = 2 * torch.rand(4, n, generator=generator, device=device) - 1
    jitter = jitter * (jittered < recipe.jitter_share)
    coloured = recipe.jitter_share > 0 or recipe.grey_share > 0
    brightness, contrast, saturation, hue = jitter * jitter.new_tensor(recipe.jitter)[:, None]
    kernels = solarised = None
    views = size or (height, width)
    if recipe.blur_share > 0 and min(views) >= BLUR_FROM:
        blurred, position = torch.rand(2, n, generator=generator, device=device)
        low, high = BLUR_SIGMA
        sigma = (low + (high - low) * position) * (blurred < recipe.blur_share)
        kernels = gaussian_kernels(sigma, blur_edge(*views))
    if recipe.solarise_share > 0:
        draws = torch.rand(n, generator=generator, device=device)
        solarised = draws < recipe.solarise_share
    return Changes(
        boxes=boxes,
        flip=flip < recipe.flip_share,
        factors=colour_factors(1 + brightness, 1 + contrast, 1 + saturation, hue)
        if coloured
        else None,
        grey=grey < recipe.grey_share,
        kernels=kernels,
        solarised=solarised,
    )


def take_rows(changes: Changes, rows: slice | torch.Tensor) -> Changes:
    """Select the changes of some images.

    Parameters
    ----------
    changes : Changes
        Changes of n images.
    rows : slice or Tensor of int64
        Images to select.

    Returns
    -------
    Changes
        Changes of the selected images.

    Examples
    --------
    >>> changes = draw_changes(4, 8, 8, SIMCLR, torch.Generator().manual_seed(0))
    >>> torch.equal(take_rows(changes, slice(1, 3)).boxes, changes.boxes[1:3])
    True
    """
    factors, kernels, solarised = changes.factors, changes.kernels, changes.solarised
    return Changes(
        boxes=changes.boxes[rows],
        flip=changes.flip[rows],
        factors=None if factors is None else factors[rows],
        grey=changes.grey[rows],
        kernels=None if kernels is None else kernels[rows],
        solarised=None if solarised is None else solarised[rows],
    )


def change_images(
    images: torch.Tensor,
    changes: Changes,
    *,
    size: tuple[int, int] | None = None,
    dtype: torch.dtype = torch.float32,
) -> torch.Tensor:
    """Apply drawn changes to images: crop, flip, jitter, greyscale, blur, solarise.

    Parameters
    ----------
    images : Tensor, shape (n, c, h, w)
        Bytes, or floats in [0, 1]; c is 1 or 3. Grey images change only in brightness and contrast.
    changes : Changes
        Changes of these n images, on their device.
    size : tuple of int
        Height and width of the views. Default: those of the images.
    dtype : torch.dtype
        Floating type of the views.

    Returns
    -------
    Tensor, shape (n, c, h', w')
        Views with pixels in [0, 1]. A row depends only on its image and its changes: on the CPU its
        bits do not depend on the other rows or on the number of threads.

    Examples
    --------
    >>> images = torch.full((2, 1, 8, 8), 51, dtype=torch.uint8)
    >>> changes = draw_changes(2, 8, 8, WEAK, torch.Generator().manual_seed(0))
    >>> round(change_images(images, changes, size=(4, 4)).mean().item(), 6)
    0.2
    """
    n, channels, *whole = images.shape
    height, width = size or (whole[0], whole[1])
    views = torch.empty(n, channels, height, width, dtype=dtype, device=images.device)
    chunk_rows = _CHUNK * torch.get_num_threads() // max(1, channels * height * width)
    step = max(1, chunk_rows if images.device.type == "cpu" else n)
    for start in range(0, n, step):
        rows = slice(start, start + step)
        pixels = images[rows].to(dtype)
        if images.dtype == torch.uint8:
            pixels.div_(255)
        views[rows] = _change(pixels, take_rows(changes, rows), (height, width))
    return views


def _change(pixels: torch.Tensor, changes: Changes, size: tuple[int, int]) -> torch.Tensor:
    pixels = resized_crop(pixels, changes.boxes.to(pixels.dtype), changes.flip, size=size)
    if changes.factors is not None:
        pixels = colour_jitter(pixels, changes.factors, changes.grey)
    if changes.kernels is not None:
        pixels = gaussian_blur(pixels, changes.kernels)
    return pixels if changes.solarised is None else solarise(pixels, changes.solarised)


def simclr_view(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Draw one view of every image by the recipe ``SIMCLR``.

    Parameters
    ----------
    images : Tensor, shape (n, c, h, w)
        Floats in [0, 1]; c is 1 or 3. Grey images change only in brightness and contrast.
    generator : torch.Generator
        Generator on the device of the images.

    Returns
    -------
    Tensor, shape (n, c, h, w)
        Views with pixels in [0, 1].

    Examples
    --------
    >>> view = simclr_view(torch.rand(2, 3, 8, 8), torch.Generator().manual_seed(0))
    >>> tuple(view.shape)
    (2, 3, 8, 8)
    """
    n, _, height, width = images.shape
    changes = draw_changes(n, height, width, SIMCLR, generator)
    return change_images(images, changes, dtype=images.dtype)
