"""The training loop: its updates, its batches, and its options on the CPU and a GPU."""

import itertools
import json
import shutil
import threading

import numpy as np
import pytest
import torch
from torch import nn

from sslsim.core.checkpoints import checkpoints, load_checkpoint, load_newest_checkpoint
from sslsim.core.interruption import noting_signals
from sslsim.data.datasets import Images, load_images
from sslsim.encoders.build import build_encoder
from sslsim.measures.snapshots import draw_held_out_pairs
from sslsim.methods.learner import PairLearner, SupervisedLearner
from sslsim.objectives import simclr
from sslsim.training.batches import training_batches
from sslsim.training.loop import TrainingOptions, train

CPU = torch.device("cpu")


def make_learner(batch_norm=False):
    encoder = build_encoder(
        "convnet",
        (1, 8, 8),
        4,
        seed=0,
        widths=(4, 8),
        projector="mlp" if batch_norm else "linear",
        projector_widths=(8,) if batch_norm else None,
    )
    return PairLearner(encoder, simclr)


def run(folder, *, learner=None, data=None, probe=True, device="cpu", **changes):
    options = TrainingOptions(
        **({"steps": 12, "batch": 32, "lr": 0.05, "records": 4, "seed": 1} | changes)
    )
    held_out = draw_held_out_pairs(load_images(split="test").images.to(device), "noise", 16, seed=0)
    data = load_images(limit=100) if data is None else data
    learner = make_learner() if learner is None else learner
    probe = held_out if probe else None
    return train(learner, data, "noise", options, folder, held_out=probe, device=device)


def records(folder, name="cross_spectrum"):
    with np.load(folder / "records.npz") as file:
        return file[name]


def losses(folder):
    lines = (folder / "records.jsonl").read_text().splitlines()
    return [json.loads(line)["loss"] for line in lines[1:]]


def test_updates_are_the_literal_ones(tmp_path):
    options = TrainingOptions(steps=5, batch=32, lr=0.05, schedule="cosine", warmup=2, accumulate=2)
    data = load_images(limit=100)
    found = train(make_learner(), data, "noise", options, tmp_path)
    expected = make_learner()
    batches = training_batches(data, "noise", options, CPU)
    weights = list(expected.parameters())
    buffers = [torch.zeros_like(w) for w in weights]
    for step, factor in enumerate([1 / 2, 1, 1, 3 / 4, 1 / 4]):
        losses = [expected(*batches(2 * step + part)) / 2 for part in range(2)]
        gradients = torch.autograd.grad(sum(losses), weights)
        with torch.no_grad():
            for w, b, g in zip(weights, buffers, gradients, strict=True):
                b.mul_(0.9).add_(g)
                w.sub_(0.05 * factor * b)
    for p, q in zip(found.parameters(), weights, strict=True):
        assert (p - q).abs().max() < 1e-6


def test_the_recorded_loss_is_the_mean_since_the_record_before(tmp_path):
    class Counting(PairLearner):
        losses = ()

        def forward(self, batch, labels):
            loss = super().forward(batch, labels)
            self.losses = (*self.losses, loss.item())
            return loss

    learner = Counting(make_learner().encoder, simclr)
    run(tmp_path, learner=learner, records=2, checkpoint_every=5)
    assert losses(tmp_path) == [pytest.approx(np.mean(learner.losses), rel=1e-12)]
    assert len(learner.losses) == 12


@pytest.mark.slow
def test_bfloat16_and_channels_last_come_close(tmp_path):
    for name, changes in {
        "plain": {},
        "last": {"channels_last": True},
        "half": {"precision": "bfloat16"},
    }.items():
        learner = make_learner(batch_norm=True)
        run(tmp_path / name, learner=learner, lr=0.01, **changes)
        assert all(p.dtype == p.grad.dtype == torch.float32 for p in learner.parameters())
    plain, last, half = (losses(tmp_path / name) for name in ("plain", "last", "half"))
    assert last == pytest.approx(plain, rel=1e-5)
    assert half == pytest.approx(plain, rel=0.02)  # two digits of a number are held
    assert half != pytest.approx(plain, rel=1e-5)
    kept = load_newest_checkpoint(tmp_path / "half/checkpoints", CPU)["learner"].values()
    assert all(value.dtype in (torch.float32, torch.int64) for value in kept)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler for torch.compile")
def test_a_compiled_run_comes_close(tmp_path, monkeypatch):
    # The whole path but the code generator, which alone would take most of a minute.
    kept = torch.compile
    monkeypatch.setattr(torch, "compile", lambda module: kept(module, backend="aot_eager"))
    run(tmp_path / "plain", steps=4)
    run(tmp_path / "compiled", steps=4, compile=True)
    names = load_newest_checkpoint(tmp_path / "compiled/checkpoints", CPU)["learner"].keys()
    assert names == make_learner().state_dict().keys()
    plain = records(tmp_path / "plain")
    np.testing.assert_allclose(records(tmp_path / "compiled"), plain, rtol=1e-4, atol=1e-6)


def test_a_batch_is_no_larger_than_the_data(tmp_path):
    run(tmp_path, data=load_images(limit=20), batch=256, steps=3)
    options = TrainingOptions(batch=256)
    views, labels = training_batches(load_images(limit=20), "noise", options, CPU)(7)
    assert len(views.views[0]) == len(labels) == 20
    assert sorted(labels.tolist()) == sorted(load_images(limit=20).labels.tolist())


