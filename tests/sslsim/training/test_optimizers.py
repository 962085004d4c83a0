"""Optimisers against literal transcriptions, their groups and their resume."""

import copy

import pytest
import torch
from torch import nn

from sslsim.core.names import OPTIMIZERS
from sslsim.training.optimizers import Lars, make_optimizer


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def small_net(seed=0):
    net = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(27, 4))
    draws = generator(seed)
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(torch.randn(p.shape, generator=draws))
    return net.double()


def set_gradients(net, step):
    draws = generator(100 + step)
    for p in net.parameters():
        p.grad = torch.randn(p.shape, generator=draws, dtype=p.dtype)


def run(net, optimizer, steps):
    for step in steps:
        for group in optimizer.param_groups:
            group["lr"] = group["base_lr"] / (1 + step)
        set_gradients(net, step)
        optimizer.step()


def values(net):
    return torch.cat([p.detach().flatten() for p in net.parameters()])


def test_lars_is_its_paper_s_algorithm():
    net, lr, momentum, decay, trust = small_net(), 0.7, 0.9, 0.02, 1e-3
    weights = [p.detach().clone() for p in net.parameters()]
    buffers = [torch.zeros_like(w) for w in weights]
    run(
        net,
        make_optimizer("lars", net, lr, momentum=momentum, weight_decay=decay),
        range(6),
    )
    shadow = small_net()
    for step in range(6):
        set_gradients(shadow, step)
        for k, p in enumerate(shadow.parameters()):
            g = p.grad
            if weights[k].ndim > 1:
                g = g + decay * weights[k]
                g = g * trust * (weights[k] ** 2).sum().sqrt() / (g**2).sum().sqrt()
            buffers[k] = momentum * buffers[k] + g
            weights[k] = weights[k] - lr / (1 + step) * buffers[k]
    for found, expected in zip(net.parameters(), weights, strict=True):
        assert (found - expected).abs().max() < 1e-13


def test_lars_moves_vectors_as_plain_gradient_descent_does():
    found, expected = (nn.Parameter(torch.tensor([1.0, -2.0, 3.0])) for _ in range(2))
    lars = Lars([{"params": [found], "adapt": False}], lr=0.1, momentum=0.8)
    sgd = torch.optim.SGD([expected], lr=0.1, momentum=0.8)
    for step in range(5):
        found.grad = torch.randn(3, generator=generator(step))
        expected.grad = found.grad.clone()
        lars.step()
        sgd.step()
    assert torch.allclose(found, expected, rtol=1e-6, atol=0)
    assert (found - torch.tensor([1.0, -2.0, 3.0])).abs().min() > 1e-3


@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_a_step_of_lars_does_not_depend_on_the_scale_of_the_gradient(scale):
    first, second = (nn.Parameter(torch.eye(3, dtype=torch.float64)) for _ in range(2))
    first.grad = torch.arange(9.0, dtype=torch.float64).reshape(3, 3)
    second.grad = scale * first.grad
    for p in (first, second):
        Lars([p], lr=0.5).step()
    assert (first - second).abs().max() < 1e-15
    change = (first - torch.eye(3, dtype=torch.float64)).detach().norm()
    assert change.item() == pytest.approx(0.5 * 1e-3 * 3**0.5, rel=1e-12)


def test_lars_takes_the_plain_step_where_a_norm_is_zero():
    weight = nn.Parameter(torch.zeros(2, 2))
    weight.grad = torch.ones(2, 2)
    still = nn.Parameter(torch.ones(2, 2))
    still.grad = torch.zeros(2, 2)
    without = nn.Parameter(torch.ones(2, 2))
    Lars([weight, still, without], lr=0.5).step()
    assert weight.tolist() == [[-0.5, -0.5], [-0.5, -0.5]]
    assert still.tolist() == without.tolist() == [[1, 1], [1, 1]]


def test_decay_pulls_tensors_alone_except_under_sgd():
    for kind in OPTIMIZERS:
        net = small_net()
        before = [p.detach().clone() for p in net.parameters()]
        optimizer = make_optimizer(kind, net, 0.1, momentum=0.0, weight_decay=0.5)
        for p in net.parameters():
            p.grad = torch.zeros_like(p)
        optimizer.step()
        for p, old in zip(net.parameters(), before, strict=True):
            if kind == "sgd" or (kind in ("adamw", "muon") and p.ndim > 1):
                expected = old * (1 - 0.1 * 0.5)
            elif p.ndim > 1:  # the decay is the gradient, adapted to the norm of the tensor
                expected = old * (1 - 0.1 * 1e-3)
            else:
                expected = old
            assert (p - expected).abs().max() < 1e-14, kind


def test_frozen_parameters_are_left_out():
    net = small_net()
    net[0].requires_grad_(False)
    held = [
        p
        for kind in OPTIMIZERS
        for group in make_optimizer(kind, net, 0.1, momentum=0.9, weight_decay=0).param_groups
        for p in group["params"]
    ]
    assert len(held) == len(OPTIMIZERS) * 4
    assert not any(p is q for p in held for q in net[0].parameters())


@pytest.mark.machine
@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_a_saved_state_goes_on_with_the_same_bits(kind, tmp_path):
    settings = {"momentum": 0.9, "weight_decay": 0.01}
    whole = small_net()
    run(whole, make_optimizer(kind, whole, 0.1, **settings), range(7))
    first = small_net()
    optimizer = make_optimizer(kind, first, 0.1, **settings)
    run(first, optimizer, range(3))
    torch.save(optimizer.state_dict(), tmp_path / "state.pt")
    second = copy.deepcopy(first)
    resumed = make_optimizer(kind, second, 0.1, **settings)
    forgetful = copy.deepcopy(second)
    resumed.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    run(second, resumed, range(3, 7))
    assert torch.equal(values(second), values(whole))
    run(forgetful, make_optimizer(kind, forgetful, 0.1, **settings), range(3, 7))
    assert not torch.equal(values(forgetful), values(whole))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "adam"}, "unknown optimizer 'adam'; expected one of sgd, adamw, lars"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0; expected a finite number above zero"),
        ({"learning_rate": float("nan")}, "learning_rate is nan"),
        ({"momentum": 1.0}, "momentum is 1.0; expected a number from 0 up to below 1"),
        ({"weight_decay": -0.1}, "weight_decay is -0.1; expected a finite number of at least 0"),
        ({"module": nn.Flatten()}, "no parameter requires gradients; expected something"),
    ],
)
def test_what_does_not_fit_is_refused(changes, message):
    given = {
        "kind": "sgd",
        "module": nn.Linear(2, 2),
        "learning_rate": 0.1,
        "momentum": 0.9,
        "weight_decay": 0.0,
    } | changes
    with pytest.raises(ValueError, match=message):
        make_optimizer(**given)
