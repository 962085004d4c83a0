"""Decoded photographs in a mapped file: the same bits as in memory, whatever happens to the files.

Run as a program, this file makes stores and is killed by SIGKILL at every moment, all in forks of
one process.
"""

import os
import shutil
import signal
import subprocess
import sys
import threading
import warnings
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sslsim.core.locks import only_writer
from sslsim.data.datasets import load_images
from sslsim.data.photos import find_photos, read_photos, stored
from sslsim.data.photos.stored import read_or_map
from sslsim.runs.options import TrainOptions
from sslsim.runs.setup import split_data

COUNT, BLOCK = 10, 4


def write_photo(path, seed):
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (6, 7, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)


def make_folder(folder, count=COUNT):
    for k in range(count):
        write_photo(folder / "ab"[k % 2] / f"{k}.png", k)
    return folder


def opened(folder, store, stream="always", size=None):
    paths = find_photos(folder, "all")[0]
    return read_or_map(paths, size, store, base=folder, stream=stream)


def in_memory(folder):
    return read_photos(find_photos(folder, "all")[0])


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(stored, "_BLOCK_FILES", BLOCK)
    return make_folder(tmp_path / "photos")


@pytest.fixture
def decodings(monkeypatch):
    """Names of the files that are decoded."""
    seen, kept = [], stored.decoded

    def noted(path, *rest):
        seen.append(Path(path).name)
        return kept(path, *rest)

    monkeypatch.setattr(stored, "decoded", noted)
    return seen


def test_a_mapped_folder_has_the_bits_of_one_in_memory_and_is_decoded_once(
    folder, tmp_path, decodings
):
    store = tmp_path / "store"
    for _ in range(2):
        images, mapped = opened(folder, store)
        assert mapped
        assert torch.equal(images, in_memory(folder))
    assert len(decodings) == COUNT
    assert {path.name for path in store.iterdir()} == {"images.u8", "files.npz"}


def test_what_is_written_to_a_mapped_tensor_does_not_reach_the_file(folder, tmp_path):
    images, _ = opened(folder, tmp_path / "store")
    images.zero_()
    assert torch.equal(opened(folder, tmp_path / "store")[0], in_memory(folder))


def test_images_are_mapped_where_they_are_more_than_the_limit(folder, tmp_path, monkeypatch):
    total = COUNT * 3 * 6 * 7
    monkeypatch.setattr(stored, "STREAMED_ABOVE", total)
    assert not opened(folder, tmp_path / "store", "auto")[1]
    assert not (tmp_path / "store").exists()
    monkeypatch.setattr(stored, "STREAMED_ABOVE", total - 1)
    assert opened(folder, tmp_path / "store", "auto")[1]
    assert opened(folder, tmp_path / "store", "auto")[1]
    assert not opened(folder, tmp_path / "store", "never")[1]


CHANGES = {
    "0 new, 0 gone, 1 changed": lambda folder: write_photo(folder / "a" / "4.png", 99),
    "1 new, 0 gone, 0 changed": lambda folder: write_photo(folder / "b" / "new.png", 99),
    "0 new, 1 gone, 0 changed": lambda folder: (folder / "b" / "5.png").unlink(),
    "1 new, 1 gone, 0 changed": lambda folder: (folder / "b/5.png").rename(folder / "b/55.png"),
}


@pytest.mark.parametrize("told", CHANGES)
def test_changed_files_make_the_store_anew(folder, tmp_path, told):
    old, _ = opened(folder, tmp_path / "store")
    before = in_memory(folder)
    CHANGES[told](folder)
    with pytest.warns(UserWarning, match=told):
        images, _ = opened(folder, tmp_path / "store")
    assert torch.equal(images, in_memory(folder))
    assert torch.equal(old, before)  # whoever had mapped it keeps it


