r"""Memorisation without retraining: how far an image has shaped its own alignment loss.

Leaving image x out of a training that minimises the mean of n losses moves the parameters, to
first order, by :math:`H^{-1} g_x / n`, and raises the loss of x by :math:`g_x^T H^{-1} g_x / n`:
its influence on itself (Koh and Liang, arXiv 1703.04730). The score is this with projected
gradients, and with their second moments in place of the curvature H, as in TRAK (arXiv 2303.14186).

The losses of self-supervised methods are no sums over images: negatives (SimCLR) and covariances
(Barlow Twins, VICReg) couple all images of a batch, so that no image has a training loss of its
own. The alignment loss, which SSLMem is defined by and which these methods lower, stands for it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from tqdm import tqdm

from sslsim.core.seeds import derived_generator
from sslsim.encoders.checks import check_count
from sslsim.encoders.output import as_parameters
from sslsim.measures.frozen import FrozenEncoder
from sslsim.memorization.losses import ImageScores, Scoring, encoder_losses
from sslsim.memorization.represent import distances
from sslsim.memorization.views import ViewPairs

LAYERS = ("backbone", "projector")
"""Layers whose alignment loss is differentiated: representation and embedding."""

_SKETCH = 19  # purpose of the draw of the projection
_ROWS = 4096  # rows of gradients in float64 at a time


def influence_scores(
    gradients: torch.Tensor, damping: float = 1.0, *, curvature: torch.Tensor | None = None
) -> torch.Tensor:
    r"""Self-influence of every image, from gradients of the losses of all.

    Parameters
    ----------
    gradients : Tensor, shape (n, p)
        Gradient of the loss of every image, projected or not.
    damping : float
        What is added to the curvature, in units of the mean of its eigenvalues; at least 0. Without
        any, directions without curvature are left out.
    curvature : Tensor, shape (m, p), optional
        Rows whose second moments are the curvature, for instance gradients of the outputs of a
        least squares problem. Default: ``gradients``, the empirical Fisher matrix.

    Returns
    -------
    Tensor of float64, shape (n,)
        None negative, high for memorised images. By default the same if all gradients are scaled
        by a number, and at most 1: a damped leverage.

    Raises
    ------
    ValueError
        If shapes do not fit, a value is not finite, or the damping is out of range.

    Notes
    -----
    :math:`g^T (C^T C / m + \delta I)^{-1} g / n` with :math:`\delta` the damping times
    :math:`\mathrm{tr}(C^T C / m) / p`. For losses :math:`(a^T \theta - y)^2 / 2` and curvature rows
    a, it is the first order of exact leave-one-out. With much damping it is the squared norm of the
    gradient, up to a factor.

    Examples
    --------
    >>> rows = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 3.0]])
    >>> influence_scores(rows, damping=0.0).tolist()
    [0.5, 0.5, 1.0]
    """
    rows = gradients if curvature is None else curvature
    if gradients.ndim != 2 or rows.ndim != 2 or gradients.shape[1] != rows.shape[1]:
        raise ValueError(
            f"gradients has shape {tuple(gradients.shape)} and curvature {tuple(rows.shape)}; "
            "expected (n, p) and (m, p) with equal p"
        )
    if gradients.numel() == 0 or rows.numel() == 0:
        raise ValueError(f"gradients has shape {tuple(gradients.shape)}; expected no zero in it")
    if not (bool(torch.isfinite(gradients).all()) and bool(torch.isfinite(rows).all())):
        raise ValueError("gradients or curvature hold NaN or infinite values; expected finite")
    if not 0 <= damping < math.inf:
        raise ValueError(f"damping is {damping}; expected a finite number of at least 0")
    p = gradients.shape[1]
    moments = torch.zeros(p, p, dtype=torch.float64)
    for part in rows.split(_ROWS):
        moments += part.double().T @ part.double()
    values, axes = torch.linalg.eigh(moments / len(rows))
    added = damping * float(values.sum()) / p
    if damping == 0:
        kept = values > values[-1] * p * torch.finfo(torch.float64).eps
        values, axes = values[kept], axes[:, kept]
    elif added == 0:  # no gradient at all
        return torch.zeros(len(gradients), dtype=torch.float64)
    inverse = 1 / (values.clamp(min=0) + added)
    parts = [(part.double() @ axes).square() @ inverse for part in gradients.split(_ROWS)]
    return torch.cat(parts) / len(gradients)


def alignment_gradients(
    encoder: FrozenEncoder,
    images: torch.Tensor,
    scoring: Scoring,
    layer: str = "backbone",
    *,
    projection: int | None = 1024,
    numbers: torch.Tensor | None = None,
    progress: bool = False,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Gradient of the alignment loss of every image with respect to the parameters, projected.

    Parameters
    ----------
    encoder : FrozenEncoder
        In evaluation mode: BatchNorm uses its running statistics, so that no other image counts.
    images : Tensor of uint8, shape (n, c, h, w)
        The images.
    scoring : Scoring
        Views, pairs and distance, as for :func:`sslsim.memorization.encoder_losses`; its views are
        the same.
    layer : {"backbone", "projector"}
        Whose alignment is differentiated, with respect to all parameters before it.
    projection : int, optional
        Number p of dimensions that gradients are projected to, at random: every parameter is added,
        with a random sign, to one of p sums (a count sketch, which keeps inner products on
        average). With fewer parameters, or None, there is no projection.
    numbers : Tensor of int64, shape (n,), optional
        As for :func:`sslsim.memorization.encoder_losses`.
    progress : bool
        Show a bar over images.

    Returns
    -------
    gradients : Tensor of float32, shape (n, p)
        On the CPU. A pair of views with one representation has no gradient.
    squares : Tensor of float64, shape (n,)
        Squared norms of the gradients, not projected.

    Raises
    ------
    ValueError
        If the layer is unknown, a part of the encoder is in training mode, or nothing requires
        gradients.

    Examples
    --------
    >>> from sslsim.encoders.build import build_encoder
    >>> encoder = FrozenEncoder(build_encoder("mlp", (1, 6, 6), 2, seed=0).eval(), None, "crops")
    >>> images = torch.randint(256, (3, 1, 8, 8), dtype=torch.uint8)
    >>> gradients, squares = alignment_gradients(encoder, images, Scoring("crops", pairs=2))
    >>> gradients.shape
    torch.Size([3, 1024])
    """
    network = encoder.encoder
    if layer not in LAYERS:
        raise ValueError(f"layer is {layer!r}; expected one of {', '.join(LAYERS)}")
    if any(part.training for part in network.modules()):
        raise ValueError("the encoder is in training mode; expected evaluation mode")
    part: nn.Module = network if layer == "projector" else network.backbone
    parameters = [p for p in part.parameters() if p.requires_grad]
    count = sum(p.numel() for p in parameters)
    if count == 0:
        raise ValueError("the encoder has no parameter that requires gradients; expected some")
    device = parameters[0].device
    size = count if projection is None else min(check_count("projection", projection), count)
    sketch = None if size == count else _sketch(count, size, device)
    numbers = torch.arange(len(images)) if numbers is None else numbers
    views = ViewPairs(
        images.to(device), numbers.to(device), scoring.views, scoring.pairs, scoring.seed,
        encoder.pixels, dtype=torch.float32,
    )  # fmt: skip
    gradients = torch.zeros(len(images), size)
    squares = torch.zeros(len(images), dtype=torch.float64)
    with tqdm(total=len(images), desc="gradients", disable=not progress) as bar:
        for rows, block in views.blocks():
            for row, pairs in zip(rows.tolist(), block, strict=True):
                loss = _alignment(network, part, pairs, scoring)
                bar.update()
                if loss is None:
                    continue
                found = torch.autograd.grad(loss, parameters, allow_unused=True)
                gradient = torch.cat(
                    [
                        (torch.zeros_like(p) if g is None else g).flatten()
                        for p, g in zip(parameters, found, strict=True)
                    ]
                )
                squares[row] = gradient.double().square().sum().cpu()
                gradients[row] = (gradient if sketch is None else _project(gradient, *sketch)).cpu()
    return gradients, squares


