"""What a run records: spectra and metrics of the embeddings of a fixed, held-out set of pairs.

A snapshot is a pure function of the network and the probe set. BatchNorm uses the statistics of the
probe set, as training uses those of its batches, and its running statistics are left as they are:
from small initialisation they lag far behind.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from sslsim.coding_rate import coding_rate
from sslsim.core.distributed import GlobalBatchNorm
from sslsim.core.errors import Diverged
from sslsim.core.seeds import derived_generator
from sslsim.data.own_views import Kind
from sslsim.data.pixels import PixelStatistics
from sslsim.data.single_view import draw_view
from sslsim.measures.collapse import collapse
from sslsim.measures.embeddings import alignment, lidar, uniformity
from sslsim.measures.spectra import (
    alpha_req,
    covariance_spectrum,
    cross_spectrum,
    effective_rank,
    rank_me,
)

RANK = 16
"""Principal components kept of every snapshot's embeddings."""

_CODING_EPS = 0.1
_PROBE = 1  # purpose of the probe set's draws


@dataclass(frozen=True, eq=False)
class HeldOutPairs:
    """Held-out pairs that are embedded at every snapshot.

    Attributes
    ----------
    x, x_prime : Tensor, shape (n, c, h, w)
        The two views.
    """

    x: torch.Tensor
    x_prime: torch.Tensor


