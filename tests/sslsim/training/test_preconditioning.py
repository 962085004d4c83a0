"""Preconditioned gradients against analytic ones, and what they leave alone."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from sslsim.data.datasets import load_images
from sslsim.data.views import Views
from sslsim.encoders.build import build_encoder
from sslsim.measures.snapshots import draw_held_out_pairs
from sslsim.methods.build import build_learner
from sslsim.methods.learner import PairLearner
from sslsim.objectives import barlow_twins
from sslsim.training.loop import train
from sslsim.training.options import TrainingOptions
from sslsim.training.preconditioning import inverse_power, preconditioned

BOTH = TrainingOptions(
    precondition_embedding="covariance",
    precondition_embedding_power=0.7,
    precondition_embedding_ridge=0.2,
    precondition_inputs="covariance",
    precondition_inputs_power=0.6,
    precondition_inputs_ridge=0.3,
)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def eye(size):
    return torch.eye(size, dtype=torch.float64)


def views(seed=1, count=20):
    draws = torch.randn(2, count, 1, 8, 8, generator=generator(seed), dtype=torch.float64)
    return Views((draws[0], draws[1]), None)


def linear_learner():
    return PairLearner(build_encoder("linear", (1, 8, 8), 3, seed=0).double(), barlow_twins)


def power(matrix, exponent):
    values, vectors = torch.linalg.eigh(matrix)
    return (vectors * values**exponent) @ vectors.T


def gradient(learner, options, batch, times=1):
    learner.zero_grad()
    with preconditioned(learner, options) as precondition:
        for _ in range(times):
            (learner(batch, None) / times).backward()
        precondition()
    return next(learner.encoder.parameters()).grad.clone()


def analytic(learner, options, batch):
    """-4 (S + rho)^-p (I - C) W Gamma (A + delta)^-q for the linear map, sides of views apart."""
    weight = next(learner.encoder.parameters()).detach()
    x, x_prime = (v.flatten(1) for v in batch.views)
    n, size = len(x), x.shape[1]
    z, z_prime = x @ weight.T, x_prime @ weight.T
    slope = 2 * ((z.T @ z_prime + z_prime.T @ z) / (2 * n) - eye(3))
    total = torch.zeros_like(weight)
    for own, other, inputs in ((z, z_prime, x), (z_prime, z, x_prime)):
        factor = eye(3)
        if options.precondition_embedding != "none":
            rho, p = options.precondition_embedding_ridge, options.precondition_embedding_power
            factor = power(own.T @ own / n + rho * eye(3), -p)
        total += factor @ slope @ other.T @ inputs / n
    if options.precondition_inputs != "none":
        moments = torch.cat([x, x_prime]).T @ torch.cat([x, x_prime]) / (2 * n)
        delta = options.precondition_inputs_ridge * moments.trace() / size
        total = total @ power(moments + delta * eye(size), -options.precondition_inputs_power)
    return total


@pytest.mark.parametrize("left_out", [None, "precondition_embedding", "precondition_inputs"])
@pytest.mark.parametrize("times", [1, 3])
def test_the_gradient_is_the_analytic_one(left_out, times):
    options = BOTH if left_out is None else replace(BOTH, **{left_out: "none"})
    learner, batch = linear_learner(), views()
    found, expected = gradient(learner, options, batch, times), analytic(learner, options, batch)
    assert (found - expected).abs().max() < 1e-11 * expected.abs().max()
    assert (found - gradient(learner, TrainingOptions(), batch)).abs().max() > 1e-3


def test_a_convolution_is_the_linear_map_of_its_patches():
    draws = torch.randn(6, 2, 7, 7, generator=generator(), dtype=torch.float64)
    layer = nn.Conv2d(2, 3, 3, stride=2, padding=1).double()
    patches = nn.functional.unfold(draws, 3, stride=2, padding=1).transpose(1, 2).flatten(0, 1)
    linear = nn.Linear(18, 3).double()
    linear.weight.data = layer.weight.data.flatten(1).clone()
    linear.bias.data = layer.bias.data.clone()
    options = replace(BOTH, precondition_embedding="none")
    found = []
    for module, inputs in ((layer, draws), (linear, patches)):
        with preconditioned(module, options) as precondition:
            module(inputs).tanh().square().sum().backward()
            precondition()
        found.append(module.weight.grad.flatten(1))
    assert torch.allclose(*found, rtol=1e-10)


@pytest.mark.machine
def test_power_zero_is_plain_training_to_the_last_bit(tmp_path):
    data = load_images(limit=80)
    probe = draw_held_out_pairs(load_images(split="test").images, "noise", 12, seed=1)
    plain = TrainingOptions(steps=4, batch=24, lr=0.003, records=2)
    zero = replace(
        BOTH, steps=4, batch=24, lr=0.003, records=2,
        precondition_embedding_power=0.0, precondition_inputs_power=0.0,
    )  # fmt: skip
    trained = []
    for name, options in (("plain", plain), ("zero", zero)):
        learner = build_learner("barlow_twins", (1, 8, 8), 4, encoder="convnet", seed=0)
        train(learner, data, "noise", options, tmp_path / name, held_out=probe)
        trained.append(learner.state_dict())
    assert all(torch.equal(trained[0][k], trained[1][k]) for k in trained[0])


def test_rotations_of_the_embedding_rotate_the_gradient():
    rotation = torch.linalg.qr(torch.randn(3, 3, generator=generator(), dtype=torch.float64))[0]
    learner, turned, batch = linear_learner(), linear_learner(), views()
    with torch.no_grad():
        weight = next(turned.encoder.parameters())
        weight.copy_(rotation @ weight)
    found = gradient(turned, BOTH, batch)
    assert (found - rotation @ gradient(learner, BOTH, batch)).abs().max() < 1e-10


def test_a_measure_without_gradients_leaves_no_trace():
    learner, batch = linear_learner(), views()
    learner.zero_grad()
    with preconditioned(learner, BOTH) as precondition:
        with torch.no_grad():
            learner.encoder(views(seed=5).views[0])
        learner(batch, None).backward()
        precondition()
    found = next(learner.encoder.parameters()).grad
    assert torch.equal(found, gradient(learner, BOTH, batch))


def test_hooks_are_gone_afterwards():
    learner, batch = linear_learner(), views()
    with preconditioned(learner, BOTH):
        pass
    learner.zero_grad()
    learner(batch, None).backward()
    found = next(learner.encoder.parameters()).grad
    assert torch.equal(found, gradient(learner, TrainingOptions(), batch))


def test_the_inverse_power_is_that_of_the_matrix():
    draws = torch.randn(4, 9, generator=generator(), dtype=torch.float64)
    moments = draws @ draws.T / 9
    found = inverse_power(moments, 0.5, 0.2)
    assert (found @ found @ (moments + 0.2 * eye(4)) - eye(4)).abs().max() < 1e-12


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"precondition_inputs": "both"}, "precondition_inputs is 'both'; expected one of none, "),
        ({"precondition_embedding_power": -1.0}, "power is -1.0; expected a number of at least 0"),
        ({"precondition_inputs_ridge": 0.0}, "precondition_inputs_ridge is 0.0; expected a number"),
        ({"compile": True}, "with compile; expected one of the two"),
    ],
)
def test_options_out_of_range_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(BOTH, **changes)


def test_a_training_that_diverges_is_told(tmp_path):
    data = load_images(limit=80)
    options = TrainingOptions(
        steps=30, batch=24, lr=1e6, precondition_embedding="covariance",
        precondition_inputs="covariance",
    )  # fmt: skip
    learner = build_learner("barlow_twins", (1, 8, 8), 4, encoder="convnet", seed=0)
    with pytest.raises(ValueError, match="no longer finite by step"):
        train(learner, data, "noise", options, tmp_path)


@pytest.mark.parametrize("method", ["mae", "vicregl"])
def test_losses_of_something_else_than_the_embedding_are_refused(method):
    encoder, dim = ("vit_tiny", None) if method == "mae" else ("convnet", 4)
    learner = build_learner(method, (1, 8, 8), dim, encoder=encoder, seed=0)
    match = "whose loss is not one of the encoder's embedding"
    with pytest.raises(ValueError, match=match), preconditioned(learner, BOTH):
        pass
