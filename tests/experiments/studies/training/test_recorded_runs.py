"""A folder of a plain loop is read by the other commands, which say what they lack."""

import csv
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import sslsim
from experiments import cli
from experiments.report.folders import find_runs
from experiments.report.page import page
from paper_figs.runs.training import draw_run
from sslsim.core.files import read_arrays, read_json, read_lines, write_json
from sslsim.data.datasets import load_images
from sslsim.objectives import barlow_twins
from sslsim.runs.trained_run import TrainedRun
from theory import predict_steps_from

PAGES = Path(__file__).parents[4] / "experiments" / "docs"
NETS = """
import torch
from torch import nn

def linear():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 3, bias=False))
    with torch.no_grad():
        net[1].weight.mul_(0.02)
    return net
"""


def linear():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 3, bias=False))
    with torch.no_grad():
        net[1].weight.mul_(0.02)
    return net


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with three recorded runs: with everything, with nothing, and unfinished."""
    home = tmp_path_factory.mktemp("home")
    (home / "nets_of_loops.py").write_text(NETS)
    images = load_images("digits", limit=120).images.float() / 255
    generator = torch.Generator().manual_seed(0)
    x, x_prime = (images + 0.1 * torch.randn(images.shape, generator=generator) for _ in range(2))
    mean = (x.mean(0) + x_prime.mean(0)) / 2
    x, x_prime = x - mean, x_prime - mean
    full = {"checkpoints": 100, "data": "digits", "steps": 400, "seed": 3}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        for name, options in {
            "full": full | {"factory": "nets_of_loops:linear"},
            "bare": {},
        }.items():
            net = linear()
            optimizer = torch.optim.SGD(net.parameters(), lr=0.02)
            with sslsim.Recorder(name, net, x, x_prime, lr=0.02, records=60, **options) as recorder:
                for step in range(1, 401):
                    loss = barlow_twins(net(x), net(x_prime))
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
                    recorder.update(step)
        recorder = sslsim.Recorder("unfinished", net, x, x_prime, lr=0.02)
        recorder.update(3)
        recorder.close()
    return home


@pytest.fixture
def called(home, monkeypatch, capsys):
    """Calls a command in the folder: its status, and what it printed."""
    monkeypatch.chdir(home)

    def call(*arguments):
        status = cli.main(list(map(str, arguments)))
        printed = capsys.readouterr()
        return status, printed.out if status == 0 else printed.err

    return call


def test_compare_predicts_the_steps_of_a_plain_loop(home, called):
    """A linear map under Barlow Twins, trained on the recorded pairs: theory holds."""
    for name in ("full", "bare"):
        status, out = called("compare", "--run", name)
        assert status == 0
        assert "mean error of step times" in out
        result = read_json(home / name / "comparison.json")
        assert result["n_pairs"] == 120
        measured = np.array(result["measured_step_times"][:2], dtype=float)
        predicted = np.array(result["predicted_step_times"][:2], dtype=float)
        assert np.all(np.isfinite(measured))
        np.testing.assert_allclose(predicted, measured, rtol=0.35)
        assert (home / name / "comparison.png").exists()


@pytest.mark.parametrize("losses", [False, True])
def test_runs_whose_loss_needs_more_than_embeddings_are_drawn_and_compared(
    tmp_path, capsys, losses
):
    net, x = nn.Linear(6, 2), torch.randn(20, 6, generator=torch.Generator().manual_seed(0))
    with sslsim.Recorder(tmp_path / "a", net, x, x + 0.1, lr=0.1, method="byol") as recorder:
        for step in range(1, 9):
            recorder.update(step, 1.0 / step if losses else None)
    assert draw_run(tmp_path / "a").stat().st_size > 5000
    assert cli.main(["compare", "--run", str(tmp_path / "a")]) == 0
    assert (tmp_path / "a" / "comparison.png").exists()
    (run,) = find_runs([tmp_path / "a"])
    assert sorted(path.name for path in run.pictures) == ["comparison.png", "run.png"]


def test_the_kernel_of_a_plain_loop_predicts_its_embedding(home, called):
    status, out = called("ntk", "--run", "full", "--samples", 20, "--out", "ntk")
    assert status == 0, out
    result = read_json(home / "ntk" / "ntk.json")
    assert (result["n_pairs"], result["step"], result["views"]) == (20, 400, "own pairs")
    assert result["subspace_alignment"] > 0.5
    run = TrainedRun.open(home / "full")
    kernel = read_arrays(home / "ntk" / "ntk.npz")["kernel"]
    x = torch.cat(run.pairs(20)).flatten(1)
    np.testing.assert_allclose(kernel, (x @ x.T).numpy(), rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_forecasts_and_overfitting_of_a_plain_loop(home, called):
    arguments = ("--run", "full", "--no-kernel", "--out", "forecast")
    status, out = called("forecast", *arguments)
    assert status == 0, out
    assert read_json(home / "forecast" / "forecast.json")["forecasts"]
    # A loop on pairs without images, as most loops are.
    config = read_json(home / "full" / "config.json")
    shutil.copytree(home / "full", home / "pairs_only")
    config["options"]["data"] = None
    write_json(home / "pairs_only" / "config.json", config)
    status, out = called("forecast", "--run", "pairs_only", "--no-kernel", "--out", "of_pairs")
    assert status == 0, out
    assert read_json(home / "of_pairs" / "forecast.json")["forecasts"]
    sizes = ("--checkpoints", 3, "--samples", 12, "--probed", 60)
    status, out = called("overfitting", "--run", "full", *sizes, "--out", "overfitting")
    assert status == 0, out


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("ntk", "--run", "bare"), r"bare holds no checkpoint; expected Recorder\(\.\.\."),
        (("forecast", "--run", "bare"), r"bare holds 0 checkpoint\(s\) .* or of Recorder\("),
        (("overfitting", "--run", "bare"), r"bare holds 0 checkpoint\(s\); .* or of Recorder\("),
        (("ntk", "--run", "full", "--views", "crops"), "views is crops, and full has its own"),
        (("ntk", "--run", "full", "bare"), "expected runs on the same images"),
        (("ntk", "--run", "unfinished"), "unfinished/training.json cannot be read"),
        (("umm", "--run", "bare"), "."),
        (("train", "--out", "full"), "full holds a run of sslsim record"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_is_missing_is_said_in_one_line(called, arguments, expected):
    status, error = called(*arguments)
    assert status == 2
    assert re.fullmatch(r"sslsim: error: [^\n]+\n", error), error
    assert re.search(expected, error), error


def test_a_network_without_a_factory_or_images_is_said_to_be_missing(home):
    run = TrainedRun.open(home / "full")
    other = replace(run, recorded=replace(run.recorded, factory=None, data=None))
    with pytest.raises(ValueError, match="without a way to build its network again; expected Rec"):
        other.learner()
    with pytest.raises(ValueError, match="full was recorded without images; expected Recorder"):
        _ = other.images
    assert len(run.images.images) == 1437


def test_the_report_shows_recorded_runs_like_trained_ones(home, called):
    runs = find_runs([home / "full", home / "bare", home / "unfinished"])
    assert [run.study.name for run in runs] == ["record"] * 3
    shown = page(runs, 4.0)
    assert "Detected steps (flow time)" in shown
    assert "sslsim record" not in shown  # there is no such command
    assert "did not finish: training.json is missing" in shown
    assert "seed 3" in shown
    status, out = called("report", "full", "bare", "--out", "page.html")
    assert (status, out.splitlines()[0]) == (0, "2 run folders")


def test_a_collapsed_recorded_run_is_flagged_on_the_page(tmp_path):
    x = torch.randn(8, 3, generator=torch.Generator().manual_seed(0))
    net = nn.Linear(3, 2)
    with torch.no_grad():
        net.weight.zero_()
    recorder = sslsim.Recorder(tmp_path / "a", net, x, x, lr=0.1)
    recorder.close()
    (run,) = find_runs([tmp_path / "a"])
    assert "the embedding has collapsed" in page([run], 1.0)


def test_exported_tables_hold_options_results_and_records(home, called):
    status, out = called("export", "full", "bare", "--curves", 2, "--out", "tables")
    assert (status, out) == (0, "written to tables\n")
    with (home / "tables" / "runs.csv").open(newline="") as file:
        runs = list(csv.DictReader(file))
    assert [row["run"] for row in runs] == ["full", "bare"]
    assert float(runs[0]["options.lr"]) == 0.02
    result = read_json(home / "full" / "training.json")
    assert float(runs[0]["training.step_times.1"]) == pytest.approx(result["step_times"][0])
    with (home / "tables" / "records.csv").open(newline="") as file:
        records = [row for row in csv.DictReader(file) if row["run"] == "full"]
    arrays = read_arrays(home / "full" / "records.npz")
    assert [int(row["step"]) for row in records] == arrays["steps"].tolist()
    for mode in (1, 2):
        found = [float(row[f"cross_spectrum.{mode}"]) for row in records]
        np.testing.assert_allclose(found, arrays["cross_spectrum"][:, mode - 1])
    assert "cross_spectrum.3" not in records[0]
    assert called("export", "full", "--out", "tables")[0] == 0  # again
    assert called("export", "full", "--out", "full")[0] == 2


def test_a_data_frame_has_one_row_a_run(home):
    pandas = pytest.importorskip("pandas")
    frame = sslsim.runs_table([home / "full", home / "bare"])
    assert isinstance(frame, pandas.DataFrame)
    assert len(frame) == 2
    assert frame["options.lr"].tolist() == [0.02, 0.02]


def test_event_files_hold_the_records(home, called):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert called("export", "full", "--tensorboard", "--out", "board")[0] == 0
    events = EventAccumulator(str(home / "board" / "tensorboard" / "full"))
    events.Reload()
    arrays = read_arrays(home / "full" / "records.npz")
    shown = events.Scalars("cross_spectrum/1")
    assert [event.step for event in shown] == arrays["steps"].tolist()
    np.testing.assert_allclose([event.value for event in shown], arrays["cross_spectrum"][:, 0])


def test_extras_that_are_missing_are_named(home, called, monkeypatch):
    for name in ("pandas", "torch.utils.tensorboard"):
        monkeypatch.setitem(__import__("sys").modules, name, None)
    with pytest.raises(ValueError, match=r"pandas is not installed; .*'sslsim\[pandas\]'"):
        sslsim.runs_table([home / "full"])
    status, error = called("export", "full", "--tensorboard", "--out", "none")
    assert (status, "pip install 'sslsim[tensorboard]'" in error) == (2, True)


TIMES = np.linspace(0.0, 20.0, 60)


def trajectory():
    rng = np.random.default_rng(0)
    modes = np.linalg.qr(rng.standard_normal((50, 2)))[0] * np.sqrt(50)
    sizes = 1 / (1 + np.exp(-3 * (TIMES[:, None] - [6.0, 13.0])))
    return np.sqrt(sizes)[:, None, :] * modes


def saved(folder, kind):
    """The same embeddings in files of every kind."""
    z = trajectory()
    path = folder / f"mine.{kind.partition(' ')[0]}"
    if kind == "npz":
        np.savez(path, z=z, z_prime=z, steps=100 * TIMES)
    elif kind == "npz alone":
        np.savez(path, anything=z)
    elif kind == "npy two":
        np.save(path, np.stack([z, z]))
    elif kind == "npy":
        np.save(path, z)
    elif kind == "pt":
        torch.save({"z": torch.tensor(z), "times": torch.tensor(TIMES)}, path)
    elif kind == "pt list":
        torch.save([torch.tensor(part) for part in z], path)
    return path


@pytest.mark.parametrize(
    ("kind", "views", "unit", "scale"),
    [
        ("npz", 2, "updates", 100.0),
        ("npz alone", 1, "places in the file", 59 / 20),
        ("npy two", 2, "places in the file", 59 / 20),
        ("npy", 1, "places in the file", 59 / 20),
        ("pt", 1, "times of the file", 1.0),
        ("pt list", 1, "places in the file", 59 / 20),
    ],
)
def test_spectra_of_a_file_show_its_steps(tmp_path, capsys, kind, views, unit, scale):
    path, out = saved(tmp_path, kind), tmp_path / "out"
    assert cli.main(["spectra", str(path), "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "detected steps: 2" in printed
    result = read_json(out / "spectra.json")
    assert (result["views"], result["unit"], result["samples"]) == (views, unit, 50)
    np.testing.assert_allclose(np.array(result["step_times"]) / scale, [6.0, 13.0], atol=0.15)
    assert (out / "spectra.png").stat().st_size > 5000
    arrays = read_arrays(out / "spectra.npz")
    assert arrays["covariance_spectrum"].shape == (60, 2)
    assert ("cross_spectrum" in arrays) == (views == 2)


def test_a_learning_rate_turns_updates_into_flow_times(tmp_path):
    path, out = saved(tmp_path, "npz"), tmp_path / "out"
    rate = ["--lr", "0.001", "--momentum", "0.9"]
    assert cli.main(["spectra", str(path), *rate, "--out", str(out)]) == 0
    result = read_json(out / "spectra.json")
    np.testing.assert_allclose(result["step_times"], [6.0, 13.0], atol=0.1)
    np.testing.assert_allclose(result["step_iterations"], [600, 1300], atol=10)


def keys_on_page(name, heading):
    """Keys in the first column of the tables under a heading of a page, without their header."""
    section = (PAGES / f"{name}.md").read_text(encoding="utf-8").partition(f"# {heading}\n")[2]
    rows = re.findall(
        r"^\| (`.*?) \|", re.split(r"^#", section, flags=re.MULTILINE)[0], re.MULTILINE
    )
    return {key for row in rows for key in re.findall(r"`(\w+)`", row)}


def test_the_page_of_spectra_has_every_key_and_no_other(tmp_path):
    out = tmp_path / "out"
    assert cli.main(["spectra", str(saved(tmp_path, "npz")), "--out", str(out)]) == 0
    result, arrays = read_json(out / "spectra.json"), read_arrays(out / "spectra.npz")
    assert keys_on_page("spectra", "The run folder") == set(result)
    assert set(result["first"]) == set(result["last"]) == set(arrays) & set(result) - {"times"}
    page = (PAGES / "spectra.md").read_text(encoding="utf-8")
    held = page.partition("`spectra.npz` has ")[2]
    named = set(re.findall(r"`(\w+)`", held)) | set(result["first"])  # the metrics
    assert named == set(arrays)


def test_the_pages_have_every_key_of_a_recorded_run(home):
    result = read_json(home / "full" / "training.json")
    explained = keys_on_page("train", "training.json") | keys_on_page("recorder", "The run folder")
    assert set(result) <= explained
    for name in ("records.jsonl", "records.npz", "pairs.npz"):
        path = home / "full" / name
        held = read_lines(path)[-1] if name.endswith("l") else read_arrays(path)
        text = "".join((PAGES / f"{page}.md").read_text("utf-8") for page in ("train", "recorder"))
        assert [key for key in held if f"`{key}`" not in text] == [], name


def test_a_collapsed_embedding_of_a_file_is_told(tmp_path, capsys):
    np.save(tmp_path / "same.npy", np.ones((4, 6, 3)))
    assert cli.main(["spectra", str(tmp_path / "same.npy"), "--out", str(tmp_path / "out")]) == 0
    assert "caution: the embedding has collapsed: it is the same" in capsys.readouterr().out


def test_recorded_pairs_are_those_that_theory_is_given(home):
    run = TrainedRun.open(home / "full")
    x, x_prime = (view.flatten(1).double().numpy() for view in run.pairs(120))
    w0 = linear()[1].weight.detach().double().numpy()
    predicted = predict_steps_from(x, x_prime, w0).step_times
    detected = run.detected_steps()
    assert detected.detected[:2].all()
    np.testing.assert_allclose(detected.times[:2], predicted[:2], rtol=0.05)
    assert run.flow_time(400) == pytest.approx(8.0)
