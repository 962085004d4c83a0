"""Bi-level fine-tuning: what it trains, what it leaves, what it reaches, what it refuses."""

import math

import pytest
import torch
from finetuning import CPU, SHAPE, learner_of, losses_of, options_of, records, run, state_of
from torch import nn

from sslsim.core import checkpoints
from sslsim.core.seeds import seeded
from sslsim.data.datasets import Images, load_images
from sslsim.data.pixels import PixelStatistics, pixel_statistics
from sslsim.data.views import Views
from sslsim.encoders.build import Encoder, build_encoder
from sslsim.encoders.vit import VisionTransformer
from sslsim.methods.build import METHODS, build_learner
from sslsim.methods.learner import PairLearner
from sslsim.methods.mae import MaeLearner
from sslsim.training.loop import TrainingOptions, train
from sslsim.umm import UmmOptions, undo_memorization
from sslsim.umm.evaluation import check_held_out
from sslsim.umm.forward import forward_pass
from sslsim.umm.outer_step import outer_step
from sslsim.umm.split import frozen_early, split_encoder

pytestmark = pytest.mark.slow

TWO_VIEWS = [method for method in METHODS if method not in ("mae", "supervised")]


@pytest.mark.parametrize("method", TWO_VIEWS)
def test_every_method_of_two_views_keeps_its_early_part_and_trains_the_rest(tmp_path, method):
    learner = learner_of(method)
    held = state_of(learner)
    done = run(tmp_path, learner, inner_steps=2, steps=2)
    assert done.learner is learner
    now = learner.state_dict()
    for name, value in held.items():
        still = name.startswith("encoder.backbone.layer1")
        if still or (name in dict(learner.named_parameters()) and not name.startswith("teacher")):
            assert torch.equal(now[name], value) == still, name
    assert len(records(tmp_path)) == 2
    for line in records(tmp_path):
        assert all(math.isfinite(value) for value in line.values())
        assert 0 <= line["alignment"] <= math.log(2)
        assert line["coding_rate_reduction"] > 0
        assert line["gradient_norm"] > 0
    assert done.before != done.after
    assert all(p.requires_grad for name, p in learner.named_parameters() if "teacher" not in name)


@pytest.mark.parametrize("alignment", ["volume", "reduction", "cka"])
@pytest.mark.parametrize("hypergradient", ["unrolled", "darts", "implicit"])
def test_every_alignment_with_every_hypergradient(tmp_path, alignment, hypergradient):
    done = run(
        tmp_path, learner_of("simclr"), alignment=alignment, hypergradient=hypergradient,
        features="embedding", steps=2,
    )  # fmt: skip
    assert math.isfinite(done.after.alignment)
    assert records(tmp_path)[-1]["gradient_norm"] > 0


@pytest.mark.parametrize("name", ["mlp", "resnet18", "vit"])
def test_every_kind_of_encoder(tmp_path, name):
    if name == "vit":
        with seeded(0):
            backbone = VisionTransformer(SHAPE, 8, 2, 2)
            encoder = Encoder(backbone, nn.Linear(8, 4), 8, 4, ("blocks.0", "blocks.1"))
    else:
        settings = {"widths": (6, 5)} if name == "mlp" else {"widths": (4,)}
        encoder = build_encoder(name, SHAPE, 4, seed=0, **settings)
    layer = {"mlp": "layer1", "resnet18": "layer3", "vit": "blocks.0"}[name]
    learner = PairLearner(encoder, learner_of("barlow_twins").objective)
    early = state_of(split_encoder(encoder, layer).early)
    run(tmp_path, learner, "noise", split=layer, steps=2)
    for key, value in split_encoder(encoder, layer).early.state_dict().items():
        assert torch.equal(value, early[key]), key


def test_methods_of_one_view_are_refused(tmp_path):
    with seeded(0):
        encoder = build_encoder("vit_tiny", SHAPE, 192, seed=0, projector="none")
        learners = [MaeLearner(encoder, width=8, depth=1, heads=2)]
    learners.append(build_learner("supervised", SHAPE, 4, encoder="convnet", seed=0))
    for learner in learners:
        layer = learner.encoder.layers[0]
        with pytest.raises(ValueError, match=r"which embeds one view of every image; expected"):
            run(tmp_path, learner, split=layer)
    split = split_encoder(learners[1].encoder, "layer1")
    pair = Views((torch.rand(3, *SHAPE), torch.rand(3, *SHAPE)), None)
    with pytest.raises(ValueError, match="embeds 3 views of 3 images"):
        forward_pass(learners[1], split, pair, torch.tensor([0, 1, 0]))


