"""What the coding rate and its gradient cost, beside the formula as published.

Three measurements go into ``bench.json``:

``whole``
    R and its gradient, against the determinant of a d x d matrix (arXiv 2006.08558).
``groups``
    R^c and its gradient for classes, against a membership matrix of n x n a class.
``tiny_eps``
    How wrong R is in float32 at a distortion of 1e-6, by several routes.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from experiments.bench.harness import (
    Timed,
    check_least,
    in_turns,
    medians,
    run_bench,
    time_ratios,
    timed,
    with_range,
)
from experiments.bench.options import BenchCodingRateOptions
from experiments.tables import table
from sslsim.coding_rate import coding_rate, grouped_coding_rate
from theory.coding_rate.rate import coding_rate as exact_coding_rate

_EPS = 0.5**0.5  # eps^2 of 1/2, as published for self-supervised learning
_TINY_EPS = 1e-6
_RANK = 32

Rate = Callable[[torch.Tensor], torch.Tensor]


def bench_coding_rate(options: BenchCodingRateOptions) -> Path:
    """Run the three measurements."""
    check_least(options, samples=2, dim=1, groups=1, repeats=1, threads=1)
    if options.groups > options.samples:
        raise ValueError(
            f"groups is {options.groups}; expected at most the {options.samples} samples"
        )
    return run_bench(options, _measured, _report)


def _measured(options: BenchCodingRateOptions) -> dict[str, Any]:
    return {"whole": _whole(options), "groups": _groups(options), "tiny_eps": _tiny_eps(options)}


def _whole(options: BenchCodingRateOptions) -> dict[str, Any]:
    return _compared(options, lambda z: coding_rate(z, _EPS), lambda z: published_rate(z, _EPS**2))


def _groups(options: BenchCodingRateOptions) -> dict[str, Any]:
    draw = torch.Generator().manual_seed(1)
    labels = torch.randperm(options.samples, generator=draw) % options.groups
    memberships = torch.zeros(options.groups, options.samples, options.samples)
    memberships[labels, torch.arange(options.samples), torch.arange(options.samples)] = 1
    comparison = _compared(
        options,
        lambda z: grouped_coding_rate(z, labels, _EPS),
        lambda z: published_grouped_rate(z, memberships, _EPS**2),
    )
    return {**comparison, "membership_bytes": memberships.nbytes}


def _tiny_eps(options: BenchCodingRateOptions) -> dict[str, Any]:
    draw, rank = torch.Generator().manual_seed(2), min(_RANK, options.dim, options.samples)
    z = torch.randn(options.samples, rank, generator=draw) @ torch.randn(
        rank, options.dim, generator=draw
    )
    z = torch.nn.functional.normalize(z, dim=1)
    n, d = z.shape
    matrix = torch.eye(d) + d / (n * _TINY_EPS**2) * z.T @ z
    factor, _ = torch.linalg.cholesky_ex(matrix)
    rates = {
        "ours": coding_rate(z, _TINY_EPS),
        "logdet": torch.logdet(matrix) / 2,
        "slogdet": torch.linalg.slogdet(matrix)[1] / 2,
        "cholesky": factor.diagonal().log().sum(),
        "eigvalsh": torch.linalg.eigvalsh(matrix).log().sum() / 2,
    }
    exact = exact_coding_rate(z.numpy(), _TINY_EPS)
    errors = {side: abs(float(rate) - exact) / exact for side, rate in rates.items()}
    return {"rate": exact, "relative_error": errors}


def published_rate(z: torch.Tensor, squared_eps: float) -> torch.Tensor:
    """R as published: the log-determinant of a d x d matrix in the type of the embeddings."""
    w = z.T
    d, n = w.shape
    return torch.logdet(torch.eye(d) + d / (n * squared_eps) * w.matmul(w.T)) / 2


def published_grouped_rate(
    z: torch.Tensor, memberships: torch.Tensor, squared_eps: float
) -> torch.Tensor:
    """R^c as published: a loop over diagonal membership matrices."""
    w = z.T
    d, n = w.shape
    rate = z.new_zeros(())
    for membership in memberships:
        size = torch.trace(membership) + 1e-8
        matrix = torch.eye(d) + d / (size * squared_eps) * w.matmul(membership).matmul(w.T)
        rate = rate + size / (2 * n) * torch.logdet(matrix)
    return rate


def _compared(options: BenchCodingRateOptions, ours: Rate, published: Rate) -> dict[str, Any]:
    """Value and gradient of both sides for normalised embeddings."""
    draw = torch.Generator().manual_seed(0)
    z = torch.randn(options.samples, options.dim, generator=draw)
    z = torch.nn.functional.normalize(z, dim=1)

    def run(rate: Rate) -> Timed:
        leaf = z.clone().requires_grad_()

        def value_and_gradient() -> tuple[torch.Tensor, Any]:
            value = rate(leaf)
            value.backward()
            return value, leaf.grad

        return timed(value_and_gradient)

    sides = {"ours": lambda: run(ours), "published": lambda: run(published)}
    runs = in_turns(sides, options.repeats)
    values = {side: timings[-1].result[0].item() for side, timings in runs.items()}
    gradients = {side: timings[-1].result[1] for side, timings in runs.items()}
    off = (gradients["ours"] - gradients["published"]).norm() / gradients["ours"].norm()
    return {
        "seconds": medians(runs),
        "processor_seconds": medians(runs, "processor_seconds"),
        **time_ratios(runs, "ours", "published"),
        "value": values,
        "gradient_difference": float(off),
    }


def _report(results: dict[str, Any]) -> str:
    rows = []
    for part in ("whole", "groups"):
        seconds = results[part]["seconds"]
        times = [f"{1e3 * seconds[side]:.4g} ms" for side in ("ours", "published")]
        ratios = [
            with_range(results[part][key], results[part][f"{key}_range"])
            for key in ("ratio", "processor_ratio")
        ]
        rows.append([part, *times, *ratios])
    errors = results["tiny_eps"]["relative_error"]
    wrong = ", ".join(f"{side} {error:.1e}" for side, error in errors.items())
    headers = ["value and gradient", "ours", "published", "ratio", "of processor time"]
    return f"{table(headers, rows)}\nrelative error in float32 at eps = {_TINY_EPS:g}: {wrong}"
