"""A recorder in a loop of one's own: what it records, when, and how it goes on."""

import copy
import gc
import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import sslsim
from sslsim.core.files import read_arrays, read_json, read_lines
from sslsim.measures.snapshots import HeldOutPairs, snapshot
from sslsim.objectives import barlow_twins, vicreg
from sslsim.runs.trained_run import RecordedRun, TrainedRun
from sslsim.training.options import TrainingOptions, flow_time
from sslsim.training.records import Records, open_ended_steps

X, X_PRIME = torch.randn(2, 20, 6, generator=torch.Generator().manual_seed(0))
X_PRIME = X + 0.3 * X_PRIME


def network(dim=3):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, dim))
    with torch.no_grad():
        net[3].weight.mul_(0.2)
    return net


def updates(net, optimizer, steps, then=lambda step, loss: None):
    """The loop: plain gradient descent on all pairs."""
    for step in steps:
        loss = barlow_twins(net(X), net(X_PRIME))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        then(step, loss)


def recorded(folder, count=30, net=None, **options):
    net = network() if net is None else net
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    options = {"lr": 0.05, **options}
    with sslsim.Recorder(folder, net, X, X_PRIME, **options) as recorder:
        updates(net, optimizer, range(1, count + 1), recorder.update)
    return recorder


def test_three_lines_leave_a_run_folder(tmp_path):
    net = network()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    recorder = sslsim.Recorder(tmp_path / "run", net, X, X_PRIME, lr=0.05, steps=30)
    updates(net, optimizer, range(1, 31), lambda step, _: recorder.update(step))
    assert recorder.finish() == tmp_path / "run"
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert names == {"config.json", "pairs.npz", "records.jsonl", "records.npz", "training.json"}
    config = read_json(tmp_path / "run" / "config.json")
    assert config["command"] == "record"
    assert config["options"]["encoder"] == "Sequential"
    result = read_json(tmp_path / "run" / "training.json")
    assert (result["steps"], result["dim"], result["method"]) == (30, 3, "barlow_twins")
    assert result["time"] == pytest.approx(1.5)
    assert result["parameters"] == sum(p.numel() for p in net.parameters())
    run = TrainedRun.open(tmp_path / "run")
    assert isinstance(run, RecordedRun)
    assert len(run.records()["times"]) == len(recorder.lines)


def test_a_record_is_the_snapshot_of_the_network_at_its_step(tmp_path):
    net, states = network(), []
    recorder = sslsim.Recorder(tmp_path, net, X, X_PRIME, lr=0.05, steps=9, records=30)
    states.append(network().state_dict())
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)

    def note(step, loss):
        recorder.update(step, loss)
        states.append({k: v.clone() for k, v in net.state_dict().items()})

    losses = []
    updates(
        net, optimizer, range(1, 10), lambda s, loss: (losses.append(loss.item()), note(s, loss))
    )
    recorder.finish()
    lines, arrays = read_lines(tmp_path / "records.jsonl"), read_arrays(tmp_path / "records.npz")
    assert [line["step"] for line in lines] == list(range(10))
    for place, (line, state) in enumerate(zip(lines, states, strict=True)):
        net.load_state_dict(state)
        found = snapshot(net, HeldOutPairs(X, X_PRIME), barlow_twins)
        assert line["probe_loss"] == pytest.approx(found["probe_loss"], rel=1e-12)
        spectrum = arrays["cross_spectrum"][place]
        np.testing.assert_allclose(spectrum, found["cross_spectrum"], rtol=1e-5, atol=1e-7)
    assert "loss" not in lines[0]
    assert [line["loss"] for line in lines[1:]] == pytest.approx(losses)


def test_snapshots_are_without_dropout_with_batch_statistics_and_of_the_pairs_as_given(tmp_path):
    net, x, x_prime = network(), X.clone(), X_PRIME.clone()
    with torch.no_grad():
        z, z_prime = (copy.deepcopy(net)(view).double() for view in (x, x_prime))
    expected = torch.linalg.eigvalsh(z.T @ z_prime + z_prime.T @ z).flip(0) / 40
    net.append(nn.Dropout(0.5))
    with sslsim.Recorder(tmp_path, net, x, x_prime, lr=0.05) as recorder:
        for view in (x, x_prime):
            view.zero_()  # the user's, from here on
        recorder.update(1)
    arrays = read_arrays(tmp_path / "records.npz")
    assert arrays["steps"].tolist() == [0, 1]
    for place in (0, 1):
        found = arrays["cross_spectrum"][place]
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(arrays["mean"][place], z.mean(0), rtol=1e-5, atol=1e-7)


