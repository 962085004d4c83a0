"""Every point scored by encoders that were trained on random shares of the points."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike

from sslsim.core.seeds import derived_generator
from sslsim.encoders.checks import check_count
from sslsim.measures.frozen import FrozenEncoder
from sslsim.memorization.image_sets import ScoredImages
from sslsim.memorization.losses import ImageScores, Scoring, encoder_losses
from sslsim.memorization.scores import Memorization, check_losses, scored

_MEMBERS = 14  # purpose of the draw of members


def draw_members(encoders: int, points: int, share: float = 0.7, *, seed: int = 0) -> torch.Tensor:
    """Draw which points each of several encoders is trained on.

    Parameters
    ----------
    encoders, points : int
        Number of points.
    share : float
        Share of the points for each encoder, strictly between 0 and 1.
    seed : int
        At least 0.

    Returns
    -------
    Tensor of bool, shape (encoders, points)
        True where an encoder is trained on a point. Every encoder is trained on as many points as
        any other, to one, and every point left out by as many encoders as any other, to one.
        Otherwise it is uniformly random.

    Raises
    ------
    ValueError
        If a number is out of range, or some points would be in no encoder's training or in that of
        all: such points have no score.

    Notes
    -----
    A balanced table is shuffled by trades between pairs of encoders: of the points that one of the
    two has and the other has not, each gets as many as before, at random. Such trades keep rows'
    and columns' sums and have the uniform law on tables of these sums as their only limit
    (arXiv 2305.04937). In a round every encoder trades with one other.

    Examples
    --------
    >>> members = draw_members(10, 200)
    >>> members.sum(dim=1).unique().tolist(), members.sum(dim=0).unique().tolist()
    ([140], [7])
    """
    check_count("encoders", encoders)
    check_count("points", points)
    if not 0 < share < 1:
        raise ValueError(f"share is {share}; expected a number between 0 and 1, both excluded")
    if type(seed) is not int or seed < 0:
        raise ValueError(f"seed is {seed!r}; expected a whole number of at least 0")
    chosen = round(share * encoders * points)
    if chosen < points or chosen > (encoders - 1) * points:
        needed = math.ceil(1 / min(share, 1 - share) - 1e-9)  # 1 - 0.9 is a little less than 0.1
        raise ValueError(
            f"{encoders} encoder(s) on a share of {share} of the points leave some points in none "
            f"or out of none; expected at least {needed} encoders"
        )
    generator = derived_generator(seed, _MEMBERS, 0)
    # Encoders take turns at the points in their order, which is all that balance needs.
    sizes = torch.full((encoders,), chosen // encoders)
    sizes[torch.randperm(encoders, generator=generator)[: chosen % encoders]] += 1
    ends = sizes.cumsum(0)
    places = torch.arange(points)
    begun, order = (ends - sizes)[:, None], torch.randperm(points, generator=generator)
    members = torch.empty(encoders, points, dtype=torch.bool)
    members[:, order] = (places - begun) % points < sizes[:, None]
    # Every round halves what a row still has of its beginning.
    for _ in range(12 + 2 * encoders.bit_length()):
        rows = torch.randperm(encoders, generator=generator)[: encoders // 2 * 2].reshape(2, -1)
        members[rows] = _traded(members[rows], generator)
    return members


def _traded(pair: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Rows (2, r, n) after a trade of each of the first r with its partner."""
    differ = pair[0] ^ pair[1]
    keys = torch.rand(differ.shape, generator=generator, dtype=torch.float64)
    order = keys.masked_fill_(~differ, 2.0).argsort(dim=1)
    first = torch.arange(pair.shape[2]) < (pair[0] & differ).sum(dim=1, keepdim=True)
    taken = torch.empty_like(differ).scatter_(1, order, first)
    common = pair[0] & pair[1]
    return torch.stack([common | taken, common | (differ & ~taken)])


