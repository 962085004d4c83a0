"""Measures before and after fine-tuning, on images that fine-tuning does not see."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from sslsim.core.seeds import derived_generator
from sslsim.data.datasets import Images
from sslsim.data.own_views import Kind
from sslsim.data.pixels import PixelStatistics, pixel_statistics
from sslsim.data.views import Views, draw_views
from sslsim.umm.bilevel_losses import BilevelLosses
from sslsim.umm.options import UmmOptions
from sslsim.umm.split import evaluating, frozen_early

_VIEWS = 8  # purpose of the draws of held-out views
_SHARED = 0.05  # common data sets contain a few images twice


@dataclass(frozen=True)
class Measured:
    """Measures of a learner on held-out images, in evaluation mode.

    Attributes
    ----------
    coding_rate_reduction : float
        DeltaR of the views of each image, in nats.
    loss : float
        Loss of the learner.
    alignment : float
        Distance between early and late features, the one that the options name.
    loss_gradient, alignment_gradient : float or None
        Norms of the gradients of the loss and of the distance with respect to the trained
        parameters. None in measures of version 0.1.0.
    """

    coding_rate_reduction: float
    loss: float
    alignment: float
    loss_gradient: float | None = None
    alignment_gradient: float | None = None


def check_held_out(data: Images, held_out: Images) -> None:
    """Raise an error if fine-tuning sees held-out images.

    Parameters
    ----------
    data, held_out : Images
        Images to fine-tune on, and images to measure on.

    Raises
    ------
    ValueError
        If shapes differ, there are fewer than two held-out images, or more than one in twenty of
        them is equal to an image of ``data``.

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
    wanted = [image.numpy().tobytes() for image in held_out.images.cpu()]
    unseen = set(wanted)
    for image in data.images:  # one at a time: the images may be more than fit into memory
        unseen.discard(image.cpu().numpy().tobytes())
    shared = sum(image not in unseen for image in wanted)
    if shared > _SHARED * count:
        raise ValueError(
            f"{shared} of {count} held-out images are among those to fine-tune on; expected others"
        )


def held_out_batch(
    data: Images,
    held_out: Images,
    kind: Kind,
    options: UmmOptions,
    device: torch.device,
    *,
    pixels: PixelStatistics | None = None,
) -> tuple[Views, torch.Tensor | None]:
    """One batch of views of held-out images, the same at every call.

    Parameters
    ----------
    data : Images
        Images to fine-tune on; their pixel statistics are used if pixels are standardised.
    held_out : Images
        Images to measure on.
    kind : str
        Kind of the views.
    options : UmmOptions
        Options; ``held_out``, ``standardise`` and ``seed`` are used.
    device : torch.device
        Device of the result. Views are drawn on the CPU, so that all devices see the same views.
    pixels : PixelStatistics, optional
        Statistics by which pixels are standardised instead.

    Returns
    -------
    views : Views
        Views of ``options.held_out`` images, spread evenly.
    labels : Tensor or None
        Labels of these images.

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
        pixels = pixels or pixel_statistics(data.images)
        views = replace(views, views=tuple(map(pixels.standardise, views.views)))
    labels = None if held_out.labels is None else held_out.labels.cpu()[chosen].to(device)
    return views.each(lambda part: part.to(device)), labels


def measure(losses: BilevelLosses) -> Measured:
    """Measure a learner on a batch in evaluation mode; the learner does not change.

    Parameters
    ----------
    losses : BilevelLosses
        Losses of the batch.

    Returns
    -------
    Measured
        Coding rate reduction, loss and alignment, with the norms of their gradients.

    Examples
    --------
    >>> from sslsim.methods.build import build_learner
    >>> from sslsim.umm.split import split_encoder
    >>> learner = build_learner("simclr", (1, 8, 8), 4, encoder="mlp", widths=(16, 8), seed=0)
    >>> split, names = split_encoder(learner.encoder, "layer1"), ("encoder.projector.0.weight",)
    >>> pair = Views((torch.rand(3, 1, 8, 8), torch.rand(3, 1, 8, 8)), None)
    >>> measured = measure(BilevelLosses(learner, split, UmmOptions(), pair, None, names))
    >>> 0 < measured.alignment < 0.6931  # log 2
    True
    """
    learner = losses.learner
    with frozen_early(learner, losses.split), evaluating(learner), torch.enable_grad():
        phi = tuple(learner.get_parameter(name) for name in losses.names)
        forward = losses.forward(phi)
        values = (
            losses.coding_rate_reduction(forward),
            forward.loss,
            losses.alignment(forward, phi),
        )
        gradients = [
            torch.autograd.grad(value, phi, retain_graph=True, materialize_grads=True)
            for value in values[1:]
        ]
    norms = [torch.stack([g.double().norm() for g in each]).norm() for each in gradients]
    return Measured(*(float(value.detach()) for value in (*values, *norms)))
