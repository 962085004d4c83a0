"""The alignment penalty: its value and gradient, what it leaves alone, and where it leads."""

import copy
import math

import pytest
import torch

from sslsim.data.datasets import Images, load_images
from sslsim.data.views import Views, draw_views
from sslsim.memorization import alignment_loss
from sslsim.methods.build import build_learner
from sslsim.methods.penalty import AlignmentPenalty, alignment_penalty
from sslsim.training.loop import train
from sslsim.training.options import TrainingOptions

SHAPE = (1, 8, 8)


def learner_of(method="simclr", **options):
    given = {"encoder": "convnet", "widths": (4, 5), "seed": 3}
    return build_learner(method, SHAPE, 4, **given | options)


def pair_of_views(n=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return Views(tuple(torch.rand(n, *SHAPE, generator=generator) for _ in range(2)), None)


def slow_penalty(z, z_prime, pays):
    total, count = 0.0, 0
    for i in range(len(z)):
        if not pays[i]:
            continue
        norm = math.sqrt(sum(float(v) ** 2 for v in z[i]))
        norm_prime = math.sqrt(sum(float(v) ** 2 for v in z_prime[i]))
        squares = [
            (float(a) / norm - float(b) / norm_prime) ** 2
            for a, b in zip(z[i], z_prime[i], strict=True)
        ]
        total, count = total + math.sqrt(sum(squares)), count + 1
    return total / count if count else 0.0


@pytest.mark.parametrize("pays", [[1, 1, 1, 1], [0, 1, 0, 1], [0, 0, 0, 0]])
def test_the_penalty_is_the_mean_distance_of_unit_rows(pays):
    generator = torch.Generator().manual_seed(1)
    z, z_prime = (torch.randn(4, 3, generator=generator).double() for _ in range(2))
    flags = torch.tensor(pays).bool()
    expected = slow_penalty(z, z_prime, pays)
    assert alignment_penalty(z, z_prime, flags).item() == pytest.approx(expected, rel=1e-12)
    if all(pays):
        assert alignment_penalty(z, z_prime).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("pays", [None, [True, False, True, True]])
def test_gradient_by_finite_differences(pays):
    generator = torch.Generator().manual_seed(2)
    z, z_prime = (
        torch.randn(4, 3, generator=generator, dtype=torch.float64).requires_grad_()
        for _ in range(2)
    )
    flags = None if pays is None else torch.tensor(pays)
    assert torch.autograd.gradcheck(lambda a, b: alignment_penalty(a, b, flags), (z, z_prime))


def test_gradient_is_finite_where_views_agree_or_vanish():
    z = torch.tensor([[1.0, 2.0], [0.0, 0.0], [0.0, 1.0]], requires_grad=True)
    z_prime = torch.tensor([[2.0, 4.0], [0.0, 0.0], [0.0, 0.0]], requires_grad=True)
    alignment_penalty(z, z_prime).backward()
    assert z.grad.isfinite().all()
    assert z_prime.grad.isfinite().all()


def test_the_whole_loss_has_the_gradient_of_finite_differences():
    learner = learner_of("spectral", encoder="linear", widths=(3, 4), projector="linear").double()
    penalised = AlignmentPenalty(learner, 2.0)
    batch = pair_of_views().each(torch.Tensor.double)
    parameters = list(learner.encoder.parameters())
    gradients = torch.autograd.grad(penalised(batch, None), parameters)
    generator = torch.Generator().manual_seed(0)
    directions = [torch.randn(p.shape, generator=generator).double() for p in parameters]
    step, values = 1e-5, []
    for sign in (1, -2, 1):  # ahead, behind, back
        with torch.no_grad():
            for p, direction in zip(parameters, directions, strict=True):
                p.add_(sign * step * direction)
            values.append(penalised(batch, None).item())
    slope = sum(float((g * v).sum()) for g, v in zip(gradients, directions, strict=True))
    # Rounding 1e-16 / step, and the step's square times third derivatives.
    assert (values[0] - values[1]) / (2 * step) == pytest.approx(slope, rel=1e-6)
    alone = torch.autograd.grad(learner(batch, None), parameters)
    assert any((a - b).abs().max() > 1e-3 for a, b in zip(alone, gradients, strict=True))


@pytest.mark.parametrize(
    "method", ["simclr", "byol", "simsiam", "moco_v3", "swav", "dino", "vicregl", "lejepa"]
)
def test_methods_of_two_views_pay_for_their_representations(method):
    learner = learner_of(method)
    images = torch.randint(256, (6, 1, 8, 8), generator=torch.Generator().manual_seed(5))
    kind = learner.views
    batch = draw_views(images.to(torch.uint8), kind, torch.Generator().manual_seed(1))
    twin = copy.deepcopy(learner)
    state = torch.get_rng_state()
    plain = twin(batch, None)
    torch.set_rng_state(state)
    found = AlignmentPenalty(learner, 3.0)(batch, None)
    with torch.no_grad():
        twin.train()
        # Small convnets have no BatchNorm: a call of the whole backbone gives what was fed on.
        z, z_prime = (twin.encoder.backbone(view) for view in batch.views[:2])
    expected = plain + 3 * alignment_penalty(z, z_prime)
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)
    assert not learner.encoder.projector._forward_pre_hooks


