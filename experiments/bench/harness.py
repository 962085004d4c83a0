"""What benchmarks share: sides that take turns, processes of their own, and the run folder."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple, TypeVar

import torch

from sslsim.core.files import write_json
from sslsim.data.datasets import Images
from sslsim.runs.folder import new_results

Run = TypeVar("Run")


class Timed(NamedTuple):
    """What a piece of work gave, with its wall and its processor time."""

    result: Any
    seconds: float
    processor_seconds: float


def timed(work: Callable[[], Any]) -> Timed:
    """Do a piece of work by the clock."""
    begun, spent = time.perf_counter(), time.process_time()
    result = work()
    return Timed(result, time.perf_counter() - begun, time.process_time() - spent)


def in_turns(
    sides: Mapping[str, Callable[[], Run]], repeats: int, warm_up: bool = True
) -> dict[str, list[Run]]:
    """Run the sides in turns, after one turn that does not count.

    >>> in_turns({"ours": lambda: 1, "other": lambda: 2}, 2)
    {'ours': [1, 1], 'other': [2, 2]}
    """
    turns = [{side: run() for side, run in sides.items()} for _ in range(repeats + warm_up)]
    return {side: [turn[side] for turn in turns[int(warm_up) :]] for side in sides}


def medians(runs: Mapping[str, Sequence[Timed]], of: str = "seconds") -> dict[str, float]:
    """Median time of every side."""
    return {side: median(getattr(run, of) for run in timings) for side, timings in runs.items()}


def turn_ratio(over: Sequence[float], under: Sequence[float]) -> dict[str, Any]:
    """Ratio of two sides: its median over the turns, and its least and largest value.

    Load that slows both sides of a turn leaves their ratio as it is.

    >>> turn_ratio([1.0, 8.0, 6.0], [2.0, 4.0, 4.0])
    {'ratio': 1.5, 'ratio_range': [0.5, 2.0]}
    """
    ratios = [one / other for one, other in zip(over, under, strict=True)]
    return {"ratio": median(ratios), "ratio_range": [min(ratios), max(ratios)]}


def time_ratios(runs: Mapping[str, Sequence[Timed]], over: str, under: str) -> dict[str, Any]:
    """Ratios of two sides in wall and in processor time, with their ranges."""
    wall, processor = (
        turn_ratio(*([getattr(run, of) for run in runs[side]] for side in (over, under)))
        for of in ("seconds", "processor_seconds")
    )
    return wall | {f"processor_{key}": value for key, value in processor.items()}


def with_range(value: float, ends: Sequence[float]) -> str:
    """Text of a ratio with its least and its largest value.

    >>> with_range(1.234, [1.0, 2.5])
    '1.23 (1 to 2.5)'
    """
    return f"{value:.3g} ({ends[0]:.3g} to {ends[1]:.3g})"


def in_own_process(work: Callable[..., Any], *arguments: Any) -> Any:
    """Result of work in a fresh process, whose memory is its own."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        try:
            return pool.submit(work, *arguments).result()
        except BrokenProcessPool:
            raise MemoryError(f"{arguments[:2]} was ended by the system") from None


def run_bench(
    options: Any,
    measure: Callable[[Any], dict[str, Any]],
    report: Callable[[dict[str, Any]], str],
) -> Path:
    """Measure by the options, write the results and print the report."""
    if getattr(options, "threads", None) is not None:
        torch.set_num_threads(options.threads)
    with new_results(options.out, "bench", options, results=("bench.json",)) as folder:
        results = measure(options)
        write_json(folder / "bench.json", results)
        print(report(results))
    return options.out


def check_least(options: Any, **least: int) -> None:
    """Refuse numbers that are too small; None, for a default, is not."""
    for name, bound in least.items():
        value = getattr(options, name)
        values = value if isinstance(value, tuple) else (value,)
        if not values or any(number is not None and number < bound for number in values):
            each = " each" if isinstance(value, tuple) else ""
            raise ValueError(f"{name} is {value}; expected at least {bound}{each}")


def random_images(count: int, *shape: int) -> Images:
    """Images of random pixels, without labels."""
    draw = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (count, *shape), generator=draw, dtype=torch.uint8)
    return Images(pixels, None, "random")
