"""Whatever a run folder holds, a report of it is a valid page that fetches nothing."""

import json
import tempfile
from pathlib import Path

import pages
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from experiments.report.folders import find_runs, result_studies
from experiments.report.page import environment, page
from experiments.summary import as_text
from experiments.tables import interval, leaves, percent, words

judged = pages.judged

# Names that the report looks for, so that what it finds there is not what it expects.
_NAMES = (
    "command options seed run width steps study revision versions machine eigenvalues resolved "
    "step_times predicted_step_times measured_step_times fitted_time_scale relative_error "
    "predicted_low predicted_high mean_relative_error near_ties warnings interval_level ways "
    "widths kernel geometric_mean low high probes accuracy classes first_record last_record "
    "probe_loss chance subspace_alignment over_training methods kinds alignment lowest highest "
    "summary groups forecasters two_factor covered forecasts step_times eps label layers seeds "
    "linear_peak correlations linear instance all mean before after convergence converges rows "
    "group setting measures loss from_control change failed effects sets comparisons atypical "
    "agreement auc jobs stages error ratio torch platform detected_steps"
)
NAMES = st.sampled_from(_NAMES.split())
COMMANDS = st.sampled_from(["train", "compare", "ntk", "umm", "bench", "predict", "dance"])
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.just(10**400)
    | st.floats()
    | st.text(max_size=8)
    | COMMANDS
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(NAMES | st.text(max_size=4), inner, max_size=5)
    ),
    max_leaves=25,
)
OBJECTS = st.dictionaries(NAMES | st.text(max_size=4), VALUES, max_size=10)
CONFIGS = st.fixed_dictionaries(
    {}, optional={"command": COMMANDS | VALUES, "options": OBJECTS | VALUES, "seed": VALUES}
)
FOLDERS = st.dictionaries(st.sampled_from(list(result_studies())), OBJECTS, min_size=1, max_size=4)


@pytest.mark.slow
@settings(
    max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
@given(st.lists(st.tuples(CONFIGS, FOLDERS, st.lists(OBJECTS, max_size=3)), min_size=1, max_size=3))
def test_any_json_gives_a_valid_page(folders):
    with tempfile.TemporaryDirectory() as top:
        for place, (config, results, records) in enumerate(folders):
            folder = Path(top) / f"run{place}"
            folder.mkdir()
            for name, value in {"config.json": config, **results}.items():
                (folder / name).write_text(json.dumps(value))
            (folder / "records.jsonl").write_text("\n".join(map(json.dumps, records)))
        runs = find_runs([top])
        assert len(runs) == len(folders)
        judged(page(runs, 1.0).encode("utf-8").decode())
        assert all(
            as_text(summary)
            for run in runs
            for summary in run.summaries.values()
            if any(table.rows and not table.folded for table in summary.tables)
        )


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.text(st.characters(), max_size=20))
def test_text_comes_back_as_it_was(text):
    template = environment().from_string('<p title="{{ text }}">{{ text }}</p>')
    found = judged("<!DOCTYPE html>" + template.render(text=text).encode("utf-8").decode())
    shown = "".join(found.texts)
    assert len(shown) == len(text)
    for given_one, shown_one in zip(text, shown, strict=True):
        assert shown_one in (given_one, "\ufffd", "\n")
        assert shown_one == given_one or not given_one.isprintable()
    twice = environment().from_string("{{ text | escape | escape }}")
    assert f">{twice.render(text=text)}<" in template.render(text=text)


@pytest.mark.slow
@settings(max_examples=200, deadline=None, derandomize=True)
@given(VALUES, st.integers(1, 30))
def test_any_value_is_one_short_line(value, longest):
    assert len(words(value, longest)) <= longest + 1
    assert all(isinstance(cell, str) for row in leaves(value) for cell in row)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.floats(0, 1))
def test_shares_keep_their_digits(value):
    number, sign = percent(value).split()
    assert sign == "%"
    assert abs(float(number) - 100 * value) <= 0.5e-2 * 100 * value + 1e-300
    assert interval(value, None, None).split()[0] != ""
