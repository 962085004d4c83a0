"""How often the intervals of ``predict`` cover the truth, on populations whose Gamma is known.

    python -m experiments.studies.linear.coverage

draws many samples of pairs from each population, predicts the step times at one W(0), and counts
how often intervals hold the values of the population. For real images a finite set of views (crops
or shifts, with flips or not) is enumerated, so that the population's Gamma is exact: it is that of
the mean view of each image. The table is explained in ``experiments/docs/predict.md``.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from experiments.tables import number, table
from sslsim.data.datasets import load_images
from theory.linear.closed_form import step_times
from theory.linear.initialization import equivalent_initialization
from theory.pairs.gamma import read_pairs
from theory.pairs.moments import pair_moments
from theory.pairs.planted import planted_pairs, planted_spectrum
from theory.pairs.spectrum import spectrum
from theory.prediction.held_out import held_out_eigenvalues
from theory.prediction.uncertainty import estimate_eigenvalues, step_intervals

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Population:
    """Pairs of views with a known Gamma: eigenvalues (m,), eigenvectors (m, m), draws of pairs."""

    eigenvalues: Array
    eigenvectors: Array
    draw: Callable[[int, np.random.Generator], tuple[Array, Array]]
    center: bool


@dataclass(frozen=True)
class Coverage:
    """What samples of a population told.

    Attributes
    ----------
    truth : ndarray, shape (2, dim)
        Eigenvalues and step times of the population.
    covered : ndarray of bool, shape (2, trials, dim)
        Whether the intervals of eigenvalues and step times hold the truth.
    resolved : ndarray of bool, shape (trials, dim)
        Modes called resolved.
    low, high : ndarray, shape (trials, dim)
        Intervals of step times.
    samples : ndarray, shape (trials, dim)
        Step times of the samples.
    """

    truth: Array
    covered: NDArray[np.bool_]
    resolved: NDArray[np.bool_]
    low: Array
    high: Array
    samples: Array


def planted(name: str, m: int) -> Population:
    """Population of :mod:`theory.pairs.planted`."""
    return Population(
        planted_spectrum(name, m), np.eye(m), lambda n, rng: planted_pairs(name, n, m, rng), False
    )


def windows(images: Array, edge: int, flips: bool) -> Population:
    """Population of all square windows of images (n, side, side), with flips if wanted.

    >>> population = windows(np.random.default_rng(0).random((20, 3, 3)), 2, flips=True)
    >>> population.eigenvalues.shape, population.draw(5, np.random.default_rng(0))[0].shape
    ((4,), (5, 4))
    """
    places = [
        (row, column, flip)
        for row in range(images.shape[1] - edge + 1)
        for column in range(images.shape[2] - edge + 1)
        for flip in ((1, -1) if flips else (1,))
    ]

    def cut(chosen: Array, place: tuple[int, int, int]) -> Array:
        row, column, flip = place
        window = chosen[:, row : row + edge, column : column + edge]
        return window[:, :, ::flip].reshape(len(chosen), edge * edge)

    def draw(n: int, rng: np.random.Generator) -> tuple[Array, Array]:
        chosen = images[rng.integers(len(images), size=n)]
        views = np.empty((2, n, edge * edge))
        for view, picked in zip(views, rng.integers(len(places), size=(2, n)), strict=True):
            for index, place in enumerate(places):
                view[picked == index] = cut(chosen[picked == index], place)
        return views[0], views[1]

    mean = np.zeros((len(images), edge * edge))
    for place in places:
        mean += cut(images, place) / len(places)
    mean -= mean.mean(axis=0)
    values, vectors = np.linalg.eigh(mean.T @ mean / len(mean))
    return Population(values[::-1], vectors[:, ::-1], draw, True)


def digits() -> Population:
    """Digits shifted by up to one pixel: nine views of 8 x 8 pixels."""
    images = load_images("digits", split="all").images[:, 0].numpy() / 255.0
    return windows(np.pad(images, ((0, 0), (1, 1), (1, 1))), 8, flips=False)


def crops(data: str, root: Path | None) -> Population:
    """Grey images pooled to 14 x 14 pixels: fifty views, 10 x 10 crops with flips."""
    images = load_images(data, root).images.numpy()
    margin = (images.shape[2] - 28) // 2
    if margin < 0:
        raise ValueError(f"images of {data} are {images.shape[2]} pixels wide; expected 28 or more")
    inner = images[:, :, margin : margin + 28, margin : margin + 28]
    pooled = np.empty((len(inner), 14, 14))
    for start in range(0, len(inner), 4096):
        part = inner[start : start + 4096].mean(axis=1, dtype=np.float64) / 255.0
        pooled[start : start + 4096] = part.reshape(-1, 14, 2, 14, 2).mean(axis=(2, 4))
    return windows(pooled, 10, flips=True)


def measure_coverage(
    population: Population,
    n: int,
    dim: int,
    trials: int,
    *,
    level: float = 0.9,
    draws: int = 400,
    seed: int = 0,
) -> Coverage:
    """Compare the intervals of samples of n pairs, all at one W(0), with the population.

    >>> found = measure_coverage(planted("power", 6), 100, 2, trials=3)
    >>> found.covered.shape
    (2, 3, 2)
    """
    m = len(population.eigenvalues)
    w0 = 1e-3 * np.random.default_rng(seed).standard_normal((dim, m))
    s0 = equivalent_initialization(w0, population.eigenvectors[:, :dim])[1]
    gamma = population.eigenvalues[:dim]
    truth = np.stack([gamma, step_times(gamma, s0)])
    covered = np.empty((2, trials, dim), dtype=bool)
    resolved = np.empty((trials, dim), dtype=bool)
    low, high, samples = np.empty((3, trials, dim))
    for trial in range(trials):
        rng = np.random.default_rng([seed, trial])
        pairs = read_pairs(*population.draw(n, rng), center=population.center)
        modes = spectrum(pairs, dim)
        moments = pair_moments(pairs, modes, dim)
        estimate = estimate_eigenvalues(moments)
        held_out = held_out_eigenvalues(pairs, modes, dim, rng=rng)
        bounds = step_intervals(
            moments, estimate, held_out, w0, modes.eigenvectors, level=level, draws=draws, rng=rng
        )
        s0 = equivalent_initialization(w0, modes.eigenvectors[:, :dim])[1]
        samples[trial] = step_times(modes.eigenvalues[:dim], s0)
        low[trial], high[trial] = bounds.step_time_low, bounds.step_time_high
        resolved[trial] = estimate.separated & held_out.learned
        covered[0, trial] = (bounds.eigenvalue_low <= gamma) & (gamma <= bounds.eigenvalue_high)
        covered[1, trial] = (low[trial] <= truth[1]) & (truth[1] <= high[trial])
    return Coverage(truth, covered, resolved, low, high, samples)


def described(name: str, n: int, coverage: Coverage) -> list[str]:
    """Row of the table."""
    exists = np.isfinite(coverage.truth[1])
    resolved, covered = coverage.resolved, coverage.covered
    often = exists & (resolved.mean(axis=0) > 0.5)
    with np.errstate(divide="ignore", invalid="ignore"):
        widths = np.log(coverage.high / coverage.low)
    median = [np.median(widths[resolved[:, j], j]) for j in np.flatnonzero(often)]
    early, late = np.quantile(coverage.samples[:, often], [0.05, 0.95], 0, method="inverted_cdf")
    shares = [
        value
        for which in (1, 0)
        for value in (
            covered[which][:, exists].mean() if exists.any() else np.nan,
            covered[which][resolved].mean() if resolved.any() else np.nan,
            covered[which][:, exists].mean(axis=0).min(initial=1.0),
        )
    ]
    never = ~exists
    return [
        *(name, str(n), str(len(exists))),
        *(f"{share:.2f}" for share in shares),
        f"{np.isinf(coverage.high[:, never]).mean():.2f}" if never.any() else "-",
        f"{resolved.sum(axis=1).mean():.1f}",
        number(float(np.median(median)) if median else np.nan, 2),
        number(float(np.median(np.log(late / early))) if median else np.nan, 2),
    ]


HEADERS = [
    *("population", "pairs", "modes", "times", "resolved", "worst"),
    *("eigenvalues", "resolved", "worst", "never", "resolved modes", "width", "scatter"),
]


def studies(data: str | None, root: Path | None) -> Iterator[tuple[str, Population, int, int]]:
    """Name, population, number of pairs and of modes of each row."""
    if data is not None:
        population = crops(data, root)
        for n in (100, 500, 2000):
            yield f"{data} crops", population, n, 8
    population = digits()
    for n in (100, 500, 1500):
        yield "digits shifts", population, n, 10
    for name, dim in (("heavy", 10), ("spiked", 14), ("power", 10), ("geometric", 10)):
        yield name, planted(name, 60), 600, dim
    yield "spiked", planted("spiked", 60), 100, 14


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description="Coverage of 90 % intervals of step times.")
    parser.add_argument("--trials", type=int, default=200, help="samples of each population")
    parser.add_argument("--seed", type=int, default=0, help="seed of W(0) and of the samples")
    parser.add_argument("--data", help="also crops of this data set of images, e.g. cifar10")
    parser.add_argument("--root", type=Path, help="folder of the torchvision data sets")
    options = parser.parse_args()
    rows = [
        described(name, n, measure_coverage(population, n, dim, options.trials, seed=options.seed))
        for name, population, n, dim in tqdm(list(studies(options.data, options.root)))
    ]
    print(table(HEADERS, rows))


if __name__ == "__main__":
    main()
