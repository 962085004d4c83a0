"""``sslsim accelerate``: its comparison on planted curves, and end to end on digits."""

import math
import shutil
from pathlib import Path

import numpy as np
import pytest

from experiments.studies.acceleration.arms import Arm, chosen_arms
from experiments.studies.acceleration.comparison import compared, early, passage, smoothed
from experiments.studies.acceleration.options import AccelerateOptions
from experiments.studies.acceleration.study import accelerate, accelerate_parts
from experiments.studies.acceleration.tables import acceleration_summary
from experiments.summary import as_text
from paper_figs.runs.acceleration import draw_acceleration
from sslsim.core.files import plain, read_json

PAGE = Path(__file__).parents[4] / "experiments/docs/accelerate.md"
OPTIONS = AccelerateOptions(steps=100, long=400, seeds=3, checks=5)
ARMS = [Arm("sgd", "sgd", (), (0.1,)), Arm("muon", "muon", (), (0.1,))]


def cell(rate, steps, accuracy=0.6, seed=0, failed=None):
    """Curves of four modes, of which mode k reaches one half after 20 k / rate updates."""
    draws = np.random.default_rng(seed)
    spectrum = [[min(1.0, rate * at / (40 * k)) for k in range(1, 5)] for at in steps]
    return {
        "failed": failed,
        "steps": list(steps),
        "spectrum": spectrum,
        "seen_spectrum": spectrum,
        "effective_rank": [4 * min(1.0, rate * at / 100) for at in steps],
        "accuracy": [min(accuracy, 0.2 + rate * at / 1000) for at in steps],
        "modes": np.linalg.qr(draws.standard_normal((30, 4)))[0].tolist(),
    }


def rows(fast, slow, seconds=None, **changes):
    of_arms = {"sgd": slow, "muon": fast}
    seconds = {"sgd": [1.0, 1.0], "muon": [1.5, 1.5]} if seconds is None else seconds
    chosen = {"sgd": 0.1, "muon": 0.1}
    return plain({"rows": compared(OPTIONS, ARMS, chosen, of_arms, seconds, None)})["rows"]


def test_ratios_are_those_planted():
    slow = [cell(1.0, range(0, 401, 10), seed=seed) for seed in range(3)]
    fast = [cell(4.0, range(0, 101, 5), seed=seed) for seed in range(3)]
    first, second = rows(fast, slow)
    for name, updates in (("mode 2", 40), ("mode 3", 60), ("rank", 90)):
        assert first["passages"][name]["updates"] == pytest.approx([updates] * 3)
        found = second["passages"][name]
        assert found["sooner"]["mean"] == pytest.approx(4.0)
        assert found["sooner"]["low"] == pytest.approx(4.0)
        assert found["sooner_in_seconds"]["mean"] == pytest.approx(4.0 / 1.5)
        assert (found["reached"], found["bounds"]) == (3, 0)
    assert second["cost"] == 1.5


def test_a_first_way_that_never_arrives_gives_a_bound():
    slow = [cell(0.1, range(0, 401, 10), seed=seed) for seed in range(3)]  # mode 3 after 600
    fast = [cell(4.0, range(0, 101, 5), seed=seed) for seed in range(3)]
    found = rows(fast, slow)[1]["passages"]["mode 3"]
    assert found["bounds"] == 3
    assert found["sooner"]["mean"] == pytest.approx(400 / 15)


def test_a_seed_that_does_not_arrive_is_counted_and_left_out():
    slow = [cell(1.0, range(0, 401, 10), seed=seed) for seed in range(3)]
    fast = [cell(rate, range(0, 101, 5), seed=k) for k, rate in enumerate((4.0, 4.0, 0.1))]
    found = rows(fast, slow)[1]["passages"]["mode 3"]
    assert (found["reached"], found["ratios"][2]) == (2, None)
    assert found["sooner"]["mean"] == pytest.approx(4.0)


def test_the_accuracy_to_reach_is_that_of_the_long_training():
    slow = [cell(1.0, range(0, 401, 10), seed=seed) for seed in range(3)]  # ends at .59, smoothed
    fast = [cell(4.0, range(0, 141, 5), seed=seed) for seed in range(3)]
    found = rows(fast, slow)[1]["passages"]["accuracy"]
    assert found["reached"] == 3
    assert found["sooner"]["mean"] == pytest.approx(4.0, rel=0.05)


def test_alignment_is_with_long_trainings_of_other_seeds():
    slow = [cell(1.0, range(0, 401, 10), seed=seed) for seed in range(3)]
    close = [  # almost what the long training of the same seed has learned
        {**cell(4.0, range(0, 101, 5)), "modes": (1e-6 + np.array(each["modes"])).tolist()}
        for each in slow
    ]
    ends = rows(close, slow)[1]["ends"]["alignment"]
    apart = rows(slow, slow)[0]["ends"]["alignment"]
    assert ends["mean"] == pytest.approx(apart["mean"], abs=1e-3)  # its own is not counted
    assert ends["mean"] < 0.2


NOTHING = {"steps": [], "spectrum": [], "seen_spectrum": [], "effective_rank": [],
           "accuracy": [], "modes": [], "failed": "no longer finite"}  # fmt: skip


