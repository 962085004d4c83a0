"""What predictions cost: beside a bare diagonalisation, beyond what fits, and beside training.

Three measurements go into ``bench.json``:

``dense``
    ``theory.predict_steps`` on image pairs, with its intervals, against ``x.T @ x_prime``,
    symmetrised, and ``numpy.linalg.eigh``, in turns, on the same float64 arrays.
``streamed``
    The matrix-free route on pairs of 96 x 96 x 3 images of bytes, in a process of its own so that
    its peak memory is its own, against what the whole matrix would cost, extrapolated from one
    that fits.
``curves``
    Eigenvalue curves in closed form against the gradient descent that traces the same ones.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

import theory
from experiments.bench.harness import (
    check_least,
    in_own_process,
    in_turns,
    medians,
    run_bench,
    time_ratios,
    timed,
    turn_ratio,
    with_range,
)
from experiments.bench.memory import peak_bytes
from experiments.bench.options import BenchTheoryOptions
from experiments.tables import table
from sslsim.data.datasets import load_images
from sslsim.data.pairs import draw_pairs
from sslsim.training.full_batch import train_linear
from theory.pairs.gamma import read_pairs
from theory.pairs.spectrum import spectrum

Bytes = NDArray[np.uint8]


def bench_theory(options: BenchTheoryOptions) -> Path:
    """Run the three measurements and print them."""
    check_least(options, dim=1, repeats=1, streamed_edge=1, seed=0)
    check_least(options, streamed_pairs=2, curve_pairs=2, pairs=2)
    load_images(options.data, options.root, limit=2)  # refuses what is not there now
    return run_bench(options, _measured, _report)


def _measured(options: BenchTheoryOptions) -> dict[str, Any]:
    """Take the measurements, the one with the largest arrays last."""
    return {
        "streamed": _streamed(options),
        "curves": _curves(options),
        "dense": _dense(options),
    }


def _dense(options: BenchTheoryOptions) -> dict[str, Any]:
    images = load_images(options.data, options.root).images
    x, x_prime = draw_pairs(images, "noise", options.pairs, seed=options.seed).arrays()

    def ours() -> NDArray[np.float64]:
        return theory.predict_steps(x, x_prime, dim=options.dim).eigenvalues

    def bare() -> NDArray[np.float64]:
        product = x.T @ x_prime
        return np.linalg.eigh((product + product.T) / (2 * len(x)))[0][: -options.dim - 1 : -1]

    sides = {"predict": lambda: timed(ours), "bare": lambda: timed(bare)}
    runs = in_turns(sides, options.repeats, warm_up=False)
    seconds = medians(runs)
    predicted, reference = (runs[side][-1].result for side in ("predict", "bare"))
    return {
        "data": options.data,
        "n": x.shape[0],
        "m": x.shape[1],
        "dim": options.dim,
        "dtype": str(x.dtype),
        "predict_seconds": seconds["predict"],
        "bare_seconds": seconds["bare"],
        **time_ratios(runs, "predict", "bare"),
        "all_seconds": {side: [run.seconds for run in timings] for side, timings in runs.items()},
        "eigenvalue_difference": float(np.max(np.abs(predicted - reference) / np.abs(reference))),
    }


def _streamed(options: BenchTheoryOptions) -> dict[str, Any]:
    n, m = options.streamed_pairs, 3 * options.streamed_edge**2
    edge = min(m, 1536)
    rng = np.random.default_rng(options.seed)
    x = rng.standard_normal((min(n, 4 * edge), edge))

    def dense() -> float:
        product, gemm, _ = timed(lambda: x.T @ x)
        _, eigh, _ = timed(lambda: np.linalg.eigh(product))
        return gemm * (n / len(x)) * (m / edge) ** 2 + eigh * (m / edge) ** 3

    sides: dict[str, Any] = {
        "ours": lambda: in_own_process(_streamed_alone, options),
        "dense": dense,
    }
    runs = in_turns(sides, options.repeats, warm_up=False)
    seconds = [run["seconds"] for run in runs["ours"]]
    return {
        **runs["ours"][-1],
        "seconds": median(seconds),
        "measured_m": edge,
        "dense_seconds_extrapolated": median(runs["dense"]),
        "dense_matrix_bytes": 8 * m * m,
        **turn_ratio(seconds, runs["dense"]),
    }


def _streamed_alone(options: BenchTheoryOptions) -> dict[str, Any]:
    """Draw byte images with a decaying spectrum and find their top modes, in this process."""
    n, m = options.streamed_pairs, 3 * options.streamed_edge**2
    x, x_prime = _byte_pairs(n, m, options.seed)
    chunks = [(x[i : i + 512], x_prime[i : i + 512]) for i in range(0, n, 512)]
    before = peak_bytes()
    dim = min(options.dim, m)

    def run() -> Any:
        return spectrum(read_pairs(chunks, center=True, scale=1 / 255), dim, route="streamed")

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        modes, seconds, _ = timed(run)
    return {
        "n": n,
        "m": m,
        "dim": dim,
        "seconds": seconds,
        "passes": modes.passes,
        "largest_residual": float(modes.residuals.max() / np.abs(modes.eigenvalues).max()),
        "converged": not caught,
        "data_bytes": 2 * x.nbytes,
        "peak_bytes_before": before,
        "peak_bytes": peak_bytes(),
    }


def _byte_pairs(n: int, m: int, seed: int) -> tuple[Bytes, Bytes]:
    """Pairs of byte images: shared patterns of power-law strength and noise of each view."""
    rng = np.random.default_rng(seed)
    rank = min(128, n, m)
    patterns = rng.standard_normal((rank, m), dtype=np.float32)
    strengths = 40.0 * np.arange(1, rank + 1, dtype=np.float32) ** -0.75
    views = np.empty((n, m), np.uint8), np.empty((n, m), np.uint8)
    for start in range(0, n, 256):
        rows = slice(start, min(start + 256, n))
        shape = (rows.stop - start, rank)
        shared = (rng.standard_normal(shape, dtype=np.float32) * strengths) @ patterns
        for view in views:
            noise = 10.0 * rng.standard_normal(shared.shape, dtype=np.float32)
            view[rows] = np.clip(shared + noise + 128.0, 0.0, 255.0)
    return views


def _curves(options: BenchTheoryOptions) -> dict[str, Any]:
    images = load_images("digits").images
    stream = draw_pairs(images, "crops", options.curve_pairs, seed=options.seed)
    x, x_prime = stream.arrays()
    mean = (x.mean(axis=0) + x_prime.mean(axis=0)) / 2.0
    x, x_prime = x - mean, x_prime - mean
    dim = min(options.dim, 10)
    dim = min(options.dim, 10)
    start = theory.predict_steps(x, x_prime, dim=dim)
    last = start.step_iterations[np.isfinite(start.step_iterations)].max()
    iterations = int(1.2 * last)
    w0, rate, every = start.initial_weights, start.learning_rate, max(iterations // 200, 1)

    def train() -> Any:
        return train_linear(x, x_prime, w0, rate, iterations, record_every=every)

    run = train()
    sides: dict[str, Any] = {
        "predict": lambda: timed(lambda: theory.predict_steps(x, x_prime, dim=dim)),
        "curves": lambda: timed(lambda: start.eigenvalue_curves(run.times)),
        "train": lambda: timed(train),
    }
    runs = in_turns(sides, options.repeats, warm_up=False)
    seconds = medians(runs)
    ours = [
        one.seconds + two.seconds for one, two in zip(runs["predict"], runs["curves"], strict=True)
    ]
    curves = runs["curves"][-1].result
    difference = np.abs(-np.sort(-curves, axis=1) - run.eigenvalues)
    return {
        "n": len(x),
        "m": x.shape[1],
        "dim": dim,
        "iterations": iterations,
        **{f"{side}_seconds": value for side, value in seconds.items()},
        **turn_ratio(ours, [run.seconds for run in runs["train"]]),
        "mean_difference": float(difference.mean()),
    }


def _report(results: dict[str, Any]) -> str:
    dense, streamed, curves = (results[part] for part in ("dense", "streamed", "curves"))
    memory = (
        f"peak {streamed['peak_bytes'] / 2**30:.2f} GiB, of it data "
        f"{streamed['data_bytes'] / 2**30:.2f}; "
        f"the matrix alone {streamed['dense_matrix_bytes'] / 2**30:.2f}"
    )
    ours = curves["predict_seconds"] + curves["curves_seconds"]
    parts = [
        ("predict against a bare eigh", dense, dense["predict_seconds"], dense["bare_seconds"],
         f"eigenvalues differ by {dense['eigenvalue_difference']:.1e}"),
        ("streamed against dense, extrapolated", streamed, streamed["seconds"],
         streamed["dense_seconds_extrapolated"], memory),
        ("curves against descent", curves, ours, curves["train_seconds"],
         f"mean difference {curves['mean_difference']:.1e}"),
    ]  # fmt: skip
    rows = [
        [name, f"{part['n']} x {part['m']}, d = {part['dim']}", f"{ours:.3g} s", f"{other:.3g} s",
         with_range(part["ratio"], part["ratio_range"]), note]
        for name, part, ours, other, note in parts
    ]  # fmt: skip
    return table(["measurement", "n x m", "ours", "other", "ratio", "beside it"], rows)