def score_influence(
    encoders: Sequence[FrozenEncoder],
    images: torch.Tensor,
    scoring: Scoring,
    *,
    damping: float = 1.0,
    projection: int | None = 1024,
    numbers: torch.Tensor | None = None,
    progress: bool = False,
) -> ImageScores:
    """Scores of images by their influence on themselves, under encoders trained on all of them.

    Parameters
    ----------
    encoders : sequence of FrozenEncoder
        Encoders of one architecture, in evaluation mode.
    images, scoring, projection, numbers, progress
        As for :func:`alignment_gradients`; every layer of ``scoring`` is scored.
    damping : float
        As for :func:`influence_scores`.

    Returns
    -------
    ImageScores
        Means over the encoders. ``units`` are the scores under every single one.

    Raises
    ------
    ValueError
        As the functions named, or if there are no encoders.

    Examples
    --------
    >>> from sslsim.encoders.build import build_encoder
    >>> encoder = FrozenEncoder(build_encoder("mlp", (1, 6, 6), 2, seed=0).eval(), None, "crops")
    >>> images = torch.randint(256, (5, 1, 8, 8), dtype=torch.uint8)
    >>> found = score_influence([encoder], images, Scoring("crops", pairs=2))
    >>> found.scores.shape, found.gradient_norms.shape
    ((1, 5), (1, 1, 5))
    """
    losses = encoder_losses(encoders, images, scoring, numbers=numbers).numpy()
    units, squares = np.empty((2, len(encoders), len(scoring.layers), len(images)))
    for place, encoder in enumerate(encoders):
        for layer, name in enumerate(scoring.layers):
            gradients, norms = alignment_gradients(
                encoder,
                images,
                scoring,
                name,
                projection=projection,
                numbers=numbers,
                progress=progress,
            )
            units[place, layer] = influence_scores(gradients, damping)
            squares[place, layer] = norms
    return ImageScores(
        scores=units.mean(axis=0),
        standard_error=_error_of_mean(units),
        units=units.swapaxes(0, 1),
        losses=losses,
        members=np.ones((len(encoders), len(images)), dtype=bool),
        gradient_norms=squares,
    )