class Noise(nn.Module):
    """Noise in evaluation mode, too."""

    def forward(self, z):
        """A noisy embedding."""
        return z + 0.01 * torch.randn(z.shape)


@pytest.mark.parametrize("random", [nn.Dropout(0.3), Noise()], ids=["dropout", "noise"])
def test_recording_changes_no_bit_of_the_training(tmp_path, random):
    plain, watched = network().append(random), network().append(random)
    watched[2].eval()  # by the user
    plain[2].eval()
    torch.manual_seed(1)
    updates(plain, torch.optim.SGD(plain.parameters(), lr=0.05), range(12))
    torch.manual_seed(1)
    recorded(tmp_path, 12, watched, checkpoints=3)
    assert all(
        torch.equal(a, b)
        for a, b in zip(plain.state_dict().values(), watched.state_dict().values(), strict=True)
    )
    assert [part.training for part in watched] == [True, True, False, True, True]


@pytest.mark.parametrize("options", [{}, {"steps": 400}, {"adaptive": True}])
@pytest.mark.parametrize("records", [4, 7, 40])
def test_there_are_never_more_snapshots_than_asked(tmp_path, records, options):
    net = network()
    with sslsim.Recorder(
        tmp_path, net, X, X_PRIME, lr=0.05, records=records, **options
    ) as recorder:
        for step in range(1, 401):
            recorder.update(step)
    steps = [line["step"] for line in recorder.lines]
    assert len(steps) <= records
    assert (steps[0], steps[-1]) == (0, 400)
    assert steps == sorted(set(steps))
    if records == 40 and not options:
        assert steps == [*(step for step in open_ended_steps(39) if step < 400), 400]


def test_fast_times_get_the_snapshots_that_are_kept_for_them(tmp_path):
    taken = []
    for growth in (1.0, 1.03):
        net = nn.Linear(6, 1, bias=False)
        options = {"lr": 0.05, "steps": 240, "records": 24, "adaptive": True}
        with sslsim.Recorder(tmp_path / str(growth), net, X, X_PRIME, **options) as recorder:
            for step in range(1, 241):
                with torch.no_grad():
                    net.weight.mul_(growth if 120 < step <= 200 else 1.0)
                recorder.update(step)
        taken.append({line["step"] for line in recorder.lines})
        assert len(taken[-1]) <= 24
    assert taken[0] < taken[1]
    assert all(120 < step <= 240 for step in taken[1] - taken[0])


def test_flow_time_is_that_of_the_optimiser_and_its_schedule(tmp_path):
    net = network()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.5)
    options = TrainingOptions(steps=20, lr=0.1, momentum=0.5, schedule="cosine")
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 20)
    with sslsim.Recorder(tmp_path, net, X, X_PRIME, lr=optimizer, steps=20) as recorder:
        updates(net, optimizer, range(1, 21), lambda s, _: (schedule.step(), recorder.update(s)))
    times = {line["step"]: line["time"] for line in recorder.lines}
    assert len(times) > 10
    for step, time in times.items():
        assert time == pytest.approx(flow_time(options, step))
    adam = torch.optim.AdamW(net.parameters(), lr=0.1)
    with sslsim.Recorder(tmp_path / "adam", net, X, X_PRIME, lr=adam) as recorder:
        recorder.update(7)
    assert recorder.lines[-1]["time"] == pytest.approx(0.7)  # a plain sum
    with sslsim.Recorder(tmp_path / "sgd", net, X, X_PRIME, lr=0.1, momentum=0.9) as recorder:
        recorder.update()
        recorder.update()
    assert recorder.lines[-1]["time"] == pytest.approx(2.0)


def test_a_second_recorder_goes_on_and_drops_what_comes_after(tmp_path):
    whole = recorded(tmp_path / "whole", 60, steps=60)
    net = network()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    first = sslsim.Recorder(tmp_path / "run", net, X, X_PRIME, lr=0.05, steps=60)
    updates(net, optimizer, range(1, 31), first.update)
    state = {k: v.clone() for k, v in net.state_dict().items()}
    updates(net, optimizer, range(31, 45), first.update)  # not in the checkpoint of the loop
    first.close()
    net.load_state_dict(state)
    second = sslsim.Recorder(tmp_path / "run", net, X, X_PRIME, lr=0.05, steps=60)
    updates(net, torch.optim.SGD(net.parameters(), lr=0.05), range(31, 61), second.update)
    second.finish()
    numbers = [
        [{k: v for k, v in line.items() if k != "loss"} for line in recorder.lines]
        for recorder in (whole, second)
    ]
    assert numbers[1] == numbers[0]
    arrays = [read_arrays(tmp_path / name / "records.npz") for name in ("whole", "run")]
    assert all(np.array_equal(arrays[0][name], arrays[1][name]) for name in arrays[0])


def test_a_finished_run_goes_on_to_a_later_end(tmp_path):
    net = network()
    recorded(tmp_path, 20, net, steps=20)
    with sslsim.Recorder(tmp_path, net, X, X_PRIME, lr=0.05, steps=40) as recorder:
        assert read_json(tmp_path / "training.json")["steps"] == 20
        optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
        updates(net, optimizer, range(21, 41), lambda step, _: recorder.update(step))
        assert not (tmp_path / "training.json").exists()
    assert read_json(tmp_path / "training.json")["steps"] == 40
    assert read_json(tmp_path / "config.json")["options"]["steps"] == 40
    sslsim.Recorder(tmp_path, net, X, X_PRIME, lr=0.05, steps=40).finish()
    assert read_json(tmp_path / "training.json")["steps"] == 40


class KilledError(BaseException):
    """Stands for a kill: nothing of ours may catch it."""


def whole_run(folder, start=0, end=40):
    """A recorder in a loop that goes on from the updates that its own checkpoint has."""
    net = network()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    recorder = sslsim.Recorder(folder, net, X, X_PRIME, lr=0.05, steps=40, records=42)
    updates(net, optimizer, range(1, start + 1))
    updates(net, optimizer, range(start + 1, end + 1), lambda step, _: recorder.update(step))
    return recorder


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize(("name", "when"), [("add", 5), ("save", 9), ("_write_lines", 12)])
def test_a_kill_at_any_moment_loses_no_record(tmp_path, monkeypatch, name, when, after):
    expected = whole_run(tmp_path / "whole")
    expected.finish()
    held, calls = getattr(Records, name), []

    def dies(self, *arguments):
        calls.append(0)
        if len(calls) == when and not after:
            raise KilledError
        held(self, *arguments)
        if len(calls) == when:
            raise KilledError

    monkeypatch.setattr(Records, name, dies)
    with pytest.raises(KilledError):
        whole_run(tmp_path / "run")
    monkeypatch.undo()
    gc.collect()  # the lock goes with the process
    assert not (tmp_path / "run" / "training.json").exists()
    whole_run(tmp_path / "run", start=3).finish()
    lines = [read_lines(tmp_path / place / "records.jsonl") for place in ("whole", "run")]
    assert lines[0] == lines[1]
    assert len(lines[0]) > 20
    arrays = [read_arrays(tmp_path / place / "records.npz") for place in ("whole", "run")]
    assert all(np.array_equal(arrays[0][key], arrays[1][key]) for key in arrays[0])
    assert not list((tmp_path / "run").glob(".*"))  # no lock, no temporary file


