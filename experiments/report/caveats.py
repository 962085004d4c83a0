"""What a reader of a report is to be warned of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from experiments.report.folders import RunFolder
from experiments.report.groups import Group
from experiments.tables import finite, mapping, number, words
from sslsim.measures.collapse import collapse

_FEWEST_SEEDS = 3
_MOST_NAMED = 5  # revisions or versions in one warning


@dataclass(frozen=True)
class Caveat:
    """A warning, and the names of the runs that it is about; none if it is about all."""

    text: str
    runs: tuple[str, ...] = ()


def all_caveats(runs: Sequence[RunFolder], groups: Sequence[Group]) -> list[Caveat]:
    """All warnings of a report, equal ones of several runs together."""
    names: dict[str, list[str]] = {}
    for caveats_of in (folder_caveats, result_caveats):
        for run in runs:
            for text in caveats_of(run):
                names.setdefault(text, []).append(run.name)
    for group in groups:
        for text in group_caveats(group):
            names.setdefault(text, []).extend(run.name for run in group.runs)
    own = [Caveat(text, tuple(about)) for text, about in names.items()]
    return [*own, *common_caveats(runs)]


def result_caveats(run: RunFolder) -> list[str]:
    """What the results of a run say themselves."""
    return [text for summary in run.summaries.values() for text in summary.caveats]


def folder_caveats(run: RunFolder) -> list[str]:
    """What is doubtful about a run, whatever its results say."""
    caveats = list(run.problems)
    if "config.json" not in run.files and run.study is None:
        caveats.append("config.json is missing: how the run was made is not known")
    result, *others = run.study.files if run.study and run.study.files else ("",)
    if result and result not in run.files:
        caveats.append(f"did not finish: {result} is missing{_progress(run)}")
    elif result:
        caveats += [f"{name} is missing" for name in others if name not in run.files]
    if run.diverged:
        caveats.append("diverged: a recorded loss is not finite")
    asked, done = finite(run.options, "steps"), finite(run.results, "training.json", "steps")
    if asked is not None and done is not None and done < asked:
        caveats.append(f"stopped after {number(done)} of {number(asked)} updates")
    if run.command in ("train", "record") and "training.json" not in run.results:
        collapsed = collapse(finite(run.last, "effective_rank"), finite(run.last, "uniformity"))
        caveats += [] if collapsed is None else [collapsed]
    if not run.results and not run.problems and run.study is None:
        caveats.append("holds no result that is known here")
    return caveats


def _progress(run: RunFolder) -> str:
    """How far an unfinished run came, and whether it was getting anywhere."""
    step, steps = finite(run.last, "step"), finite(run.options, "steps")
    if step is None:
        return ""
    text = f" (last record after {number(step)} of {number(steps)} updates"
    start, end = finite(run.first, "probe_loss"), finite(run.last, "probe_loss")
    if start is not None and end is not None and end > start:
        text += f", the held-out loss at {number(end)}, above its {number(start)} at the start"
    return text + ")"


def group_caveats(group: Group) -> list[str]:
    """What is doubtful about the runs of one configuration taken together."""
    study = group.runs[0].study
    if study is None or not study.seeded:
        return []
    caveats = []
    distinct = len(set(group.seeds))
    if distinct < _FEWEST_SEEDS:
        caveats.append(f"fewer than three seeds of one configuration ({distinct})")
    caveats += [
        f"seed {seed} was run {count} times and counts as often in the mean"
        for seed, count in Counter(group.seeds).items()
        if count > 1
    ]
    return caveats


def common_caveats(runs: Sequence[RunFolder]) -> list[Caveat]:
    """What makes runs hard to compare with each other or to repeat."""
    known = [run for run in runs if run.config]
    caveats = []

    def differ(what: str, value: Callable[[RunFolder], object]) -> None:
        counts = Counter(text for run in known if (text := value(run)) is not None)
        if len(counts) > 1:
            listed = ", ".join(
                f"{words(name, 60)} ({count} run{'s'[: count != 1]})"
                for name, count in counts.most_common(_MOST_NAMED)
            )
            if len(counts) > _MOST_NAMED:
                listed += f" and {len(counts) - _MOST_NAMED} more"
            caveats.append(Caveat(f"different {what}: {listed}"))

    differ("revisions", lambda run: revision(run.config)[0])
    for package in dict.fromkeys(name for run in known for name in mapping(run.config, "versions")):

        def version(run: RunFolder, package: str = package) -> str | None:
            return _text(mapping(run.config, "versions").get(package))

        differ(f"versions of {words(package, 40)}", version)
    differ("machines", lambda run: _text(mapping(run.config, "machine").get("platform")))
    changed = tuple(run.name for run in known if revision(run.config)[1])
    if changed:
        caveats.append(Caveat("made with uncommitted changes in the checkout", changed))
    unknown = tuple(run.name for run in known if revision(run.config)[0] is None)
    if unknown:
        caveats.append(Caveat("made outside a checkout: the revision is not known", unknown))
    return caveats


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
