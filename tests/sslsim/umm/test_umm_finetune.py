"""Bi-level fine-tuning: what it trains, what it leaves, what it reaches, what it refuses."""

import json
import math

import pytest
import torch
from torch import nn

from sslsim.coding_rate import coding_rate_reduction, instance_groups
from sslsim.core import checkpoints
from sslsim.core.seeds import seeded
from sslsim.data.datasets import Images, load_images
from sslsim.data.views import Views, draw_views
from sslsim.encoders.build import Encoder, build_encoder
from sslsim.encoders.vit import VisionTransformer
from sslsim.methods.build import METHODS, build_learner
from sslsim.methods.learner import PairLearner
from sslsim.methods.mae import MaeLearner
from sslsim.methods.vicregl import VicreglLearner
from sslsim.training.batches import training_batches
from sslsim.training.loop import TrainingOptions, train
from sslsim.training.options import TrainingOptions as Drawn
from sslsim.umm import UmmOptions, undo_memorization
from sslsim.umm.bilevel_losses import BilevelLosses
from sslsim.umm.convergence import diagnose
from sslsim.umm.evaluation import Measured, check_held_out
from sslsim.umm.forward import forward_pass, instance_reduction
from sslsim.umm.outer_step import outer_step, trained_names
from sslsim.umm.split import frozen_early, split_encoder

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
SHAPE = (1, 8, 8)
TWO_VIEWS = [method for method in METHODS if method not in ("mae", "supervised")]
HEADS = {"projector": "mlp", "projector_widths": (6,)}
EXTRA = {"dino": {"prototypes": 12}, "swav": {"prototypes": 12}}


def learner_of(method, **changed):
    if method == "vicregl":
        encoder = build_encoder("convnet", SHAPE, 4, seed=0, widths=(5, 6), **HEADS)
        with seeded(1):
            return VicreglLearner(encoder, local_widths=(6, 5), matches=2)
    settings = {"encoder": "convnet", "widths": (5, 6), "seed": 0} | HEADS | EXTRA.get(method, {})
    return build_learner(method, SHAPE, 4, **(settings | changed))


def options_of(**changed):
    settings = {"split": "layer1", "steps": 3, "batch": 8, "held_out": 12, "inner_lr": 0.05,
                "outer_lr": 0.01, "seed": 3}  # fmt: skip
    return UmmOptions(**(settings | changed))


def run(folder, learner, kind=None, data=None, held_out=None, **changed):
    data = load_images(limit=20) if data is None else data
    held_out = load_images(split="test", limit=24) if held_out is None else held_out
    options = options_of(**changed)
    return undo_memorization(learner, data, held_out, kind or learner.views, options, folder)


def records(folder):
    return [json.loads(line) for line in (folder / "records.jsonl").read_text().splitlines()]


