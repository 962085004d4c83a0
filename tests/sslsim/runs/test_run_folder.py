"""Run folders: one writer, earlier results kept, nothing left behind by what failed."""

import json
import os
import signal
import subprocess
import sys
import textwrap
from contextlib import suppress
from pathlib import Path

import pytest

from sslsim.core.files import read_json, sweep, whole_file, write_json
from sslsim.core.locks import only_writer
from sslsim.runs.folder import (
    INSTRUCTION_SETS,
    check_folder,
    check_same,
    described_run,
    new_results,
    run_in_place,
)

RESULTS = ("found.json", "found.npz", "found.png")


def content(folder):
    """Names and bytes of all files below a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def finished(folder, value, names=RESULTS[:1]):
    with new_results(folder, "study", {"value": value}, results=RESULTS) as partial:
        for name in names:
            write_json(partial / name, {"value": value})
    return folder


def in_another_process(code, *arguments):
    """Process that runs some code, once it has printed a line."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "ready\n"
    return process


def ended(process, number=signal.SIGKILL):
    process.send_signal(number)
    process.wait()
    process.stdout.close()


def fail_in(opened, error, act=lambda folder: None):
    """Do something in a run folder, then fail."""
    with opened as folder:
        act(folder)
        raise error


HOLD = """
import sys, time
from sslsim.core.locks import only_writer
with only_writer(sys.argv[1]):
    print("ready", flush=True)
    time.sleep(600)
"""


def test_results_come_together_and_old_ones_go(tmp_path):
    folder = finished(tmp_path / "a" / "b", 1, RESULTS)
    assert finished(folder, 2, RESULTS[:2]) == folder
    assert set(content(folder)) == {"config.json", "found.json", "found.npz"}
    assert read_json(folder / "config.json")["options"] == {"value": 2}
    assert read_json(folder / "found.json") == {"value": 2}


@pytest.mark.parametrize("error", [ValueError("bad"), KeyboardInterrupt(), MemoryError()])
def test_what_fails_leaves_the_folder_as_it_was(tmp_path, error):
    folder = finished(tmp_path / "run", 1, RESULTS)
    before = content(folder)
    for where in (folder, tmp_path / "new" / "deep"):
        opened = new_results(where, "study", {}, results=RESULTS)
        with pytest.raises(type(error)):
            fail_in(opened, error, lambda partial: write_json(partial / "found.json", {}))
    assert content(folder) == before
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_errors_name_the_run_folder_not_the_hidden_one(tmp_path):
    with (
        pytest.raises(ValueError, match=f"^{tmp_path}/none/found.json cannot be written: No such"),
        new_results(tmp_path, "study", {}, results=RESULTS) as partial,
    ):
        write_json(partial / "none" / "found.json", {})


def test_earlier_results_stay_while_new_ones_are_made(tmp_path):
    folder = finished(tmp_path / "run", 1, RESULTS)
    before = content(folder)
    with new_results(folder, "study", {"value": 2}, results=RESULTS) as partial:
        write_json(partial / "found.json", {"value": 2})
        inside = partial.relative_to(folder).parts[0]
        assert {k: v for k, v in content(folder).items() if inside not in k} == before


def test_a_folder_of_another_command_is_refused(tmp_path):
    folder = finished(tmp_path / "run", 1)
    before = content(folder)
    for opened in (new_results, run_in_place):
        with (
            pytest.raises(ValueError, match=r"holds a run of sslsim study; expected another"),
            opened(folder, "other", {}, results=("other.json",)),
        ):
            pass
    assert content(folder) == before


@pytest.mark.parametrize("held", ["found.json", "checkpoints", "cells", "encoders"])
def test_results_without_their_configuration_are_refused(tmp_path, held):
    (tmp_path / held).mkdir()
    for opened in (new_results, run_in_place):
        with (
            pytest.raises(ValueError, match=f"holds {held} but no config.json"),
            opened(tmp_path, "study", {}, results=RESULTS),
        ):
            pass
    assert [path.name for path in tmp_path.iterdir()] == [held]


def test_files_of_others_are_left_alone(tmp_path):
    (tmp_path / "mine.py").write_text("mine")
    (tmp_path / ".mine.tmp").write_text("mine")
    finished(tmp_path, 1)
    assert (tmp_path / "mine.py").read_text() == (tmp_path / ".mine.tmp").read_text() == "mine"


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("call", range(20))
def test_results_come_in_whatever_call_a_kill_comes_before(tmp_path, monkeypatch, old, call):
    """Once results are complete, the next command brings all of them in."""
    folder = finished(tmp_path / "run", 1, RESULTS[:2]) if old else tmp_path / "run"
    left = call

    class Killed(BaseException):
        pass

    def dying(function):
        def called(*arguments, **named):
            nonlocal left
            left -= (folder / ".complete").exists()
            if left < 0:
                raise Killed
            return function(*arguments, **named)

        return called

    with monkeypatch.context() as patched:
        for name in ("rename", "replace", "unlink", "rmdir"):
            patched.setattr(os, name, dying(getattr(os, name)))
        with suppress(Killed):
            finished(folder, 2, RESULTS[::2])
    assert left < 0 or not (folder / ".complete").exists()
    check_folder(folder, "study", RESULTS)  # as commands do before they begin
    with pytest.raises(RuntimeError):
        fail_in(new_results(folder, "study", {"value": 3}, results=RESULTS), RuntimeError())
    assert set(content(folder)) == {"config.json", *RESULTS[::2]}
    assert read_json(folder / "config.json")["options"] == read_json(folder / "found.png")


