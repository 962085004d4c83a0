"""Nearest neighbours of held-out images while a network trains.

Does what it learns sort classes? A cheap reading beside the spectra, on the plain images and the
representation; the probes at the end of a run (:mod:`sslsim.measures.probes`) are the measurement
proper.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from sslsim.data.datasets import Images, spread_over
from sslsim.data.own_views import Kind
from sslsim.data.pixels import PixelStatistics
from sslsim.data.views import crop_to_input
from sslsim.encoders.build import Encoder
from sslsim.measures.probes import knn_accuracy
from sslsim.measures.snapshots import batch_statistics

_BANK = 1000  # training images that may be neighbours
_READ = 256  # held-out images that are classified
_K = 20


@dataclass(frozen=True, eq=False)
class NeighbourBank:
    """Images whose classes are known, and held-out ones to be classified.

    Attributes
    ----------
    images : Tensor, shape (n + m, c, h, w)
        Training images, then held-out ones, as the network is fed with them.
    labels : Tensor of int64, shape (n + m,)
        Their classes.
    size : int
        Number n of training images.
    """

    images: torch.Tensor
    labels: torch.Tensor
    size: int


def neighbour_bank(
    data: Images,
    held_out: Images,
    pixels: PixelStatistics | None,
    device: torch.device,
    *,
    kind: Kind = "simclr",
) -> NeighbourBank | None:
    """Images for the nearest neighbours of a run.

    Parameters
    ----------
    data, held_out : Images
        Training images and held-out ones.
    pixels : PixelStatistics or None
        By which images are standardised.
    device : torch.device
        Where to hold them.
    kind : str
        Kind of the views that the network was built for: images are cropped to its input.

    Returns
    -------
    NeighbourBank or None
        At most 1000 training and 256 held-out images, evenly spread; None without two classes.

    Examples
    --------
    >>> images = Images(torch.zeros(30, 1, 8, 8, dtype=torch.uint8), torch.arange(30) % 2, "zeros")
    >>> neighbour_bank(images, images, None, torch.device("cpu")).images.shape
    torch.Size([60, 1, 8, 8])
    """
    if data.labels is None or held_out.labels is None or len(data.labels.unique()) < 2:
        return None
    parts, labels = [], []
    for part in (spread_over(data, _BANK), spread_over(held_out, _READ)):
        assert part.labels is not None
        parts.append(crop_to_input(part, kind).images)
        labels.append(part.labels)
    images = torch.cat(parts).to(device).float() / 255
    images = images if pixels is None else pixels.standardise(images)
    return NeighbourBank(images, torch.cat(labels), len(parts[0]))


@torch.no_grad()
def neighbour_accuracy(encoder: Encoder, bank: NeighbourBank) -> float:
    """Share of held-out images whose class their nearest training images vote for.

    Parameters
    ----------
    encoder : Encoder
        The network; left in the mode it was in.
    bank : NeighbourBank
        The images.

    Returns
    -------
    float
        Accuracy of the weighted vote of 20 neighbours by cosine similarity of the representation.

    Examples
    --------
    >>> from sslsim.encoders.build import build_encoder
    >>> images = torch.eye(2).repeat(2, 1)[:, :, None, None]  # two images, and the same held out
    >>> bank = NeighbourBank(images, torch.tensor([0, 1, 0, 1]), 2)
    >>> neighbour_accuracy(build_encoder("linear", (2, 1, 1), 2, seed=0), bank)
    1.0
    """
    with batch_statistics(encoder):
        z = encoder.backbone(bank.images).float()
    known, read = z[: bank.size], z[bank.size :]
    labels, wanted = bank.labels[: bank.size], bank.labels[bank.size :]
    return knn_accuracy(known, labels, read, wanted, k=min(_K, bank.size)).accuracy
