"""The tangent kernel of whole networks, its refusals, and kernels that are resumed."""

import jacobians
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from sslsim.core.seeds import seeded
from sslsim.encoders.build import build_encoder
from sslsim.encoders.resnet import resnet
from sslsim.encoders.vit import VisionTransformer
from sslsim.measures.snapshots import batch_statistics
from sslsim.ntk import empirical_ntk, layer_ntks, pair_ntk
from theory.kernels.modes import kernel_modes
from theory.prediction.predict import predict_steps

assert_equal, draw, full_kernel = jacobians.assert_equal, jacobians.draw, jacobians.full_kernel
trace = jacobians.trace


def images(n, *shape):
    return draw(n, *shape).sigmoid()


def relative(found, expected):
    return float((found - expected).abs().max() / expected.abs().max())


@pytest.mark.slow
def test_resnet18_against_torch_func():
    with seeded(0):
        module = nn.Sequential(resnet(18, stem="small", width=16), nn.Linear(128, 2))
        module = jacobians.randomise(module)
    x = images(2, 3, 16, 16)
    assert relative(empirical_ntk(module, x, engine="hooks"), trace(full_kernel(module, x))) < 1e-12


@pytest.mark.parametrize(("token", "pooling"), [(False, "mean"), (True, "mean"), (True, "class")])
def test_vision_transformers(token, pooling):
    with seeded(1):
        module = VisionTransformer((1, 8, 8), 8, 2, 2, class_token=token, pooling=pooling)
        module = jacobians.randomise(module)
    x, other = images(3, 1, 8, 8), images(2, 1, 8, 8)
    expected = full_kernel(module, x, other)
    assert relative(empirical_ntk(module, x, other), trace(expected)) < 1e-12
    assert relative(empirical_ntk(module, x, other, output="full"), expected) < 1e-12
    parts = layer_ntks(module, x, other)
    assert relative(sum(parts.values()), trace(expected)) < 1e-12
    if token:
        assert parts["class_token"].abs().max() > 0
        with pytest.raises(ValueError, match="hooks do not see every use of class_token; expected"):
            empirical_ntk(module, x, engine="hooks")
    else:
        assert relative(empirical_ntk(module, x, other, engine="hooks"), trace(expected)) < 1e-12


class Twice(nn.Module):
    """Layers called twice, a weight tied between layers, a chain through one map."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 3, padding=1)
        self.norm = nn.GroupNorm(1, 2)
        self.first, self.second = nn.Linear(2, 2), nn.Linear(2, 2)
        self.second.weight = self.first.weight

    def forward(self, x):
        """Images (n, 2, h, w) -> (n, 2)."""
        x = self.norm(torch.tanh(self.conv(self.norm(torch.tanh(self.conv(x))))))
        return self.second(torch.tanh(self.first(x.mean((2, 3)))))


class Functional(nn.Module):
    """A layer whose weight is also used without a call."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x):
        """Add the transposed map to the map."""
        return torch.tanh(self.layer(x)) @ self.layer.weight


class Doubled(nn.Linear):
    """A subclass of a known layer that computes something else."""

    def forward(self, x):
        """Twice the map."""
        return 2 * super().forward(x)


class SequenceFirst(nn.Module):
    """A layer that sees the samples on its second axis."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 3)

    def forward(self, x):
        """(n, 4) -> (n, 3) through (2, n, 2), two being the number of samples of the probe."""
        return torch.tanh(self.layer(x.unflatten(1, (2, 2)).transpose(0, 1))).sum(0)


class Flattened(nn.Module):
    """A layer that sees tokens of all samples as rows."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 3)

    def forward(self, x):
        """(n, 4) -> (n, 3)."""
        return torch.tanh(self.layer(x.reshape(-1, 2))).unflatten(0, (-1, 2)).sum(1)


class Constant(nn.Module):
    """A layer whose input is no function of the samples, and a parameter that nothing uses."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 3)
        self.gain = nn.Linear(1, 3)
        self.unused = nn.Parameter(torch.ones(2))

    def forward(self, x):
        """(n, 4) -> (n, 3)."""
        return torch.tanh(self.layer(x)) * self.gain(x.new_ones(2, 1))[0]


def hooked_output():
    layer = nn.Linear(4, 3)
    layer.register_forward_hook(lambda module, args, output: output**2)
    return layer


def weight_normed():
    return nn.utils.parametrizations.weight_norm(nn.Linear(4, 3))


class Gained(nn.Module):
    """A layer that holds a parameter for others."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 3)
        self.layer.register_parameter("gain", nn.Parameter(torch.ones(3)))

    def forward(self, x):
        """(n, 4) -> (n, 3)."""
        return torch.tanh(self.layer(x)) * self.layer.gain


