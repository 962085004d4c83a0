"""The report: what a page says of run folders, and that it says so whatever they hold."""

import base64
import json
import math
import struct
import zlib

import pages
import pytest

from experiments import cli
from experiments.registry import STUDIES
from experiments.report import ReportOptions, report
from experiments.report.caveats import revision
from experiments.report.configuration import changed_options, command_line, option_defaults
from experiments.report.folders import find_runs, result_studies
from experiments.report.groups import group_runs, spread
from experiments.study import variants
from sslsim.core.files import read_json

Page, judged = pages.Page, pages.judged

CONFIG = {
    "command": "train",
    "options": {"method": "simclr", "seed": 0, "steps": 100},
    "revision": "a" * 40,
    "versions": {"python": "3.11.7", "torch": "2.13.0"},
    "machine": {"platform": "Linux", "processors": 2, "torch_threads": 1},
}
TRAINING = {"steps": 100, "detected_steps": 3, "first_record": {}, "last_record": {}}


def png(width=2, height=1):
    """The smallest honest picture."""

    def chunk(kind, data):
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = zlib.compress(b"".join(b"\0" + bytes(width) for _ in range(height)))
    signature = b"\x89PNG\r\n\x1a\n"
    return signature + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def run_folder(path, options=None, config=None, files=(), **results):
    """A run folder, of a finished training unless told otherwise."""
    path.mkdir(parents=True)
    held = {**CONFIG, **(config or {})}
    held["options"] = {**held["options"], **(options or {})}
    (path / "config.json").write_text(json.dumps(held))
    if held["command"] == "train":
        results = {"training": TRAINING, **results}
        files = ("records.jsonl", "records.npz", *files)
        (path / "run.png").write_bytes(png())
    for name in files:
        (path / name).write_bytes(b"")
    for name, value in results.items():
        if value is not None:
            (path / f"{name}.json").write_text(json.dumps(value))
    return path


def made(*folders, **options):
    """Page of the folders."""
    out = folders[0].parent / "page.html"
    return judged(report(ReportOptions(folders, out=out, **options)).read_text(encoding="utf-8"))


def warned(page):
    """Texts of the warnings, which come before the overview."""
    return page.text.partition("Warnings")[2].partition("Main claims")[0]


def overview(page):
    """Texts of the only row of the overview, after its name."""
    texts = [text for text in page.texts if text.strip()]
    return texts[texts.index("to be compared with") + 2 :][:4]