def state_of(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def losses_of(learner, n=6, seed=0, kind=None, dtype=torch.float64, **changed):
    """BilevelLosses of one batch, in double precision."""
    images = load_images(limit=n).images
    views = draw_views(images, kind or learner.views, torch.Generator().manual_seed(seed))
    views = Views(tuple(view.to(dtype) for view in views.views), views.boxes)
    options = options_of(**changed)
    learner = learner.to(dtype)
    split = split_encoder(learner.encoder, options.split)
    return BilevelLosses(
        learner, split, options, views, None, trained_names(learner, split, options)
    )


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


# Analytic cases.


class Alone(PairLearner):
    """Identical views of images of its own, and no loss."""

    def __init__(self, encoder, images):
        super().__init__(encoder, lambda z, z_prime: 0 * z.sum())
        self.register_buffer("images", images)

    def forward(self, batch, labels):  # noqa: D102
        return super().forward(Views((self.images, self.images), None), labels)


def linear_alone(n, d):
    encoder = build_encoder("linear", SHAPE, d, seed=0, widths=(64, d))
    images = torch.randn(n, *SHAPE, generator=torch.Generator().manual_seed(1))
    return Alone(encoder, images)


def largest_reduction(n, d, eps):
    """Reference: q/2 log(1 + aF/q) - 1/2 log(1 + d/eps^2), a F = d/eps^2 for rows of unit norm."""
    q = min(n, d)
    return q / 2 * math.log1p(d / eps**2 / q) - math.log1p(d / eps**2) / 2


@pytest.mark.parametrize(
    ("n", "d", "hypergradient"), [(6, 3, "unrolled"), (4, 8, "unrolled"), (5, 5, "implicit")]
)
def test_a_linear_encoder_reaches_the_largest_reduction(tmp_path, n, d, hypergradient):
    learner = linear_alone(n, d)
    held_out = load_images(split="test", limit=n)
    run(
        tmp_path, learner, "noise", load_images(limit=n), held_out, eps=0.7, beta=0.0, batch=n,
        steps=120, outer_lr=0.04, schedule="cosine", hypergradient=hypergradient, inner_lr=1.0,
    )  # fmt: skip
    with torch.no_grad():
        z = learner.encoder(learner.images).repeat(2, 1)
    found = instance_reduction(z, 0.7).item()
    assert found == pytest.approx(largest_reduction(n, d, 0.7), rel=1e-4)
    assert found < largest_reduction(n, d, 0.7) + 1e-9


@pytest.mark.parametrize("hypergradient", ["unrolled", "darts", "implicit"])
def test_features_that_are_optimal_already_are_left(hypergradient):
    learner = linear_alone(4, 8)
    losses = losses_of(
        learner, n=4, beta=0.0, hypergradient=hypergradient, inner_steps=2, kind="noise"
    )
    with torch.no_grad():  # orthonormal features of all images
        early = losses.split.early(learner.images)
        target = torch.linalg.qr(torch.randn(8, 4, dtype=torch.float64)).Q.T
        learner.encoder.backbone.layer2[0].weight.copy_((torch.linalg.pinv(early) @ target).T)
    with frozen_early(learner, losses.split):
        gradient, *_ = outer_step(losses)
        assert max(float(g.abs().max()) for g in gradient) < 1e-10
        learner.encoder.backbone.layer2[0].weight.data[0] *= 2
        gradient, *_ = outer_step(losses)
        assert max(float(g.abs().max()) for g in gradient) > 1e-3


TRUE_GRADIENTS = ["barlow_twins", "simclr", "vicreg", "spectral", "byol", "vicregl"]


@pytest.mark.parametrize("method", TRUE_GRADIENTS)
@pytest.mark.parametrize("alignment", ["gradient", "cka"])
def test_hypergradients_of_methods_against_finite_differences(method, alignment):
    """Of second and third order: through two inner steps of a loss that holds a gradient."""
    learner = learner_of(method)
    losses = losses_of(learner, inner_steps=2, inner_lr=0.01, alignment=alignment)
    with frozen_early(learner, losses.split):
        exact, *_ = outer_step(losses)
        generator = torch.Generator().manual_seed(0)
        theta = [learner.get_parameter(name).detach().clone() for name in losses.names]
        direction = [torch.randn(t.shape, generator=generator, dtype=t.dtype) for t in theta]
        along = sum(float((g * d).sum()) for g, d in zip(exact, direction, strict=True))
        ends = []
        for sign in (1, -1):
            with torch.no_grad():
                for name, t, d in zip(losses.names, theta, direction, strict=True):
                    learner.get_parameter(name).copy_(t + sign * 1e-6 * d)
            ends.append(-outer_step(losses)[2]["objective"])
    slope = (ends[0] - ends[1]) / 2e-6
    assert along == pytest.approx(slope, rel=1e-5, abs=1e-6)
    assert abs(along) > 1e-3


def test_darts_comes_close_to_the_exact_derivative_of_a_learner():
    for method in ("simclr", "byol"):
        learner = learner_of(method)
        found = {}
        for name in ("unrolled", "darts"):
            losses = losses_of(
                learner, hypergradient=name, radius=1e-5, alignment="cka", inner_steps=2
            )
            with frozen_early(learner, losses.split):
                found[name] = torch.cat([g.flatten() for g in outer_step(losses)[0]])
        gap = (found["darts"] - found["unrolled"]).norm() / found["unrolled"].norm()
        assert gap < 1e-6  # the square of the radius times curvatures; no ReLU turns within it


# What a step is made of.


def test_rows_of_early_and_late_features_belong_together():
    for method in ("simclr", "swav", "vicregl"):
        learner = learner_of(method).eval()
        losses = losses_of(learner, dtype=torch.float32)  # which is what SwAV computes in
        forward = forward_pass(learner, losses.split, losses.batch, None)
        early = torch.cat(forward.early)
        literal = torch.cat([losses.split.early(view) for view in losses.batch.views[:2]])
        torch.testing.assert_close(early, literal)
        late = losses.split.late(literal)
        torch.testing.assert_close(forward.representation, late)
        torch.testing.assert_close(forward.embedding, learner.encoder.projector(late))
    unit = nn.functional.normalize(late, dim=1)
    exact = coding_rate_reduction(unit, instance_groups(6, 2), 0.5)
    assert instance_reduction(late, 0.5).item() == pytest.approx(exact.item(), rel=1e-6)


def test_one_joint_level_descends_the_sum():
    learner = learner_of("simclr")
    losses = losses_of(learner, joint=True, beta=0.7, coding_rate=2.0)
    with frozen_early(learner, losses.split):
        gradient, end, record = outer_step(losses)
        theta = [learner.get_parameter(name) for name in losses.names]
        forward = losses.forward(theta)
        value = forward.loss + 0.7 * losses.alignment(forward, theta)
        value = value - 2 * losses.coding_rate_reduction(forward)
        literal = torch.autograd.grad(value, theta)
    assert end is record["inner_start"] is record["inner_end"] is record["residual"] is None
    assert record["objective"] == pytest.approx(-value.item(), rel=1e-12)
    for g, h in zip(gradient, literal, strict=True):
        torch.testing.assert_close(g, h, rtol=1e-9, atol=1e-12)


def test_weights_of_zero_leave_terms_out():
    learner = learner_of("simclr")
    losses = losses_of(learner, beta=0.0, coding_rate=0.0)
    with frozen_early(learner, losses.split):
        theta = [learner.get_parameter(name) for name in losses.names]
        loss = losses.forward(theta).loss.item()
        assert losses.inner(theta).item() == losses.outer(theta).item() == loss
        assert losses.joint(losses.forward(theta), theta).item() == loss


def test_running_statistics_move_once_a_step_by_the_batch_at_theta(tmp_path):
    learner, other = learner_of("simclr"), learner_of("simclr")
    run(tmp_path, learner, steps=1, inner_steps=3)
    drawn = Drawn(batch=8, seed=3)
    views, _ = training_batches(load_images(limit=20), learner.views, drawn, CPU)(0)
    other.train()
    other(views, None)
    found, expected = (dict(one.named_buffers()) for one in (learner, other))
    assert int(found["encoder.projector.1.num_batches_tracked"]) == 2  # one a view
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value)


