"""Views by a function of the user's: a pipeline of torchvision, or any function of images."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import nn

from sslsim.core.lazy import one_line, own_callable, own_modules
from sslsim.core.seeds import everything_seeded, seed_everything

Kind = str | Callable[..., Any]
"""Kind of views: a name, ``package.module:name`` of a function, or the function itself."""

_LARGEST = 50.0  # of a view that is a picture, standardised or not


def is_own(kind: Kind) -> bool:
    """Whether views are those of a function of the user's.

    Parameters
    ----------
    kind : str or callable
        Kind of the views.

    Returns
    -------
    bool

    Examples
    --------
    >>> is_own("crops"), is_own("mine:augment"), is_own(torch.flip)
    (False, True, True)
    """
    return callable(kind) or ":" in kind


def view_name(kind: Kind) -> str:
    """Name of a kind of views, for records and messages.

    Parameters
    ----------
    kind : str or callable
        Kind of the views.

    Returns
    -------
    str
        The name itself; of a function its module and name, of another object its type.

    Examples
    --------
    >>> view_name("crops"), view_name(nn.Identity())
    ('crops', 'torch.nn.modules.linear:Identity')
    """
    if isinstance(kind, str):
        return kind
    named = kind if hasattr(kind, "__qualname__") else type(kind)
    return f"{named.__module__}:{named.__qualname__}"


def own_view(
    images: torch.Tensor,
    kind: Kind,
    generator: torch.Generator,
    *,
    which: int = 0,
    dtype: torch.dtype = torch.float32,
    rows: slice = slice(None),
) -> torch.Tensor:
    """Draw one view of some images of a batch by a function of the user's.

    Parameters
    ----------
    images : Tensor of uint8, shape (n, c, h, w)
        All images of the batch.
    kind : str or callable
        The function, or ``package.module:name`` of it; a class is called without arguments first.
        It takes one image: a Tensor of uint8 (c, h, w), or a PIL image where it takes no Tensor.
        Or, if it has a parameter called ``generator``, all images of a batch and that generator. It
        returns a view (or all views of a batch) as Tensor, array or PIL image: bytes, or floats
        which are taken as they are. If it returns a tuple or list, its first two parts are the two
        views.
    generator : torch.Generator
        Seeds Python's, numpy's and torch's generators, for every image anew: a view does not depend
        on the images beside it, unless the function takes a batch.
    which : {0, 1}
        First or second view of a pair.
    dtype : torch.dtype
        Floating type of the result.
    rows : slice
        Images to draw a view of.

    Returns
    -------
    Tensor, shape (r, c', h', w')
        Bytes become numbers from 0 to 1.

    Raises
    ------
    ValueError
        If there is no such function, it raises, or it gives views of other shapes.

    Examples
    --------
    >>> images = torch.full((4, 1, 8, 8), 51, dtype=torch.uint8)
    >>> view = own_view(images, lambda image: image[:, :6, :6], torch.Generator())
    >>> tuple(view.shape), view.unique().tolist()
    ((4, 1, 6, 6), [0.20000000298023224])
    """
    function = _function(kind)
    feed, shape = _tried(function, tuple(images.shape[1:]))
    seeds = _seeds(len(images), generator)
    with own_modules(), everything_seeded(seeds[0]):
        try:
            if feed is None:
                found = _as_view(function(images, generator), which, 4)[rows]
            else:
                views = []
                for i in range(len(images))[rows]:
                    seed_everything(seeds[i])
                    views.append(_as_view(function(feed(images[i])), which, 3))
                found = torch.stack(views)
        except Exception as error:  # the function may raise anything
            reason = one_line(error)
            raise ValueError(f"views {view_name(kind)} cannot be drawn: {reason}") from error
    count = len(range(len(images))[rows])
    if tuple(found.shape) != (count, *shape):
        raise ValueError(
            f"views {view_name(kind)} have shape {tuple(found.shape)}; expected {(count, *shape)}, "
            "the same for all images"
        )
    return found.to(images.device, dtype)


def own_view_shape(kind: Kind, shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Shape of one view of an image by a function of the user's, found by trying it.

    Parameters
    ----------
    kind : str or callable
        As for :func:`own_view`.
    shape : tuple of int
        Channels, height and width of the image.

    Returns
    -------
    tuple of int
        Channels, height and width of the view.

    Raises
    ------
    ValueError
        As :func:`own_view`.

    Examples
    --------
    >>> own_view_shape(lambda image: image.repeat(3, 1, 1), (1, 8, 8))
    (3, 8, 8)
    """
    return _tried(_function(kind), tuple(shape))[1]


def _seeds(count: int, generator: torch.Generator) -> list[int]:
    device = generator.device
    seeds: list[int] = torch.randint(2**62, (count,), generator=generator, device=device).tolist()
    return seeds


def _function(kind: Kind) -> Callable[..., Any]:
    return _imported(kind) if isinstance(kind, str) else kind


@lru_cache
def _imported(name: str) -> Callable[..., Any]:
    import sslsim.core.torchvision  # noqa: F401  # repaired, before the user's code imports it

    found = own_callable(name, "views")
    return found() if isinstance(found, type) else found


@lru_cache
def _tried(
    function: Callable[..., Any], shape: tuple[int, ...]
) -> tuple[Callable[[torch.Tensor], Any] | None, tuple[int, int, int]]:
    """What a function is given of an image, None if it takes batches, and the shape of a view."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (2, *shape), generator=generator, dtype=torch.uint8)
    complaints = []
    with own_modules(), everything_seeded(0):
        for feed in (None,) if _takes_batches(function) else (_as_is, _as_picture):
            try:
                view = (
                    _as_view(function(images, generator), 0, 4)[0]
                    if feed is None
                    else _as_view(function(feed(images[0])), 0, 3)
                )
            except Exception as error:  # it may raise anything
                complaints.append(one_line(error))
                continue
            if view.abs().max() > _LARGEST:
                warnings.warn(
                    f"views {view_name(function)} hold numbers up to {float(view.max()):g}; "
                    "expected floats from 0 to 1, or bytes",
                    stacklevel=2,
                )
            return feed, (view.shape[0], view.shape[1], view.shape[2])
    raise ValueError(
        f"views {view_name(function)} cannot be drawn of an image of shape {shape}: {complaints[0]}"
    )


def _takes_batches(function: Callable[..., Any]) -> bool:
    called = function.forward if isinstance(function, nn.Module) else function
    try:
        return "generator" in inspect.signature(called).parameters
    except (TypeError, ValueError):  # a builtin
        return False


def _as_is(image: torch.Tensor) -> torch.Tensor:
    return image.cpu()


def _as_picture(image: torch.Tensor) -> Any:
    from sslsim.core.torchvision import torchvision

    return torchvision.transforms.functional.to_pil_image(image.cpu())


def _as_view(found: Any, which: int, axes: int) -> torch.Tensor:
    """What a function returned as floats (c, h, w), or (n, c, h, w) for a batch."""
    if isinstance(found, (tuple, list)):
        if len(found) < 2:
            raise ValueError(f"it returns {len(found)} view(s) in a {type(found).__name__}")
        found = found[which]
    if hasattr(found, "getbands"):  # a PIL image
        from sslsim.core.torchvision import torchvision

        found = torchvision.transforms.functional.pil_to_tensor(found)
    elif isinstance(found, np.ndarray):
        found = torch.from_numpy(np.ascontiguousarray(np.moveaxis(found, -1, -3)))
    if not isinstance(found, torch.Tensor) or found.ndim != axes:
        what = tuple(found.shape) if isinstance(found, torch.Tensor) else type(found).__name__
        expected = "(c, h, w)" if axes == 3 else "(n, c, h, w)"
        raise ValueError(f"it returns {what}; expected {expected}")
    view = found.as_subclass(torch.Tensor)
    return view if view.is_floating_point() else view.to(torch.float32) / 255