def test_a_comparison_made_by_the_command_is_reported(tmp_path, capsys):
    small = ["--pairs", "100", "--dim", "3", "--out", str(tmp_path / "run")]
    assert cli.main(["compare", *small]) == 0
    capsys.readouterr()
    assert cli.main(["report", str(tmp_path / "run"), "--out", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["1 run folder", f"written to {tmp_path / 'report.html'}"]
    page = judged((tmp_path / "report.html").read_text(encoding="utf-8"))
    found = read_json(tmp_path / "run" / "comparison.json")
    assert f"{found['measured_step_times'][1]:.4g}" in page.texts
    assert f"{100 * found['mean_relative_error']:.3g} %" in page.texts
    assert f"naive prediction {100 * found['naive_mean_relative_error']:.3g} %" in page.texts
    assert "sslsim compare --pairs 100 --dim 3" in page.text
    picture = (tmp_path / "run" / "comparison.png").read_bytes()
    (image,) = page.images
    assert base64.b64decode(image["src"].removeprefix("data:image/png;base64,")) == picture


def test_mean_and_spread_over_seeds(tmp_path):
    for seed, steps in enumerate((2, 3, 7)):
        run_folder(
            tmp_path / f"run{seed}",
            {"seed": seed, "out": str(seed)},
            training={**TRAINING, "detected_steps": steps},
        )
    run_folder(tmp_path / "other", {"steps": 50, "compile": True})
    groups = group_runs(find_runs([tmp_path]))
    assert [group.seeds for group in groups] == [("0",), ("0", "1", "2")]
    page = made(tmp_path / "run0", tmp_path / "run1", tmp_path / "run2")
    row = page.texts[page.texts.index("Over seeds") :]
    row = row[row.index("detected steps") :]
    # Student's 95 % point of two degrees of freedom.
    half = 2.9199855803537 * math.sqrt(7) / math.sqrt(3)
    ends = f"{4 - half:.4g} to {4 + half:.4g}"
    assert row[:6] == ["detected steps", "3", "4", "2.646", ends, "2 to 7"]
    assert "fewer than three seeds" not in page.text


def test_the_overview_of_a_study_of_memorisation_leads_with_what_it_tests(tmp_path):
    test = {"above": "candidate", "below": "shared", "difference": 0.217, "p": 0.01}
    study = {
        "layers": ["backbone"],
        "mean": [0.31],
        "sets": [{"comparisons": [test]}],
        "atypical": {"candidate": {"any": {"auc": 0.91, "points": 5}}},
    }
    config = {"command": "memorization"}
    run_folder(tmp_path / "split", {"seed": 7}, config=config, memorization=study)
    pool = study | {"sets": []}
    run_folder(tmp_path / "pool", {"seed": 7}, config=config, memorization=pool)
    expected = ["backbone: candidate above shared", "0.217", "0 if not memorised; p 0.01"]
    assert overview(made(tmp_path / "split")) == ["1 run, seed 7", *expected]
    expected = ["mean score of backbone", "0.31", "no shared images to compare with"]
    assert overview(made(tmp_path / "pool")) == ["1 run, seed 7", *expected]


def test_the_overview_gives_claims_with_intervals_and_baselines_over_seeds(tmp_path):
    errors, naives = (0.01, 0.02, 0.06), (0.1, 0.2, 0.6)
    for seed, (error, naive) in enumerate(zip(errors, naives, strict=True)):
        run_folder(
            tmp_path / f"run{seed}",
            {"seed": seed, "out": str(seed)},
            config={"command": "compare", "options": {}},
            comparison={"mean_relative_error": error, "naive_mean_relative_error": naive},
        )
    half = 2.9199855803537 * math.sqrt(7e-4) / math.sqrt(3)
    assert 0.03 - half < 0  # no error is: the interval ends there
    low, high = "0 %", f"{100 * (0.03 + half):.3g} %"
    row = overview(made(*(tmp_path / f"run{seed}" for seed in range(3))))
    assert row[0] == "3 runs, seeds 0, 1, 2"
    assert row[1:3] == ["mean error of step times", f"3 % [{low}, {high}]"]
    assert row[3] == "naive prediction 30 %"


def test_a_result_without_a_claim_shows_its_first_number(tmp_path):
    config = {"command": "spectra", "options": {"seed": None}}
    spectra = {"last": {"effective_rank": 3.5}, "detected_steps": 2}
    row = overview(made(run_folder(tmp_path / "run", config=config, spectra=spectra)))
    assert row[0] == "1 run"
    assert row[1:] != ["-"] * 3
    assert row[3] == "-"


def test_a_study_of_runs_belongs_to_the_seed_of_its_run(tmp_path):
    kernel = {"command": "ntk", "options": {"method": None}}
    for seed in range(3):
        run_folder(tmp_path / f"job{seed}" / "train", {"seed": seed})
        run_folder(
            tmp_path / f"job{seed}" / "ntk",
            {"seed": 0, "run": [f"elsewhere/job{seed}/train"]},
            config=kernel,
            ntk={"subspace_alignment": 0.1 * seed},
        )
    kernels = group_runs(find_runs([tmp_path]))[0]
    assert kernels.seeds == ("0", "1", "2")
    assert [run.command for run in kernels.runs] == ["ntk"] * 3


def test_spread_knows_what_it_does_not_know():
    assert spread([None]).mean is None
    assert spread([2.0]).low is None
    assert spread([2.0]).deviation is None
    assert spread([1e308, -1e308, 1e308]).count == 3


def test_options_are_told_beside_their_defaults(tmp_path):
    options = {"fixed_views": True, "evaluate": False, "lr": 0.003, "widths": [8, 16], "root": "x"}
    (run,) = find_runs([run_folder(tmp_path / "run", options)])
    assert option_defaults("sslsim.runs.options:TrainOptions")["lr"] == 0.003
    assert set(changed_options(run)) == {"method", "steps", "fixed_views", "evaluate", "widths"}
    line = "sslsim train --method simclr --steps 100 --fixed-views --no-evaluate --widths 8 16"
    assert " ".join(command_line(run)) == line
    cli.parsed(line.split()[1:])  # and it is a command


def test_every_command_has_defaults():
    for study in STUDIES:
        assert option_defaults(study.options), study.name


@pytest.mark.parametrize("text", ["<script>alert(1)</script>", '"><img src=x>', "</details>&amp;"])
def test_what_folders_hold_is_text(tmp_path, text):
    run_folder(
        tmp_path / "<b>run",
        {"method": text, text: text},
        config={"revision": text, "versions": {text: text}},
        training={**TRAINING, "spectrum": text, "probes": {text: {"accuracy": 0.5}}},
    )
    page = made(tmp_path / "<b>run")
    assert text in page.text
    assert "<b>run" in page.text


def test_damaged_files_are_told(tmp_path):
    run = run_folder(tmp_path / "run")
    (run / "training.json").write_text('{"steps": 1')
    (run / "records.jsonl").write_text('{"step": 0, "loss": null}\n{"step": 1,')
    (run / "config.json").write_text("[1]")
    (run / "run.png").write_bytes(b"no picture")
    page = made(run)
    told = warned(page)
    assert "training.json is damaged: not valid JSON" in told
    assert "config.json is damaged: holds a list; expected a JSON object" in told
    assert "records.jsonl is damaged: line 2 of 2" in told
    assert "run.png is damaged" in page.text


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, '"\\ud800"', "\xff", "NaN"])
def test_no_file_is_too_damaged(tmp_path, text):
    run = run_folder(tmp_path / "run")
    for name in ("config.json", "training.json", "records.jsonl"):
        (run / name).write_text(text, encoding="latin-1")
    assert "damaged" in warned(made(run))


