"""Networks that commands look at: of a run, and the user's own."""

import sys
from collections import OrderedDict

import pytest
import torch
from torch import nn

from experiments.studies.training.train import train_network
from sslsim.encoders.own.factory import load_module
from sslsim.runs.networks import kept_steps
from sslsim.runs.options import TrainOptions
from sslsim.runs.setup import initial_learner, split_data
from sslsim.runs.trained_run import TrainedRun

SOURCE = """
import torch
from torch import nn

from own_helper import WIDTH

def build():
    import own_late  # found while the factory runs
    return nn.Sequential(nn.Flatten(), nn.Linear(WIDTH, 3))

def broken():
    raise RuntimeError("no\\nluck")

def leaves():
    raise SystemExit(3)

def number():
    return 3

def lazy():
    return nn.LazyLinear(3)

constant = 5
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A module of the user's in the current directory."""
    (tmp_path / "own_network.py").write_text(SOURCE)
    (tmp_path / "own_helper.py").write_text("WIDTH = 64\n")
    (tmp_path / "own_late.py").write_text("")
    (tmp_path / "own_faulty.py").write_text("1 / 0\n")
    (tmp_path / "own_leaves.py").write_text("raise SystemExit\n")
    (tmp_path / "own_needy.py").write_text("import not_there\n")
    monkeypatch.chdir(tmp_path)
    before, names = list(sys.path), set(sys.modules)
    yield tmp_path
    assert sys.path == before
    for name in set(sys.modules) - names:
        if name.startswith("own_"):
            del sys.modules[name]


@pytest.mark.parametrize("wrapped", [None, "state_dict", "model"])
def test_weights_are_loaded_plain_or_wrapped(own, wrapped):
    state = OrderedDict({"1.weight": torch.rand(3, 64), "1.bias": torch.rand(3)})
    torch.save(state if wrapped is None else {wrapped: state, "epoch": 3}, own / "w.pt")
    network = load_module("own_network:build", own / "w.pt")
    assert not network.training
    for key, value in network.state_dict().items():
        assert torch.equal(value, state[key])


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod."])
@pytest.mark.parametrize("nested", [(), ("net",), ("model_state_dict",), ("model", "state_dict")])
def test_weights_are_loaded_as_people_save_them(own, prefix, nested):
    state = {"1.weight": torch.rand(3, 64), "1.bias": torch.rand(3)}
    held = {prefix + key: value for key, value in state.items()}
    for name in nested:
        held = {name: held, "epoch": 3, "optimizer": {"lr": 0.1}}
    torch.save(held, own / "w.pt")
    for key, value in load_module("own_network:build", own / "w.pt").state_dict().items():
        assert torch.equal(value, state[key])


def test_a_prefix_that_is_the_modules_own_stays(own):
    inner = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    (own / "own_wrapped.py").write_text(
        "from torch import nn\n"
        "def build():\n"
        "    return nn.Sequential(OrderedDict(module=nn.Linear(64, 3)))\n"
        "from collections import OrderedDict\n"
    )
    torch.save({f"module.{key[2:]}": v for key, v in inner.state_dict().items()}, own / "w.pt")
    loaded = load_module("own_wrapped:build", own / "w.pt")
    assert torch.equal(loaded.module.weight, inner[1].weight)


def test_a_whole_module_is_told_apart_from_a_damaged_file(own):
    torch.save(nn.Linear(2, 3), own / "w.pt")
    with pytest.raises(
        ValueError, match=r"such as a whole module, .*net\.state_dict\(\), file"
    ) as e:
        load_module("own_network:build", own / "w.pt")
    assert "weights_only" not in str(e.value)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("own_network", "module is 'own_network'; expected package.module:name"),
        (":build", "expected package.module:name"),
        ("own_nowhere:build", "but there is no module named 'own_nowhere'"),
        ("own_needy:build", "but there is no module named 'not_there'"),
        ("own_faulty:build", "own_faulty cannot be imported: ZeroDivisionError"),
        ("own_network:missing", "own_network has no 'missing'"),
        ("own_network:constant", "own_network cannot be called by 'constant'"),
        ("own_network:broken", "own_network:broken raised RuntimeError: no luck"),
        ("own_network:leaves", "own_network:leaves raised SystemExit: 3; expected an nn.Module"),
        ("own_leaves:build", "own_leaves cannot be imported: SystemExit"),
        ("own_network:number", "returned a int; expected an nn.Module"),
    ],
)
def test_modules_that_cannot_be_had_are_refused_in_one_line(own, name, message):
    with pytest.raises(ValueError, match=message) as caught:
        load_module(name)
    assert "\n" not in str(caught.value)