class Tokens(nn.Module):
    """torch's own transformer layer, whose attention uses its parameters without calls."""

    def __init__(self):
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(2, 1, 5, dropout=0.0, batch_first=True)

    def forward(self, x):
        """(n, 4) -> (n, 2)."""
        return self.layer(x.unflatten(1, (2, 2))).mean(1)


HARD = [
    Functional, lambda: Doubled(4, 3), SequenceFirst, Flattened, Constant, hooked_output,
    weight_normed, Gained, Tokens,
    lambda: nn.Sequential(nn.Unflatten(1, (1, 4)), nn.Conv1d(1, 2, 2), nn.Flatten()),
]  # fmt: skip


@pytest.mark.parametrize("make", HARD)
def test_uses_of_parameters_that_are_no_plain_calls(make):
    with seeded(2):
        module = jacobians.randomise(make())
    x = draw(4, 4)
    full = full_kernel(module, x)
    assert_equal(empirical_ntk(module, x), trace(full))
    assert_equal(sum(layer_ntks(module, x).values()), trace(full))


@pytest.mark.parametrize("make", [m for m in HARD if m is not hooked_output])
def test_the_hook_engine_names_what_it_cannot_see(make):
    module = make().double().eval()
    with pytest.raises(ValueError, match=r"hooks do not see every use of [\w.]+"):
        empirical_ntk(module, draw(4, 4), engine="hooks")


class Masked(nn.Module):
    """What pruning makes of a layer, written out."""

    def __init__(self, layer):
        super().__init__()
        self.weight, self.bias = layer.weight_orig, layer.bias
        self.mask = layer.weight_mask

    def forward(self, x):
        """(n, 4) -> (n, 3)."""
        return nn.functional.linear(x, self.weight * self.mask, self.bias)


def test_a_weight_that_is_made_of_another_parameter():
    with seeded(3):
        layer = prune.random_unstructured(nn.Linear(4, 3).double(), "weight", amount=5)
    x = draw(4, 4)
    expected = trace(full_kernel(Masked(layer), x))
    assert_equal(empirical_ntk(layer, x), expected)
    assert_equal(sum(layer_ntks(layer, x).values()), expected)
    with pytest.raises(ValueError, match="hooks do not see every use of weight_orig"):
        empirical_ntk(layer, x, engine="hooks")


def test_gradients_of_several_uses_add_before_they_are_multiplied():
    with seeded(3):
        module = jacobians.randomise(Twice())
    x, other = images(3, 2, 4, 3), images(2, 2, 4, 3)
    full = full_kernel(module, x, other)
    assert_equal(empirical_ntk(module, x, other, engine="hooks"), trace(full))
    assert_equal(empirical_ntk(module, x, other, output="full", engine="hooks"), full)
    parts = layer_ntks(module, x, other, engine="hooks")
    assert list(parts) == [name for name, _ in module.named_parameters()]
    assert "second.weight" not in parts
    assert_equal(sum(parts.values()), trace(full))


def test_finite_differences():
    with seeded(4):
        module = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 2)).double()
    x, step = draw(3, 2), 1e-6
    jacobian = []
    with torch.no_grad():
        for p in module.parameters():
            for i in range(p.numel()):
                ends = []
                for sign in (1, -1):
                    p.view(-1)[i] += sign * step
                    ends.append(module(x))
                    p.view(-1)[i] -= sign * step
                jacobian.append((ends[0] - ends[1]) / (2 * step))
    rows = torch.stack(jacobian)  # (parameters, n, d)
    expected = torch.einsum("pik,pjl->ijkl", rows, rows)
    # Central differences err by step^2 and by rounding over the step.
    assert relative(empirical_ntk(module, x, output="full"), expected) < 1e-9


def test_parameters_without_gradients_are_left_out():
    with seeded(5):
        module = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2)).double()
    module[0].weight.requires_grad_(False)
    module[2].bias.requires_grad_(False)
    x = draw(3, 4)
    for engine in ("hooks", "func"):
        assert_equal(empirical_ntk(module, x, engine=engine), trace(full_kernel(module, x)))
    assert list(layer_ntks(module, x)) == ["0.bias", "2.weight"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["convnet", "resnet18"])
