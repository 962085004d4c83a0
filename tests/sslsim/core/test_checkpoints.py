"""Checkpoints are whole or not there, and a damaged one is noticed."""

import contextlib
import os
import resource
import signal
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from sslsim.core.checkpoints import (
    checkpoints,
    load_checkpoint,
    load_newest_checkpoint,
    save_checkpoint,
)
from sslsim.core.files import whole_file

CPU = torch.device("cpu")


def state(step):
    weight = torch.randn(40, 25, generator=torch.Generator().manual_seed(step))
    return {"step": step, "learner": {"weight": weight}, "options": {"lr": 0.1, "kind": "noise"}}


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def cut(path):
    os.truncate(path, path.stat().st_size // 2)


def empty(path):
    os.truncate(path, 0)


def flip(path):
    data = bytearray(path.read_bytes())
    place = data.index(state(20)["learner"]["weight"].numpy().tobytes())
    data[place + 1234] ^= 1
    path.write_bytes(data)


def other(path):
    torch.save([1, 2], path)


def test_what_was_saved_is_loaded(tmp_path):
    path = save_checkpoint(tmp_path / "new" / "folder", 7, state(7))
    assert path.name == "checkpoint-000000007.pt"
    for found in (load_checkpoint(path, CPU), load_newest_checkpoint(path.parent, CPU)):
        assert torch.equal(found["learner"]["weight"], state(7)["learner"]["weight"])
        assert found["options"] == state(7)["options"]


def test_the_oldest_go_beyond_those_to_keep(tmp_path):
    for step in (5, 10, 999_999_999, 3):
        save_checkpoint(tmp_path / "two", step, state(step))
        save_checkpoint(tmp_path / "one", step, state(step), keep=1)
    # 3 was reached from before 10 and 999999999: these cannot have been intact.
    assert names(tmp_path / "two") == ["checkpoint-000000003.pt"]
    for step in (4, 6):
        save_checkpoint(tmp_path / "two", step, state(step))
        save_checkpoint(tmp_path / "one", step, state(step), keep=1)
    assert [path.name for path in checkpoints(tmp_path / "two")] == [
        "checkpoint-000000006.pt",
        "checkpoint-000000004.pt",
    ]
    assert names(tmp_path / "one") == ["checkpoint-000000006.pt"]


@contextlib.contextmanager
def limited_file_size(size):
    """Let the system refuse files larger than so many bytes, as it does on a full disk."""
    kept = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, kept[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, kept)
        signal.signal(signal.SIGXFSZ, handler)


def test_keeping_all_removes_only_those_of_a_later_step(tmp_path):
    for step in (0, 5, 10, 999_999_999, 15):
        save_checkpoint(tmp_path, step, state(step), keep=0)
    assert names(tmp_path) == [f"checkpoint-{step:09d}.pt" for step in (0, 5, 10, 15)]


@pytest.mark.parametrize("damage", [cut, empty, flip, other])
def test_a_damaged_one_falls_back_to_the_one_before(tmp_path, damage):
    for step in (10, 20):
        save_checkpoint(tmp_path, step, state(step))
    damage(tmp_path / "checkpoint-000000020.pt")
    with pytest.warns(UserWarning, match=r"20\.pt is not an intact .* the checkpoint before"):
        found = load_newest_checkpoint(tmp_path, CPU)
    assert found["step"] == 10
    save_checkpoint(tmp_path, 15, state(15))
    assert names(tmp_path) == ["checkpoint-000000010.pt", "checkpoint-000000015.pt"]


def test_all_damaged_is_an_error(tmp_path):
    for step in (10, 20):
        empty(save_checkpoint(tmp_path, step, state(step)))
    with (
        pytest.warns(UserWarning, match="falling back"),
        pytest.raises(ValueError, match=r"holds 2 checkpoint\(s\), none of them intact"),
    ):
        load_newest_checkpoint(tmp_path, CPU)


def test_a_changed_bit_anywhere_is_noticed_or_of_no_account(tmp_path):
    path = save_checkpoint(tmp_path, 1, state(1))
    data, rng, noticed = path.read_bytes(), np.random.default_rng(0), 0
    for place in rng.integers(len(data), size=150):
        changed = bytearray(data)
        changed[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(changed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                found = load_checkpoint(path, CPU)
            except ValueError:
                noticed += 1
                continue
        # The archive has padding and fields nobody reads.
        assert found["step"] == 1
        assert found["options"] == state(1)["options"]
        assert torch.equal(found["learner"]["weight"], state(1)["learner"]["weight"])
    assert noticed > 100


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError("disk full"), OSError(28, "no")])
def test_a_failure_while_writing_leaves_what_was_there(tmp_path, monkeypatch, error):
    save_checkpoint(tmp_path, 10, state(10))

    def partly(value, file):
        file.write(b"PK half of it")
        raise error

    monkeypatch.setattr(torch, "save", partly)
    expected = KeyboardInterrupt if error is KeyboardInterrupt else ValueError
    with pytest.raises(expected, match=None if expected is KeyboardInterrupt else "be written"):
        save_checkpoint(tmp_path, 20, state(20))
    assert names(tmp_path) == ["checkpoint-000000010.pt"]
    assert load_newest_checkpoint(tmp_path, CPU)["step"] == 10


def test_parts_of_killed_writers_and_strange_names_are_no_checkpoints(tmp_path):
    for name in (
        ".checkpoint-000000020.pt.0123456789abcdef.tmp",
        "checkpoint-12.pt",
        "checkpoint-000000030.pt.bak",
    ):
        (tmp_path / name).write_bytes(b"half")
    assert load_newest_checkpoint(tmp_path, CPU) is None
    save_checkpoint(tmp_path, 10, state(10))
    kept = ["checkpoint-000000010.pt", "checkpoint-000000030.pt.bak", "checkpoint-12.pt"]
    assert names(tmp_path) == kept


def test_a_full_disk_is_told_in_the_words_of_the_system(tmp_path):
    large = {"weight": torch.zeros(2**18)}  # 1 MiB
    with limited_file_size(2**16), pytest.raises(ValueError, match="too large") as caught:
        save_checkpoint(tmp_path, 1, large)
    path = tmp_path / "checkpoint-000000001.pt"
    assert str(caught.value) == f"{path} cannot be written: File too large"
    assert names(tmp_path) == []


def test_a_folder_that_cannot_be_made_is_an_error_in_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"^.*checkpoint-000000001\.pt cannot be written: .*$"):
        save_checkpoint(tmp_path / "file", 1, state(1))


def test_a_whole_file_replaces_or_leaves_the_old_one(tmp_path):
    path = tmp_path / "note"
    path.write_bytes(b"old")

    def write(error):
        with whole_file(path) as file:
            file.write(b"new")
            assert path.read_bytes() == b"old"
            if error:
                raise error

    with pytest.raises(KeyError):
        write(KeyError("inside"))
    with pytest.raises(ValueError, match="note cannot be written: No space left on device"):
        write(OSError(28, "No space left on device"))
    assert names(tmp_path) == ["note"]
    assert path.read_bytes() == b"old"
    write(None)
    assert path.read_bytes() == b"new"
    with (
        pytest.raises(ValueError, match="cannot be written: No such file or directory"),
        whole_file(Path("nowhere") / "note"),
    ):
        pass


def test_others_may_read_a_checkpoint_as_any_other_file(tmp_path):
    path = save_checkpoint(tmp_path, 1, state(1))
    (tmp_path / "plain").write_text("")
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode
