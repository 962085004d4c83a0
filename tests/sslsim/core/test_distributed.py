"""Two processes give the numbers of one on the same global batch.

Run as a program, this file imports torch once and becomes both of the two, which write what they
found; the tests compute the same in one process.
"""

import contextlib
import faulthandler
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import nn

from sslsim.core.distributed import (
    GlobalBatchNorm,
    gather,
    global_mean,
    process_group,
    rank,
    rows_of_rank,
    synchronise_batch_norm,
    world_size,
)
from sslsim.core.seeds import seeded
from sslsim.data.datasets import load_images
from sslsim.data.views import Views
from sslsim.encoders.build import build_encoder
from sslsim.measures.snapshots import draw_held_out_pairs
from sslsim.methods.learner import PairLearner, SupervisedLearner
from sslsim.methods.lejepa import LejepaLearner
from sslsim.methods.moco_v3 import MocoV3Learner
from sslsim.methods.simsiam import SimsiamLearner
from sslsim.objectives import barlow_twins, simclr, vicreg
from sslsim.training.loop import Interrupted, TrainingOptions, train

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
LIMIT = 120  # seconds
OBJECTIVES = {"barlow_twins": barlow_twins, "simclr": simclr, "vicreg": vicreg}
WITH_HEADS = {
    "simsiam": partial(SimsiamLearner, hidden=5),
    "moco_v3": partial(MocoV3Learner, hidden=5),
    "lejepa": partial(LejepaLearner, directions=7),
}
METHODS = [(m, bn) for m in (*OBJECTIVES, "supervised", *WITH_HEADS) for bn in (False, True)]
TRAINED = [
    ("barlow_twins", True, {"accumulate": 2}),
    ("simclr", False, {"optimizer": "lars", "lr": 0.1}),
    (
        "barlow_twins",
        True,
        {
            "optimizer": "muon",
            "lr": 0.01,
            "precondition_embedding": "covariance",
            "precondition_inputs": "covariance",
            "accumulate": 2,
        },
    ),
    ("vicreg", True, {"fixed_views": True}),
    ("supervised", True, {"optimizer": "adamw", "schedule": "cosine"}),
    ("simsiam", True, {"accumulate": 2}),
    ("moco_v3", True, {"accumulate": 2, "fixed_views": True}),
    ("lejepa", True, {"accumulate": 2}),
]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def make_learner(method, batch_norm, double=True):
    encoder = build_encoder(
        "convnet",
        (1, 8, 8),
        10 if method == "supervised" else 4,
        seed=0,
        widths=(4, 6),
        projector="mlp" if batch_norm else "linear",
        projector_widths=(8,) if batch_norm else None,
    )
    if double:
        encoder.double().register_forward_pre_hook(lambda _, inputs: (inputs[0].double(),))
    if method == "supervised":
        return SupervisedLearner(encoder)
    if method in WITH_HEADS:
        with seeded(1):
            learner = WITH_HEADS[method](encoder)
        return learner.double() if double else learner
    return PairLearner(encoder, OBJECTIVES[method])


def batch_of(rows):
    images = torch.rand(3, 12, 1, 8, 8, generator=generator(1), dtype=torch.float64)
    labels = torch.randint(10, (12,), generator=generator(2))
    return Views((images[0, rows], images[1, rows]), None), labels[rows]


def gradients(method, batch_norm):
    """Loss, gradients and running statistics after one batch."""
    learner = synchronise_batch_norm(make_learner(method, batch_norm), CPU)
    module = learner
    if world_size() > 1:
        module = nn.parallel.DistributedDataParallel(learner)
    loss = module(*batch_of(rows_of_rank(12)))
    loss.backward()
    found = {name: p.grad for name, p in learner.named_parameters() if p.requires_grad}
    return {"loss": loss.detach(), **found, **dict(learner.named_buffers())}


def trained(folder, method, batch_norm, changes, **settings):
    settings = {"steps": 6, "batch": 24, "lr": 0.02, "records": 3, "checkpoint_every": 4} | settings
    probe = draw_held_out_pairs(load_images(split="test").images, "noise", 10, seed=1)
    learner = make_learner(method, batch_norm, double="precision" not in changes)
    options = TrainingOptions(**(settings | changes))
    train(learner, load_images(limit=60), "noise", options, folder, held_out=probe)
    return dict(learner.state_dict())