@pytest.mark.parametrize("moved", range(4))
def test_a_kill_while_results_move_in_is_made_good_by_the_next_command(tmp_path, moved):
    folder = finished(tmp_path / "run", 1, RESULTS)
    code = """
        import os, signal, sys
        from pathlib import Path
        from sslsim.runs.folder import new_results
        from sslsim.core.files import write_json
        left = int(sys.argv[2])
        replace = Path.replace

        def dying(self, target):
            global left
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left -= 1
            return replace(self, target)

        Path.replace = dying
        print("ready", flush=True)
        with new_results(sys.argv[1], "study", {"value": 2}, results=("found.json", "found.png")) \
                as partial:
            for name in ("found.json", "found.png"):
                write_json(partial / name, {"value": 2})
        os.kill(os.getpid(), signal.SIGKILL)
    """
    ended(in_another_process(code, folder, moved), signal.SIGCONT)
    with pytest.raises(RuntimeError):
        fail_in(new_results(folder, "study", {"value": 3}, results=RESULTS), RuntimeError())
    values = {name: json.loads(held) for name, held in content(folder).items()}
    assert values.pop("config.json")["options"] == {"value": 2}
    assert values == {
        "found.json": {"value": 2}, "found.png": {"value": 2}, "found.npz": {"value": 1}
    }  # fmt: skip


def test_what_a_killed_process_left_is_swept(tmp_path):
    folder = finished(tmp_path / "run", 1)
    code = """
        import sys, time
        from pathlib import Path
        from sslsim.runs.folder import new_results
        from sslsim.core.files import whole_file
        with new_results(sys.argv[1], "study", {}, results=()) as partial:
            with whole_file(Path(sys.argv[1]) / "found.png"):
                print("ready", flush=True)
                time.sleep(600)
    """
    before = content(folder)
    process = in_another_process(code, folder)
    assert len(content(folder)) == len(before) + 2  # a configuration and a temporary file
    sweep(folder)  # its writer lives
    assert len(content(folder)) == len(before) + 2
    ended(process)
    finished(folder, 2)
    assert set(content(folder)) == set(before)


def test_temporary_files_are_made_anew_and_links_are_not_followed(tmp_path):
    target = tmp_path / "target"
    target.write_text("mine")
    for name in ("note", ".writer"):
        (tmp_path / name).symlink_to(target)
    with whole_file(tmp_path / "note") as file:
        (temporary,) = tmp_path.glob(".note.*.tmp")
        assert os.stat(temporary).st_mode & 0o777 == 0o666 & ~umask()
        file.write(b"new")
    with pytest.raises(ValueError, match="cannot be made a run folder"), only_writer(tmp_path):
        pass
    assert target.read_text() == "mine"
    assert (tmp_path / "note").read_text() == "new"
    assert not (tmp_path / "note").is_symlink()


def umask():
    value = os.umask(0)
    os.umask(value)
    return value


def test_a_second_writer_is_told_who_holds_the_folder(tmp_path):
    folder = tmp_path / "run"
    process = in_another_process(HOLD, folder)
    message = f"is being written by process {process.pid} on .*; expected to wait"
    with pytest.raises(ValueError, match=message), only_writer(folder):
        pass
    ended(process)  # the kernel releases the lock
    assert [path.name for path in folder.iterdir()] == [".writer"]
    with only_writer(folder):
        assert str(os.getpid()) in (folder / ".writer").read_text()
    assert list(folder.iterdir()) == []


def test_a_writer_leaves_no_empty_folders(tmp_path):
    with only_writer(tmp_path / "a" / "b"):
        pass
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    with (
        pytest.raises(ValueError, match="cannot be made a run folder: "),
        only_writer(tmp_path / "file"),
    ):
        pass


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="a system without /proc")
def test_a_folder_in_which_no_file_can_be_made_is_refused():
    with (
        pytest.raises(ValueError, match="cannot be made a run folder: No such file"),
        only_writer("/proc/run"),
    ):
        pass


def begin(folder):
    (folder / "checkpoints").mkdir()
    (folder / "records.jsonl").write_text("{}")