def trained_by(tmp_path, name, wrap, data, **options):
    given = {"steps": 30, "batch": 20, "optimizer": "adamw", "lr": 3e-3, "checkpoint_every": 10}
    learner = learner_of()
    learner = wrap(learner) if wrap else learner
    return train(learner, data, "simclr", TrainingOptions(**given | options), tmp_path / name)


@pytest.mark.slow
def test_strength_0_has_the_bits_of_plain_training_and_a_large_one_aligns(tmp_path):
    data = load_images(limit=40)
    plain = trained_by(tmp_path, "plain", None, data)
    off = trained_by(tmp_path, "off", lambda one: AlignmentPenalty(one, 0.0), data)
    for name, value in plain.encoder.state_dict().items():
        assert torch.equal(value, off.encoder.state_dict()[name]), name
    strong = trained_by(tmp_path, "strong", lambda one: AlignmentPenalty(one, 1e4), data, steps=150)
    apart = trained_by(tmp_path, "apart", lambda one: AlignmentPenalty(one, -10.0), data)
    losses = [
        alignment_loss(one.encoder.eval(), data.images, "simclr", layer="backbone", pairs=3)
        for one in (plain, strong, apart)
    ]
    assert losses[1].mean.mean() < 0.15 * losses[0].mean.mean()
    assert losses[2].mean.mean() > 1.05 * losses[0].mean.mean()


def test_chosen_images_alone_pay(tmp_path):
    data = load_images(limit=40)
    flags = torch.zeros(40, dtype=torch.bool)
    none = Images(data.images, flags.clone(), data.name)
    flags[:5] = True
    some = Images(data.images, flags, data.name)
    plain, unpaid, paid = (
        trained_by(tmp_path, name, wrap, part)
        for name, wrap, part in (
            ("plain", None, data),
            ("none", lambda one: AlignmentPenalty(one, 5.0, chosen=True), none),
            ("some", lambda one: AlignmentPenalty(one, 5.0, chosen=True), some),
        )
    )
    weights = [torch.cat([p.flatten() for p in one.encoder.parameters()])
               for one in (plain, unpaid, paid)]  # fmt: skip
    # 0 is added to the loss: the same numbers but for what autograd adds in another order.
    assert torch.allclose(weights[0], weights[1], atol=1e-5)
    assert (weights[2] - weights[0]).abs().max() > 1e-3
    with pytest.raises(ValueError, match=r"int64 of shape .*; expected torch.bool"):
        AlignmentPenalty(learner_of(), 1.0, chosen=True)(
            pair_of_views(), torch.zeros(5, dtype=torch.int64)
        )


def test_a_run_that_stopped_goes_on_with_the_same_bits(tmp_path):
    data = load_images(limit=40)

    def wrap(one):
        return AlignmentPenalty(one, 2.0)

    whole = trained_by(tmp_path, "whole", wrap, data)
    trained_by(tmp_path, "part", wrap, data)
    (tmp_path / "part/checkpoints/checkpoint-000000030.pt").unlink()
    again = trained_by(tmp_path, "part", wrap, data)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


@pytest.mark.parametrize("strength", [-math.inf, math.nan, math.inf])
def test_bad_strengths(strength):
    with pytest.raises(ValueError, match=r"strength is .*; expected a finite number"):
        AlignmentPenalty(learner_of(), strength)


def test_methods_of_one_view_are_refused():
    learner = AlignmentPenalty(build_learner("supervised", SHAPE, 2, encoder="linear", seed=0), 1.0)
    with pytest.raises(ValueError, match="embeds 5 views of 5 images; expected the two full views"):
        learner(pair_of_views(), torch.tensor([0, 1, 0, 1, 0]))
