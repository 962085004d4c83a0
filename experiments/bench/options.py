"""Options of ``sslsim bench``: which benchmark, and its own options."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Union

import tyro

from experiments.bench.theory import BenchTheoryOptions
from experiments.bench.train import BenchTrainOptions

Theory = Annotated[BenchTheoryOptions, tyro.conf.subcommand("theory")]
Train = Annotated[BenchTrainOptions, tyro.conf.subcommand("train")]


@dataclass(frozen=True)
class BenchOptions:
    """Measure what the package costs.

    Attributes
    ----------
    study : BenchTheoryOptions or BenchTrainOptions
        theory: predictions beside a bare diagonalisation, beyond what fits in memory, and beside
        training. train: losses, augmentations and training steps beside those of others.
    """

    study: Union[Theory, Train]  # noqa: UP007  (tyro reads the annotations)