def test_a_file_of_the_same_size_and_another_content_is_noticed(folder, tmp_path):
    path = folder / "a" / "4.png"
    for value in (8, 9):
        Image.fromarray(np.full((6, 7, 3), value, np.uint8)).save(path, compress_level=0)
        os.utime(path, ns=(0, value))
        if value == 8:
            opened(folder, tmp_path / "store")
    with pytest.warns(UserWarning, match="1 changed"):
        images, _ = opened(folder, tmp_path / "store")
    assert torch.equal(images, in_memory(folder))


def test_files_that_are_only_newer_are_read_once_and_not_decoded(
    folder, tmp_path, decodings, monkeypatch
):
    opened(folder, tmp_path / "store")
    for path in folder.rglob("*.png"):
        os.utime(path, ns=(0, 12345))
    decodings.clear()
    opened(folder, tmp_path / "store")
    monkeypatch.setattr(stored, "_digest_of", None)  # times are up to date: nothing is read
    images, _ = opened(folder, tmp_path / "store")
    assert torch.equal(images, in_memory(folder))
    assert not decodings


@pytest.mark.parametrize("name", ["images.u8", "files.npz"])
@pytest.mark.parametrize(
    "damage", [lambda path: path.unlink(), lambda path: path.write_bytes(b"x")]
)
def test_a_damaged_store_is_made_anew(folder, tmp_path, name, damage):
    opened(folder, tmp_path / "store")
    damage(tmp_path / "store" / name)
    lost = not (tmp_path / "store" / "files.npz").exists()  # as if it were not finished
    with nullcontext() if lost else pytest.warns(UserWarning, match="is damaged; it is made anew"):
        images, _ = opened(folder, tmp_path / "store")
    assert torch.equal(images, in_memory(folder))


def test_blocks_without_their_images_are_made_again(folder, tmp_path, monkeypatch):
    store = tmp_path / "store"
    kept = stored.write_arrays

    def unfinished(path, **arrays):
        if path.name == "files.npz":
            raise KeyboardInterrupt
        kept(path, **arrays)

    monkeypatch.setattr(stored, "write_arrays", unfinished)
    with pytest.raises(KeyboardInterrupt):
        opened(folder, store)
    monkeypatch.setattr(stored, "write_arrays", kept)
    (store / "images.u8").unlink()
    assert torch.equal(opened(folder, store)[0], in_memory(folder))


def test_an_interrupted_store_goes_on_where_it_stopped(folder, tmp_path, decodings, monkeypatch):
    kept = stored.write_arrays
    written = []

    def interrupted(path, **arrays):
        written.append(path)
        if len(written) == 3:
            raise KeyboardInterrupt
        kept(path, **arrays)

    monkeypatch.setattr(stored, "write_arrays", interrupted)
    with pytest.raises(KeyboardInterrupt):
        opened(folder, tmp_path / "store")
    decodings.clear()
    write_photo(folder / "a" / "0.png", 77)  # in the first block, which is made again
    images, _ = opened(folder, tmp_path / "store")
    assert torch.equal(images, in_memory(folder))
    assert len(decodings) == BLOCK + COUNT % BLOCK