def normalised(shape, layer):
    """Output, gradients and statistics of a BatchNorm over this process's rows."""
    x = 30 + 2 * torch.randn(shape, generator=generator(3), dtype=torch.float64)
    weight = torch.randn(shape, generator=generator(4), dtype=torch.float64)
    layer = synchronise_batch_norm(nn.Sequential(layer), CPU)
    kinds = (nn.BatchNorm1d, nn.BatchNorm2d)
    assert isinstance(layer[0], kinds if world_size() == 1 else GlobalBatchNorm)
    with torch.no_grad():
        layer[0].weight.copy_(torch.linspace(0.5, 2, shape[1]))
    rows = rows_of_rank(shape[0])
    inputs = x[rows].clone().requires_grad_()
    outputs = layer(inputs)
    # Each process adds its part: what global_mean sums is the whole, world_size times its mean.
    loss = world_size() * global_mean((outputs.sin() * weight[rows]).sum())
    loss.backward()
    for p in layer.parameters():
        if world_size() > 1:  # as DistributedDataParallel does
            dist.all_reduce(p.grad)
            p.grad /= world_size()
    wide = {"outputs": outputs.detach(), "inputs": inputs.grad / world_size()}
    layer.eval()
    wide["evaluated"] = layer(x[rows]).detach()
    return wide, {**{k: p.grad for k, p in layer.named_parameters()}, **dict(layer.named_buffers())}


NORMS = {
    "flat": ((12, 3), lambda: nn.BatchNorm1d(3, dtype=torch.float64)),
    "maps": ((8, 3, 4, 5), lambda: nn.BatchNorm2d(3, momentum=0.3, eps=0.1, dtype=torch.float64)),
}


def gather_both():
    """Gradient where two gathered tensors receive one and the same gradient tensor."""
    rows = torch.arange(12.0).reshape(4, 3)[rows_of_rank(4)]
    z, z_prime = (rows.clone().requires_grad_() for _ in range(2))
    weight = torch.arange(1.0, 13.0).reshape(4, 3)
    ((gather(z) + gather(z_prime)) * weight).sum().backward()
    return torch.stack([z.grad, z_prime.grad]) / world_size()


def both_stop(folder):
    """A signal to one process stops both at the same step; resumed, the end is the same."""
    learner, calls = make_learner("barlow_twins", True), []

    def after_step(done):
        calls.append(done)
        if len(calls) == 3 and rank() == 1:
            signal.raise_signal(signal.SIGTERM)

    learner.after_step = after_step
    options = TrainingOptions(steps=6, batch=24, lr=0.02)
    data, end = load_images(limit=60), None
    with contextlib.suppress(Interrupted):
        train(learner, data, "noise", options, folder / "stopped")
        end = "not interrupted"
    resumed = train(
        make_learner("barlow_twins", True), data, "noise", options, folder / "stopped"
    ).state_dict()
    whole = train(make_learner("barlow_twins", True), data, "noise", options, folder / "through")
    same = all(torch.equal(resumed[k], v) for k, v in whole.state_dict().items())
    return {"steps": len(calls), "end": end, "same": same}


def refusal(work):
    try:
        work()
    except ValueError as error:
        return str(error)
    return "not refused"


def program(folder):
    torch.set_num_threads(1)
    with process_group(CPU):
        found = {
            "rank": rank(),
            "gradients": [gradients(*case) for case in METHODS],
            "trained": [trained(folder / f"{k}", *case) for k, case in enumerate(TRAINED)],
            "bfloat16": trained(folder / "bf", "simclr", True, {"precision": "bfloat16"}),
            "norms": {name: normalised(shape, make()) for name, (shape, make) in NORMS.items()},
            "gathered": gather_both(),
            "stopped": both_stop(folder),
            "odd": refusal(lambda: rows_of_rank(9)),
            "odd_run": refusal(lambda: trained(folder / "odd", "simclr", False, {"batch": 15})),
            "odd_folder": (folder / "odd").exists(),
        }
        torch.save(found, folder / f"rank{rank()}.pt")


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """What both processes found."""
    if not dist.is_gloo_available():
        pytest.skip("this torch has no gloo")
    if not hasattr(os, "fork"):
        pytest.skip("no fork on this system")
    folder = tmp_path_factory.mktemp("two")
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
    group = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    done = subprocess.run(  # ends by itself, in LIMIT at most
        [sys.executable, __file__, str(folder)],
        capture_output=True,
        text=True,
        cwd=folder,
        env=os.environ | group,
    )
    assert done.returncode == 0, done.stderr[-6000:]
    return [torch.load(folder / f"rank{k}.pt", weights_only=True) for k in range(2)], folder


def assert_close(found, expected, tolerance):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        scale = value.abs().max().clamp_min(1e-6 if value.is_floating_point() else 1)
        assert (found[name] - value).abs().max() <= tolerance * scale, name


@pytest.mark.machine
@pytest.mark.parametrize("number", range(len(METHODS)), ids=str)
def test_gradients_are_those_of_one_process(two, number):
    expected = gradients(*METHODS[number])
    for found in two[0]:
        assert_close(found["gradients"][number], expected, 1e-11)


