"""The batches of a run. All random draws depend on (seed, purpose, number)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from functools import lru_cache
from typing import Any

import torch

from sslsim.core.distributed import rows_of_rank
from sslsim.core.seeds import derived_generator
from sslsim.data.augmentation import Changes, change_images, draw_changes
from sslsim.data.datasets import Images, part_of
from sslsim.data.own_views import Kind
from sslsim.data.pixels import PixelStatistics, pixel_statistics
from sslsim.data.single_view import RECIPES
from sslsim.data.views import Views, draw_views
from sslsim.training.options import TrainingOptions
from sslsim.training.prefetch import prefetched

_ORDER, VIEWS_PURPOSE, _FIXED = 2, 3, 4  # purposes of draws


def training_batches(
    data: Images,
    kind: Kind,
    options: TrainingOptions,
    device: torch.device,
    places: torch.Tensor | None = None,
    *,
    pixels: PixelStatistics | None = None,
) -> Callable[[int], tuple[Views, torch.Tensor | None]]:
    """Function from the number of a batch to the views and labels of this process.

    Every epoch goes through the images in a new order, in whole batches; the images left over at
    its end are not used in it. A batch is at most as large as the data set.

    Parameters
    ----------
    data : Images
        Training images. They are moved to the device once, as uint8; those that are streamed are
        moved batch by batch, and a thread reads the next batch meanwhile.
    kind : str
        Kind of the views, one of ``sslsim.data.views.TRAINING_VIEWS``.
    options : TrainingOptions
        Options; ``batch``, ``fixed_views``, ``standardise``, ``channels_last`` and ``seed`` are
        used.
    device : torch.device
        Device of the draws and the views.
    places : Tensor of int64, shape (m,), optional
        Indices of the images to use: batches are those of a data set of only these images, without
        a copy. Default: all images.
    pixels : PixelStatistics, optional
        Statistics by which pixels are standardised. Default: those of the images to use.

    Returns
    -------
    callable
        Pure function ``number -> (views, labels)``; labels are None if the data set has none.

    Raises
    ------
    ValueError
        If there are fewer than two images, the kind is unknown, or the global batch does not divide
        by the number of processes.

    Examples
    --------
    >>> data = Images(torch.zeros(20, 1, 8, 8, dtype=torch.uint8), torch.arange(20), "zeros")
    >>> batch = training_batches(data, "noise", TrainingOptions(batch=8), torch.device("cpu"))
    >>> views, labels = batch(0)
    >>> views.views[0].shape, labels.tolist() == batch(0)[1].tolist()
    (torch.Size([8, 1, 8, 8]), True)
    """
    count = len(data.images if places is None else places)
    if count < 2:
        raise ValueError(f"there are {count} image(s) to train on; expected at least 2")
    labels = None if data.labels is None else data.labels.to(device)
    size = min(options.batch, count)
    rows = rows_of_rank(size)
    pixels = (pixels or pixel_statistics(data.images, places)) if options.standardise else None
    fixed = None
    if options.fixed_views:
        # Generators differ between devices; fixed views are the same on all devices.
        used = data if places is None else part_of(data, places.to(data.images.device))
        fixed = fixed_views(used, kind, options.seed)
    images = data.images if data.streamed else data.images.to(device)
    order = batch_order(count, size, options.seed)

    def drawn_images(number: int) -> torch.Tensor:
        chosen = order(number)
        return images[(chosen if places is None else places[chosen]).to(images.device)]

    images_of = prefetched(drawn_images) if data.streamed and fixed is None else drawn_images

    def batch(number: int) -> tuple[Views, torch.Tensor | None]:
        chosen = order(number)
        drawn = (chosen if places is None else places[chosen]).to(device)
        if fixed is None:
            generator = derived_generator(options.seed, VIEWS_PURPOSE, number, device)
            views = draw_views(images_of(number).to(device), kind, generator, rows=rows)
        else:
            own = chosen[rows]
            views = fixed.each(lambda tensor: tensor[own].to(device))
        if pixels is not None:
            views = replace(views, views=tuple(map(pixels.standardise, views.views)))
        if options.channels_last:
            permuted = tuple(view.to(memory_format=torch.channels_last) for view in views.views)
            views = replace(views, views=permuted)
        return views, None if labels is None else labels[drawn[rows]]

    return batch


def fixed_views(data: Images, kind: Kind, seed: int) -> Views:
    """Views of all images in a run with ``fixed_views``, which are drawn once.

    Parameters
    ----------
    data : Images
        The training images.
    kind : str
        Kind of the views.
    seed : int
        Seed of the run.

    Returns
    -------
    Views
        Views on the CPU, not standardised.

    Examples
    --------
    >>> data = Images(torch.zeros(20, 1, 8, 8, dtype=torch.uint8), None, "zeros")
    >>> fixed_views(data, "noise", seed=0).views[0].shape
    torch.Size([20, 1, 8, 8])
    """
    return draw_views(data.images.cpu(), kind, derived_generator(seed, _FIXED, 0))


def batch_order(count: int, size: int, seed: int) -> Callable[[int], torch.Tensor]:
    """Function from the number of a batch to the images in it.

    Parameters
    ----------
    count, size : int
        Number of images in the data set, and in a batch (at most ``count``).
    seed : int
        Seed of the run.

    Returns
    -------
    callable
        Function ``number -> Tensor of int64, shape (size,)``. Every epoch has a new order, cut into
        whole batches.

    Examples
    --------
    >>> order = batch_order(7, 3, seed=0)
    >>> torch.cat([order(0), order(1)]).unique().shape  # the first epoch; one image is left over
    torch.Size([6])
    """

    @lru_cache(maxsize=2)
    def of_epoch(epoch: int) -> torch.Tensor:
        return torch.randperm(count, generator=derived_generator(seed, _ORDER, epoch))

    def order(number: int) -> torch.Tensor:
        epoch, place = divmod(number, count // size)
        return of_epoch(epoch)[place * size : (place + 1) * size]

    return order


Batch = tuple[Views, torch.Tensor | None]


def joint_batches(
    data: Images,
    kind: Kind,
    options: TrainingOptions,
    device: torch.device,
    places: Sequence[torch.Tensor],
    seeds: Sequence[int],
    *,
    pixels: PixelStatistics | None = None,
) -> Callable[[int], Batch]:
    """Function from the number of a batch to the views and labels of every run.

    Parameters
    ----------
    data, kind, options, device
        As in :func:`training_batches`; ``options.seed`` is not used.
    places : sequence of Tensor of int64
        Indices of the images of each of the K runs.
    seeds : sequence of int
        Seed of each run.
    pixels : PixelStatistics, optional
        As in :func:`training_batches`, the same of all runs. Default: each run's own.

    Returns
    -------
    callable
        Pure function ``number -> (views, labels)``. All tensors have a first axis of length K;
        entry k has the bits of ``training_batches`` of run k.

    Raises
    ------
    ValueError
        If the sizes of batches differ, and as in ``training_batches``.

    Notes
    -----
    Draws are made run by run. The changes of a recipe are applied to the images of all runs in one
    call, which saves time if batches are small.

    Examples
    --------
    >>> data = Images(torch.zeros(20, 1, 8, 8, dtype=torch.uint8), torch.arange(20), "zeros")
    >>> places = [torch.arange(10), torch.arange(5, 20)]
    >>> options = TrainingOptions(batch=8)
    >>> batch = joint_batches(data, "weak", options, torch.device("cpu"), places, [0, 1])
    >>> views, labels = batch(0)
    >>> views.views[0].shape, labels.shape
    (torch.Size([2, 8, 1, 8, 8]), torch.Size([2, 8]))
    """
    sizes = {min(options.batch, len(part)) for part in places}
    if len(sizes) > 1:
        raise ValueError(
            f"batch is {options.batch}, and the smallest part of the images has "
            f"{min(map(len, places))}; expected a batch of at most so many"
        )
    (size,) = sizes
    if min(map(len, places)) < 2:
        raise ValueError("a part has fewer than 2 images; expected at least 2 to train on")
    # Once, not once a run; streamed images are moved batch by batch.
    on_device = data if data.streamed else replace(data, images=data.images.to(device))
    if kind not in RECIPES or kind == "mask" or options.fixed_views:
        alone = [
            training_batches(
                on_device, kind, replace(options, seed=seed), device, part, pixels=pixels
            )
            for seed, part in zip(seeds, places, strict=True)
        ]
        return lambda number: _stacked([batch(number) for batch in alone])
    labels = None if data.labels is None else data.labels.to(device)
    orders = [batch_order(len(p), size, seed) for p, seed in zip(places, seeds, strict=True)]
    each = [pixels or pixel_statistics(data.images, p) for p in places]
    mean, std = (
        torch.stack([getattr(statistics, name) for statistics in each])[:, None, :, None, None]
        for name in ("mean", "std")
    )
    height, width = data.images.shape[2:]

    def drawn_images(number: int) -> tuple[torch.Tensor, torch.Tensor]:
        chosen = torch.stack([p[order(number)] for p, order in zip(places, orders, strict=True)])
        return chosen, on_device.images[chosen.flatten().to(on_device.images.device)]

    images_of = prefetched(drawn_images) if data.streamed else drawn_images

    def batch(number: int) -> Batch:
        chosen, images = (part.to(device) for part in images_of(number))  # (K, b) and (K b, ...)
        generators = [derived_generator(seed, VIEWS_PURPOSE, number, device) for seed in seeds]
        views, boxes = [], []
        for recipe in RECIPES[kind]:
            changes = _joined([draw_changes(size, height, width, recipe, g) for g in generators])
            view = change_images(images, changes).unflatten(0, chosen.shape)
            views.append((view - mean.to(view)) / std.to(view) if options.standardise else view)
            boxes.append(torch.cat([changes.boxes, changes.flip[:, None].to(changes.boxes)], dim=1))
        joint = Views(tuple(views), torch.stack(boxes, dim=1).unflatten(0, chosen.shape))
        return joint, None if labels is None else labels[chosen]

    return batch


def _joined(drawn: Sequence[Changes]) -> Changes:
    """Changes of several batches, concatenated."""
    joined: dict[str, Any] = {}
    for field in fields(Changes):
        parts = [getattr(changes, field.name) for changes in drawn]
        joined[field.name] = None if parts[0] is None else torch.cat(parts)
    return Changes(**joined)


def _stacked(drawn: Sequence[Batch]) -> Batch:
    """Batches of all runs, stacked along a new first axis."""

    def joined(tensors: Sequence[torch.Tensor | None]) -> torch.Tensor | None:
        present = [tensor for tensor in tensors if tensor is not None]
        return torch.stack(present) if present else None

    each = [views for views, _ in drawn]
    stacked = tuple(map(torch.stack, zip(*(views.views for views in each), strict=True)))
    names = ("boxes", "visible", "masked")
    rest = [joined([getattr(views, name) for views in each]) for name in names]
    return Views(stacked, *rest), joined([labels for _, labels in drawn])