# The faults of the published code.


def test_the_outer_step_raises_the_coding_rate_reduction(tmp_path):
    """The published one lowers it."""
    rises = []
    for seed in range(3):
        learner = learner_of("simclr", seed=seed)
        losses = losses_of(learner, n=12, inner_steps=2, beta=0.5, coding_rate=50.0)
        with frozen_early(learner, losses.split):
            theta = [learner.get_parameter(name) for name in losses.names]
            before = losses.coding_rate_reduction(losses.forward(theta)).item()
            gradient, _, record = outer_step(losses)
            size = torch.stack([g.norm() for g in gradient]).norm()
            moved = [t.detach() - 0.01 * g / size for t, g in zip(theta, gradient, strict=True)]
            rises.append(losses.coding_rate_reduction(losses.forward(moved)).item() - before)
            assert record["coding_rate_reduction"] == pytest.approx(before, rel=1e-12)
    assert min(rises) > 0
    learner = learner_of("simclr")
    done = run(tmp_path, learner, "noise", steps=24, coding_rate=5.0, batch=20, alignment="cka")
    lines = [line["coding_rate_reduction"] for line in records(tmp_path)]
    assert sum(lines[-6:]) > sum(lines[:6]) + 0.5
    assert done.after.coding_rate_reduction > done.before.coding_rate_reduction


def test_alignment_changes_what_the_inner_steps_do():
    learner = learner_of("simclr")
    ends = {}
    for beta in (0.0, 3.0):
        losses = losses_of(learner, beta=beta)
        with frozen_early(learner, losses.split):
            theta = [learner.get_parameter(name).detach().requires_grad_() for name in losses.names]
            start = losses.alignment(losses.forward(theta), theta)
            slope = torch.autograd.grad(losses.inner(theta), theta, materialize_grads=True)
            moved = [
                (t - 0.003 * g).detach().requires_grad_() for t, g in zip(theta, slope, strict=True)
            ]
            ends[beta] = (losses.alignment(losses.forward(moved), moved) - start).item()
    assert ends[3.0] < 0
    assert ends[3.0] < ends[0.0]


def test_the_projection_head_is_the_pretrained_one_and_is_trained(tmp_path):
    learner = learner_of("barlow_twins")
    data = load_images(limit=64)
    train(learner, data, "noise", TrainingOptions(steps=5, batch=32, lr=0.1), tmp_path / "before")
    head = state_of(learner.encoder.projector)
    seen = []
    hook = learner.encoder.projector[-1].register_forward_pre_hook(
        lambda module, inputs: seen.append(module.weight.detach().clone())
    )
    run(tmp_path / "after", learner, "noise", data)
    hook.remove()
    assert torch.equal(seen[0], head["3.weight"])
    assert not torch.equal(learner.encoder.projector[3].weight, head["3.weight"])
    # It is trained by the learner's own loss: without it and its alignment, nothing moves it.
    losses = losses_of(learner, features="representation")
    with frozen_early(learner, losses.split):
        gradient, *_ = outer_step(losses)
    found = dict(zip(losses.names, gradient, strict=True))
    assert found["encoder.projector.3.weight"].norm() > 1e-6


def test_validation_does_not_read_the_training_set(tmp_path):
    data = load_images(limit=20)
    with pytest.raises(ValueError, match=r"24 of 24 held-out images are among those to fine-tune"):
        run(tmp_path, learner_of("simclr"), held_out=load_images(limit=24), data=load_images())
    assert not (tmp_path / "checkpoints").exists()
    few = Images(torch.cat([load_images(split="test", limit=39).images, data.images[:1]]), None, "")
    check_held_out(data, few)  # one in forty: data sets hold images twice
    # What is measured depends on the held-out images alone, but for the scale of pixels.
    other = Images(data.images.flip(0), data.labels.flip(0), "other order")
    for name, chosen in (("one", data), ("other", other)):
        found = run(tmp_path / name, learner_of("simclr"), data=chosen, steps=1)
        assert (
            found.before == run(tmp_path / name, learner_of("simclr"), data=chosen, steps=1).before
        )
    before = [checkpoints.load_newest_checkpoint(tmp_path / name / "checkpoints", CPU)["before"]
              for name in ("one", "other")]  # fmt: skip
    assert before[0] == before[1]