def test_float32_modules_lose_what_their_gradients_lose(name):
    encoder = build_encoder(name, (3, 16, 16), 3, seed=0).eval()
    x = images(4, 3, 16, 16)
    single = empirical_ntk(encoder, x.float())
    double = empirical_ntk(encoder.double(), x)
    scale = double.diagonal().sqrt()
    # Gradients are off by some roundings of 6e-8 a layer; their products add nothing to that.
    assert ((single - double).abs() < 1e-5 * scale[:, None] * scale).all()
    assert torch.linalg.eigvalsh(single)[0] > -1e-14 * scale.max() ** 2
    assert single.dtype == torch.float64


def test_a_module_and_its_modes_are_left_as_they_are():
    with seeded(6):
        module = jacobians.randomise(nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)))
    module.append(nn.ReLU())  # in training mode, which nothing in it minds
    x = draw(3, 4).requires_grad_()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    with torch.no_grad():
        kernel = empirical_ntk(module, x)
    assert not kernel.requires_grad
    assert x.grad is None
    assert module[2].training
    assert not any(part._forward_hooks for part in module.modules())
    assert all(p.grad is None and p.requires_grad for p in module.parameters())
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


@pytest.mark.machine
def test_pairs_of_a_linear_map_give_the_spectrum_of_the_prediction():
    x, noise = draw(30, 6), draw(30, 6, seed=8)
    x_prime = 0.7 * x + 0.3 * noise
    layer = nn.Linear(6, 4, bias=False).double()
    kernel = pair_ntk(layer, x, x_prime)
    assert_equal(kernel, torch.cat([x, x_prime]) @ torch.cat([x, x_prime]).T)
    predicted = predict_steps(x.numpy(), x_prime.numpy(), dim=4)
    found = kernel_modes(kernel.numpy(), 4)
    np.testing.assert_allclose(found.gamma, predicted.eigenvalues, rtol=1e-10)
    u = draw(4, 1)
    u /= u.norm()
    assert_equal(pair_ntk(layer, x, x_prime, output=u), kernel)
    assert_equal(pair_ntk(layer, x, x_prime, output=[2, 0]), kernel)
    assert_equal(pair_ntk(layer, x, x_prime, output=np.arange(2)), kernel)