SCRIPT = """
import os, signal, sys
sys.path.insert(0, {tests!r})
import test_recorder
recorder = test_recorder.whole_run(sys.argv[1], end=20)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.slow
def test_the_folder_of_a_killed_process_is_free(tmp_path):
    script = SCRIPT.format(tests=str(Path(__file__).parent))
    command = [sys.executable, "-c", script, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert (tmp_path / ".writer").exists()
    whole_run(tmp_path, start=20).finish()
    expected = whole_run(tmp_path / "whole")
    expected.finish()
    steps = [line["step"] for line in read_lines(tmp_path / "records.jsonl")]
    assert steps == [line["step"] for line in expected.lines]
    assert not (tmp_path / ".writer").exists()


def test_one_writer_a_folder(tmp_path):
    recorder = sslsim.Recorder(tmp_path, network(), X, X_PRIME, lr=0.05)
    with pytest.raises(ValueError, match="is being written by process"):
        sslsim.Recorder(tmp_path, network(), X, X_PRIME, lr=0.05)
    recorder.finish()
    with pytest.raises(ValueError, match="has been finished; expected no further update"):
        recorder.update(1)
    sslsim.Recorder(tmp_path, network(), X, X_PRIME, lr=0.05).close()


def test_an_error_in_the_loop_leaves_a_folder_that_can_be_continued(tmp_path):
    def stopped():
        with sslsim.Recorder(tmp_path, network(), X, X_PRIME, lr=0.05) as recorder:
            recorder.update(1)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert not (tmp_path / "training.json").exists()
    with sslsim.Recorder(tmp_path, network(), X, X_PRIME, lr=0.05) as recorder:
        recorder.update(2)
    assert [line["step"] for line in recorder.lines] == [0, 1, 2]


def test_a_collapsed_embedding_is_flagged_in_records_and_at_the_end(tmp_path):
    net = nn.Linear(6, 3)
    recorder = sslsim.Recorder(tmp_path, net, X, X_PRIME, lr=0.05)
    with torch.no_grad():
        net.weight.zero_()
    recorder.update(5)
    with pytest.warns(UserWarning, match="the embedding has collapsed: it is the same for all"):
        recorder.finish()
    lines = read_lines(tmp_path / "records.jsonl")
    assert lines[0]["collapsed"] is None
    assert "the same for all images" in lines[1]["collapsed"]


def test_checkpoints_are_spread_over_the_snapshots_and_hold_the_weights(tmp_path, monkeypatch):
    (tmp_path / "nets.py").write_text(
        "from torch import nn\n"
        "def net(): return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), "
        "nn.Linear(8, 3))\n"
    )
    monkeypatch.chdir(tmp_path)
    for count, expected in ((0, 0), (1, 1), (4, 4), (1000, None)):
        net = network()
        options = {"steps": 60, "records": 20, "checkpoints": count, "factory": "nets:net"}
        recorder = recorded(tmp_path / str(count), 60, net, **options)
        run = TrainedRun.open(tmp_path / str(count))
        steps = [line["step"] for line in recorder.lines]
        assert set(run.steps) <= set(steps)
        assert len(run.steps) == (len(steps) if expected is None else expected)
        if count:
            assert run.steps[-1] == 60
            state = run.learner().encoder.backbone.state_dict()
            assert all(torch.equal(state[k], v) for k, v in net.state_dict().items())
            assert torch.equal(run.pairs(20)[0], X)
        if count > 1:
            assert run.steps[0] == 0
            state = run.learner(0).encoder.backbone.state_dict()
            assert all(torch.equal(state[k], v) for k, v in network().state_dict().items())
    assert sslsim.TrainedRun.open("1000").flow_time(60) == pytest.approx(3.0)


PLACE = vicreg.__module__


class Loss(nn.Module):
    """A loss as other packages have them."""

    def forward(self, z, z_prime):
        """Variance term of VICReg alone."""
        assert z.dtype == torch.float32
        return vicreg(z, z_prime)


@pytest.mark.parametrize(
    ("options", "name", "loss", "spectrum"),
    [
        ({}, "barlow_twins", None, "cross"),
        ({"method": "vicreg"}, "vicreg", None, "covariance"),
        ({"barlow_form": "published"}, "barlow_twins", None, "covariance"),
        ({"method": "byol"}, "byol", None, "cross"),
        ({"method": "simsiam"}, "simsiam", None, "cross"),
        ({"method": "lejepa"}, "lejepa", None, "covariance"),
        ({"method": vicreg}, "vicreg", f"{PLACE}:vicreg", "covariance"),
        (
            {"method": f"{PLACE}:vicreg"},
            "vicreg",
            f"{PLACE}:vicreg",
            "covariance",
        ),
        ({"method": Loss()}, "Loss", None, "cross"),
        ({"method": Loss(), "spectrum": "covariance"}, "Loss", None, "covariance"),
        ({"method": lambda z, z_prime: 3.0}, "<lambda>", None, "cross"),
    ],
)
def test_the_loss_goes_by_name_or_as_a_callable(tmp_path, options, name, loss, spectrum):
    recorder = recorded(tmp_path, 2, **options)
    stored = read_json(tmp_path / "config.json")["options"]
    assert (stored["method"].rpartition(".")[2], stored["spectrum"]) == (name, spectrum)
    assert stored["loss"] == loss
    assert ("probe_loss" in recorder.lines[0]) == (name not in ("byol", "simsiam", "lejepa"))
    if options == {"method": vicreg}:
        expected = recorded(tmp_path / "by name", 2, method="vicreg").lines[-1]["probe_loss"]
        assert recorder.lines[-1]["probe_loss"] == pytest.approx(expected, rel=1e-4)


class Pair(nn.Module):
    """Gives what is no matrix."""

    def __init__(self, give):
        super().__init__()
        self.give = give

    def forward(self, x):
        """Give it."""
        return self.give(x)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"x": X[:5]}, r"x has shape \(5, 6\) and x_prime \(20, 6\)"),
        ({"x": X[:1], "x_prime": X[:1]}, r"x has shape \(1, 6\); expected \(n, ...\)"),
        ({"x": X.long()}, "x is torch.int64; expected floats"),
        ({"x": X * torch.nan}, "x holds NaN or infinite values"),
        ({"encoder": nn.Linear(5, 3)}, r"encoder fails on samples of shape \(2, 6\)"),
        ({"encoder": Pair(lambda x: (x, x))}, r"encoder gives a tuple; expected a tensor \(n, d\)"),
        ({"encoder": Pair(lambda x: x[..., None])}, r"encoder gives shape \(2, 6, 1\)"),
        ({"encoder": Pair(lambda x: x * torch.inf)}, "embeddings of the probe set are not finite"),
        ({"lr": 0.0}, "lr is 0.0; expected a finite number above zero"),
        ({"lr": float("nan")}, "lr is nan"),
        ({"momentum": 1.0}, "momentum is 1.0; expected"),
        ({"method": "magic"}, "method is 'magic'; expected one of barlow_twins"),
        ({"method": "nowhere:loss"}, "method is 'nowhere:loss', but there is no module named"),
        ({"method": 3}, "method is a int; expected one of"),
        ({"method": lambda z, z_prime: z}, r"the loss gives shape \(20, 3\); expected one number"),
        ({"method": lambda z, z_prime: None}, "the loss gives nothing of the kind"),
        ({"method": vicreg, "temperature": 0.1}, "temperature is 0.1 beside a loss"),
        ({"temperature": 0.1}, "temperature is 0.1 with method 'barlow_twins'"),
        ({"spectrum": "both"}, "spectrum is 'both'; expected one of cross"),
        ({"records": 3}, "records is 3; expected at least 4"),
        ({"records": 2.5}, "records is 2.5; expected a whole number"),
        ({"checkpoints": -1}, "checkpoints is -1"),
        ({"steps": 0}, "steps is 0"),
        ({"views": "sideways"}, "views is 'sideways'"),
        ({"factory": "torch.nn:Identity"}, "factory torch.nn:Identity builds another network: "),
        ({"factory": "network"}, "module is 'network'; expected package.module:name"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_arguments_are_refused_in_one_line_before_anything_is_written(
    tmp_path, changes, expected
):
    values = {"encoder": network(), "x": X, "x_prime": X_PRIME, "lr": 0.05} | changes
    with pytest.raises(ValueError, match=expected) as caught:
        sslsim.Recorder(tmp_path / "run", **values)
    assert "\n" not in str(caught.value)


def test_folders_of_others_and_other_runs_are_refused(tmp_path):
    recorded(tmp_path / "run", 3)

    def refused(expected, folder="run", x=X, **options):
        with pytest.raises(ValueError, match=expected):
            sslsim.Recorder(tmp_path / folder, network(), x, X_PRIME, **{"lr": 0.05, **options})

    before = {p.name: p.read_bytes() for p in (tmp_path / "run").iterdir()}
    refused("holds a run with lr 0.05, now it is 0.1", lr=0.1)
    refused("holds a run with method barlow_twins, now it is vicreg", method="vicreg")
    refused("holds a run on other pairs", x=X + 1)
    assert {p.name: p.read_bytes() for p in (tmp_path / "run").iterdir()} == before
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.json").write_text(json.dumps({"command": "predict"}))
    refused("holds a run of sslsim predict; expected another folder for record", folder="other")
    (tmp_path / "run" / "config.json").unlink()
    refused("but no config.json", folder="run")


def test_steps_do_not_go_back_and_a_continued_run_says_where_it_is(tmp_path):
    recorder = sslsim.Recorder(tmp_path, network(), X, X_PRIME, lr=0.05)
    recorder.update(4)
    with pytest.raises(ValueError, match="step is 3; expected at least 4"):
        recorder.update(3)
    with pytest.raises(ValueError, match=r"step is 5\.5; expected a whole number"):
        recorder.update(5.5)
    recorder.close()
    recorder = sslsim.Recorder(tmp_path, network(), X, X_PRIME, lr=0.05)
    with pytest.raises(ValueError, match=r"holds records up to step 4; expected update\(step\)"):
        recorder.update()
    recorder.close()


def test_networks_in_wrappers_are_kept_bare(tmp_path):
    net = network()
    wrapped = nn.DataParallel(net)
    recorder = recorded(tmp_path, 2, wrapped, checkpoints=2)
    assert read_json(tmp_path / "config.json")["options"]["encoder"] == "Sequential"
    path = tmp_path / "checkpoints" / f"checkpoint-{recorder.lines[-1]['step']:09d}.pt"
    state = torch.load(path, weights_only=True)["learner"]
    assert list(state) == [f"encoder.backbone.{name}" for name in net.state_dict()]