def test_a_first_way_that_diverges_leaves_its_seed_out():
    slow = [cell(1.0, range(0, 401, 10), seed=seed) for seed in range(3)]
    fast = [cell(4.0, range(0, 101, 5), seed=seed) for seed in range(3)]
    late = cell(1.0, range(0, 51, 10), failed="no longer finite")  # before mode 3, after mode 2
    for broken, ratios in ((NOTHING, (2, 2)), (late, (3, 2))):
        first, second = rows(fast, [slow[0], slow[1], broken])
        found = [second["passages"][name] for name in ("mode 2", "mode 3")]
        assert tuple(sum(r is not None for r in each["ratios"]) for each in found) == ratios
        assert second["passages"]["accuracy"]["ratios"][2] is None
        assert all(each["sooner"]["mean"] == pytest.approx(4.0) for each in found)
        assert first["diverged"] == 1
    every = rows(fast, [NOTHING] * 3)[1]["passages"]["mode 2"]
    assert every["sooner"]["mean"] is None
    assert every["bounds"] == 0


def test_one_dimension_has_one_mode():
    def one(each):
        short = {name: [row[:1] for row in each[name]] for name in ("spectrum", "seen_spectrum")}
        return {**each, **short, "modes": [row[:1] for row in each["modes"]]}

    slow = [one(cell(1.0, range(0, 401, 10), seed=seed)) for seed in range(3)]
    assert list(rows(slow, slow)[0]["passages"]) == ["mode 1", "rank", "accuracy"]


def test_what_is_learned_early_is_what_counts():
    options = AccelerateOptions()
    fast, slow = cell(4.0, range(0, 101, 5)), cell(1.0, range(0, 101, 5))
    assert early(fast, options) > early(slow, options)
    assert early({**fast, "failed": "no longer finite"}, options) == -math.inf
    scale_free = AccelerateOptions(method="simclr")
    worse = {**fast, "accuracy": [0.1] * len(fast["accuracy"])}
    assert early(slow, scale_free) > early(worse, scale_free)


def test_passages_and_means_of_checks():
    assert passage([0, 10, 20], [0.6, 0.0, 0.8], 0.5) == 0.0
    assert passage([0, 10, 20], [0.0, 0.5, 0.8], 0.5) == 10.0
    assert smoothed([1.0]).tolist() == [1.0]


def test_arms_have_names_and_rates():
    options = AccelerateOptions(arms=("sgd", "muon+inputs+embedding"), rates=("sgd=0.2,0.1",))
    plain_arm, other = chosen_arms(options)
    assert plain_arm.rates == (0.1, 0.2)
    trained = other.options(options, 0.5, 7)
    assert (trained.optimizer, trained.lr, trained.seed) == ("muon", 0.5, 7)
    assert trained.precondition_embedding == trained.precondition_inputs == "covariance"
    assert trained.clip_norm is None
    assert plain_arm.options(options, 0.1, 0).clip_norm == 1.0


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return AccelerateOptions(
        encoder="linear", dim=3, limit=80, steps=6, long=12, checks=4, probed=60, seeds=2,
        batch=20, device="cpu", views="noise", arms=("sgd", "muon+embedding"),
        rates=("sgd=0.001,0.003", "muon+embedding=0.01"),
        out=tmp_path_factory.mktemp("accelerate") / "whole",
    )  # fmt: skip


@pytest.fixture(scope="module")
def done(small):
    return accelerate(small)


def test_end_to_end(done):
    result = read_json(done / "acceleration.json")
    assert (result["seeds"], result["design_seeds"]) == ([1, 2], [0])
    assert [arm["arm"] for arm in result["arms"]] == ["sgd", "muon+embedding"]
    assert result["arms"][0]["rate"] in (0.001, 0.003)
    assert result["arms"][0]["passages"]["mode 1"]["sooner"]["mean"] in (1.0, None)
    assert 0 <= result["arms"][1]["ends"]["alignment_true"]["mean"] <= 1 + 1e-9
    assert result["arms"][0]["curves"][0]["steps"][-1] == 12
    assert result["arms"][1]["curves"][0]["steps"][-1] == 6
    assert "muon+embedding" in as_text(acceleration_summary(result))
    assert acceleration_summary({}).tables
    assert draw_acceleration(done).stat().st_size > 10_000


def test_every_key_of_the_result_is_documented(done):
    page = PAGE.read_text(encoding="utf-8")
    result = read_json(done / "acceleration.json")
    arm = result["arms"][0]
    keys = {*result, *result["design"][0], *arm, *arm["ends"], *arm["curves"][0]}
    keys |= set(arm["passages"]["rank"]) | {"rank", "accuracy"}
    assert [key for key in sorted(keys) if f"`{key}`" not in page] == []


def test_a_study_goes_on_with_what_is_stored(done, small, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(done, copy)
    cells = sorted((copy / "cells").glob("*/cell.json"))
    times = [path.stat().st_mtime_ns for path in cells]
    (copy / "acceleration.json").unlink()
    options = AccelerateOptions(**{**vars(small), "seeds": 3, "out": copy})
    accelerate(options)
    assert [path.stat().st_mtime_ns for path in cells] == times
    more = read_json(copy / "acceleration.json")
    assert more["seeds"] == [1, 2, 3]
    assert len(sorted((copy / "cells").glob("*/cell.json"))) == len(cells) + 2


def test_parts_are_those_of_the_stage(done, small, tmp_path):
    assert list(accelerate_parts(small)) == [
        (arm, seed) for seed in (1, 2) for arm in ("sgd", "muon+embedding")
    ]
    begun = AccelerateOptions(**{**vars(small), "out": tmp_path})
    assert [key[:2] for key in accelerate_parts(begun)] == [
        ("sgd", 0.001), ("sgd", 0.003), ("muon+embedding", 0.01),
    ]  # fmt: skip


def test_rates_that_all_diverge_are_told(small, tmp_path):
    options = AccelerateOptions(
        **{**vars(small), "rates": ("sgd=1e9",), "clip_norm": None, "out": tmp_path / "x"}
    )
    with pytest.raises(ValueError, match="sgd diverges at all learning rates, 1e\\+09"):
        accelerate(options)
