"""What benchmarks share: turns, medians, processes of their own."""

import os

from experiments.bench.harness import (
    Timed,
    in_own_process,
    in_turns,
    medians,
    time_ratios,
    timed,
)


def test_sides_take_turns_and_the_first_turn_does_not_count():
    calls = []

    def side(name):
        return lambda: calls.append(name) or len(calls)

    assert in_turns({"a": side("a"), "b": side("b")}, 2) == {"a": [3, 5], "b": [4, 6]}
    assert calls == ["a", "b"] * 3
    assert in_turns({"a": side("a")}, 2, warm_up=False) == {"a": [7, 8]}


def test_medians_are_of_the_time_named():
    runs = {"a": [Timed(None, 1.0, 10.0), Timed(None, 5.0, 20.0), Timed(None, 2.0, 60.0)]}
    assert medians(runs) == {"a": 2.0}
    assert medians(runs, "processor_seconds") == {"a": 20.0}
    assert timed(lambda: "done").result == "done"


def test_ratios_are_taken_turn_by_turn():
    # The second turn is three times as slow for both sides: its ratio does not show it.
    runs = {
        "ours": [Timed(None, 1.0, 1.0), Timed(None, 3.0, 3.0), Timed(None, 1.0, 9.0)],
        "other": [Timed(None, 2.0, 1.0), Timed(None, 6.0, 2.0), Timed(None, 4.0, 3.0)],
    }
    assert time_ratios(runs, "ours", "other") == {
        "ratio": 0.5, "ratio_range": [0.25, 0.5],
        "processor_ratio": 1.5, "processor_ratio_range": [1.0, 3.0],
    }  # fmt: skip


def test_work_of_its_own_process_is_done_in_another_one():
    assert in_own_process(os.getpid) != os.getpid()