@pytest.mark.parametrize("count", [0, 1])
def test_less_than_two_images_are_refused(tmp_path, count):
    few = Images(torch.zeros(count, 1, 8, 8, dtype=torch.uint8), None, "few")
    with pytest.raises(ValueError, match=rf"{count} image\(s\) to train on; expected at least 2"):
        run(tmp_path / "run", data=few)
    assert not (tmp_path / "run").exists()


def numbered(count):
    """Images of one grey value each, which tells them apart in any view without noise."""
    values = torch.arange(count, dtype=torch.uint8)
    return Images(values[:, None, None, None].expand(-1, 1, 8, 8).clone(), values.long(), "grey")


@pytest.mark.parametrize("fixed", [False, True])
def test_an_epoch_goes_through_all_images_in_an_order_of_its_own(fixed):
    options = TrainingOptions(batch=6, fixed_views=fixed, standardise=False)
    batch = training_batches(numbered(20), "crops", options, CPU)
    epochs = [[batch(3 * epoch + place) for place in range(3)] for epoch in range(4)]
    orders = []
    for epoch in epochs:
        orders.append([label for _, labels in epoch for label in labels.tolist()])
        assert len(set(orders[-1])) == 18  # two are left over
        for views, labels in epoch:
            for view in views.views:  # views and labels belong together
                assert torch.equal((view[:, 0, 0, 0] * 255).round().long(), labels)
    assert len({tuple(order) for order in orders}) == 4
    assert len(set(itertools.chain(*orders))) == 20


@pytest.mark.parametrize("kind", ["noise", "crops", "multicrop"])
def test_fixed_views_are_the_same_in_every_epoch_and_fresh_ones_are_not(kind):
    data = load_images(limit=12)

    def views_of(fixed):
        options = TrainingOptions(batch=12, fixed_views=fixed)
        batch = training_batches(data, kind, options, CPU)
        for epoch in (0, 5):
            views, _ = batch(epoch)
            # Sorted, since every epoch has its order.
            yield [sorted(map(bytes, v.flatten(1).numpy())) for v in views.views], views.boxes

    (one, boxes), (other, later) = views_of(True)
    assert one == other
    assert (boxes is None) == (later is None) == (kind == "noise")
    if boxes is not None:
        assert sorted(boxes.flatten(1).tolist()) == sorted(later.flatten(1).tolist())
    (one, _), (other, _) = views_of(False)
    assert one != other


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "steps is 0; expected at least 1"),
        ({"accumulate": 0}, "accumulate is 0; expected at least 1"),
        ({"batch": 1}, "batch is 1 and probe 256; expected at least 2 images"),
        ({"precision": "float16"}, "precision is 'float16'; expected one of float32, bfloat16"),
        ({"seed": -1}, "seed is -1; expected at least 0"),
        ({"checkpoints_kept": -1}, "checkpoints_kept is -1; expected a number, or 0 for all"),
        ({"schedule": "linear"}, "unknown schedule 'linear'"),
        ({"warmup": 99, "steps": 9}, "warmup is 99; expected from 0 to the 9 steps"),
        ({"records": 1}, "records 1; expected"),
    ],
)
def test_options_out_of_range_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        TrainingOptions(**changes)


def test_all_checkpoints_are_kept_from_the_initialisation_on(tmp_path):
    start = {name: value.clone() for name, value in make_learner().state_dict().items()}
    run(tmp_path, steps=7, checkpoint_every=3, checkpoints_kept=0)
    held = [load_checkpoint(path, CPU) for path in checkpoints(tmp_path / "checkpoints")]
    assert [state["step"] for state in held] == [7, 6, 3, 0]
    for name, value in start.items():
        assert torch.equal(held[-1]["learner"][name], value)


def test_nothing_is_recorded_without_a_probe_set(tmp_path):
    run(tmp_path, probe=False)
    assert (tmp_path / "records.jsonl").read_text() == ""
    assert records(tmp_path, "steps").tolist() == []


def test_learners_say_what_they_miss():
    batch = training_batches(load_images(limit=8), "mask", TrainingOptions(batch=8), CPU)(0)
    with pytest.raises(ValueError, match=r"1 view\(s\) were drawn; expected the two of a pair"):
        make_learner()(*batch)
    learner = SupervisedLearner(build_encoder("linear", (1, 8, 8), 10, seed=0))
    with pytest.raises(ValueError, match="the images have no labels; expected labels"):
        learner(batch[0], None)
    literal = nn.functional.cross_entropy(learner.encoder(batch[0].views[0]), batch[1])
    assert learner(*batch).item() == pytest.approx(literal.item(), rel=1e-6)


def test_outside_the_main_thread_signals_are_left_alone():
    caught = []

    def work():
        with pytest.warns(UserWarning, match="interruptions are not noted"), noting_signals():
            caught.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert caught == [True]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU: torch.cuda is not available")
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_run_on_a_gpu_comes_close_and_resumes(tmp_path, precision):
    settings = {"precision": precision, "fixed_views": True}
    run(tmp_path / "cpu", learner=make_learner(batch_norm=True), **settings)
    learner = make_learner(batch_norm=True)
    run(tmp_path / "gpu", learner=learner, device="cuda", **settings)
    on_cpu, on_gpu = (records(tmp_path / name) for name in ("cpu", "gpu"))
    close = 0.01 if precision == "float32" else 0.1
    np.testing.assert_allclose(on_gpu, on_cpu, rtol=close, atol=close * on_cpu.max())
    again = run(tmp_path / "gpu", learner=make_learner(batch_norm=True), device="cuda", **settings)
    for p, q in zip(again.parameters(), learner.parameters(), strict=True):
        assert torch.equal(p, q)
        assert p.device.type == "cuda"
