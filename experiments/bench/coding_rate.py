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

import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch

from experiments.bench.checks import check_least
from experiments.bench.options import BenchCodingRateOptions
from experiments.tables import table
from sslsim.coding_rate import coding_rate, grouped_coding_rate
from sslsim.core.files import write_json
from sslsim.runs.folder import new_results
from theory.coding_rate.rate import coding_rate as exact_coding_rate

_EPS = 0.5**0.5  # eps^2 of 1/2, as published for self-supervised learning
_TINY_EPS = 1e-6
_RANK = 32


def bench_coding_rate(options: BenchCodingRateOptions) -> Path:
    """Run the three measurements."""
    check_least(options, samples=2, dim=1, groups=1, repeats=1, threads=1)
    if options.groups > options.samples:
        raise ValueError(
            f"groups is {options.groups}; expected at most the {options.samples} samples"
        )
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    with new_results(options.out, "bench", options, results=("bench.json",)) as folder:
        found: dict[str, Any] = {}
        for name, measure in {"whole": _whole, "groups": _groups, "tiny_eps": _tiny_eps}.items():
            found[name] = measure(options)
            write_json(folder / "bench.json", found)
        print(_report(found))
    return options.out


def _whole(options: BenchCodingRateOptions) -> dict[str, Any]:
    z = _embeddings(options)
    return _compared(
        z, lambda z: coding_rate(z, _EPS), lambda z: published_rate(z, _EPS**2), options.repeats
    )


def _groups(options: BenchCodingRateOptions) -> dict[str, Any]:
    z = _embeddings(options)
    draw = torch.Generator().manual_seed(1)
    labels = torch.randperm(options.samples, generator=draw) % options.groups
    memberships = torch.zeros(options.groups, options.samples, options.samples)
    memberships[labels, torch.arange(options.samples), torch.arange(options.samples)] = 1
    found = _compared(
        z,
        lambda z: grouped_coding_rate(z, labels, _EPS),
        lambda z: published_grouped_rate(z, memberships, _EPS**2),
        options.repeats,
    )
    return {**found, "membership_bytes": memberships.nbytes}


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


def _embeddings(options: BenchCodingRateOptions) -> torch.Tensor:
    draw = torch.Generator().manual_seed(0)
    z = torch.randn(options.samples, options.dim, generator=draw)
    return torch.nn.functional.normalize(z, dim=1)


def _compared(
    z: torch.Tensor,
    ours: Callable[[torch.Tensor], torch.Tensor],
    published: Callable[[torch.Tensor], torch.Tensor],
    repeats: int,
) -> dict[str, Any]:
    """Value and gradient of both sides in turns, after one turn that does not count."""
    wall: dict[str, list[float]] = {"ours": [], "published": []}
    processor: dict[str, list[float]] = {"ours": [], "published": []}
    values, gradients = {}, {}
    for turn in range(repeats + 1):
        for side, rate in {"ours": ours, "published": published}.items():
            leaf = z.clone().requires_grad_()
            begun, spent = time.perf_counter(), time.process_time()
            value = rate(leaf)
            value.backward()
            if turn:
                wall[side].append(time.perf_counter() - begun)
                processor[side].append(time.process_time() - spent)
            assert leaf.grad is not None
            values[side], gradients[side] = value.item(), leaf.grad
    off = (gradients["ours"] - gradients["published"]).norm() / gradients["ours"].norm()
    seconds = {side: median(each) for side, each in wall.items()}
    on_processor = {side: median(each) for side, each in processor.items()}
    return {
        "seconds": seconds,
        "ratio": seconds["ours"] / seconds["published"],
        "processor_seconds": on_processor,
        "processor_ratio": on_processor["ours"] / on_processor["published"],
        "value": values,
        "gradient_difference": float(off),
    }


def _report(found: dict[str, Any]) -> str:
    rows = []
    for part in ("whole", "groups"):
        seconds = found[part]["seconds"]
        times = [f"{1e3 * seconds[side]:.4g} ms" for side in ("ours", "published")]
        ratios = [f"{found[part][key]:.3g}" for key in ("ratio", "processor_ratio")]
        rows.append([part, *times, *ratios])
    errors = found["tiny_eps"]["relative_error"]
    wrong = ", ".join(f"{side} {error:.1e}" for side, error in errors.items())
    return "\n".join(
        [
            table(["value and gradient", "ours", "published", "ratio", "of processor time"], rows),
            f"relative error in float32 at eps = {_TINY_EPS:g}: {wrong}",
        ]
    )
