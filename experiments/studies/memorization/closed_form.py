r"""Who would be memorised, without retraining: leave-one-out of a linear model in closed form.

Pairs of views of every image stand for the training, further pairs for the views that are compared.
Of a map with M = W^T W a score is 2 tr[(M_{-x} - M) S_x], with S_x the mean of ``(x' - x'')(x' -
x'')^T / 2`` over the latter: the memorisation score of squared distances, not normalised (arXiv
2401.12233, section 3), of the map that :mod:`theory.memorization.first_order` learns from the
former. The views compared are those of :func:`sslsim.memorization.alignment_losses` of one seed, so
that losses are those of a trained map to the last digits, not only on average.
"""

from __future__ import annotations

import sys
import warnings
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from sslsim.core.seeds import derived_seed
from sslsim.data.pixels import PixelStatistics, pixel_statistics
from sslsim.data.single_view import NOISE
from sslsim.encoders.checks import check_count
from sslsim.measures.frozen import FrozenEncoder
from sslsim.memorization.image_sets import ScoredImages
from sslsim.memorization.losses import ImageScores, Scoring
from sslsim.memorization.views import ViewPairs
from sslsim.ntk import empirical_ntk, pair_ntk
from theory.memorization.first_order import (
    Points,
    alignment_losses,
    first_order_scores,
    kernel_points,
)
from theory.memorization.leave_one_out import leave_one_out_scores
from theory.pairs.gamma import read_pairs
from theory.pairs.spectrum import spectrum

Array = NDArray[np.float64]

_TRAINED = 17  # purpose of the seed of the pairs trained on


@dataclass(frozen=True, eq=False)
class ClosedForm:
    """Scores of n images in closed form.

    Attributes
    ----------
    scores : ndarray, shape (n,)
        High for images that are memorised.
    losses : ndarray, shape (n,)
        Alignment losses under the map learned from all images.
    errors : ndarray, shape (n,), or None
        Bounds on the errors of exact scores; None of first-order ones.
    gamma : ndarray, shape (r,)
        Eigenvalues of Gamma, descending; the first ``dim`` are learned.
    """

    scores: Array
    losses: Array
    errors: Array | None
    gamma: Array


def linear_scores(
    images: torch.Tensor,
    kind: str,
    dim: int,
    *,
    pairs: int = 10,
    augmentations: int = 10,
    seed: int = 0,
    numbers: torch.Tensor | None = None,
    pixels: PixelStatistics | None = None,
    noise: float = NOISE,
    exact: bool = False,
) -> ClosedForm:
    """Memorisation scores of the linear map that Barlow Twins learns from the pixels."""
    trained, compared = _view_pairs(
        images, kind, pairs, augmentations, seed, numbers, pixels=pixels, noise=noise
    )
    modes = spectrum(read_pairs(trained), dim, route="dense")
    gamma, axes, positive = modes.eigenvalues, modes.eigenvectors, modes.positive_modes or 0
    if positive == 0:
        raise ValueError(f"the largest eigenvalue of Gamma is {gamma[0]:.3g}; expected a positive")
    if dim > positive:
        warnings.warn(
            f"dim is {dim} but only {positive} modes have a positive eigenvalue; the other"
            f" {dim - positive} are never learned",
            UserWarning,
            stacklevel=2,
        )
    scores, losses = np.empty(len(images)), np.empty(len(images))
    errors = np.empty(len(images)) if exact else None
    for (rows, seen), (_, further) in zip(trained.blocks(), compared.blocks(), strict=True):
        x, x_prime = (seen[:, :, which].flatten(2).cpu().numpy() @ axes for which in range(2))
        gap = (further[:, :, 0] - further[:, :, 1]).flatten(2).cpu().numpy() @ axes
        points = Points(
            gamma=gamma,
            dim=min(dim, positive),
            n_pairs=len(images) * pairs,
            counts=np.full(len(rows), pairs),
            sums=(x + x_prime) / 2,
            differences=(x - x_prime) / 2,
            factors=gap / np.sqrt(2 * augmentations),
        )
        block = _scored(points, exact)
        places = rows.cpu().numpy()
        scores[places], losses[places] = block.scores, block.losses
        if errors is not None:
            errors[places] = block.errors
    return ClosedForm(scores, losses, errors, gamma)


