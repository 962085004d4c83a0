"""Fine-tuning of several runs in several variants, in one table: ``sslsim umm-sweep``.

A cell is one run in one setting. Settings are variants of the mechanism (its ablations, the
control, interventions) and single options varied one at a time. What a setting changes is measured
after minus before, and against the control of the same run: plain training of the same layers by
the run's own loss, for as many updates of the same size. Runs that differ by their seed are the
unit of means and intervals. The keys of ``table.json`` are explained in
``experiments/docs/umm.md``.
"""

from __future__ import annotations

import copy
import math
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

from tqdm import tqdm

from experiments.campaign.parts import make_parts
from experiments.studies.umm.options import RENAMED, VARIED, UmmSweepCommand
from experiments.studies.umm.start import start_from
from experiments.studies.umm.tables import falls, group_names, sweep_summary, tabled
from experiments.summary import as_text
from sslsim.core.errors import Diverged
from sslsim.core.files import plain, whole_file, write_json
from sslsim.core.locks import only_writer
from sslsim.runs.cache import short_name, stored_part
from sslsim.runs.folder import check_folder, new_results
from sslsim.runs.networks import check_different
from sslsim.runs.replicates import seed_groups
from sslsim.runs.setup import chosen_device
from sslsim.runs.stored import stored_result
from sslsim.umm import UmmOptions, undo_memorization
from sslsim.umm.finetune import start_digest
from sslsim.umm.options import LATE_LAYERS
from sslsim.umm.start import Start, measure_network
from sslsim.umm.variants import variant_options

_RESULTS = ("table.json", "table.txt", "umm_sweep.png")
_OF_CONTROL = ("split", "outer_lr", "optimizer", "schedule", "steps", "batch")  # of the control
_CELL = ("failed", "before", "after")  # what a cell keeps
CONTROL = "control"
_WITHOUT = "no_alignment"


@dataclass(frozen=True)
class Setting:
    """One way to fine-tune.

    Attributes
    ----------
    name : str
        A variant, or ``name=value``.
    options : UmmOptions
        How.
    control : str
        Name of the setting that it is compared with.
    without : str or None
        Name of the setting that is the same without the alignment; None if there is none.
    """

    name: str
    options: UmmOptions
    control: str
    without: str | None = None


def umm_sweep(options: UmmSweepCommand) -> Path:
    """Run the cells that are not yet done, and write the table."""
    if not options.run:
        raise ValueError("no run is given; expected --run DIR ..., folders of sslsim train")
    check_different("run", options.run)
    for name in ("push", "hold"):
        if not 0 <= getattr(options, name) < math.inf:
            raise ValueError(
                f"{name} is {getattr(options, name)}; expected a finite number of at least 0"
            )
    if not 0 < options.interval_level < 1:
        raise ValueError(f"interval_level is {options.interval_level}; expected between 0 and 1")
    if options.workers < 1:
        raise ValueError(f"workers is {options.workers}; expected at least 1")
    check_folder(options.out, "umm-sweep", _RESULTS)
    device = chosen_device(options.device)
    starts = [start_from(run, options) for run in options.run]
    trained = [start.run.options for start in starts]
    groups = group_names(trained)
    measured = [_measured(start, options.overfitting) for start in starts]
    seed_groups(options.run, trained)  # raises where an interval would count a run twice
    settings = [settings_of(options, start.options) for start in starts]
    with new_results(options.out, "umm-sweep", options, results=_RESULTS, resumes=True) as folder:
        make_parts(folder, options.workers, sum(map(len, settings)))
        cells = []
        work = [(place, setting) for place in range(len(starts)) for setting in settings[place]]
        for place, setting in tqdm(
            work, desc="cells", disable=not sys.stderr.isatty(), file=sys.stderr
        ):
            start = starts[place]
            cell = _cell(start, setting, options, options.out / "cells", device)
            cells.append(
                {
                    "run": str(start.run.folder),
                    "group": groups[place],
                    "seed": start.run.options.seed,
                    "setting": setting.name,
                    "control": setting.control,
                    "without": setting.without,
                    "beta": setting.options.beta,
                    "layer": LATE_LAYERS[setting.options.features],
                    **cell,
                }
            )
        result = tabled(cells, options.interval_level)
        if options.overfitting is not None:
            steps = [start.step for start in starts]
            result["falls"] = falls(groups, measured, steps, options.interval_level)
        write_json(folder / "table.json", result)
        with whole_file(folder / "table.txt") as file:
            file.write(as_text(sweep_summary(plain(result))).encode() + b"\n")
    return options.out


def sweep_parts(options: UmmSweepCommand) -> dict[Any, Callable[[], object]]:
    """Cells that several processes may make, by run and options."""
    device, cells = chosen_device(options.device), options.out / "cells"
    starts = [start_from(run, options) for run in options.run]
    work = [
        (number, place, setting)
        for place, start in enumerate(starts)
        for number, setting in enumerate(settings_of(options, start.options))
    ]
    # All runs in turn: else several processes would measure one run before its fine-tuning.
    work.sort(key=lambda each: each[:2])
    parts: dict[Any, Callable[[], object]] = {}
    for _, place, setting in work:  # the first of equal settings makes the cell of all
        make = partial(_cell, starts[place], setting, options, cells, device)
        parts.setdefault((place, setting.options), make)
    return parts


def _measured(start: Start, folder: Path | None) -> dict[str, Any]:
    """What a study of overfitting measured of a run up to the checkpoint that is fine-tuned."""
    if folder is None:
        return {}
    result = stored_result(folder / "overfitting.json", {"runs": list})
    own = start.run.folder.resolve()
    for run in result["runs"]:
        if Path(run["run"]).resolve() == own:
            if start.step not in run["steps"]:
                raise ValueError(
                    f"{folder} measured {start.run.folder} after "
                    f"{', '.join(map(str, run['steps']))} updates; expected {start.step} among "
                    "them, where the fine-tuning starts"
                )
            return run
    raise ValueError(f"{folder} did not measure {start.run.folder}; expected all runs of the sweep")


