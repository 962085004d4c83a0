"""Weights as people save them are loaded where only one place fits, else every fault is named."""

import argparse
import warnings
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from torch import nn

from sslsim.core.seeds import seeded
from sslsim.encoders.own import weights as own_weights
from sslsim.encoders.own.weights import load_weights_file


class Block(nn.Sequential):
    """A small backbone with BatchNorm and blocks."""

    def __init__(self, blocks=2, head=None):
        parts = OrderedDict(stem=nn.Linear(4, 3), norm=nn.BatchNorm1d(3))
        parts["stack"] = nn.Sequential(*[nn.Linear(3, 3) for _ in range(blocks)])
        parts["fc"] = nn.Identity() if head is None else nn.Linear(3, head)
        super().__init__(parts)


class Whole(nn.Module):
    """A backbone with a projector."""

    def __init__(self):
        super().__init__()
        self.backbone, self.projector = Block(), nn.Linear(3, 2)


class Options:
    """Stands for a class of the user's that is pickled beside the weights."""


def state_of(build, seed):
    with seeded(seed):
        network = build()
    return {key: value + 1 for key, value in network.state_dict().items()}


def behind(prefix, state):
    return {prefix + key: value for key, value in state.items()}


BLOCK, OTHER, WHOLE = state_of(Block, 1), state_of(Block, 2), state_of(Whole, 3)
WITH_HEAD = state_of(lambda: Block(head=5), 4)
BACKBONE_OF_WHOLE = {k.removeprefix("backbone."): v for k, v in WHOLE.items() if "backbone." in k}


def load(network, content, tmp_path, place=""):
    torch.save(content, tmp_path / "w.pt")
    load_weights_file(network, Path(f"{tmp_path / 'w.pt'}{place}"))
    return network.state_dict()


def assert_same(found, expected):
    assert all(torch.equal(value, expected[key]) for key, value in found.items())


@pytest.mark.parametrize(
    "content",
    [
        BLOCK,
        behind("module.", BLOCK),
        behind("_orig_mod.", BLOCK),
        behind("backbone.", BLOCK),
        behind("model.encoder.", BLOCK),
        {"state_dict": behind("module.backbone.", BLOCK), "epoch": 3, "args": Options()},
        {"teacher": behind("module.", BLOCK), "optimizer": {"state": {0: torch.rand(3)}}},
        {"model": BLOCK, "ema": {k: v.clone() for k, v in BLOCK.items()}},  # the same twice
        {"a": {"b": {"c": behind("net._orig_mod.", BLOCK)}}, "options": argparse.Namespace(x=1)},
        {k.replace("stack.", "stack.module."): v for k, v in BLOCK.items()},  # a part in DDP
    ],
    ids=range(10),
)
def test_weights_are_found_behind_any_names(content, tmp_path):
    assert_same(load(Block(), content, tmp_path), BLOCK)


def test_a_head_left_on_and_other_parts_are_named_and_left_out(tmp_path):
    with pytest.warns(UserWarning, match=r"2 keys of .*w\.pt are not used: fc\.weight, fc\.bias"):
        assert_same(load(Block(), WITH_HEAD, tmp_path), WITH_HEAD)
    with pytest.warns(UserWarning, match=r"not used: projector\.weight, projector\.bias"):
        assert_same(load(Block(), behind("module.", WHOLE), tmp_path), BACKBONE_OF_WHOLE)
    with pytest.warns(UserWarning, match="not used: queue"):
        load(Block(), {**behind("encoder_q.", BLOCK), "queue": torch.rand(2)}, tmp_path)


