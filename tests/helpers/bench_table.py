"""Rows of the table of benchmarks by machine, from stored results."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from experiments.bench.harness import with_range
from sslsim.core.files import read_json

JOBS = ("coding_rate", "theory", "train", "throughput", "memorization", "ntk")

Job = dict[str, Any]


def machines(results: Path) -> dict[str, dict[str, Job]]:
    """Results of every machine by job, each with its config, by the name of their folder."""
    return {
        folder.name: {
            job: {
                **read_json(folder / job / "bench.json"),
                "config": read_json(folder / job / "config.json"),
            }
            for job in JOBS
        }
        for folder in sorted((results / "bench").iterdir())
    }


def table_rows(results: Path) -> list[str]:
    """The table in Markdown, with a column for each machine."""
    columns = machines(results).values()
    head = ["ours against", *(_machine(jobs["coding_rate"]["config"]) for jobs in columns)]
    body = [[label, *(value(jobs) for jobs in columns)] for label, value in _ROWS.items()]
    return [f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *body]]


def _machine(config: Job) -> str:
    machine = config["machine"]
    sets = ", ".join(machine["instruction_sets"])
    return f"{machine['processor']} ({sets}), {machine['torch_threads']} thread"


def _ratio(
    job: str, *path: Any, side: str | None = None, key: str = "processor_ratio"
) -> Callable[[dict[str, Job]], str]:
    """A ratio with its range, by keys, or by what an entry of a list holds."""

    def text(jobs: dict[str, Job]) -> str:
        entry: Any = jobs[job]
        for part in path:
            if isinstance(part, dict):
                (entry,) = [each for each in entry if part.items() <= each.items()]
            else:
                entry = entry[part]
        value, ends = entry[key], entry[f"{key}_range"]
        return with_range(*((value, ends) if side is None else (value[side], ends[side])))

    return text


_ROWS: dict[str, Callable[[dict[str, Job]], str]] = {
    "`coding-rate`: R and its gradient, time / published formula": _ratio("coding_rate", "whole"),
    "`coding-rate`: R^c and its gradient, time / published formula": _ratio(
        "coding_rate", "groups"
    ),
    "`theory`: prediction with intervals, time / product and `eigh`": _ratio("theory", "dense"),
    "`theory`: matrix-free modes, time / dense, extrapolated": _ratio(
        "theory", "streamed", key="ratio"
    ),
    "`theory`: prediction and curves, time / gradient descent": _ratio(
        "theory", "curves", key="ratio"
    ),
    "`train`: Barlow Twins, speed / lightly": _ratio(
        "train", "losses", "barlow_twins", side="lightly"
    ),
    "`train`: VICReg, speed / lightly": _ratio("train", "losses", "vicreg", side="lightly"),
    "`train`: SimCLR, speed / lightly": _ratio("train", "losses", "simclr", side="lightly"),
    "`train`: views at 32 pixels, speed / kornia": _ratio(
        "train", "augmentations", "32", side="kornia"
    ),
    "`train`: views at 96 pixels, speed / kornia": _ratio(
        "train", "augmentations", "96", side="kornia"
    ),
    "`train`: views at 32 pixels, speed / torchvision": _ratio(
        "train", "augmentations", "32", side="torchvision"
    ),
    "`train`: views at 96 pixels, speed / torchvision": _ratio(
        "train", "augmentations", "96", side="torchvision"
    ),
    "`train`: training, speed / minimal loop": _ratio("train", "step", side="bare loop"),
    "`throughput`: training, speed / bare passes": _ratio("throughput", key="share"),
    "`memorization`: 16 linear encoders together, speed / one by one": _ratio(
        "memorization", "together", {"network": "linear", "encoders": 16}
    ),
    "`memorization`: 16 small convnets together, speed / one by one": _ratio(
        "memorization", "together", {"network": "convnet-16", "encoders": 16}
    ),
    "`memorization`: scoring by a convnet, speed / bare passes": _ratio(
        "memorization", "scoring", {"network": "convnet"}
    ),
    "`ntk`: full Jacobians, time / hooks": _ratio(
        "ntk", "networks", "convnet", side="jacrev", key="time_ratio"
    ),
    "`ntk`: per-sample gradients, time / hooks": _ratio(
        "ntk", "networks", "convnet", side="vmap_grad", key="time_ratio"
    ),
}
