"""The batches of a run: everything random about them is drawn from (seed, purpose, number)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache

import torch

from sslsim.data import Images
from sslsim.distributed import rows_of_rank
from sslsim.pixels import pixel_statistics
from sslsim.seeds import derived_generator
from sslsim.training_options import TrainingOptions
from sslsim.views import Views, draw_views

_ORDER, VIEWS_PURPOSE, _FIXED = 2, 3, 4  # purposes of draws


def training_batches(
    data: Images,
    kind: str,
    options: TrainingOptions,
    device: torch.device,
    places: torch.Tensor | None = None,
) -> Callable[[int], tuple[Views, torch.Tensor | None]]:
    """Function from the number of a batch to this process's views and labels of it.

    Every epoch goes through the images in an order of its own, in whole batches: the images left
    over at its end wait for another epoch. A batch is no larger than the number of images.

    Parameters
    ----------
    data : Images
        Moved to the device once, as uint8.
    kind : str
        Kind of the views, one of ``sslsim.views.TRAINING_VIEWS``.
    options : TrainingOptions
        ``batch``, ``fixed_views``, ``standardise``, ``channels_last`` and ``seed`` count.
    device : torch.device
        Where views are drawn.
    places : Tensor of int64, shape (m,), optional
        Which of the images to go through: batches are those of a data set of these alone, which is
        not copied. Default: all of them.

    Returns
    -------
    callable
        ``number -> (views, labels)``, pure; labels are None where there are none.

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
    part = data.images if places is None else data.images[places.to(data.images.device)]
    count = len(part)
    if count < 2:
        raise ValueError(f"there are {count} image(s) to train on; expected at least 2")
    images = data.images.to(device)
    labels = None if data.labels is None else data.labels.to(device)
    size = min(options.batch, count)
    rows = rows_of_rank(size)
    pixels = pixel_statistics(part) if options.standardise else None
    fixed = None
    if options.fixed_views:
        # Generators differ between devices; fixed pairs are the same on all.
        fixed = fixed_views(replace(data, images=part), kind, options.seed)
    del part

    order = batch_order(count, size, options.seed)

    def batch(number: int) -> tuple[Views, torch.Tensor | None]:
        chosen = order(number)
        drawn = (chosen if places is None else places[chosen]).to(device)
        if fixed is None:
            generator = derived_generator(options.seed, VIEWS_PURPOSE, number, device)
            views = draw_views(images[drawn], kind, generator, rows=rows)
        else:
            taken = chosen[rows]
            views = fixed.each(lambda held: held[taken].to(device))
        if pixels is not None:
            views = replace(views, views=tuple(map(pixels.standardise, views.views)))
        if options.channels_last:
            laid = tuple(view.to(memory_format=torch.channels_last) for view in views.views)
            views = replace(views, views=laid)
        return views, None if labels is None else labels[drawn[rows]]

    return batch


def fixed_views(data: Images, kind: str, seed: int) -> Views:
    """Views of all images as a run with ``fixed_views`` draws them, once.

    Parameters
    ----------
    data : Images
        The training images.
    kind : str
        Kind of the views.
    seed : int
        Of the run.

    Returns
    -------
    Views
        On the CPU, not standardised.

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
        Images in all and in a batch, at most all.
    seed : int
        Of the run.

    Returns
    -------
    callable
        ``number -> Tensor of int64, shape (size,)``: every epoch has an order of its own, of which
        whole batches are taken.

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