def subsample_scores(
    losses: torch.Tensor | ArrayLike,
    members: torch.Tensor | ArrayLike,
    form: str = "raw",
    *,
    centre: bool = False,
) -> Memorization:
    r"""SSLMem scores of all points from encoders trained on random shares of them.

    Parameters
    ----------
    losses : Tensor or array_like, shape (encoders, n)
        Alignment losses of every point under every encoder.
    members : Tensor or array_like of bool, shape (encoders, n)
        Which points each encoder was trained on, for instance of :func:`draw_members`.
    form : {"raw", "ratio"}
        As for :func:`sslsim.memorization.ssl_mem`, f being the encoders trained with a point and g
        those trained without it.
    centre : bool
        Subtract from the losses of each encoder how far their mean over the points lies above that
        of all encoders: some align everything better, which says nothing of any point but adds to
        the noise of all. Of ``form="raw"`` alone, as losses may become negative.

    Returns
    -------
    Memorization
        Standard errors are Welch's, over the encoders of either group; NaN where one has a single
        encoder.

    Raises
    ------
    ValueError
        If the shapes differ, a point has no encoder trained with it or none without it, losses are
        negative, NaN or infinite, the form is unknown, or ``centre`` is given with "ratio".

    Notes
    -----
    m(x) = mean over encoders trained without x - mean over those trained with x, the definition of
    2401.12233 with the subsampling estimate of Feldman and Zhang (arXiv 2008.03703).
    Centring removes an encoder's offset exactly and shrinks scores towards their mean: where
    encoders leave out equally many points and x changes no loss but its own, by the draw of
    members :math:`E s(x) = m(x) + (\bar m - m(x)) / (n - 1)`. The order of points stays.

    Examples
    --------
    >>> members = [[True, False], [True, False], [False, True], [False, True]]
    >>> found = subsample_scores([[1.0, 3.0], [1.0, 5.0], [2.0, 1.0], [4.0, 1.0]], members)
    >>> found.scores.tolist(), found.standard_error.tolist()
    ([2.0, 3.0], [1.0, 1.0])
    """
    table = check_losses("losses", losses)
    inside = torch.as_tensor(members).to(table.device)
    if inside.dtype != torch.bool or inside.shape != table.shape:
        raise ValueError(
            f"members is {inside.dtype} of shape {tuple(inside.shape)} and losses has shape "
            f"{tuple(table.shape)}; expected bool and equal shapes (encoders, n)"
        )
    if centre and form == "ratio":
        raise ValueError("centre is True with form 'ratio'; expected it with form 'raw' only")
    counts = inside.sum(dim=0)
    if unfit := ((counts == 0) | (counts == len(inside))).nonzero()[:, 0].tolist():
        raise ValueError(
            f"{len(unfit)} point(s), the first {unfit[0]}, are in the training of no encoder or of "
            "all; expected encoders with and without every point"
        )
    if centre:
        offsets = table.mean(dim=1, keepdim=True)
        table = table - (offsets - offsets.mean())
    # Differences of small deviations keep the digits that those of means would lose.
    least = table.min(dim=0).values
    above = table - least
    f_mean, f_var = _mean_and_variance(above, inside)
    g_mean, g_var = _mean_and_variance(above, ~inside)
    return scored(least, f_mean, g_mean, f_var, g_var, form)


def score_pool(
    encoders: Sequence[FrozenEncoder],
    members: torch.Tensor,
    images: ScoredImages,
    scoring: Scoring,
) -> ImageScores:
    """Scores of a pool under encoders that were trained on random shares of it.

    Parameters
    ----------
    encoders : sequence of FrozenEncoder
        Encoders of one architecture.
    members : Tensor of bool, shape (encoders, n)
        Images that each encoder was trained on, of :func:`draw_members`.
    images : ScoredImages
        Of :func:`sslsim.memorization.image_sets.pool_images`.
    scoring : Scoring
        How to score. Raw scores are freed of every encoder's offset, as :func:`subsample_scores`
        does by ``centre``.

    Returns
    -------
    ImageScores
        Without pairs of encoders.

    Raises
    ------
    ValueError
        As :func:`sslsim.memorization.losses.encoder_losses` and :func:`subsample_scores`.

    Examples
    --------
    >>> from sslsim.data.datasets import load_images
    >>> from sslsim.encoders.build import build_encoder
    >>> from sslsim.memorization.image_sets import pool_images
    >>> images = pool_images(load_images(limit=20), load_images(split="test", limit=20), 10)
    >>> encoders = [
    ...     FrozenEncoder(build_encoder("linear", (1, 8, 8), 2, seed=s), None, "weak")
    ...     for s in range(4)
    ... ]
    >>> score_pool(encoders, draw_members(4, 10), images, Scoring("weak")).scores.shape
    (1, 10)
    """
    losses = encoder_losses(encoders, images.images, scoring, numbers=images.numbers)
    return pool_scores(losses, members, scoring.form)


def pool_scores(losses: torch.Tensor, members: torch.Tensor, form: str) -> ImageScores:
    """Scores of a pool in one form, from its alignment losses.

    Parameters
    ----------
    losses : Tensor, shape (encoders, layers, n)
        Alignment losses of every image under every encoder.
    members : Tensor of bool, shape (encoders, n)
        Images that each encoder was trained on.
    form : {"raw", "ratio"}
        As for :func:`subsample_scores`; raw scores are centred.

    Returns
    -------
    ImageScores
        Without pairs of encoders.

    Raises
    ------
    ValueError
        As :func:`subsample_scores`.

    Examples
    --------
    >>> losses, members = torch.tensor([[[0.25]], [[0.75]]]), torch.tensor([[True], [False]])
    >>> pool_scores(losses, members, "ratio").scores.tolist()
    [[0.5]]
    """
    by_layer = [
        subsample_scores(of_layer, members, form, centre=form == "raw")
        for of_layer in losses.unbind(dim=1)
    ]
    return ImageScores(
        scores=torch.stack([layer.scores for layer in by_layer]).numpy(),
        standard_error=torch.stack([layer.standard_error for layer in by_layer]).numpy(),
        units=np.empty((len(by_layer), 0, losses.shape[2])),
        losses=losses.numpy(),
        members=members.numpy(),
    )


def _mean_and_variance(
    losses: torch.Tensor, chosen: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean of the chosen losses of each column, and the variance of that mean."""
    count = chosen.sum(dim=0)
    mean = torch.where(chosen, losses, 0.0).sum(dim=0) / count
    squares = torch.where(chosen, losses - mean, 0.0).square().sum(dim=0)
    return mean, squares / ((count - 1) * count)  # 0 / 0 is NaN: one encoder has no spread