def test_a_file_that_is_no_image_is_named(folder, tmp_path):
    (folder / "a" / "0.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"0\.png cannot be read as an image"):
        opened(folder, tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_too_little_space_is_told_before_anything_is_written(folder, tmp_path, monkeypatch):
    usage = type("Usage", (), {"free": 2**29})
    monkeypatch.setattr(stored.shutil, "disk_usage", lambda path: usage)
    opened(folder, tmp_path / "store")
    usage.free = 1000
    with pytest.raises(ValueError, match=r"0\.0 GiB of free space; expected 0\.0 GiB for the dec"):
        opened(folder, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_a_second_process_waits_for_the_store_and_does_not_make_it_again(
    folder, tmp_path, decodings, capfd
):
    store, found = tmp_path / "store", []
    with only_writer(store):
        second = threading.Thread(target=lambda: found.append(opened(folder, store)))
        second.start()
        while "waiting for process" not in capfd.readouterr().err:
            pass
        paths = find_photos(folder, "all")[0]
        names = [os.path.relpath(path, folder) for path in paths]
        stored._make(paths, names, (3, 6, 7), store)
    second.join()
    assert torch.equal(found[0][0], in_memory(folder))
    assert len(decodings) == COUNT


def test_every_choice_of_images_has_a_store_of_its_own(folder, tmp_path):
    cache = tmp_path / "cache"
    wanted = [{}, {"limit": 4}, {"size": 5}, {"limit": 4, "size": 5}]
    for _ in range(2):
        for choice in wanted:
            mapped, read = (
                load_images(folder, **choice, stream=stream, cache=cache)
                for stream in ("always", "never")
            )
            assert (mapped.streamed, read.streamed) == (True, False)
            assert torch.equal(mapped.images, read.images)
            assert torch.equal(mapped.labels, read.labels)
    assert len(list(cache.iterdir())) == len(wanted)


def test_the_cache_is_where_the_environment_says(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    load_images(folder, stream="always")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    load_images(folder, stream="always")
    made = [tmp_path / "xdg" / "sslsim", tmp_path / "home" / ".cache" / "sslsim"]
    assert [len(list(path.glob("images-photos-*"))) for path in made] == [1, 1]


def test_training_and_held_out_images_are_parts_of_one_mapped_file(folder, tmp_path):
    options = TrainOptions(data=str(folder), cache=tmp_path / "cache", stream="always")
    mapped, read = split_data(options), split_data(TrainOptions(data=str(folder), stream="never"))
    for one, other in zip(mapped, read, strict=True):
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.labels, other.labels)
        assert one.streamed
    storages = {part.images.untyped_storage().data_ptr() for part in mapped}
    assert len(storages) == 1


# The program: forks that kill themselves.


def dies_at(number):
    """Let this process be killed at some call that reads, writes or removes something."""
    calls = []

    def counted(kept):
        def call(*arguments, **named):
            calls.append(None)
            if len(calls) == number:
                os.kill(os.getpid(), signal.SIGKILL)
            return kept(*arguments, **named)

        return call

    for owner, name in (
        (os, "fsync"),
        (os, "replace"),
        (os, "unlink"),
        (stored, "decoded"),
        (stored, "write_arrays"),
        (stored, "_check_space"),
    ):
        setattr(owner, name, counted(getattr(owner, name)))


def ended(work):
    """Run a function in a fork; return the signal that ended it, or minus its exit code."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException:
            sys.excepthook(*sys.exc_info())
            os._exit(1)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else -os.WEXITSTATUS(status)


def program(place):
    """Kill the making of a store at every moment, a new one and one that is out of date."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # of stores that are out of date
    stored._BLOCK_FILES = 2
    folder = make_folder(place / "photos", count=5)
    opened(folder, place / "old")
    write_photo(folder / "a" / "0.png", 99)
    expected = in_memory(folder)
    for outdated in (False, True):
        for number in range(1, 100):
            store = place / f"store-{outdated}-{number}"
            if outdated:
                shutil.copytree(place / "old", store)

            def doomed(store=store, number=number):
                dies_at(number)
                opened(folder, store)

            end = ended(doomed)
            assert torch.equal(opened(folder, store)[0], expected), (outdated, number)
            if end != signal.SIGKILL:
                assert end == 0
                print(number - 1)
                break


@pytest.mark.slow
def test_a_store_that_was_killed_at_any_moment_ends_with_the_same_bits(tmp_path):
    if not hasattr(os, "fork"):
        pytest.skip("no fork on this system")
    done = subprocess.run(
        [sys.executable, __file__, str(tmp_path)], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr[-3000:]
    kills = [int(line) for line in done.stdout.split()]
    assert len(kills) == 2
    assert min(kills) > 15


if __name__ == "__main__":
    program(Path(sys.argv[1]))


def test_only_folders_of_images_are_streamed():
    with pytest.raises(ValueError, match="stream is 'always', but digits is no folder of images"):
        load_images("digits", stream="always")
    assert not load_images("digits", stream="never").streamed
