"""Run folders: strict JSON, whole files or none, one-line errors."""

import errno
import os
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from sslsim.core import files as runs


@dataclass
class Point:
    """A dataclass to write."""

    x: float
    y: float


def test_json_is_strict_and_plain(tmp_path):
    path = tmp_path / "a.json"
    runs.write_json(
        path,
        {
            "array": np.array([[1.0, np.inf], [-np.inf, np.nan]]),
            "tensor": torch.tensor([True, False]),
            "scalar": np.float32(0.5),
            "count": torch.tensor(3),
            "point": Point(1.0, float("nan")),
            "path": tmp_path,
            "none": None,
            "flag": np.bool_(True),
        },
    )
    text = path.read_text()
    assert "NaN" not in text
    assert "Infinity" not in text
    values = runs.read_json(path)
    assert values["array"] == [[1.0, None], [None, None]]
    assert values["tensor"] == [True, False]
    assert (values["scalar"], values["count"], values["flag"]) == (0.5, 3, True)
    assert values["point"] == {"x": 1.0, "y": None}
    assert values["path"] == str(tmp_path)


def test_what_has_no_json_form_is_refused_and_leaves_nothing(tmp_path):
    with pytest.raises(TypeError, match="object has no JSON form"):
        runs.write_json(tmp_path / "a.json", {"a": object()})
    assert list(tmp_path.iterdir()) == []


def test_arrays_come_back_as_they_were(tmp_path):
    arrays = {"a": np.arange(3), "b": np.array([np.nan, np.inf])}
    runs.write_arrays(tmp_path / "a.npz", **arrays)
    found = runs.read_arrays(tmp_path / "a.npz")
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_file_and_no_other(tmp_path, monkeypatch, failing):
    runs.write_json(tmp_path / "a.json", {"kept": 1})
    runs.write_arrays(tmp_path / "a.npz", kept=[1])
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, failing, full)
    with pytest.raises(ValueError, match=r"a\.json cannot be written: No space left on device$"):
        runs.write_json(tmp_path / "a.json", {"lost": 2})
    with pytest.raises(ValueError, match=r"a\.npz cannot be written: No space left on device$"):
        runs.write_arrays(tmp_path / "a.npz", lost=[2])
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_an_interrupted_write_leaves_nothing(tmp_path):
    def interrupted():
        with runs.whole_file(tmp_path / "a") as file:
            file.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


def test_unreadable_files_are_named(tmp_path):
    bad = tmp_path / "bad"
    bad.write_text("{")
    with pytest.raises(ValueError, match="bad is not valid JSON"):
        runs.read_json(bad)
    with pytest.raises(ValueError, match=r"bad is not a readable \.npz file"):
        runs.read_arrays(bad)
    bad.write_text("[]")
    with pytest.raises(ValueError, match="holds a list; expected a JSON object"):
        runs.read_json(bad)
