"""Options of ``sslsim bench``: which benchmark, and its own options."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import tyro

from experiments.bench.theory import BenchTheoryOptions


@dataclass(frozen=True)
class BenchOptions(BenchTheoryOptions):
    """Measure what the package costs.

    Attributes
    ----------
    study : {"theory"}
        theory: predictions beside a bare diagonalisation, beyond what fits in memory, and beside
        training.
    """

    study: tyro.conf.Positional[Literal["theory"]] = "theory"