def draw_held_out_pairs(
    images: torch.Tensor, kind: Kind, count: int, seed: int, pixels: PixelStatistics | None = None
) -> HeldOutPairs:
    """Draw the probe set, once for a run.

    Parameters
    ----------
    images : Tensor of uint8, shape (n, c, h, w)
        Held-out images on the device of training.
    kind : str
        Kind of the views, one of ``sslsim.data.views.VIEWS``.
    count : int
        Number of images, spread evenly; all where there are fewer.
    seed : int
        Seed of the views.
    pixels : PixelStatistics, optional
        Statistics of the training images, which standardise the views.

    Returns
    -------
    HeldOutPairs
        Views are drawn on the CPU, so that every device sees the same.

    Raises
    ------
    ValueError
        If there are fewer than two images.

    Examples
    --------
    >>> images = torch.zeros(10, 1, 8, 8, dtype=torch.uint8)
    >>> draw_held_out_pairs(images, "simclr", 4, seed=0).x.shape
    torch.Size([4, 1, 8, 8])
    """
    count = min(count, len(images))
    if count < 2:
        raise ValueError(f"the probe set has {count} image(s); expected at least 2")
    chosen = images[torch.arange(count, device=images.device) * len(images) // count].cpu()
    generator = derived_generator(seed, _PROBE, 0)
    x, x_prime = (
        draw_view(chosen, kind, generator, which=which).to(images.device) for which in range(2)
    )
    if pixels is not None:
        x, x_prime = pixels.standardise(x), pixels.standardise(x_prime)
    return HeldOutPairs(x, x_prime)


@torch.no_grad()
def snapshot(
    encoder: nn.Module,
    probe: HeldOutPairs,
    objective: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None = None,
) -> dict[str, Any]:
    """Spectra and metrics of the embeddings of a probe set.

    Parameters
    ----------
    encoder : nn.Module
        The network, (n, ...) -> (n, d); left in the mode it was in.
    probe : HeldOutPairs
        The pairs.
    objective : callable, optional
        Loss of the embeddings of the pairs; recorded as ``probe_loss``.

    Returns
    -------
    dict
        As :func:`embedding_measures`.

    Raises
    ------
    ValueError
        If an embedding is NaN or infinite.

    Examples
    --------
    >>> from sslsim.encoders.build import build_encoder
    >>> probe = HeldOutPairs(*torch.rand(2, 6, 1, 8, 8))
    >>> record = snapshot(build_encoder("linear", (1, 8, 8), 3, seed=0), probe)
    >>> record["cross_spectrum"].shape, record["scores"].shape
    ((3,), (6, 3))
    """
    with batch_statistics(encoder):
        z, z_prime = encoder(probe.x), encoder(probe.x_prime)
    return embedding_measures(z, z_prime, objective)


@torch.no_grad()
def embedding_measures(
    z: torch.Tensor,
    z_prime: torch.Tensor | None = None,
    objective: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None = None,
) -> dict[str, Any]:
    """Spectra and metrics of the embeddings of samples, in one view or two.

    Parameters
    ----------
    z, z_prime : Tensor, shape (n, d)
        Embeddings of two views of at least two samples; the second may be missing.
    objective : callable, optional
        Loss of the two, recorded as ``probe_loss``.

    Returns
    -------
    dict
        ``cross_spectrum`` (d,): eigenvalues of C = (Z^T Z' + Z'^T Z)/(2n), uncentred, the theory's
        lambda. ``covariance_spectrum`` (d,): of the centred covariance of Z. ``scores`` (n, r) and
        ``axes`` (d, r): principal components of the centred Z, r at most ``RANK``, and ``mean``
        (d,). The rest are numbers: ``effective_rank`` (of the covariance spectrum), ``rank_me``,
        ``alpha_req``, ``lidar`` (the two views of an image as a class), ``alignment``,
        ``uniformity`` and ``coding_rate`` (of the centred embeddings, eps 0.1); and ``collapsed``,
        what :func:`sslsim.measures.collapse.collapse` says. Without a second view there is no
        ``cross_spectrum``, ``lidar`` and ``alignment``.

    Raises
    ------
    ValueError
        If an embedding is NaN or infinite.

    Examples
    --------
    >>> record = embedding_measures(torch.ones(4, 2))
    >>> record["effective_rank"], record["collapsed"]
    (0.0, 'the embedding has collapsed: it is the same for all images')
    """
    z = z.double()
    z_prime = None if z_prime is None else z_prime.double()
    if not all(bool(view.isfinite().all()) for view in (z, z_prime) if view is not None):
        raise Diverged(
            "embeddings of the probe set are not finite; expected finite numbers, as a smaller "
            "learning rate gives"
        )
    covariance = covariance_spectrum(z)
    mean = z.mean(dim=0)
    left, scale, right = torch.linalg.svd(z - mean, full_matrices=False)
    count = min(RANK, len(scale))
    numbers: dict[str, Any] = {}
    arrays: dict[str, torch.Tensor] = {}
    if z_prime is not None and objective is not None:
        numbers["probe_loss"] = objective(z, z_prime)
    numbers |= {
        "effective_rank": effective_rank(covariance),
        "rank_me": rank_me(z),
        "alpha_req": alpha_req(covariance),
    }
    if z_prime is not None:
        groups = torch.arange(len(z), device=z.device).repeat(2)
        numbers["lidar"] = lidar(torch.cat([z, z_prime]), groups)
        numbers["alignment"] = alignment(z, z_prime)
        arrays["cross_spectrum"] = cross_spectrum(z, z_prime)
    numbers |= {"uniformity": uniformity(z), "coding_rate": coding_rate(z - mean, _CODING_EPS)}
    arrays |= {
        "covariance_spectrum": covariance,
        "scores": (left * scale)[:, :count],
        "axes": right[:count].T,
        "mean": mean,
    }
    plain = {name: float(value) for name, value in numbers.items()}
    reason = collapse(plain["effective_rank"], plain["uniformity"], z.shape[1])
    return {
        **plain,
        "collapsed": reason,
        **{name: value.cpu().numpy() for name, value in arrays.items()},
    }


@contextlib.contextmanager
def batch_statistics(module: nn.Module) -> Iterator[None]:
    """Evaluation mode, but BatchNorm by the statistics of what is embedded, none of them kept.

    Parameters
    ----------
    module : nn.Module
        As it was afterwards, also if the block raises.

    Examples
    --------
    >>> layer = nn.BatchNorm1d(1)
    >>> with batch_statistics(layer):
    ...     out = layer(torch.tensor([[1.0], [3.0]]))
    >>> out.round().flatten().tolist(), layer.running_mean.item(), layer.training
    ([-1.0, 1.0], 0.0, True)
    """
    training = {part: part.training for part in module.modules()}
    saved: list[tuple[Any, str, Any]] = []
    module.eval()
    for part in module.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            saved.append((part, "track_running_stats", part.track_running_stats))
            saved += [(part, name, getattr(part, name)) for name in ("running_mean", "running_var")]
            part.track_running_stats = False
            part.running_mean = part.running_var = None
        elif isinstance(part, GlobalBatchNorm):
            saved.append((part, "momentum", part.momentum))
            part.training, part.momentum = True, 0.0
    try:
        yield
    finally:
        for part, name, value in saved:
            setattr(part, name, value)
        for part, mode in training.items():
            part.training = mode
