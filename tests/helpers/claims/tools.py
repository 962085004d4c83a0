"""Pages without results of studies."""

import tomllib

from bench_table import table_rows

from claims.page import ROOT, Page
from paper_figs.store import RESULTS

_DOCS = "experiments/docs"
_NAMES = ("linear", "trainings", "wide", "convnets", "overfitting", "resnet50-cpu", "resnet-gains")
_NAMES += ("forecasts", "umm", "memorization", "modes", "bench")
_DEFINITIONS = {
    "recorder": ("an eigenvalue moves by more than 30 %", "to take 2 % of its time"),
    "report": (
        "Student's 90 % interval",
        "the coverage of forecasts is too low by more than 15 points",
    ),
    "limits": ("too few calibration runs for a finite 90 % interval",),
}
_WITHOUT_NUMBERS = (
    "spectra",
    "gallery",
    "glossary",
    "expectations",
    "figures",
    "tutorials/formula",
    "tutorials/images",
    "tutorials/loop",
    "tutorials/memorised",
    "tutorials/network",
)


def queues():
    """Minutes that the jobs of a queue expect together."""
    minutes = {}
    for name in _NAMES:
        path = ROOT / f"experiments/campaign/queues/{name}.toml"
        jobs = tomllib.loads(path.read_text(encoding="utf-8"))["job"]
        minutes[name] = round(sum(job["minutes"] for job in jobs))
    said = [f"`{name}` ({minutes[name]})" for name in _NAMES]
    own = tomllib.loads((ROOT / "experiments/campaign/queues/evidence.toml").read_text())
    assert set(own["parts"]) <= set(_NAMES)
    total = sum(minutes[name] for name in own["parts"]) + sum(job["minutes"] for job in own["job"])
    return [*said, f"about {round(total / 60)} hours of one core in all"]


def benchmarks():
    """Rows of the table by machine."""
    return table_rows(RESULTS)


BENCH = Page(
    f"{_DOCS}/bench.md",
    held=(benchmarks,),
    said={
        "definition": (
            "with its 90 % intervals, against forming",
            "unit norm and eps^2 = 0.5",
            "100 snapshots take 2 % of the time",
            "(Python 3.11)",
        )
    },
)
PAGES = (
    BENCH,
    Page(f"{_DOCS}/campaign.md", held=(queues,)),
    *(Page(f"{_DOCS}/{name}.md", said={"definition": said}) for name, said in _DEFINITIONS.items()),
    *(Page(f"{_DOCS}/{name}.md") for name in _WITHOUT_NUMBERS),
)