def test_an_update_is_the_literal_one(tmp_path):
    learner, other = learner_of("simclr"), learner_of("simclr")
    run(tmp_path, learner, steps=2, optimizer="sgd", outer_lr=0.1, schedule="cosine", inner_steps=2)
    options = options_of(steps=2, inner_steps=2)
    split = split_encoder(other.encoder, "layer1")
    names = trained_names(other, split, options)
    batches = training_batches(load_images(limit=20), other.views, Drawn(batch=8, seed=3), CPU)
    for step, lr in enumerate((0.1, 0.05)):
        with frozen_early(other, split):
            gradient, *_ = outer_step(BilevelLosses(other, split, options, *batches(step), names))
        with torch.no_grad():
            for name, g in zip(names, gradient, strict=True):
                other.get_parameter(name).add_(g, alpha=-lr)
    for name in names:
        assert torch.equal(learner.get_parameter(name), other.get_parameter(name))
    assert records(tmp_path)[-1]["time"] == pytest.approx(0.15)


def test_teachers_follow_and_prototypes_stay_unit(tmp_path):
    byol = learner_of("byol")
    held = state_of(byol.teacher)
    run(tmp_path / "byol", byol)
    now = byol.teacher.state_dict()
    assert torch.equal(now["backbone.layer1.0.weight"], held["backbone.layer1.0.weight"])
    assert not torch.equal(now["backbone.layer2.0.weight"], held["backbone.layer2.0.weight"])
    swav = learner_of("swav")
    run(tmp_path / "swav", swav)
    norms = swav.prototypes.weight.norm(dim=1)
    torch.testing.assert_close(norms, torch.ones_like(norms))


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


# The diagnostic.


def lines(count=40, **series):
    held = {"inner_start": 1.0, "inner_end": 0.9, "gradient_norm": 1.0, "objective": 0.0} | series
    return [
        {name: value(k) if callable(value) else value for name, value in held.items()}
        for k in range(count)
    ]


def wave(k):
    return math.sin(7 * k)  # noise enough, without a trend


