"""What is shown of benchmarks."""

from __future__ import annotations

from typing import Any

from experiments.summary import Number, Result, Summary, Table
from experiments.tables import finite, leaves, mapping, words


def bench_summary(result: Result) -> Summary:
    """What a benchmark measured."""
    tables, main = [], []
    for part, measured in result.items():
        rows = leaves(measured, 60)
        tables.append(Table(words(part, 60), ("", "value"), tuple(rows), len(rows) > 12))
        for name, value in _ratios(measured, 3):
            main.append(Number(f"{words(part, 60)}: {name}", value))
    return Summary("Benchmark", numbers=tuple(main[:24]), tables=tuple(tables))


def _ratios(part: Any, deepest: int, path: str = "") -> list[tuple[str, float]]:
    """Ratios of a part, by their paths."""
    ratios = []
    for key, value in mapping(part).items():
        name = f"{path}{key}"
        ratio = finite(value)
        if ratio is not None and "ratio" in name:
            ratios.append((words(name, 80), ratio))
        elif deepest:
            ratios += _ratios(value, deepest - 1, f"{name}.")
    return ratios
