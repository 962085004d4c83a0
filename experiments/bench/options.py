"""Options of ``sslsim bench``: which benchmark, and its own options."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Union

import tyro

from experiments.bench.coding_rate import BenchCodingRateOptions
from experiments.bench.memorization import BenchMemorizationOptions
from experiments.bench.ntk import BenchNtkOptions
from experiments.bench.theory import BenchTheoryOptions
from experiments.bench.throughput import BenchThroughputOptions
from experiments.bench.train import BenchTrainOptions

Theory = Annotated[BenchTheoryOptions, tyro.conf.subcommand("theory")]
Train = Annotated[BenchTrainOptions, tyro.conf.subcommand("train")]
Throughput = Annotated[BenchThroughputOptions, tyro.conf.subcommand("throughput")]
Ntk = Annotated[BenchNtkOptions, tyro.conf.subcommand("ntk")]
Memorization = Annotated[BenchMemorizationOptions, tyro.conf.subcommand("memorization")]
CodingRate = Annotated[BenchCodingRateOptions, tyro.conf.subcommand("coding-rate")]


@dataclass(frozen=True)
class BenchOptions:
    """Measure what the package costs.

    Attributes
    ----------
    study : options of one of the benchmarks
        theory: predictions beside a bare diagonalisation, beyond what fits in memory, and beside
        training. train: losses, augmentations and training steps beside those of others.
        throughput: training beside bare passes of the same network, on a GPU too. ntk: exact
        tangent kernels beside other ways to them. coding-rate: the coding rate and its gradient
        beside the published formula. memorization: encoders trained together, and scores beside
        bare forward passes.
    """

    study: Union[  # noqa: UP007  (tyro reads the annotations)
        Theory, Train, Throughput, Ntk, CodingRate, Memorization
    ]