def test_an_unfinished_run_tells_how_far_it_came(tmp_path):
    run = run_folder(tmp_path / "run", training=None)
    lines = [{"step": 0, "loss": None, "probe_loss": 4.0}, {"step": 60, "probe_loss": 9.0}]
    (run / "records.jsonl").write_text("\n".join(map(json.dumps, lines)))
    told = warned(made(run))
    assert "did not finish: training.json is missing (last record after 60 of 100 updates" in told
    assert "held-out loss at 9, above its 4 at the start" in told


@pytest.mark.parametrize(
    ("records", "training", "expected"),
    [
        ([{"loss": None}, {"loss": None}], {}, "diverged: a recorded loss is not finite"),
        ([], {"steps": 40}, "stopped after 40 of 100 updates"),
        (
            [],
            {"first_record": {"probe_loss": 1.0}, "last_record": {"probe_loss": 2.0}},
            "the held-out loss ended (2) above where it began (1)",
        ),
    ],
)
def test_runs_off_their_course_are_told(tmp_path, records, training, expected):
    run = run_folder(tmp_path / "run", training={**TRAINING, **training})
    (run / "records.jsonl").write_text("\n".join(map(json.dumps, records)))
    assert expected in warned(made(run))


def test_a_sound_set_of_runs_is_not_warned_of(tmp_path):
    folders = [run_folder(tmp_path / f"run{seed}", {"seed": seed}) for seed in range(3)]
    page = made(*folders)
    assert "3 run folders in 1 configuration, 0 warnings." in page.text
    assert "Warnings" not in page.text


def summary(mean, low=None, high=None):
    return {"mean": mean, "low": low, "high": high, "effect": None, "values": [mean]}


