"""Encoder pairs of a finished study of memorisation, as they are and fine-tuned."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch

from experiments.studies.memorization.analysis.stored_scores import read_scores
from experiments.studies.memorization.options import MemorizationOptions
from experiments.studies.memorization.settings import pixels_of, scored_images
from sslsim.data.datasets import Images, part_of, spread_over
from sslsim.data.pixels import PixelStatistics, pixel_statistics
from sslsim.data.single_view import VIEWS
from sslsim.measures.frozen import FrozenEncoder
from sslsim.memorization.image_sets import FAMILIES, ScoredImages, image_hashes
from sslsim.methods.learner import Learner
from sslsim.runs.networks import kept_steps, load_weights
from sslsim.runs.setup import initial_learner
from sslsim.runs.stored import stored_options
from sslsim.umm import UmmOptions, undo_memorization


@dataclass(frozen=True, eq=False)
class PairedEncoders:
    """A finished study of protocol split whose encoders it trained itself.

    Attributes
    ----------
    folder : Path
        Its folder.
    options : MemorizationOptions
        How its encoders were trained.
    images : ScoredImages
        Its images.
    """

    folder: Path
    options: MemorizationOptions
    images: ScoredImages

    @cached_property
    def views(self) -> str:
        """Kind of the views that its encoders were trained on."""
        views = self.options.views or self.learner("f", 0).views
        if views not in VIEWS:
            raise ValueError(
                f"{self.folder} was trained on {views} views; expected one of {', '.join(VIEWS)}"
            )
        return views

    def trained_on(self, family: str) -> Images:
        """Images that encoders f or g were trained on."""
        return self.images.part(self.images.rows(family))

    def pixels(self, family: str) -> PixelStatistics | None:
        """Statistics by which the pixels of encoders f or g are standardised."""
        if not self.options.standardise:
            return None
        common = pixels_of(self.options, self.images)
        return common or pixel_statistics(self.trained_on(family).images)

    def learner(self, family: str, pair: int) -> Learner:
        """Encoder f or g of a pair with its loss, on the CPU and in evaluation mode."""
        options = replace(self.options, seed=self.options.seed + pair, weights=None, device="cpu")
        learner = initial_learner(options, self.trained_on(family), self.images.classes)
        run = self.folder / "encoders" / f"{family}{pair}"
        step = kept_steps(run)[-1]
        if step != options.steps:
            raise ValueError(
                f"{run} has {step} of {options.steps} updates; expected a finished training"
            )
        load_weights(learner, run / "checkpoints" / f"checkpoint-{step:09d}.pt")
        return learner.eval()

    def frozen(self, learner: Learner, family: str) -> FrozenEncoder:
        """The encoder of a learner, and how images are fed to it."""
        return FrozenEncoder(learner.eval().encoder, self.pixels(family), self.views)

    def unseen(self, count: int) -> Images:
        """Images of the data set outside all sets, spread evenly."""
        numbers = self.images.numbers
        return spread_over(_without(self.images.data, numbers), count)

    def tested(self, count: int) -> Images:
        """Held-out images outside the external set, spread evenly."""
        external = self.images.numbers[self.images.sets["external"]]
        places = external - len(self.images.data.images)
        return spread_over(_without(self.images.held_out, places), count)


def open_pairs(folder: Path, root: Path | None = None) -> PairedEncoders:
    """Open a study of memorisation.

    >>> open_pairs(Path("nowhere"))
    Traceback (most recent call last):
    ValueError: nowhere/config.json cannot be read: No such file or directory
    """
    options = stored_options(folder, "memorization", MemorizationOptions)
    if options.protocol != "split" or options.f:
        has = "encoders that were given to it" if options.f else f"protocol {options.protocol}"
        raise ValueError(
            f"{folder} holds a study of {has}; expected protocol split and its own encoders"
        )
    if root is not None:
        options = replace(options, root=root)
    _, arrays = read_scores(folder)
    images = scored_images(options)
    if arrays["hashes"].tolist() != image_hashes(images.images).tolist():
        raise ValueError(
            f"{options.data} is no longer what {folder} scored; expected the same images"
        )
    if images.data.labels is None or images.held_out.labels is None:
        raise ValueError(f"{options.data} has no labels; expected some, to fit linear probes")
    study = PairedEncoders(folder, options, images)
    if len(study.unseen(20).images) < 20:
        raise ValueError(
            f"{folder} has {len(study.unseen(20).images)} images outside its sets; expected at "
            "least 20 that no encoder has seen, to take modes from"
        )
    return study


def tuned_pair(
    study: PairedEncoders,
    pair: int,
    options: UmmOptions | None,
    folder: Path,
    device: torch.device,
) -> dict[str, FrozenEncoder]:
    """Both encoders of a pair, each fine-tuned on the images it was trained on."""
    encoders = {}
    for family in FAMILIES:
        learner = study.learner(family, pair).to(device)
        if options is not None:
            undo_memorization(
                learner,
                study.trained_on(family),
                study.images.held_out,
                study.views,
                replace(options, seed=options.seed + pair),
                folder / family,
                pixels=study.pixels(family),
                device=device,
                progress=sys.stderr.isatty(),
            )
        encoders[family] = study.frozen(learner, family)
    return encoders


def _without(data: Images, places: torch.Tensor) -> Images:
    """Images but those at some places; places beyond the data are of another set."""
    outside = torch.ones(len(data.images), dtype=torch.bool)
    outside[places[places < len(outside)]] = False
    return part_of(data, outside)
