"""The four-way split: pairs of encoders that share all training images but one set each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from sslsim.core.names import FORMS
from sslsim.measures.frozen import FrozenEncoder
from sslsim.memorization.image_sets import FAMILIES, ScoredImages, image_hashes
from sslsim.memorization.losses import ImageScores, Scoring, encoder_losses
from sslsim.memorization.scores import ssl_mem

_REFERENCES = ("shared", "external")  # sets that candidates are compared with


def score_split(
    f: Sequence[FrozenEncoder], g: Sequence[FrozenEncoder], images: ScoredImages, scoring: Scoring
) -> ImageScores:
    """Scores of all four sets under pairs of encoders.

    Parameters
    ----------
    f, g : sequence of FrozenEncoder
        As many of either, one architecture: trained on the shared images, f on the candidates too
        and g on the independent ones. Both of a pair best have one seed: they start from the same
        weights, and what they have in common drops out of the difference.
    images : ScoredImages
        Of :func:`sslsim.memorization.image_sets.split_images`.
    scoring : Scoring
        How to score.

    Returns
    -------
    ImageScores
        Encoders f before encoders g.

    Raises
    ------
    ValueError
        As :func:`sslsim.memorization.losses.encoder_losses`.

    Notes
    -----
    arXiv 2401.12233, section 4.1.

    Examples
    --------
    >>> from sslsim.data.datasets import load_images
    >>> from sslsim.encoders.build import build_encoder
    >>> from sslsim.memorization.image_sets import split_images
    >>> sizes = {"candidate": 4, "independent": 3, "shared": 10, "external": 2}
    >>> images = split_images(load_images(limit=40), load_images(split="test", limit=20), sizes)
    >>> f, g = (
    ...     [FrozenEncoder(build_encoder("linear", (1, 8, 8), 2, seed=s), None, "weak")]
    ...     for s in range(2)
    ... )
    >>> result = score_split(f, g, images, Scoring("weak"))
    >>> result.scores.shape, result.units.shape, result.members.sum(axis=1).tolist()
    ((1, 19), (1, 1, 19), [14, 13])
    """
    losses = encoder_losses([*f, *g], images.images, scoring, numbers=images.numbers)
    members = torch.zeros(len(losses), len(images.images), dtype=torch.bool)
    members[: len(f), images.rows("f")] = True
    members[len(f) :, images.rows("g")] = True
    return split_scores(losses, members, scoring.form)


def split_scores(losses: torch.Tensor, members: torch.Tensor, form: str) -> ImageScores:
    """Scores of images in one form, from their alignment losses under pairs of encoders.

    Parameters
    ----------
    losses : Tensor, shape (2 pairs, layers, n)
        Alignment losses, encoders f before encoders g.
    members : Tensor of bool, shape (2 pairs, n)
        Images that every encoder was trained on.
    form : {"raw", "ratio"}
        As for :func:`sslsim.memorization.ssl_mem`.

    Returns
    -------
    ImageScores

    Raises
    ------
    ValueError
        As :func:`sslsim.memorization.ssl_mem`.

    Examples
    --------
    >>> losses = torch.tensor([[[0.25]], [[0.75]]])
    >>> [split_scores(losses, losses[:, 0] > 0, form).units.item() for form in FORMS]
    [0.5, 0.5]
    """
    of_f, of_g = losses.transpose(0, 1).chunk(2, dim=1)  # (layers, pairs, n) each
    both = [ssl_mem(*layer, form) for layer in zip(of_f, of_g, strict=True)]
    units = [
        torch.stack([ssl_mem(*pair, form).scores for pair in zip(*layer, strict=True)])
        for layer in zip(of_f, of_g, strict=True)
    ]
    return ImageScores(
        scores=torch.stack([layer.scores for layer in both]).numpy(),
        standard_error=torch.stack([layer.standard_error for layer in both]).numpy(),
        units=torch.stack(units).numpy(),
        losses=losses.numpy(),
        members=members.numpy(),
    )


def memorization_by_set(
    f_losses: torch.Tensor,
    g_losses: torch.Tensor,
    sets: Mapping[str, torch.Tensor],
    chosen: torch.Tensor | None = None,
) -> dict[str, float]:
    """How far a pair of encoders memorises candidates, and how far it aligns all images.

    Parameters
    ----------
    f_losses, g_losses : Tensor, shape (n,)
        Alignment losses under f and g.
    sets : mapping of str to Tensor of int64
        Places of the images of every set.
    chosen : Tensor of int64, optional
        Places of some candidates to look at by themselves.

    Returns
    -------
    dict of str to float
        For every form ``FORM_above_shared`` and ``FORM_above_external``, the mean score of the
        candidates less that of another set, and ``FORM_chosen``, that of the chosen ones less that
        of the shared images; ``alignment_SET``, the mean loss under f.

    Raises
    ------
    ValueError
        As :func:`sslsim.memorization.ssl_mem`.

    Examples
    --------
    >>> sets = {name: torch.tensor([i]) for i, name in enumerate(("candidate", *_REFERENCES))}
    >>> f, g = torch.tensor([0.25, 0.5, 0.5]), torch.tensor([0.75, 0.5, 0.5])
    >>> measures = memorization_by_set(f, g, sets)
    >>> measures["raw_above_shared"], measures["alignment_candidate"]
    (0.5, 0.25)
    """
    measures = {}
    for form in FORMS:
        scores = ssl_mem(f_losses[None], g_losses[None], form).scores
        mean = {name: float(scores[places].mean()) for name, places in sets.items()}
        for other in _REFERENCES:
            measures[f"{form}_above_{other}"] = mean["candidate"] - mean[other]
        if chosen is not None:
            measures[f"{form}_chosen"] = float(scores[chosen].mean()) - mean["shared"]
    groups = sets if chosen is None else {**sets, "chosen": chosen}
    return measures | {
        f"alignment_{name}": float(f_losses[places].mean()) for name, places in groups.items()
    }


def check_training_sets(
    seen: torch.Tensor, family: str, images: ScoredImages, folder: Path
) -> None:
    """Raise if an encoder was not trained on the sets of its family.

    Parameters
    ----------
    seen : Tensor of uint8, shape (m, c, h, w)
        Images that the encoder was trained on.
    family : {"f", "g"}
        Which encoder of a pair it is taken for.
    images : ScoredImages
        Images of the split.
    folder : Path
        Folder of the encoder, for the message.

    Raises
    ------
    ValueError
        If it has not seen all images of its own sets, or has seen some of the others.

    Examples
    --------
    >>> from sslsim.data.datasets import load_images
    >>> from sslsim.memorization.image_sets import split_images
    >>> sizes = {"candidate": 4, "independent": 3, "shared": 10, "external": 2}
    >>> images = split_images(load_images(limit=40), load_images(split="test", limit=20), sizes)
    >>> check_training_sets(images.part(images.rows("f")).images, "f", images, Path("f0"))
    """
    hashes = image_hashes(images.images)
    known, counts = np.unique(
        image_hashes(torch.cat([images.data.images, images.held_out.images])), return_counts=True
    )
    trained_on = np.isin(hashes, image_hashes(seen))
    # Of images that the data hold twice nobody can say which was seen.
    surely = trained_on & np.isin(hashes, known[counts == 1])
    rows = {name: places.numpy() for name, places in images.sets.items()}
    own, other = FAMILIES[family][1], FAMILIES["g" if family == "f" else "f"][1]
    if not trained_on[rows[own]].any() and trained_on[rows[other]].all():
        raise ValueError(
            f"{folder} is given as {family}, but was trained on the {other} images and on no "
            f"{own} one: f and g seem to be swapped; expected f trained on the candidates and g on "
            "the independent images"
        )
    for name in FAMILIES[family]:
        _check_count(folder, family, name, trained_on[rows[name]], whole=True)
    for name in (other, "external"):
        _check_count(folder, family, name, surely[rows[name]], whole=False)


def _check_count(
    folder: Path, family: str, name: str, seen: NDArray[np.bool_], *, whole: bool
) -> None:
    """Raise unless all images of a set were seen, or none."""
    count = int(seen.sum())
    if count != (len(seen) if whole else 0):
        raise ValueError(
            f"{folder}, given as {family}, was trained on {count} of the {len(seen)} {name} "
            f"images; expected {'all' if whole else 'none'} of them"
        )