def test_removal_and_penalty_have_their_tables(tmp_path):
    point = {
        "share": 0.25,
        "accuracy": summary(0.412),
        "from_none": summary(-0.031, -0.05, -0.01),
        "from_random": summary(0.007, -0.002, 0.016),
    }
    curves = [{"which": "most", "points": [point]}]
    measured = {"data": "digits", "measure": "linear", "none": summary(0.443), "curves": curves}
    removal = run_folder(
        tmp_path / "removal",
        config={"command": "memorization-removal"},
        removal={"seeds": [0, 1, 2], "results": [measured]},
    )
    measures = {"raw_above_shared": {"value": summary(0.25), "from_zero": None}}
    penalty = run_folder(
        tmp_path / "penalty",
        config={"command": "memorization-penalty"},
        penalty={
            "seeds": [0, 1],
            "rows": [{"target": "most", "strength": -0.1, "measures": measures}],
        },
    )
    page = made(removal, penalty)
    for cell in ("44.3", "41.2", "-3.1 [-5, -1]", "0.7 [-0.2, 1.6]", "25 %", "raw_above_shared"):
        assert cell in page.text
    assert "removal.png is missing" in warned(page)
    assert "2 seeds, fewer than three" in warned(page)
    assert "no result that is known" not in warned(page)


def test_numbers_on_the_page_are_those_of_the_files(tmp_path):
    probe = {"accuracy": 0.625, "standard_error": 0.013, "classes": 4, "test_size": 777}
    train = run_folder(tmp_path / "train", training={**TRAINING, "probes": {"knn_backbone": probe}})
    compare = run_folder(
        tmp_path / "compare",
        config={"command": "compare"},
        comparison={"mean_relative_error": 0.0123, "naive_mean_relative_error": 0.456},
    )
    change = {"mean": 0.0321, "low": 0.0111, "high": 0.0531}
    row = {"group": "g", "setting": "full", "seeds": [0, 1, 2]}
    sweep = run_folder(
        tmp_path / "sweep",
        config={"command": "umm-sweep"},
        table={"rows": [{**row, "measures": {"loss": {"from_control": change}}}]},
    )
    (tmp_path / "jobs").mkdir()
    job = {
        "name": "j",
        "status": "done",
        "minutes": 7,
        "seconds": 150,
        "device": "gpu",
        "stages": [],
    }
    (tmp_path / "jobs" / "campaign.json").write_text(json.dumps({"jobs": [job]}))
    kernel = run_folder(
        tmp_path / "ntk",
        config={"command": "ntk"},
        ntk={"subspace_alignment": 0.9, "chance": 0.077},
    )
    page = made(train, compare, sweep, kernel, tmp_path / "jobs")
    assert "chance 0.077; linear CKA" in page.text
    for row in (
        ["knn_backbone", "62.5 % ± 1.3 %", "25 %", "777"],
        ["j", "done", "7", "2.5", "gpu"],
    ):
        width = len(row)
        assert row in [page.texts[k : k + width] for k in range(len(page.texts))]
    assert "0.0321 [0.0111, 0.0531]" in page.text
    agreed = page.text.partition("to be compared with")[2]
    assert agreed.index("1.23 %") < agreed.index("45.6 %")


def test_every_command_that_leaves_a_result_has_its_place():
    without = {"report", "figures", "export"}
    assert {study.name for study in STUDIES if not study.files} == without
    for study in variants(STUDIES):
        if study.files:
            # A file is read by one function, whoever left it.
            assert study.tables == result_studies()[study.files[0]].tables is not None, study.name
            pictures = {name for name in study.files if name.endswith(".png")}
            assert pictures <= set(study.captions), study.name
            assert bool(pictures) == (study.figure is not None), study.name


