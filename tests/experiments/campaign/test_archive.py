"""The archive: what it holds, what it says it lacks, and the same bytes every time."""

import hashlib
import io
import json
import tarfile
from pathlib import Path

import numpy as np

from experiments.campaign.archive import NAME, pack_results


def results(folder):
    folder.mkdir()
    (folder / "a" / "checkpoints").mkdir(parents=True)
    (folder / "a" / "checkpoints" / "step.npz").write_bytes(b"state")
    (folder / "a" / ".hidden.json").write_text("{}")
    (folder / "a" / "weights.pt").write_bytes(b"w")
    (folder / "a" / "training.json").write_text("{}")
    (folder / "a" / "large.png").write_bytes(b"x" * 5000)
    (folder / "a" / "torn.npz").write_bytes(b"x" * 5000)
    np.savez(folder / "a" / "records.npz", times=np.arange(8.0), scores=np.zeros((40, 40)))
    np.savez(folder / "a" / "kernel.npz", kernel=np.zeros((40, 40)))
    return folder


def test_the_archive_holds_results_and_says_what_it_lacks(tmp_path):
    folder = results(tmp_path / "c")
    with tarfile.open(pack_results(folder, 4000)) as archive:
        held = {entry.name: archive.extractfile(entry).read() for entry in archive}
        assert {(e.mtime, e.uid, e.gid, e.uname) for e in archive} == {(0, 0, 0, "")}
    assert list(held) == ["SHA256SUMS", "contents.json", "a/records.npz", "a/training.json"]
    with np.load(io.BytesIO(held["a/records.npz"])) as records:
        assert records.files == ["times"]
        assert records["times"].tolist() == list(range(8))
    contents = json.loads(held["contents.json"])
    assert contents["trimmed"] == {"a/records.npz": ["scores"]}
    assert set(contents["left_out"]) == {"a/large.png", "a/torn.npz", "a/kernel.npz"}
    sums = dict(reversed(line.split("  ")) for line in held["SHA256SUMS"].decode().splitlines())
    assert sums == {
        name: hashlib.sha256(content).hexdigest()
        for name, content in held.items()
        if name != "SHA256SUMS"
    }


def test_the_archive_has_the_same_bytes_from_the_same_results(tmp_path):
    one, two = results(tmp_path / "one"), results(tmp_path / "two")
    for path in two.rglob("*"):
        if path.is_file():
            path.touch()
    assert pack_results(one, 4000).read_bytes() == pack_results(two, 4000).read_bytes()
    assert pack_results(one, 4000).read_bytes() == (two / NAME).read_bytes()
    assert (one / NAME).read_bytes()[4:8] == bytes(4)  # gzip's own time


def test_an_archive_of_unpacked_results_says_what_they_lacked(tmp_path):
    first = results(tmp_path / "first")
    with tarfile.open(pack_results(first, 4000)) as archive:
        archive.extractall(tmp_path / "second", filter="data")
    second = tmp_path / "second"
    (second / "b").mkdir()
    (second / "b" / "new.json").write_text("{}")

    def contents():
        with tarfile.open(pack_results(second, 4000)) as archive:
            assert archive.getnames().count("contents.json") == 1
            assert "b/new.json" in archive.getnames()
            return json.loads(archive.extractfile("contents.json").read())

    found = contents()
    assert found["trimmed"] == {"a/records.npz": ["scores"]}
    assert set(found["left_out"]) == {"a/large.png", "a/torn.npz", "a/kernel.npz"}
    # Made again, smaller: nothing is lacking of these.
    np.savez(second / "a" / "records.npz", times=np.arange(2.0), scores=np.zeros(3))
    (second / "a" / "large.png").write_bytes(b"x")
    found = contents()
    assert found["trimmed"] == {}
    assert set(found["left_out"]) == {"a/torn.npz", "a/kernel.npz"}
    (second / "contents.json").write_text('{"trimmed": [1]}')  # of another kind
    assert contents()["left_out"] == {}


def test_files_that_vanish_while_being_packed_are_passed_over(tmp_path, monkeypatch):
    folder = results(tmp_path / "c")
    read = Path.read_bytes

    def gone(path):
        if path.name == "training.json":
            path.unlink()
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", gone)
    with tarfile.open(pack_results(folder, 4000)) as archive:
        assert archive.getnames() == ["SHA256SUMS", "contents.json", "a/records.npz"]
