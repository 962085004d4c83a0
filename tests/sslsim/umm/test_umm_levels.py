"""The two levels of a step: analytic cases, finite differences, what a step is made of."""

import math

import pytest
import torch
from finetuning import CPU, SHAPE, learner_of, losses_of, options_of, records, run, state_of
from torch import nn

from sslsim.coding_rate import coding_rate_reduction, instance_groups
from sslsim.data.datasets import load_images
from sslsim.data.views import Views
from sslsim.encoders.build import build_encoder
from sslsim.encoders.own.encoder import own_encoder
from sslsim.methods.learner import PairLearner
from sslsim.objectives import simclr
from sslsim.training.batches import training_batches
from sslsim.training.options import TrainingOptions as Drawn
from sslsim.umm.alignment import cka_distance
from sslsim.umm.bilevel_losses import BilevelLosses
from sslsim.umm.evaluation import measure
from sslsim.umm.forward import forward_pass, instance_reduction
from sslsim.umm.outer_step import outer_step, trained_names
from sslsim.umm.split import frozen_early, split_encoder

pytestmark = pytest.mark.slow


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


TRUE_GRADIENTS = [
    "barlow_twins", "simclr", "vicreg", "spectral", "byol", "moco_v3", "vicregl", "lejepa",
]  # fmt: skip


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


class PlacesFirst(nn.Module):
    """Maps (n, h, w, k), as in a Swin transformer."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(1, 5)

    def forward(self, x):  # noqa: D102
        return self.linear(x.permute(0, 2, 3, 1))


def test_early_features_are_averaged_over_places_where_channels_are_last():
    network = nn.Sequential(PlacesFirst(), nn.Flatten(), nn.Linear(320, 4))
    learner = PairLearner(own_encoder(network, SHAPE, 3), simclr)
    losses = losses_of(learner, split="0", alignment="cka", dtype=torch.float32)
    with frozen_early(learner, losses.split):
        found = losses.alignment_now()
        forward = losses.forward_own()
    early = torch.cat(forward.early).mean((1, 2))
    expected = cka_distance(early, getattr(forward, losses.options.features))
    assert torch.allclose(found, expected, rtol=1e-5)
    assert early.shape == (12, 5)


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


def test_rows_of_early_and_late_features_belong_together():
    for method in ("simclr", "swav", "vicregl"):
        learner = learner_of(method).eval()
        losses = losses_of(learner, dtype=torch.float32)  # which is what SwAV computes in
        reading = forward_pass(learner, losses.split, losses.batch, None)
        early = torch.cat(reading.early)
        literal = torch.cat([losses.split.early(view) for view in losses.batch.views[:2]])
        torch.testing.assert_close(early, literal)
        late = losses.split.late(literal)
        torch.testing.assert_close(reading.representation, late)
        torch.testing.assert_close(reading.embedding, learner.encoder.projector(late))
    unit = nn.functional.normalize(late, dim=1)
    exact = coding_rate_reduction(unit, instance_groups(6, 2), 0.5)
    assert instance_reduction(late, 0.5).item() == pytest.approx(exact.item(), rel=1e-6)


def test_one_joint_level_descends_the_sum():
    learner = learner_of("simclr")
    losses = losses_of(learner, joint=True, beta=0.7, coding_rate=2.0)
    with frozen_early(learner, losses.split):
        gradient, end, record = outer_step(losses)
        theta = [learner.get_parameter(name) for name in losses.names]
        reading = losses.forward(theta)
        value = reading.loss + 0.7 * losses.alignment(reading, theta)
        value = value - 2 * losses.coding_rate_reduction(reading)
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


@pytest.mark.parametrize("alignment", ["gradient", "volume", "reduction", "cka"])
def test_an_earlier_layer_can_feed_the_alignment(alignment):
    def taken(split, early, features="embedding"):
        learner = learner_of("simclr", widths=(5, 6, 4))
        losses = losses_of(
            learner, split=split, early=early, alignment=alignment, features=features
        )
        with frozen_early(losses.learner, losses.split):
            reading = losses.forward_own()
            phi = tuple(losses.learner.get_parameter(name) for name in losses.names)
            value = losses.alignment(reading, phi)
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


@pytest.mark.parametrize("alignment", ["gradient", "cka"])
def test_measured_gradients_are_those_of_finite_differences(alignment):
    small = learner_of("simclr", widths=(2, 3), projector_widths=(3,))
    losses = losses_of(small, alignment=alignment)
    measured, step = measure(losses), 1e-6
    squares = {"loss": 0.0, "alignment": 0.0}
    with torch.no_grad():
        for name in losses.names:
            entries = losses.learner.get_parameter(name).view(-1)
            for place in range(len(entries)):
                values = []
                for sign in (1, -1):
                    entries[place] += sign * step
                    values.append(measure(losses))
                    entries[place] -= sign * step
                for key in squares:
                    slope = (getattr(values[0], key) - getattr(values[1], key)) / (2 * step)
                    squares[key] += slope**2
    for key, square in squares.items():
        assert getattr(measured, f"{key}_gradient") == pytest.approx(math.sqrt(square), rel=1e-4)