def test_weights_of_a_part_fit_a_network_that_is_that_part(tmp_path):
    class Shell(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = Block()

    assert_same(load(Shell(), BLOCK, tmp_path), behind("model.", BLOCK))


def test_a_part_that_is_called_as_wrappers_are_keeps_its_name(tmp_path):
    def build():
        return nn.Sequential(OrderedDict(module=nn.Linear(4, 3), fc=nn.Linear(3, 3)))

    state = state_of(build, 5)
    for saved in (state, behind("module.", state)):
        assert_same(load(build(), saved, tmp_path), state)


@pytest.mark.parametrize("key", ["stem.weight", "norm.running_var", "stack.1.bias"])
def test_weights_that_lack_one_key_are_refused(tmp_path, key):
    with pytest.raises(ValueError, match=rf"do not fit: 1 missing \('{key}'\); expected the keys"):
        load(Block(), {name: v for name, v in BLOCK.items() if name != key}, tmp_path)


def test_counts_of_batches_may_be_missing(tmp_path):
    old = {key: value for key, value in BLOCK.items() if "num_batches" not in key}
    found = load(Block(), old, tmp_path)
    assert found.pop("norm.num_batches_tracked") == 0
    assert_same(found, BLOCK)


@pytest.mark.parametrize(
    ("content", "first", "second"),
    [
        ({"student": BLOCK, "teacher": OTHER}, "student", "teacher"),
        ({"s": {**behind("module.q.", BLOCK), **behind("module.k.", OTHER)}}, "s.q", "s.k"),
    ],
)
def test_of_several_that_fit_the_user_chooses(content, first, second, tmp_path):
    message = (
        f"hold several that fit, under {first} and {second}; expected one, chosen by .*:{first}"
    )
    with pytest.raises(ValueError, match=message):
        load(Block(), content, tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the other one, which is not used
        chosen = f":{second.rpartition('.')[2]}"
        assert_same(load(Block(), content, tmp_path, chosen), OTHER)
    with pytest.raises(ValueError, match=f"hold nothing under 'x'; expected one of .*{first}"):
        load(Block(), content, tmp_path, ":x")


def test_what_does_not_fit_is_told_key_by_key_in_one_line(tmp_path):
    wrong = {**BLOCK, "stem.weight": torch.rand(3, 5), "stack.0.gain": torch.rand(1)}
    del wrong["stack.1.bias"]
    with pytest.raises(ValueError, match="do not fit") as caught:
        load(Block(), {"net": behind("module.", wrong)}, tmp_path)
    told = str(caught.value)
    assert "\n" not in told
    for words in (
        "under 'net'",
        "1 missing ('stack.1.bias')",
        "1 unexpected ('stack.0.gain')",
        "1 of another shape ('stem.weight' is (3, 5), expected (3, 4))",
    ):
        assert words in told


def test_a_deeper_network_is_not_taken_for_a_shallow_one_with_a_head(tmp_path):
    before = Block().state_dict()
    network = Block()
    network.load_state_dict(before)
    with pytest.raises(ValueError, match=r"2 unexpected \('stack\.2\.weight', 'stack\.2\.bias'\)"):
        load(network, state_of(lambda: Block(3), 1), tmp_path)
    assert_same(network.state_dict(), before)


def test_nothing_in_a_file_is_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return (exec, (f"open({str(tmp_path / 'ran')!r}, 'w')",))

    torch.save({"model": BLOCK, "args": Evil()}, tmp_path / "w.pt")
    network = Block()
    load_weights_file(network, tmp_path / "w.pt")
    assert_same(network.state_dict(), BLOCK)
    assert not (tmp_path / "ran").exists()


def test_safetensors_are_read_or_the_extra_is_named(tmp_path, monkeypatch):
    path = tmp_path / "w.safetensors"

    def missing(name):
        raise ModuleNotFoundError(f"No module named {name!r}")

    with monkeypatch.context() as patched:
        patched.setattr(own_weights, "import_module", missing)
        with pytest.raises(
            ValueError, match=r"needs? safetensors.*pip install 'sslsim\[networks\]"
        ):
            load_weights_file(Block(), path)
    library = pytest.importorskip("safetensors.torch")
    library.save_file(behind("module.", BLOCK), path)
    network = Block()
    load_weights_file(network, path)
    assert_same(network.state_dict(), BLOCK)