@pytest.mark.parametrize("shape", [(3, 1, 8, 8), (1, 1, 8, 8)])
def test_held_out_images_have_to_fit(shape):
    data = load_images(limit=4)
    few = Images(torch.zeros(shape, dtype=torch.uint8), None, "few")
    if shape[0] > 1:
        check_held_out(data, few)
        few = Images(torch.zeros(3, 3, 8, 8, dtype=torch.uint8), None, "colour")
    with pytest.raises(ValueError, match=r"expected at least 2 of \(1, 8, 8\)"):
        check_held_out(data, few)


# Runs.


class Noisy(PairLearner):
    """With dropout, which draws from torch's own generator."""

    def forward(self, batch, labels):  # noqa: D102
        dropped = tuple(nn.functional.dropout(view, 0.2, self.training) for view in batch.views)
        return super().forward(Views(dropped, None), labels)


@pytest.mark.parametrize("hypergradient", ["unrolled", "implicit"])
def test_a_run_that_was_stopped_ends_with_the_same_bits(tmp_path, monkeypatch, hypergradient):
    settings = {"steps": 5, "checkpoint_every": 2, "hypergradient": hypergradient}

    def fresh():
        learner = learner_of("simclr")
        return Noisy(learner.encoder, learner.objective)

    whole = run(tmp_path / "whole", fresh(), **settings)
    calls = []
    kept = torch.optim.Adam.step

    def breaking(self, closure=None):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return kept(self, closure)

    monkeypatch.setattr(torch.optim.Adam, "step", breaking)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "broken", fresh(), **settings)
    torch.manual_seed(99)  # the caller's draws are of no account
    again = run(tmp_path / "broken", fresh(), **settings)
    assert (again.before, again.after) == (whole.before, whole.after)
    for name, value in whole.learner.state_dict().items():
        assert torch.equal(value, again.learner.state_dict()[name]), name
    assert records(tmp_path / "broken") == records(tmp_path / "whole")
    # And a run that has ended is only read.
    third = run(tmp_path / "broken", fresh(), **settings)
    assert (third.before, third.after) == (whole.before, whole.after)


def test_another_run_in_the_folder_is_refused(tmp_path):
    run(tmp_path, learner_of("simclr"))
    with pytest.raises(ValueError, match=r"holds a run with beta 1\.0, now it is 2\.0; expected"):
        run(tmp_path, learner_of("simclr"), beta=2.0)
    with pytest.raises(ValueError, match="holds a run with views simclr, now it is noise"):
        run(tmp_path, learner_of("simclr"), "noise")
    with pytest.raises(ValueError, match="holds a run from another learner or on other images"):
        run(tmp_path, learner_of("simclr", seed=1))
    with pytest.raises(ValueError, match="holds a run from another learner or on other images"):
        run(tmp_path, learner_of("simclr"), data=load_images(limit=21))


def test_a_run_that_diverges_says_so_and_keeps_its_checkpoint(tmp_path):
    with pytest.raises(
        ValueError, match=r"no longer finite; expected smaller learning rates than 0\.01 and 1e\+30"
    ):
        run(tmp_path, learner_of("barlow_twins"), "noise", inner_lr=1e30, checkpoint_every=1)
    assert checkpoints.load_newest_checkpoint(tmp_path / "checkpoints", CPU)["step"] == 0


