"""What a reader of a report is to be warned of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from experiments.report.folders import RunFolder
from experiments.report.groups import Group
from experiments.tables import finite, mapping, number, sequence, words
from sslsim.measures.collapse import collapse

# What a command leaves: its result first, without which it did not finish.
_EXPECTED = {
    "predict": ("prediction.json", "prediction.npz", "prediction.png"),
    "compare": ("comparison.json", "comparison.npz", "comparison.png"),
    "train": ("training.json", "records.jsonl", "records.npz", "run.png"),
    "ntk": ("ntk.json", "ntk.npz", "ntk.png"),
    "forecast": ("forecast.json", "forecast.npz", "forecast.png"),
    "overfitting": ("overfitting.json", "measured.jsonl", "overfitting.png"),
    "umm": ("umm.json", "records.jsonl", "records.npz", "umm.png"),
    "umm-sweep": ("table.json", "umm_sweep.png"),
    "memorization": ("memorization.json", "scores.npz", "memorization.png"),
    "memorization-removal": ("removal.json", "removal.png"),
    "memorization-penalty": ("penalty.json", "penalty.png"),
    "bench": ("bench.json",),
}
_WITHOUT_RESULT = frozenset({"figures"})
_SEEDED = frozenset({"predict", "compare", "train", "ntk", "umm"})
_FEWEST_SEEDS = 3
_MOST_NAMED = 5  # revisions or versions in one warning


@dataclass(frozen=True)
class Doubt:
    """A warning.

    Attributes
    ----------
    text : str
        What is doubtful.
    runs : tuple of str
        Names of the runs that it is about; all of them if empty.
    """

    text: str
    runs: tuple[str, ...] = ()


def expected_files(run: RunFolder) -> tuple[str, ...]:
    """Files that the command of a run leaves in its folder, its result first."""
    files = _EXPECTED.get(run.command, ())
    if run.command == "compare" and run.options.get("width"):
        return tuple(name.replace("comparison", "wide") for name in files)
    if run.command == "ntk" and len(sequence(run.options, "run")) > 1:
        return tuple(name.replace("ntk", "ntk_across") for name in files)
    return files


def run_doubts(run: RunFolder) -> list[str]:
    """What is doubtful about one run, whatever its results say."""
    doubts = list(run.problems)
    if "config.json" not in run.files and set(run.results) != {"campaign.json"}:
        doubts.append("config.json is missing: how the run was made is not known")
    expected = expected_files(run)
    if expected and expected[0] not in run.files:
        doubts.append(f"did not finish: {expected[0]} is missing{_progress(run)}")
    doubts += [
        f"{name} is missing"
        for name in expected[1:]
        if name not in run.files and expected[0] in run.files
    ]
    if run.worst:
        doubts.append("diverged: a recorded loss is not finite")
    asked, done = finite(run.options, "steps"), finite(run.results, "training.json", "steps")
    if asked is not None and done is not None and done < asked:
        doubts.append(f"stopped after {number(done)} of {number(asked)} updates")
    if run.command == "train":
        dim = finite(run.results, "training.json", "dim")
        told_collapse = collapse(
            finite(run.last, "effective_rank"),
            finite(run.last, "uniformity"),
            None if dim is None else int(dim),
        )
        doubts += [] if told_collapse is None else [told_collapse]
    told = expected or run.problems or run.command in _WITHOUT_RESULT
    if not run.results and not told:
        doubts.append("holds no result that is known here")
    return doubts


def _progress(run: RunFolder) -> str:
    """How far an unfinished run came, and whether it was getting anywhere."""
    step, steps = finite(run.last, "step"), finite(run.options, "steps")
    if step is None:
        return ""
    told = f" (last record after {number(step)} of {number(steps)} updates"
    start, end = finite(run.first, "probe_loss"), finite(run.last, "probe_loss")
    if start is not None and end is not None and end > start:
        told += f", the held-out loss at {number(end)}, above its {number(start)} at the start"
    return told + ")"


def group_doubts(group: Group) -> list[str]:
    """What is doubtful about the runs of one configuration taken together."""
    first = group.runs[0]
    if first.command not in _SEEDED or "wide.json" in expected_files(first):
        return []
    doubts = []
    distinct = len(set(group.seeds))
    if distinct < _FEWEST_SEEDS:
        doubts.append(f"fewer than three seeds of one configuration ({distinct})")
    doubts += [
        f"seed {seed} was run {count} times and counts as often in the mean"
        for seed, count in Counter(group.seeds).items()
        if count > 1
    ]
    return doubts


def common_doubts(runs: Sequence[RunFolder]) -> list[Doubt]:
    """What makes runs hard to compare with each other or to repeat."""
    known = [run for run in runs if run.config]
    doubts = []

    def differ(what: str, value: Callable[[RunFolder], object]) -> None:
        counts = Counter(found for run in known if (found := value(run)) is not None)
        if len(counts) > 1:
            told = ", ".join(
                f"{words(name, 60)} ({count} run{'s'[: count != 1]})"
                for name, count in counts.most_common(_MOST_NAMED)
            )
            if len(counts) > _MOST_NAMED:
                told += f" and {len(counts) - _MOST_NAMED} more"
            doubts.append(Doubt(f"different {what}: {told}"))

    differ("revisions", lambda run: revision(run.config)[0])
    for package in dict.fromkeys(name for run in known for name in mapping(run.config, "versions")):

        def version(run: RunFolder, package: str = package) -> str | None:
            return _text(mapping(run.config, "versions").get(package))

        differ(f"versions of {words(package, 40)}", version)
    differ("machines", lambda run: _text(mapping(run.config, "machine").get("platform")))
    changed = tuple(run.name for run in known if revision(run.config)[1])
    if changed:
        doubts.append(Doubt("made with uncommitted changes in the checkout", changed))
    unknown = tuple(run.name for run in known if revision(run.config)[0] is None)
    if unknown:
        doubts.append(Doubt("made outside a checkout: the revision is not known", unknown))
    return doubts


def revision(config: Mapping[str, object]) -> tuple[str | None, bool]:
    """Short revision of a run, and whether files differed from it.

    >>> revision({"revision": "8fd2ce2f058276fc+changes"})
    ('8fd2ce2f05', True)
    """
    found = config.get("revision")
    if not isinstance(found, str) or not found:
        return None, False
    commit, changes, _ = found.partition("+")
    return commit[:10], bool(changes)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
