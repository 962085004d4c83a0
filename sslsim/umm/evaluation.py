"""What is measured before and after, on images that fine-tuning does not see."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from sslsim.core.seeds import derived_generator
from sslsim.data.datasets import Images
from sslsim.data.pixels import pixel_statistics
from sslsim.data.views import Views, draw_views
from sslsim.umm.bilevel_losses import Levels
from sslsim.umm.options import UmmOptions
from sslsim.umm.split import evaluating, frozen_early

_VIEWS = 8  # purpose of the draws of held-out views
_SHARED = 0.05  # data sets of this field hold a few images twice


@dataclass(frozen=True)
class Measured:
    """A learner on held-out images, in evaluation mode.

    Attributes
    ----------
    coding_rate_reduction : float
        DeltaR of the views of each image, in nats.
    loss : float
        The learner's own.
    alignment : float
        The chosen distance of early and late features.
    """

    coding_rate_reduction: float
    loss: float
    alignment: float


def check_held_out(data: Images, held_out: Images) -> None:
    """Raise if held-out images are among those that fine-tuning sees.

    Parameters
    ----------
    data, held_out : Images
        The two sets.

    Raises
    ------
    ValueError
        If shapes differ, fewer than two are held out, or more than one in twenty of these has the
        bits of one of the others.

    Examples
    --------
    >>> images = Images(torch.arange(64, dtype=torch.uint8).reshape(4, 1, 4, 4), None, "four")
    >>> check_held_out(images, images)
    Traceback (most recent call last):
    ValueError: 4 of 4 held-out images are among those to fine-tune on; expected others
    """
    count = len(held_out.images)
    if count < 2 or held_out.images.shape[1:] != data.images.shape[1:]:
        raise ValueError(
            f"held-out images have shape {tuple(held_out.images.shape)}; expected at least 2 of "
            f"{tuple(data.images.shape[1:])}"
        )
    seen = {image.numpy().tobytes() for image in data.images.cpu()}
    shared = sum(image.numpy().tobytes() in seen for image in held_out.images.cpu())
    if shared > _SHARED * count:
        raise ValueError(
            f"{shared} of {count} held-out images are among those to fine-tune on; expected others"
        )


def held_out_batch(
    data: Images, held_out: Images, kind: str, options: UmmOptions, device: torch.device
) -> tuple[Views, torch.Tensor | None]:
    """One batch of views of held-out images, the same at every call.

    Parameters
    ----------
    data : Images
        The images to fine-tune on; only their pixel statistics are of account, and only where
        pixels are standardised.
    held_out : Images
        The images to measure on.
    kind : str
        Of the views.
    options : UmmOptions
        ``held_out``, ``standardise`` and ``seed`` count.
    device : torch.device
        Where the views are wanted; they are drawn on the CPU, so that every device sees the same.

    Returns
    -------
    views : Views
        Of as many images as the options say, spread evenly.
    labels : Tensor or None
        Of these.

    Examples
    --------
    >>> images = Images(torch.zeros(9, 1, 8, 8, dtype=torch.uint8), None, "zeros")
    >>> options = UmmOptions(held_out=4)
    >>> views, _ = held_out_batch(images, images, "noise", options, torch.device("cpu"))
    >>> views.views[0].shape
    torch.Size([4, 1, 8, 8])
    """
    count = min(options.held_out, len(held_out.images))
    chosen = torch.arange(count) * len(held_out.images) // count
    generator = derived_generator(options.seed, _VIEWS, 0)
    views = draw_views(held_out.images.cpu()[chosen], kind, generator)
    if options.standardise:
        pixels = pixel_statistics(data.images)
        views = replace(views, views=tuple(map(pixels.standardise, views.views)))
    labels = None if held_out.labels is None else held_out.labels.cpu()[chosen].to(device)
    return views.each(lambda held: held.to(device)), labels


def measure(levels: Levels) -> Measured:
    """Measure a learner on a batch in evaluation mode; nothing of it changes.

    Parameters
    ----------
    levels : Levels
        Of the batch.

    Returns
    -------
    Measured

    Examples
    --------
    >>> from sslsim.methods.build import build_learner
    >>> from sslsim.umm.split import split_encoder
    >>> learner = build_learner("simclr", (1, 8, 8), 4, encoder="mlp", widths=(16, 8), seed=0)
    >>> split, names = split_encoder(learner.encoder, "layer1"), ("encoder.projector.0.weight",)
    >>> pair = Views((torch.rand(3, 1, 8, 8), torch.rand(3, 1, 8, 8)), None)
    >>> found = measure(Levels(learner, split, UmmOptions(), pair, None, names))
    >>> 0 < found.alignment < 0.6931
    True
    """
    learner = levels.learner
    with frozen_early(learner, levels.split), evaluating(learner), torch.enable_grad():
        phi = tuple(learner.get_parameter(name) for name in levels.names)
        reading = levels.read(phi)
        found = (
            levels.coding_rate_reduction(reading),
            reading.loss,
            levels.alignment(reading, phi),
        )
    return Measured(*(float(value.detach()) for value in found))