def test_differences_among_runs_are_told(tmp_path):
    seeds = ({"seed": seed} for seed in range(3))
    run_folder(tmp_path / "a", next(seeds))
    run_folder(tmp_path / "b", next(seeds), {"revision": "b" * 40 + "+changes"})
    run_folder(tmp_path / "c", next(seeds), {"revision": None, "versions": {"torch": "2.12.0"}})
    told = warned(made(tmp_path / "a", tmp_path / "b", tmp_path / "c"))
    assert f"different revisions: {'a' * 10} (1 run), {'b' * 10} (1 run)" in told
    assert "different versions of torch: 2.13.0 (2 runs), 2.12.0 (1 run)" in told
    assert "uncommitted changes in the checkout : b" in told.replace("checkout:", "checkout :")
    assert "the revision is not known: c" in told
    assert revision({"revision": "c" * 40}) == ("c" * 10, False)


def test_few_seeds_and_missing_files_are_told(tmp_path):
    run = run_folder(tmp_path / "a", {"seed": 1})
    run_folder(tmp_path / "b", {"seed": 1})
    (run / "records.npz").unlink()
    told = warned(made(run, tmp_path / "b"))
    assert "fewer than three seeds of one configuration (1)" in told
    assert "seed 1 was run 2 times" in told
    assert "records.npz is missing: a" in told


def test_results_without_interval_are_told(tmp_path):
    group = {"label": "simclr", "layers": ["backbone"], "seeds": [0]}
    sweep = {"group": "g", "setting": "full", "seeds": [0], "failed": {"1": "loss is inf"}}
    study = {"command": "overfitting"}
    run_folder(tmp_path / "a", config=study, overfitting={"groups": [group]})
    run_folder(tmp_path / "b", config={"command": "umm-sweep"}, table={"rows": [sweep]})
    told = warned(made(tmp_path / "a", tmp_path / "b"))
    assert "simclr: 1 seed, no interval" in told
    assert "g, full: 1 run, no interval" in told
    assert "g, full: run 1 diverged (loss is inf)" in told


def test_folders_are_searched_but_not_the_parts_of_a_run(tmp_path):
    sweep = run_folder(tmp_path / "x" / "sweep", config={"command": "umm-sweep"}, table={})
    run_folder(sweep / "cells" / "1")
    run_folder(sweep / ".partial-0123456789abcdef")
    run_folder(tmp_path / "x" / "deep" / "run")
    (tmp_path / "x" / "loop").symlink_to(tmp_path / "x")
    found = find_runs([tmp_path / "x", sweep])
    assert [run.name for run in found] == ["deep/run", "sweep"]


def test_pictures_have_a_limit(tmp_path):
    run = run_folder(tmp_path / "run")
    assert len(made(run).images) == 1
    page = made(run, picture_limit=1e-6)
    assert not page.images
    assert "run.png is left out" in page.text


def test_equal_folders_give_equal_bytes(tmp_path):
    run = run_folder(tmp_path / "run")
    first = report(ReportOptions((run,), out=tmp_path / "a.html")).read_bytes()
    assert report(ReportOptions((run,), out=tmp_path / "b.html")).read_bytes() == first


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere is not a folder; expected a run folder"),
        (["empty"], "empty holds no run folder; expected a config.json in it or below it"),
        (["run", "--picture-limit", "0"], "picture-limit is 0; expected a positive number"),
        (["run", "--picture-limit", "nan"], "picture-limit is nan; expected a positive number"),
        (["run", "--out", "run/config.json/x"], "cannot be made a folder"),
        ([], "report needs folders"),
    ],
)
def test_bad_input_is_one_line(tmp_path, capsys, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    run_folder(tmp_path / "run")
    (tmp_path / "empty").mkdir()
    assert cli.main(["report", *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


def test_pages_are_judged():
    start = "<!DOCTYPE html>"
    for text in ("<p>", "</p>", "<p id=a></p><p id=a></p>", "<img alt=''>", "<a href='#x'></a>"):
        assert Page(start + text).faults, text
    for text in ("<img alt=x src='http://x'>", "<style>a{b:url(c)}</style>", "<a href='x'></a>"):
        assert Page(start + text).fetched, text