def test_a_split_that_leaves_nothing_to_raise_is_refused(tmp_path):
    learner = learner_of("simclr")
    with pytest.raises(ValueError, match="no parameter lies between split layer 'layer2' and the"):
        run(tmp_path, learner, split="layer2")
    run(tmp_path, learner, split="layer2", features="embedding", steps=1)
    with pytest.raises(ValueError, match="split layer is 'layer7'; expected one of layer1, layer2"):
        run(tmp_path, learner, split="layer7")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"eps": 0.0}, "eps is 0.0; expected a finite number above zero"),
        ({"eps": math.nan}, "eps is nan"),
        ({"inner_lr": -1.0}, "inner_lr is -1.0"),
        ({"beta": -0.1}, "beta is -0.1; expected a finite number of at least 0"),
        ({"inner_steps": 0}, "inner_steps is 0; expected at least 1"),
        ({"batch": 1}, "batch is 1; expected at least 2 images"),
        ({"alignment": "kl"}, "alignment is 'kl'; expected one of gradient, volume, reduction"),
        ({"hypergradient": "none"}, "hypergradient is 'none'; expected one of unrolled, darts"),
        ({"optimizer": "lars"}, "optimizer is 'lars'; expected one of adam, sgd"),
        ({"features": "both"}, "features is 'both'"),
        ({"solver": "lu"}, "solver is 'lu'"),
        ({"schedule": "linear"}, "unknown schedule 'linear'"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_options_out_of_range_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        UmmOptions(**changes)


def test_early_features_lie_before_the_split(tmp_path):
    with pytest.raises(ValueError, match="early is 'layer2', behind split layer 'layer1'; exp"):
        run(tmp_path, learner_of("simclr"), early="layer2")
    with pytest.raises(ValueError, match="'layer9'; expected one of layer1, layer2"):
        run(tmp_path, learner_of("simclr"), early="layer9")
    with pytest.raises(ValueError, match="without joint; expected 0, or one level"):
        options_of(hold=1.0)


def test_alignment_is_held_on_the_same_batch(tmp_path):
    """Raising DeltaR moves the distance; holding it keeps it where it was."""
    settings = {"joint": True, "beta": 0.0, "alignment": "cka", "steps": 12, "outer_lr": 3e-3}
    moved = {}
    for hold in (0.0, 1e4):
        learner = learner_of("simclr")
        first = state_of(learner)
        run(tmp_path / str(hold), learner, hold=hold, **settings)
        lines = records(tmp_path / str(hold))
        # Where it starts the square has no gradient.
        if hold == 0:
            free = lines[0]
        else:
            assert lines[0]["gradient_norm"] == pytest.approx(free["gradient_norm"], rel=1e-5)
        gaps = []
        for seed in range(3):
            now = losses_of(learner, seed=seed, **settings)
            before = losses_of(learner_of("simclr"), seed=seed, **settings)
            before.learner.load_state_dict(first)
            gaps.append(abs(float(now.alignment_now() - before.alignment_now())))
        moved[hold] = sum(gaps)
        assert lines[-1]["coding_rate_reduction"] > lines[0]["coding_rate_reduction"]
    assert moved[1e4] < 0.3 * moved[0.0]


def test_a_run_that_holds_resumes_with_the_same_bits(tmp_path):
    settings = {"joint": True, "beta": 0.0, "hold": 10.0, "steps": 4, "checkpoint_every": 2}
    whole = learner_of("simclr")
    run(tmp_path / "whole", whole, **settings)
    checkpoint = tmp_path / "parts" / "checkpoints" / "checkpoint-000000002.pt"

    def fail_after_checkpoint(*_):
        if checkpoint.exists():
            raise RuntimeError

    failing = learner_of("simclr")
    failing.encoder.projector.register_forward_pre_hook(fail_after_checkpoint)
    with pytest.raises(RuntimeError):
        run(tmp_path / "parts", failing, **settings)
    assert len(records(tmp_path / "parts")) == 2
    resumed = learner_of("simclr")
    run(tmp_path / "parts", resumed, **settings)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_pixels_are_standardised_by_the_statistics_given(tmp_path):
    data, held_out = load_images(limit=20), load_images(split="test", limit=24)
    own = pixel_statistics(data.images)
    other = PixelStatistics(own.mean + 0.1, 2 * own.std)

    def tuned(name, pixels):
        learner = learner_of("simclr")
        undo_memorization(
            learner, data, held_out, "crops", options_of(), tmp_path / name, pixels=pixels
        )
        return state_of(learner)

    default, same, changed = (
        tuned(name, pixels) for name, pixels in (("a", None), ("b", own), ("c", other))
    )
    assert all(torch.equal(default[key], same[key]) for key in default)
    assert not all(torch.equal(default[key], changed[key]) for key in default)
    with pytest.raises(ValueError, match="holds a run with pixels"):
        tuned("c", own)