@pytest.mark.machine
def test_finished_blocks_are_read_again(tmp_path):
    encoder = build_encoder("convnet", (1, 8, 8), 3, seed=0, widths=(4, 4)).eval()
    x = torch.rand(9, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    options = {"memory_budget": 40_000, "output": [0, 2]}
    folder = tmp_path / "kernel"
    passes = []

    def count_or_stop(*_):
        passes.append(1)
        if not stopped and len(list(folder.glob("rows_*.npy"))) == 2:
            raise KeyboardInterrupt

    def counted(**more):
        passes.clear()
        return empirical_ntk(encoder, x, **options, **more), len(passes)

    encoder.register_forward_pre_hook(count_or_stop)
    stopped = False
    with pytest.raises(KeyboardInterrupt):
        counted(resume=folder)
    stopped = True
    resumed, rest = counted(resume=folder)
    again, none = counted(resume=folder)
    whole, every = counted()
    assert len(list(folder.glob("rows_*.npy"))) == 6  # of three rows each
    assert (every - rest, every - none) == (2, 6)  # passes of the blocks that were finished
    assert torch.equal(resumed, whole)
    assert torch.equal(again, whole)
    with torch.no_grad():
        encoder.projector[-1].weight[0, 0] += 1e-3
    with pytest.raises(ValueError, match="holds blocks of another kernel; expected the same"):
        empirical_ntk(encoder, x, resume=tmp_path / "kernel", output=[0, 2])
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes").write_text("mine")
    with pytest.raises(ValueError, match="holds other files; expected an empty or a new folder"):
        empirical_ntk(encoder, x, resume=tmp_path / "other")
    with pytest.raises(ValueError, match="cannot be used"):
        empirical_ntk(encoder, x, resume=tmp_path / "other" / "notes")


def test_a_budget_that_is_too_small_says_what_is_needed():
    encoder = build_encoder("convnet", (1, 8, 8), 3, seed=0, widths=(4, 4)).eval()
    x = torch.rand(9, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match=r"is 100 bytes; expected \d+ or more") as caught:
        empirical_ntk(encoder, x, memory_budget=100)
    least = int(str(caught.value).split("expected ")[1].split()[0])
    found = empirical_ntk(encoder, x, memory_budget=least)
    assert relative(found, empirical_ntk(encoder, x)) < 1e-6
    with pytest.raises(ValueError, match="memory_budget is 0; expected a number of bytes"):
        empirical_ntk(encoder, x, memory_budget=0)


class Noisy(nn.Module):
    """Random in evaluation mode."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 2)

    def forward(self, x):
        """Dropout that never ends."""
        return self.layer(x) + torch.rand(2)


class Centred(nn.Module):
    """Couples samples without a BatchNorm."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 2)

    def forward(self, x):
        """Subtract the mean over samples."""
        out = self.layer(x)
        return out - out.mean(0)


class InPlace(nn.Module):
    """Changes the input of a layer after the call."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 2)

    def forward(self, x):
        """Add to an input in place."""
        x = x + 0
        out = self.layer(x)
        x.add_(1)
        return out


class Diverged(nn.Module):
    """Gives infinite outputs."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 2)

    def forward(self, x):
        """Divide by zero."""
        return self.layer(x) / 0


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)), "BatchNorm1d '1' is in training mode"),
        (nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.1)), "Dropout '1' is in training mode"),
        (nn.BatchNorm1d(2, track_running_stats=False).eval(), "has no running statistics"),
        (nn.ReLU(), "ReLU has no parameter that requires gradients"),
        (nn.Linear(2, 2).requires_grad_(False), "Linear has no parameter that requires"),
        (Noisy(), "Noisy gives other outputs for the same inputs"),
        (Centred(), "the output of Centred for one sample depends on another"),
        (InPlace(), "changed in place after its call|modified by an inplace operation"),
        (Diverged(), "outputs of Diverged are not finite"),
        (nn.Sequential(nn.Linear(2, 2), nn.Flatten(0)), r"Sequential gives \(4,\) for 2 samples"),
        (nn.LSTM(2, 2), "LSTM gives tuple for 2 samples"),
    ],
)
def test_modules_that_have_no_kernel_are_refused(module, message):
    with pytest.raises(ValueError, match=message):
        empirical_ntk(module, torch.rand(3, 2, generator=torch.Generator().manual_seed(0)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x1": torch.zeros(0, 2)}, r"x1 has shape \(0, 2\)"),
        ({"x1": torch.zeros(3)}, r"x1 has shape \(3,\)"),
        ({"x1": torch.zeros(3, 2, dtype=torch.int64)}, "type torch.int64; expected floats"),
        ({"x1": np.zeros((3, 2))}, "x1 has type ndarray; expected a Tensor"),
        ({"x1": torch.full((3, 2), np.nan)}, "x1 holds NaN"),
        ({"x1": torch.zeros(3, 2).double()}, "x1 has type torch.float64; expected the module's"),
        ({"x2": torch.zeros(3, 4)}, r"x2 has shape \(3, 4\)"),
        ({"x2": torch.full((3, 2), np.inf)}, "x2 holds NaN or infinite"),
        ({"engine": "fast"}, "engine is 'fast'; expected one of"),
        ({"output": "mean"}, "output is 'mean'; expected 'trace', 'full'"),
        (
            {"output": [0, 3]},
            r"output is \[0, 3\]; expected a sequence of distinct integers from 0 to 2",
        ),
        ({"output": [1, 1]}, "expected a sequence of distinct integers"),
        ({"output": []}, "expected a sequence of distinct integers"),
        ({"output": [True]}, "expected a sequence of distinct integers"),
        ({"output": 2}, "output is 2; expected a sequence of distinct integers from 0 to 2"),
        ({"output": None}, "output is None; expected a sequence of distinct integers"),
        ({"output": torch.ones(2, 3)}, r"output has shape \(2, 3\); expected \(3, p\)"),
        ({"output": torch.full((3, 1), np.nan)}, "output is no matrix of finite floats"),
    ],
)
def test_unfit_arguments_are_refused(change, message):
    arguments = {"x1": torch.zeros(3, 2), **change}
    with pytest.raises(ValueError, match=message):
        empirical_ntk(nn.Linear(2, 3), **arguments)


def test_parts_and_pairs_refuse_what_they_cannot_be():
    layer, x = nn.Linear(2, 3), torch.zeros(3, 2)
    with pytest.raises(ValueError, match="output is 'full'; expected"):
        layer_ntks(layer, x, output="full")
    with pytest.raises(ValueError, match="output is 'full'; expected"):
        pair_ntk(layer, x, x, output="full")
    with pytest.raises(ValueError, match=r"x has shape \(3, 2\) and x_prime \(2, 2\)"):
        pair_ntk(layer, x, x[:2])


def test_statistics_of_the_batch_are_refused():
    encoder = build_encoder("resnet18", (1, 8, 8), 3, seed=0)
    with batch_statistics(encoder), pytest.raises(ValueError, match="has no running statistics"):
        empirical_ntk(encoder, torch.zeros(2, 1, 8, 8))