@pytest.mark.machine
@pytest.mark.parametrize("number", range(len(TRAINED)), ids=[case[0] for case in TRAINED])
def test_training_is_that_of_one_process(two, number, tmp_path):
    expected = trained(tmp_path, *TRAINED[number])
    for found in two[0]:
        assert_close(found["trained"][number], expected, 1e-9)
    with (
        np.load(two[1] / str(number) / "records.npz") as found,
        np.load(tmp_path / "records.npz") as wanted,
    ):
        for name in ("steps", "times", "cross_spectrum"):
            np.testing.assert_allclose(found[name], wanted[name], rtol=1e-6, atol=1e-9)
    both = [folder / "records.jsonl" for folder in (two[1] / str(number), tmp_path)]
    lines = [[json.loads(line) for line in path.read_text().splitlines()] for path in both]
    for one, other in zip(*lines, strict=True):
        losses = one.pop("loss"), other.pop("loss")
        assert losses == (None, None) if one["step"] == 0 else losses[0] == pytest.approx(losses[1])
        assert one.pop("collapsed") == other.pop("collapsed")  # words or None
        assert one == pytest.approx(other, rel=1e-6, abs=1e-9)


def test_half_precision_runs_on_two_processes(two, tmp_path):
    expected = trained(tmp_path, "simclr", True, {"precision": "bfloat16"})
    for found in two[0]:
        assert found["bfloat16"].keys() == expected.keys()
        for name, value in expected.items():  # parameters are of order one, two digits are held
            assert (found["bfloat16"][name] - value).abs().max() < 0.02, name


@pytest.mark.machine
@pytest.mark.parametrize("name", NORMS)
def test_batch_norm_is_that_of_the_whole_batch(two, name):
    shape, make = NORMS[name]
    wide, common = normalised(shape, make())
    parts = [found["norms"][name] for found in two[0]]
    joined = {key: torch.cat([part[0][key] for part in parts]) for key in wide}
    # A mean of 30 beside a deviation of 2 costs two digits of sixteen.
    assert_close(joined, wide, 1e-13)
    for part in parts:
        assert_close(part[1], common, 1e-12)


def test_a_gradient_shared_by_two_branches_is_summed_once(two):
    expected = gather_both()
    joined = torch.cat([found["gathered"] for found in two[0]], dim=1)
    assert torch.equal(joined, expected)


@pytest.mark.machine
def test_a_signal_to_one_process_stops_both_at_the_same_step(two):
    for found in two[0]:
        assert found["stopped"] == {"steps": 3, "end": None, "same": True}


def test_a_batch_that_does_not_divide_is_refused_in_words(two):
    for found in two[0]:
        expected = "the global batch is {} on 2 processes; expected a multiple"
        assert found["odd"] == expected.format(9)
        assert found["odd_run"] == expected.format(15)
        assert not found["odd_folder"]


def test_without_a_group_there_is_one_process():
    with process_group(CPU) as device:
        assert (device, rank(), world_size()) == (CPU, 0, 1)
    rows = torch.ones(3, 2)
    assert gather(rows) is rows
    assert global_mean(rows) is rows
    net = nn.Sequential(nn.BatchNorm1d(2))
    assert synchronise_batch_norm(net, CPU) is net
    assert isinstance(net[0], nn.BatchNorm1d)


@pytest.mark.parametrize("shape", [(6, 3), (4, 3, 5), (4, 3, 2, 5)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_layer_of_our_own_is_torch_s_in_one_process(shape, dtype):
    make = nn.BatchNorm2d if len(shape) == 4 else nn.BatchNorm1d
    ours, torchs = GlobalBatchNorm(make(3, momentum=0.2)), make(3, momentum=0.2)
    x = (1 + torch.randn(shape, generator=generator(), dtype=torch.float32)).to(dtype)
    tolerance = 1e-6 if dtype == torch.float32 else 0.02
    for training in (True, True, False):
        for layer in (ours.train(training), torchs.train(training)):
            layer.outputs = layer(x)
        assert ours.outputs.dtype == torchs.outputs.dtype == dtype
        assert (ours.outputs - torchs.outputs).abs().max() <= tolerance * 4
    assert_close(dict(ours.named_buffers()), dict(torchs.named_buffers()), tolerance)
    assert ours.state_dict().keys() == torchs.state_dict().keys()


@pytest.mark.parametrize(
    "layer",
    [
        nn.BatchNorm1d(2, affine=False),
        nn.BatchNorm1d(2, track_running_stats=False),
        nn.BatchNorm1d(2, momentum=None),
    ],
)
def test_layers_that_it_cannot_replace_are_refused(layer):
    with pytest.raises(ValueError, match="expected one with affine, track_running_stats and mom"):
        GlobalBatchNorm(layer)


if __name__ == "__main__":
    importlib.import_module("torch._dynamo")  # which optimisers import late: once for both
    other = os.fork()
    os.environ["RANK"] = os.environ["LOCAL_RANK"] = "0" if other else "1"
    faulthandler.dump_traceback_later(LIMIT, exit=True)  # says where a process waits in vain
    program(Path(sys.argv[1]))
    if other:
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(other, 0)[1]))
