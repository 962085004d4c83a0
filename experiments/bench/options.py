"""Options of ``sslsim bench``: which benchmark, and its own options."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Union

import tyro

from experiments.bench.coding_rate import BenchCodingRateOptions
from experiments.bench.ntk import BenchNtkOptions
from experiments.bench.theory import BenchTheoryOptions
from experiments.bench.train import BenchTrainOptions

Theory = Annotated[BenchTheoryOptions, tyro.conf.subcommand("theory")]
Train = Annotated[BenchTrainOptions, tyro.conf.subcommand("train")]
Ntk = Annotated[BenchNtkOptions, tyro.conf.subcommand("ntk")]
CodingRate = Annotated[BenchCodingRateOptions, tyro.conf.subcommand("coding-rate")]


@dataclass(frozen=True)
class BenchOptions:
    """Measure what the package costs.

    Attributes
    ----------
    study : BenchTheoryOptions, BenchTrainOptions, BenchNtkOptions or BenchCodingRateOptions
        theory: predictions beside a bare diagonalisation, beyond what fits in memory, and beside
        training. train: losses, augmentations and training steps beside those of others. ntk:
        exact tangent kernels beside other ways to them. coding-rate: the coding rate and its
        gradient beside the published formula.
    """

    study: Union[Theory, Train, Ntk, CodingRate]  # noqa: UP007  (tyro reads the annotations)
