"""The batches of many runs at once, each that of the run alone, with views computed in one pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from typing import Any

import torch

from sslsim.augment import Changes, change_images, draw_changes
from sslsim.batches import VIEWS_PURPOSE, batch_order, training_batches
from sslsim.data import Images
from sslsim.pixels import pixel_statistics
from sslsim.seeds import derived_generator
from sslsim.single_view import RECIPES
from sslsim.training_options import TrainingOptions
from sslsim.views import Views

Batch = tuple[Views, torch.Tensor | None]


def joint_batches(
    data: Images,
    kind: str,
    options: TrainingOptions,
    device: torch.device,
    places: Sequence[torch.Tensor],
    seeds: Sequence[int],
) -> Callable[[int], Batch]:
    """Function from the number of a batch to the views and labels of every run.

    Parameters
    ----------
    data, kind, options, device
        As for :func:`sslsim.batches.training_batches`; ``options.seed`` is of no account.
    places : sequence of Tensor of int64
        Which images each of the K runs goes through.
    seeds : sequence of int
        Of each run.

    Returns
    -------
    callable
        ``number -> (views, labels)``, pure; all tensors have a first axis of K, along which they
        have the bits of ``training_batches`` of each run.

    Raises
    ------
    ValueError
        If batches are of different sizes, or as ``training_batches``.

    Notes
    -----
    Draws are made run by run. Applying those of a recipe to the images of all runs in one call is
    what saves time where batches are small.

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
    on_device = replace(data, images=data.images.to(device))  # once, not once a run
    if kind not in RECIPES or kind == "mask" or options.fixed_views:
        alone = [
            training_batches(on_device, kind, replace(options, seed=seed), device, part)
            for seed, part in zip(seeds, places, strict=True)
        ]
        return lambda number: _stacked([batch(number) for batch in alone])
    labels = None if data.labels is None else data.labels.to(device)
    orders = [batch_order(len(p), size, seed) for p, seed in zip(places, seeds, strict=True)]
    pixels = [pixel_statistics(data.images[p.to(data.images.device)]) for p in places]
    mean, std = (
        torch.stack([getattr(one, name) for one in pixels])[:, None, :, None, None]
        for name in ("mean", "std")
    )
    height, width = data.images.shape[2:]

    def batch(number: int) -> Batch:
        chosen = torch.stack([p[order(number)] for p, order in zip(places, orders, strict=True)])
        chosen = chosen.to(device)  # (K, b)
        generators = [derived_generator(seed, VIEWS_PURPOSE, number, device) for seed in seeds]
        images = on_device.images[chosen.flatten()]
        views, boxes = [], []
        for recipe in RECIPES[kind]:
            changes = _joined([draw_changes(size, height, width, recipe, g) for g in generators])
            view = change_images(images, changes).unflatten(0, chosen.shape)
            views.append((view - mean.to(view)) / std.to(view) if options.standardise else view)
            boxes.append(torch.cat([changes.boxes, changes.flip[:, None].to(changes.boxes)], dim=1))
        found = Views(tuple(views), torch.stack(boxes, dim=1).unflatten(0, chosen.shape))
        return found, None if labels is None else labels[chosen]

    return batch


def _joined(drawn: Sequence[Changes]) -> Changes:
    """Changes of one batch after another."""
    held = {field.name: [getattr(one, field.name) for one in drawn] for field in fields(Changes)}
    joined: dict[str, Any] = {k: None if v[0] is None else torch.cat(v) for k, v in held.items()}
    return Changes(**joined)


def _stacked(drawn: Sequence[Batch]) -> Batch:
    """Batches of all runs, one beside the other."""

    def joined(tensors: Sequence[torch.Tensor | None]) -> torch.Tensor | None:
        held = [tensor for tensor in tensors if tensor is not None]
        return torch.stack(held) if held else None

    each = [views for views, _ in drawn]
    views = tuple(map(torch.stack, zip(*(one.views for one in each), strict=True)))
    rest = [joined([getattr(one, name) for one in each]) for name in ("boxes", "kept", "masked")]
    return Views(views, *rest), joined([labels for _, labels in drawn])