@pytest.mark.parametrize(
    ("series", "signs"),
    [
        ({}, (False, False, False)),
        ({"objective": wave}, (False, False, False)),
        ({"objective": lambda k: wave(k) + k}, (False, False, False)),
        ({"objective": lambda k: wave(k) - k / 5}, (False, False, True)),
        ({"objective": lambda k: None if k == 35 else 0.0}, (False, False, True)),
        ({"gradient_norm": lambda k: 1 + 0.05 * k}, (False, False, False)),
        ({"gradient_norm": lambda k: 1.1**k}, (False, True, False)),
        ({"gradient_norm": lambda k: 100.0 if k in (31, 35) else 1.0}, (False, False, False)),
        ({"gradient_norm": lambda k: None if k > 25 else 1.0}, (False, True, False)),
        ({"inner_end": 1.1}, (True, False, False)),
        ({"inner_end": lambda k: 1.1 if k < 30 else 0.9}, (False, False, False)),
        ({"inner_start": None, "inner_end": None}, (False, False, False)),
    ],
)
def test_the_three_signs_of_no_convergence(series, signs):
    found = diagnose(lines(**series), window=10)
    assert (found.inner_rises, found.gradient_grows, found.outer_falls) == signs
    assert found.converges == (not any(signs))
    assert found.window == 10


def test_the_window_is_half_of_few_records_and_too_few_are_refused():
    assert diagnose(lines(24)).window == 12
    with pytest.raises(ValueError, match="there are 19 records and a window of 50; expected at"):
        diagnose(lines(19))
    with pytest.raises(ValueError, match="a window of 9; expected at least 20 and 10"):
        diagnose(lines(40), window=9)


def test_an_inner_rate_too_large_is_noticed(tmp_path):
    settings = {"beta": 0.0, "steps": 20, "coding_rate": 0.0, "optimizer": "sgd", "outer_lr": 1e-6}
    calm = run(tmp_path / "calm", learner_of("barlow_twins"), "noise", inner_lr=0.01, **settings)
    wild = run(tmp_path / "wild", learner_of("barlow_twins"), "noise", inner_lr=1.0, **settings)
    assert not calm.convergence.inner_rises
    assert wild.convergence.inner_rises
    assert isinstance(calm.after, Measured)


# Early features of another layer; alignment held.


@pytest.mark.parametrize("alignment", ["gradient", "volume", "reduction", "cka"])
def test_an_earlier_layer_can_feed_the_alignment(alignment):
    def taken(split, early, features="embedding"):
        learner = learner_of("simclr", widths=(5, 6, 4))
        losses = losses_of(
            learner, split=split, early=early, alignment=alignment, features=features
        )
        with frozen_early(losses.learner, losses.split):
            forward = losses.forward_own()
            phi = tuple(losses.learner.get_parameter(name) for name in losses.names)
            value = losses.alignment(forward, phi)
            gradient = torch.autograd.grad(value, phi, materialize_grads=True)
        return value.item(), dict(zip(losses.names, gradient, strict=True))

    value, gradient = taken("layer2", "layer1")
    own, _ = taken("layer2", None)
    cut, whole = taken("layer1", None)
    # What feeds the alignment does not hang on where the frozen part ends.
    assert value == pytest.approx(cut, rel=1e-9)
    assert abs(value - own) > 1e-6
    assert not any(name.startswith("encoder.backbone.layer2") for name in gradient)
    for name, held in gradient.items():
        torch.testing.assert_close(held, whole[name], rtol=1e-6, atol=1e-12)
    assert taken("layer2", "layer2")[0] == own


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


def test_a_run_that_holds_resumes_with_the_same_bits(tmp_path, monkeypatch):
    settings = {"joint": True, "beta": 0.0, "hold": 10.0, "steps": 4, "checkpoint_every": 2}
    whole = learner_of("simclr")
    run(tmp_path / "whole", whole, **settings)
    import sslsim.umm.finetune as finetune

    step = finetune.outer_step

    def dying(losses, phi):
        if any(file.name == "checkpoint-000000002.pt" for file in tmp_path.glob("parts/*/*.pt")):
            raise RuntimeError
        return step(losses, phi)

    monkeypatch.setattr(finetune, "outer_step", dying)
    with pytest.raises(RuntimeError):
        run(tmp_path / "parts", learner_of("simclr"), **settings)
    monkeypatch.undo()
    resumed = learner_of("simclr")
    run(tmp_path / "parts", resumed, **settings)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