def settings_of(options: UmmSweepCommand, base: UmmOptions) -> list[Setting]:
    """Settings of one run."""
    asked = [name for name in dict.fromkeys(options.variants) if name != CONTROL]
    settings = [
        Setting(
            name,
            variant_options(base, name, options.push, options.hold),
            CONTROL,
            _WITHOUT if name == "full" and _WITHOUT in asked else None,
        )
        for name in asked
    ]
    controls = {CONTROL: variant_options(base, CONTROL)}
    first = settings[0].options if settings else base
    for variation in options.vary:
        ours, values = _varied(variation)
        name = RENAMED.get(ours, ours)
        for value in values:
            label = f"{ours}={value}"
            if any(setting.name == label for setting in settings):
                continue  # given twice, it would count as two runs
            against = CONTROL
            if name in _OF_CONTROL and value != getattr(base, name):
                against = f"{CONTROL}, {label}"
                controls[against] = variant_options(replace(base, **{name: value}), CONTROL)
            settings.append(Setting(label, replace(first, **{name: value}), against))
    names = {setting.name for setting in settings}
    gridded = _gridded(options.grid, first, controls)
    settings += [setting for setting in gridded if setting.name not in names]
    return [*settings, *(Setting(name, changed, name) for name, changed in controls.items())]


def _gridded(
    grid: tuple[str, ...], first: UmmOptions, controls: dict[str, UmmOptions]
) -> list[Setting]:
    """Every combination of some options, with the alignment and without; adds their controls."""
    named = [_varied(entry, "grid") for entry in grid]
    if len(dict(named)) < len(named):
        raise ValueError(f"grid is {' '.join(grid)}; expected every option once")
    settings: dict[str, Setting] = {}
    for values in product(*(values for _, values in named)) if named else ():
        given = {ours: value for (ours, _), value in zip(named, values, strict=True)}
        changes = {RENAMED.get(ours, ours): value for ours, value in given.items()}
        options, against = replace(first, **changes), CONTROL
        if own := [ours for ours in given if ours in _OF_CONTROL]:
            against = f"{CONTROL}, {_told(given, own)}"
            updates = {name: changes[name] for name in own}
            controls[against] = variant_options(replace(first, **updates), CONTROL)
        name = _told(given, given)
        if options.beta == 0:
            settings[name] = Setting(name, options, against)
            continue
        without = ", ".join(
            [_WITHOUT, *filter(None, [_told(given, [o for o in given if o != "beta"])])]
        )
        settings[name] = Setting(name, options, against, without)
        settings[without] = Setting(without, variant_options(options, _WITHOUT), against)
    return list(settings.values())


def _told(given: Mapping[str, Any], names: Iterable[str]) -> str:
    return " ".join(f"{name}={given[name]}" for name in names)


def _varied(variation: str, option: str = "vary") -> tuple[str, list[Any]]:
    """NAME and values of NAME=VALUE,VALUE, each of the type of the option."""
    asked, _, values = variation.partition("=")
    ours = asked.strip().replace("-", "_")
    if ours not in VARIED or not values:
        known = ", ".join(sorted(VARIED)).replace("_", "-")
        raise ValueError(
            f"{option} holds {variation!r}; expected NAME=VALUE,VALUE with NAME one of {known}"
        )
    name = RENAMED.get(ours, ours)
    default = getattr(UmmOptions(), name)
    kind: type = str if default is None else type(default)
    try:
        return ours, [kind(value.strip()) for value in values.split(",")]
    except ValueError as error:
        raise ValueError(f"{option} holds {variation!r}; expected values like {default}") from error


def _cell(
    start: Start, setting: Setting, options: UmmSweepCommand, cells: Path, device: Any
) -> dict[str, Any]:
    """Before and after of one cell: as stored, or run now."""
    identity = plain(
        {
            "start": start_digest(start.learner, start.run.images, start.run.held_out),
            "views": start.run.views,
            "options": asdict(setting.options),
            # By which all cells of the run are measured, whatever they vary.
            "measured": asdict(start.options) | {"steps": None, "checkpoint_every": None},
            "test_images": options.test_images,
            "transfer": [options.transfer, options.transfer_limit],
        }
    )
    folder = cells / short_name(identity)

    def tuned() -> dict[str, Any]:
        before = _before(start, identity, options, cells, device)
        learner = copy.deepcopy(start.learner).to(device)
        failed = after = None
        try:
            run = start.run
            undo_memorization(
                learner, run.images, run.held_out, run.views, setting.options, folder,
                device=device, progress=sys.stderr.isatty(),
            )  # fmt: skip
            after = measure_network(start, learner, options.test_images)
        except Diverged as error:
            failed = str(error)
        setting_of_run = {"run": start.run.folder, "setting": setting.name}
        return {**setting_of_run, "failed": failed, "before": before, "after": after}

    with only_writer(folder):
        cell = stored_part(folder / "cell.json", identity, _CELL, tuned)
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)  # what it was for is measured
    return cell


def _before(
    start: Start, identity: dict[str, Any], options: UmmSweepCommand, cells: Path, device: Any
) -> dict[str, Any]:
    """What is measured of the run itself, once for all its cells."""
    same = {key: value for key, value in identity.items() if key != "options"}

    def before() -> dict[str, Any]:
        return {"before": measure_network(start, start.learner.to(device), options.test_images)}

    return stored_part(cells / f"before-{short_name(same)}.json", same, ["before"], before)[
        "before"
    ]
