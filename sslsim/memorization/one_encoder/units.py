"""UnitMem: how far single units of an encoder answer to one image alone (arXiv 2409.19069)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from sslsim.measures.frozen import FrozenEncoder
from sslsim.memorization.losses import Scoring
from sslsim.memorization.views import number_blocks, view_batches


@dataclass(frozen=True, eq=False)
class UnitMemorization:
    """UnitMem of the units of a layer.

    Attributes
    ----------
    scores : Tensor of float64, shape (u,)
        From 0 (all images alike) to 1 (one image alone); NaN of a unit that is 0 for all images.
    images : Tensor of int64, shape (u,)
        Place of the image with the highest mean activation; of equal ones the first.
    """

    scores: torch.Tensor
    images: torch.Tensor


def unit_memorization(activations: torch.Tensor) -> UnitMemorization:
    r"""UnitMem of every unit, from its mean activations on images.

    Parameters
    ----------
    activations : Tensor, shape (n, u)
        Mean activation :math:`\mu_u(x)` of unit u over augmentations of image x, not negative.

    Returns
    -------
    UnitMemorization

    Raises
    ------
    ValueError
        If there are fewer than two images, or a value is negative or not finite.

    Notes
    -----
    :math:`(\mu_{\max} - \mu_{-\max}) / (\mu_{\max} + \mu_{-\max})` with the largest mean activation
    :math:`\mu_{\max}` and the mean :math:`\mu_{-\max}` of all others (arXiv 2409.19069). It
    grows with the number of images: compare sets of one size only.

    Examples
    --------
    >>> found = unit_memorization(torch.tensor([[1.0, 2.0], [3.0, 2.0], [2.0, 2.0]]))
    >>> found.scores.round(decimals=4).tolist(), found.images.tolist()
    ([0.3333, 0.0], [1, 0])
    """
    if activations.ndim != 2 or len(activations) < 2:
        raise ValueError(
            f"activations has shape {tuple(activations.shape)}; expected (n, u) with n of at least "
            "2"
        )
    mu = activations.double()
    if not bool(torch.isfinite(mu).all()) or bool((mu < 0).any()):
        raise ValueError("activations holds negative or infinite values; expected none")
    # The first of equal ones, on every device.
    top, count = mu.max(dim=0).values, len(mu)
    places = torch.arange(count, device=mu.device)[:, None]
    images = torch.where(mu == top, places, count).min(dim=0).values
    others = mu.masked_fill(places == images, 0.0).sum(dim=0) / (count - 1)
    # 0 / 0 is NaN: nothing is known of a unit that is never active.
    return UnitMemorization((top - others) / (top + others), images)


@torch.no_grad()
def mean_activations(
    encoders: Sequence[FrozenEncoder],
    images: torch.Tensor,
    scoring: Scoring,
    *,
    numbers: torch.Tensor | None = None,
) -> list[dict[str, torch.Tensor]]:
    """Mean activation of every unit over the augmentations of every image.

    Parameters
    ----------
    encoders : sequence of FrozenEncoder
        They see the same views.
    images : Tensor of uint8, shape (n, c, h, w)
        The images.
    scoring : Scoring
        Layers, views and their seed; both views of every pair are used.
    numbers : Tensor of int64, shape (n,), optional
        As for :func:`sslsim.memorization.encoder_losses`.

    Returns
    -------
    list of dict of str to Tensor of float64, shape (n, u)
        By encoder and layer, on the CPU. A unit is a channel, its activation the mean over places
        or tokens, as of :func:`sslsim.encoders.features.features`. Negative activations are
        rectified, set to 0, before they are averaged over views: UnitMem is defined for units
        after a ReLU, and layers that end with one are left as they are.

    Raises
    ------
    ValueError
        If a layer is unknown.

    Examples
    --------
    >>> from sslsim.encoders.build import build_encoder
    >>> encoder = FrozenEncoder(build_encoder("convnet", (1, 8, 8), 2, seed=0), None, "weak")
    >>> images = torch.randint(256, (3, 1, 8, 8), dtype=torch.uint8)
    >>> (found,) = mean_activations([encoder], images, Scoring("weak", ("layer1",)))
    >>> found["layer1"].shape
    torch.Size([3, 32])
    """
    numbers = torch.arange(len(images)) if numbers is None else numbers
    device = next(encoders[0].encoder.parameters()).device
    sums: list[dict[str, torch.Tensor]] = [{} for _ in encoders]
    views = 2 * scoring.pairs
    for _, rows in number_blocks(numbers):
        first = 0
        for batch in view_batches(
            images[rows].to(device), numbers[rows].to(device), scoring.views, views,
            seed=scoring.seed,
        ):  # fmt: skip
            # All images in turn: the first view of each, then the second.
            places = rows[torch.arange(first, first + len(batch)) % len(rows)]
            first += len(batch)
            for encoder, total in zip(encoders, sums, strict=True):
                outputs = encoder.features(batch, scoring.layers, batch_size=len(batch))
                for layer, z in outputs.items():
                    whole = total.setdefault(
                        layer, torch.zeros(len(images), z.shape[1], dtype=torch.float64)
                    )
                    whole.index_add_(0, places, z.clamp(min=0).double().cpu())
    return [{layer: whole / views for layer, whole in total.items()} for total in sums]