def kernel_scores(
    network: nn.Module,
    images: torch.Tensor,
    kind: str,
    dim: int,
    *,
    pairs: int = 1,
    augmentations: int = 4,
    seed: int = 0,
    numbers: torch.Tensor | None = None,
    pixels: PixelStatistics | None = None,
    noise: float = NOISE,
    exact: bool = False,
    memory_budget: int | None = None,
    progress: bool = False,
) -> ClosedForm:
    """Memorisation scores of the linear model that a network's tangent kernel is."""
    dtype = next((p.dtype for p in network.parameters()), torch.float64)
    trained, compared = _view_pairs(
        images, kind, pairs, augmentations, seed, numbers, pixels=pixels, noise=noise, dtype=dtype
    )
    x, x_prime = trained.stacked().flatten(0, 1).unbind(1)
    kernel = pair_ntk(network, x, x_prime, memory_budget=memory_budget, progress=progress)
    with torch.no_grad():
        outputs = network(x[:1].to(next(network.parameters()).device)).shape[1]
    cross = empirical_ntk(
        network,
        compared.stacked().flatten(0, 2),
        torch.cat([x, x_prime]),
        memory_budget=memory_budget,
        progress=progress,
    )
    views = (cross / outputs).numpy().reshape(len(images), augmentations, 2, -1)
    gap = (views[:, :, 0] - views[:, :, 1]) / np.sqrt(2)
    points = kernel_points(
        kernel.numpy(),
        dim,
        # Both signs have the mean zero and the covariance wanted.
        cross_kernel=np.concatenate([gap, -gap], axis=1),
        every=True,
        groups=np.repeat(np.arange(len(images)), pairs),
    )
    return _scored(points, exact)


def _scored(points: Points, exact: bool) -> ClosedForm:
    losses = alignment_losses(points)
    if not exact:
        return ClosedForm(first_order_scores(points), losses, None, points.gamma)
    exact_scores = leave_one_out_scores(points)
    return ClosedForm(exact_scores.scores, losses, exact_scores.errors, points.gamma)


def _view_pairs(
    images: torch.Tensor,
    kind: str,
    pairs: int,
    augmentations: int,
    seed: int,
    numbers: torch.Tensor | None,
    **others: Any,
) -> tuple[ViewPairs, ViewPairs]:
    """Pairs of views that are trained on, and those that are compared."""
    check_count("augmentations", augmentations)
    if len(images) < 3:
        raise ValueError(f"{len(images)} image(s) given; expected at least 3")
    numbers = torch.arange(len(images)) if numbers is None else numbers
    compared = ViewPairs(images, numbers.to(images.device), kind, augmentations, seed, **others)
    own = derived_seed(seed, _TRAINED, 0)
    return replace(compared, pairs=pairs, seed=own), compared


def score_closed_form(
    images: ScoredImages,
    scoring: Scoring,
    dim: int,
    *,
    encoder: FrozenEncoder | None = None,
    standardise: bool = True,
    exact: bool = False,
) -> tuple[ImageScores, dict[str, Any]]:
    """Score a pool by leave-one-out of the linear model of its pixels, or of a network's kernel.

    The linear model is that of Barlow Twins: of the pixels, or of a trained network's tangent
    kernel, whatever method it was trained by. Also returned: what else goes to
    ``memorization.json``.
    """
    options: dict[str, Any] = {
        "augmentations": scoring.pairs,
        "seed": scoring.seed,
        "numbers": images.numbers,
        "exact": exact,
    }
    details: dict[str, Any] = {"dim": dim, "kernel": encoder is not None, "exact": exact}
    if encoder is None:
        details |= {"method": "barlow_twins", "encoder": "linear"}  # whatever the options
        pixels = pixel_statistics(images.images) if standardise else None
        result = linear_scores(images.images, scoring.views, dim, pixels=pixels, **options)
    else:
        result = kernel_scores(
            encoder.encoder,
            images.images,
            scoring.views,
            dim,
            pixels=encoder.pixels,
            progress=sys.stderr.isatty(),
            **options,
        )
    count = len(images.images)
    scores = ImageScores(
        scores=result.scores[None],
        standard_error=np.full((1, count), np.nan),
        units=np.empty((1, 0, count)),
        losses=result.losses[None, None],
        members=np.ones((1, count), dtype=bool),
    )
    return scores, {
        **details,
        "views": scoring.views,
        "layers": ["projector"],
        "distance": "sqeuclidean",
        "normalise": False,
        "gamma": result.gamma[: dim + 1],
        "error_bound": None if result.errors is None else result.errors.max(),
    }