def _alignment(
    network: nn.Module, part: nn.Module, pairs: torch.Tensor, scoring: Scoring
) -> torch.Tensor | None:
    """Mean distance of the pairs of one image, (pairs, 2, c, h, w); None where all are zero."""
    with torch.enable_grad():
        z = part(as_parameters(network, pairs.flatten(0, 1))).double().unflatten(0, (-1, 2))
        first, second = z.unbind(1)
        with torch.no_grad():  # a distance has no derivative at zero
            apart = distances(first, second, scoring.distance, normalise=scoring.normalise) > 0
        if not bool(apart.any()):
            return None
        found = distances(
            first[apart], second[apart], scoring.distance, normalise=scoring.normalise
        )
        return found.sum() / len(pairs)


def _sketch(count: int, size: int, device: torch.device) -> tuple[int, torch.Tensor, torch.Tensor]:
    """Sum that every parameter is added to, and its sign: the same on every device."""
    generator = derived_generator(0, _SKETCH, size)
    sums = torch.randint(size, (count,), generator=generator)
    signs = torch.randint(2, (count,), generator=generator, dtype=torch.float32) * 2 - 1
    return size, sums.to(device), signs.to(device)


def _project(
    gradient: torch.Tensor, size: int, sums: torch.Tensor, signs: torch.Tensor
) -> torch.Tensor:
    return gradient.new_zeros(size).index_add_(0, sums, gradient * signs)


def _error_of_mean(units: NDArray[np.float64]) -> NDArray[np.float64]:
    count = len(units)
    if count == 1:
        return np.full(units.shape[1:], np.nan)
    return np.asarray(units.std(axis=0, ddof=1) / count**0.5)