def save(folder):
    (folder / "checkpoints").mkdir(exist_ok=True)
    (folder / "checkpoints" / "checkpoint-000000001.pt").touch()


def test_a_run_in_place_that_fails_at_once_leaves_nothing(tmp_path):
    for folder in (tmp_path / "new" / "run", tmp_path / "empty"):
        if folder.name == "empty":
            folder.mkdir()
        opened = run_in_place(folder, "train", {}, results=("training.json", "records.jsonl"))
        with pytest.raises(ValueError, match="bad"):
            fail_in(opened, ValueError("bad"), begin)
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]
    assert list((tmp_path / "empty").iterdir()) == []


def test_a_run_in_place_keeps_its_checkpoints_and_its_first_configuration(tmp_path):
    for value in (1, 2):
        opened = run_in_place(tmp_path, "train", {"value": value}, results=("training.json",))
        with pytest.raises(ValueError, match="bad"):
            fail_in(opened, ValueError("bad"), save)
    assert read_json(tmp_path / "config.json")["options"] == {"value": 1}
    with run_in_place(tmp_path, "train", {"value": 3}, results=("training.json",), longer=True):
        pass
    assert read_json(tmp_path / "config.json")["options"] == {"value": 3}


def test_a_longer_run_that_fails_before_it_has_saved_leaves_the_configuration(tmp_path):
    opened = run_in_place(tmp_path, "train", {"steps": 1}, results=("training.json",))
    with opened:
        save(tmp_path)
    before = content(tmp_path)
    longer = {"results": ("training.json",), "longer": True}
    with pytest.raises(ValueError, match="other images"):
        fail_in(run_in_place(tmp_path, "train", {"steps": 2}, **longer), ValueError("other images"))
    assert content(tmp_path) == before


def test_a_run_in_place_that_fails_leaves_what_others_wrote_meanwhile(tmp_path):
    (tmp_path / "log.txt").touch()  # as > log.txt does
    (tmp_path / "mine").mkdir()

    def write(folder):
        begin(folder)
        (folder / "log.txt").write_text("mine")
        (folder / "later.txt").write_text("mine")

    opened = run_in_place(tmp_path, "train", {}, results=("training.json", "records.jsonl"))
    with pytest.raises(ValueError, match="bad"):
        fail_in(opened, ValueError("bad"), write)
    assert content(tmp_path) == {"log.txt": b"mine", "later.txt": b"mine"}
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["mine"]


def test_results_whose_checkpoints_are_gone_are_not_overwritten(tmp_path):
    with run_in_place(tmp_path, "train", {}, results=("training.json",)):
        write_json(tmp_path / "training.json", {"steps": 1})
    before = content(tmp_path)
    with (
        pytest.raises(ValueError, match="finished run whose checkpoints are gone"),
        run_in_place(tmp_path, "train", {}, results=("training.json",)),
    ):
        pass
    assert content(tmp_path) == before


def test_a_study_that_resumes_says_at_once_what_it_is_of(tmp_path):
    opened = new_results(tmp_path, "study", {"value": 1}, results=RESULTS, resumes=True)
    with pytest.raises(RuntimeError):
        fail_in(opened, RuntimeError(), lambda partial: (tmp_path / "cells").mkdir())
    check_folder(tmp_path, "study", RESULTS)
    with new_results(tmp_path, "study", {"value": 2}, results=RESULTS, resumes=True) as partial:
        assert read_json(tmp_path / "config.json")["options"] == {"value": 1}
        write_json(partial / "found.json", {})
    assert read_json(tmp_path / "config.json")["options"] == {"value": 2}
    assert set(content(tmp_path)) == {"config.json", "found.json"}


def test_options_that_differ_are_named(tmp_path):
    kept = {"lr": 0.1, "layers": ["a"], "gone": 1}
    check_same(tmp_path, kept, {"lr": 0.1, "layers": ("a",), "new": 3})
    with pytest.raises(ValueError, match=r"holds a run with lr 0\.1, now it is 0\.2; expected the"):
        check_same(tmp_path, kept, {"lr": 0.2})


def test_a_description_says_what_ran_where():
    found = described_run("study", {"value": 1})
    machine = found["machine"]
    assert machine["processors"] == os.cpu_count()
    assert machine["processor"]
    assert set(machine["instruction_sets"]) <= set(INSTRUCTION_SETS)
    assert set(machine) == {
        "platform", "processor", "instruction_sets", "processors", "torch_threads",
        "torch_capability",
    }  # fmt: skip
    assert found["versions"]["python"].startswith("3.")


def test_a_run_of_a_checkout_names_its_commit():
    root = Path(__file__).parents[3]
    if not (root / ".git").exists():
        pytest.skip("not a checkout")
    head = subprocess.run(
        ["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True, check=True
    ).stdout.strip()
    revision = described_run("predict", {})["revision"]
    assert revision.removesuffix("+changes") == head