def test_weights_do_not_fit_into_lazy_layers(own):
    torch.save(nn.Linear(64, 3).state_dict(), own / "w.pt")
    with pytest.raises(ValueError, match="lazy layers, into which no weights fit; expected one"):
        load_module("own_network:lazy", own / "w.pt")


@pytest.mark.parametrize(
    ("held", "message"),
    [
        (None, "w.pt cannot be read: No such file"),
        (b"rubbish", "no file of torch.save"),
        ([1, 2], "hold a list; expected a state dict"),
        ({"1.weight": torch.rand(3, 64)}, r"do not fit: 1 missing \('1.bias'\); expected"),
        (
            {"net": {"backbone.1.weight": torch.rand(3, 64)}},
            r"under 'net' without 'backbone.' do not fit: 1 missing \('1.bias'\); ",
        ),
        (
            {"net": {"a": torch.rand(1)}, "model": {"a": torch.rand(1)}},
            r"under 'net' do not fit: 2 missing .*; 1 unexpected \('a'\); its keys begin",
        ),
        (
            {"1.weight": torch.rand(3, 6), "1.bias": torch.rand(3)},
            r"1 of another shape \('1.weight' is \(3, 6\), exp",
        ),
        ({"1.weight": 3, "1.bias": torch.rand(3)}, r"'1.weight' is \(\), expected \(3, 64\)"),
        (
            {"1.weight": torch.rand(3, 64), "1.bias": torch.rand(3), "1.x": torch.rand(1)},
            r"do not fit: 1 unexpected \('1.x'\)",
        ),
    ],
)
def test_weights_that_do_not_fit_are_refused_in_one_line(own, held, message):
    path = own / "w.pt"
    if isinstance(held, bytes):
        path.write_bytes(held)
    elif held is not None:
        torch.save(held, path)
    with pytest.raises(ValueError, match=message) as caught:
        load_module("own_network:build", path)
    assert "\n" not in str(caught.value)


def test_a_run_gives_its_network_at_every_checkpoint_kept(tmp_path):
    options = TrainOptions(
        encoder="linear",
        dim=2,
        limit=64,
        steps=6,
        records=3,
        probe=16,
        evaluate=False,
        checkpoint_every=2,
        checkpoints_kept=0,
        device="cpu",
        out=tmp_path,
    )
    train_network(options)
    assert kept_steps(tmp_path) == [0, 2, 4, 6]
    data = split_data(options)[0]
    run = TrainedRun.open(tmp_path)
    found = {step: run.learner(step).encoder for step in (0, 2, 4, 6)}
    assert all(not encoder.training for encoder in found.values())
    newest = run.learner()
    assert run.step_at() == 6
    weights = {at: next(encoder.parameters()) for at, encoder in found.items()}
    assert torch.equal(weights[6], next(newest.encoder.parameters()))
    assert not torch.equal(weights[4], weights[6])
    start = next(initial_learner(options, data).encoder.parameters())
    assert torch.equal(weights[0], start)
    kept = torch.load(tmp_path / "checkpoints/checkpoint-000000000.pt", weights_only=True)
    assert torch.equal(next(iter(kept["learner"].values())), start)
    with pytest.raises(ValueError, match=r"checkpoint is 3; .* holds 0, 2, 4, 6"):
        run.learner(3)


def test_an_identity_needs_no_weights():
    assert isinstance(load_module("torch.nn:Identity"), nn.Identity)
