"""What a command costs before it works: help and complaints import nothing large."""

import inspect
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from experiments import cli
from experiments.command_line import ALTERNATIVES, SYNONYMS, options_of, parsed
from experiments.registry import GROUPS, STUDIES

LARGE = ("torch", "torchvision", "scipy", "sympy", "sklearn", "matplotlib", "jinja2")

# Runs commands in turn in one process and prints after each which modules had been imported.
SCRIPT = """
import contextlib, io, json, sys
from experiments.cli import main
loaded = []
for arguments in json.loads(sys.argv[1]):
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        status = main(arguments)
    loaded.append([status, [name for name in json.loads(sys.argv[2]) if name in sys.modules]])
print(json.dumps(loaded))
"""


def loaded_by(*commands, of=LARGE):
    """Exit status of commands run in turn in a fresh interpreter, and large modules by then."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps(commands), json.dumps(of)],
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def complaint(capsys, *arguments):
    """The line that a command line is refused with."""
    assert cli.main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line.removeprefix("sslsim: error: ")


def test_help_imports_nothing_large():
    names = [*(study.name.split() for study in STUDIES), *([group] for group in GROUPS), []]
    commands = [[*name, "--help"] for name in names]
    assert loaded_by(*commands) == [[0, []]] * len(commands)


def test_complaints_import_nothing_large():
    bad = [[*study.name.split(), "--nonsense", "1"] for study in STUDIES]
    bad += [[], ["dance"], ["bench"], ["bench", "dance"], ["train", "--steps", "x"], ["report"]]
    bad += [["predict", "--data", ""], ["train", "--method", "x"], ["forecast"]]
    assert loaded_by(*bad) == [[2, []]] * len(bad)


@pytest.mark.slow
def test_pairs_of_a_file_need_no_images_and_digits_no_libraries_of_data(tmp_path):
    x = np.random.default_rng(0).normal(size=(30, 4))
    np.savez(tmp_path / "pairs.npz", x=x, x_prime=x + 0.1)
    commands = [[name, "--data", "pairs.npz", "--dim", "2"] for name in ("predict", "compare")]
    commands += [["predict", "--pairs", "50", "--dim", "2"]]
    predicted, compared, digits = loaded_by(*commands, of=("torch", "torchvision", "sklearn"))
    assert predicted == [0, []]
    assert compared == digits == [0, ["torch"]]


def test_a_report_needs_neither_networks_nor_pictures(tmp_path):
    results = Path(__file__).parents[3] / "paper_figs" / "results" / "linear"
    made = [["report", str(results), "--out", str(tmp_path)]]
    assert loaded_by(*made, of=("torch", "sklearn", "matplotlib")) == [[0, []]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("", "expected a command: one of predict, compare,"),
        ("--data digits", "expected a command before --data: one of predict,"),
        ("trian", "there is no command trian; did you mean train? (sslsim --help lists them)"),
        ("zzz", "there is no command zzz (sslsim --help lists them)"),
        ("bench", "expected a kind of bench: one of theory,"),
        ("bench ntx", "there is no kind of bench ntx; did you mean ntk? (sslsim bench --help"),
        ("umm --epochs 10", "umm has no option --epochs; did you mean --steps? (sslsim umm --help"),
        ("train --epochs 10 --steps 3", "--epochs and --steps are both given; expected one of the"),
        ("train --epochs ten", "epochs is 'ten'; expected a whole number"),
        ("train --max-epochs 3", "train has no option --max-epochs; did you mean --epochs? (sslsi"),
        ("train --learning_rate 1", "train has no option --learning_rate; did you mean --lr? ("),
        ("umm --learning-rate 1", "umm has no option --learning-rate; did you mean --outer-lr? ("),
        ("ntk --model x:y", "ntk has no option --model; did you mean --module? ("),
        ("train --step=3", "train has no option --step; did you mean --steps? (sslsim train --h"),
        ("train --no-evaluat", "train has no option --no-evaluat; did you mean --no-evaluate? ("),
        ("train -lr 3", "train has no option -lr; did you mean --lr? (sslsim train --help lists"),
        ("predict -o x", "predict has no option -o; did you mean --out? (sslsim predict --help "),
        ("train --qqq", "train has no option --qqq (sslsim train --help lists them)"),
        ("bench train --epochs 1", "bench train has no option --epochs; did you mean --steps? ("),
        ("predict stray", "predict takes options only, not 'stray' (sslsim predict --help lists"),
        ("train --steps 1e3", "steps is '1e3'; expected a whole number"),
        ("train --lr fast", "lr is 'fast'; expected a number"),
        ("train --dim eight", "dim is 'eight'; expected a whole number"),
        ("train --batch 3 4", "batch is '3 4'; expected a whole number"),
        ("train --widths 3 x", "widths is 'x'; expected whole numbers"),
        ("train --precision half", "precision is 'half'; expected one of float32, bfloat16"),
        ("memorization-removal --which all", "which is 'all'; expected some of most, random, leas"),
        ("memorization --together yes", "together is 'yes'; expected one of True, False"),
        ("train --evaluate yes", "evaluate takes no value, not 'yes'; expected --evaluate or --n"),
        ("train --steps", "steps has no value; expected a whole number"),
        ("train --out --steps 3", "out has no value; expected a path"),
        (
            "forecast",
            "no run is given; expected --run DIR, a folder of sslsim train, or --curves FILE",
        ),
        ("forecast --run", "no run is given; expected --run DIR, a folder of sslsim train, or"),
        ("report", "report needs folders; expected paths (sslsim report --help lists them)"),
        ("report --uot x", "report has no option --uot; did you mean --out? (sslsim report --help"),
    ],
)
def test_what_cannot_be_read_is_answered_by_what_was_meant(capsys, arguments, message):
    assert complaint(capsys, *arguments.split()).startswith(message)


@pytest.mark.parametrize("study", STUDIES, ids=lambda study: study.name)
def test_no_command_takes_an_empty_value(capsys, study):
    for name, option in options_of(study.options_class()).items():
        if option.flag:
            continue
        given = [""] if option.positional else [f"--{name}", ""]
        line = complaint(capsys, *study.name.split(), *given)
        assert line.startswith("an argument is" if option.positional else f"{name} is empty; exp")
    assert complaint(capsys, *study.name.split(), "--out=") == "out is empty; expected a path"


def test_synonyms_lead_to_options_that_exist():
    options = {name for study in STUDIES for name in options_of(study.options_class())}
    assert {meant for known in SYNONYMS.values() for meant in known} <= options
    for study in STUDIES:  # a command has an option or its synonym, not both
        own = set(options_of(study.options_class()))
        both = {
            (name, other)
            for name, meant in SYNONYMS.items()
            for other in own & set(meant)
            if name in own
        }
        assert both <= set(ALTERNATIVES)


def test_every_default_can_be_typed_as_it_is_read():
    for study in STUDIES:
        kind = study.options_class()
        for name, option in options_of(kind).items():
            value = getattr(kind, name.replace("-", "_"), None)
            words = [str(value)] if not isinstance(value, tuple) else list(map(str, value))
            if value is not None and not option.flag:
                assert option.problem(name, words, True) is None, (study.name, name)


def test_help_of_a_command_wins_over_what_else_is_typed(capsys):
    for line in ("train --epochs 3 --help", "train --steps x -h", "bench --help", "--help"):
        assert cli.main(line.split()) == 0
        shown = capsys.readouterr()
        assert shown.out.startswith("usage: sslsim ")
        assert not shown.err
    for study in STUDIES:
        with pytest.raises(SystemExit) as stop:
            parsed([*study.name.split(), "--help"])
        assert stop.value.code == 0
        assert f"sslsim {study.name}" in capsys.readouterr().out


@pytest.mark.parametrize("study", STUDIES, ids=lambda study: study.name)
def test_help_explains_every_option_in_a_phrase_about_it(study):
    kind = study.options_class()
    pages = "\n".join(inspect.getdoc(part) or "" for part in kind.__mro__[:-1])
    for name in options_of(kind):
        field = re.escape(name.replace("-", "_"))
        explained = re.search(rf"^{field} : .*\n((?:    .+\n?)+)", pages, re.MULTILINE)
        assert explained, f"{name} has no help"
        lines = [line.strip() for line in explained[1].splitlines()]
        assert not lines[0].startswith("Of "), name
        assert lines[-1].endswith("."), name
        # tyro begins a new line of the help wherever one begins with no letter.
        assert all(line[0].isalpha() for line in lines), name


def test_help_lists_every_command_in_lines_of_a_terminal(capsys):
    assert cli.main(["--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    listed = [line.split()[0] for line in lines if line.startswith("  ")]
    assert listed == [study.name for study in STUDIES if " " not in study.name] + list(GROUPS)
    assert max(map(len, lines)) <= 100


class OutOfMemoryError(RuntimeError):
    """By name as torch's."""


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (MemoryError(), "MemoryError"),
        (
            RuntimeError("[enforce fail] DefaultCPUAllocator: you tried to allocate 64 bytes."),
            "cannot allocate 64 bytes",
        ),
        (
            OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has"),
            "cannot allocate 20.00 GiB",
        ),
    ],
)
@pytest.mark.parametrize(
    ("command", "study", "smaller"),
    [
        ("predict", "experiments.studies.linear.predict.predict", "--pairs or --limit"),
        ("ntk", "experiments.studies.kernels.ntk.ntk", "--samples or --limit"),
        (
            "train",
            "experiments.studies.training.train.train_network",
            "--batch, --limit or --widths",
        ),
        ("figures", "paper_figs.figures.figures", None),
    ],
)
def test_running_out_of_memory_takes_one_line(
    capsys, monkeypatch, error, reason, command, study, smaller
):
    def hungry(*_):
        raise error

    monkeypatch.setattr(study, hungry)
    expected = f"out of memory: {reason}" + (f"; try a smaller {smaller}" if smaller else "")
    assert complaint(capsys, command) == expected


def test_running_out_of_memory_inside_a_network_is_told_as_such():
    error = ValueError("the network does not take inputs of shape (2, 1, 8, 8)")
    assert not cli.out_of_memory(error)
    error.__cause__ = MemoryError("Unable to allocate 8.00 GiB")
    assert cli.out_of_memory(error)


def test_a_network_too_large_for_memory_is_refused_in_one_line(capsys):
    line = complaint(capsys, "train", "--widths", str(10**14))
    assert line.startswith("out of memory: cannot allocate ")


def test_an_array_too_large_for_memory_is_refused_in_one_line(capsys, monkeypatch):
    monkeypatch.setattr("experiments.studies.linear.predict.predict", lambda _: np.empty(2**47))
    assert complaint(capsys, "predict").startswith("out of memory: cannot allocate 1.00 PiB; try ")


def test_other_faults_are_not_taken_for_a_lack_of_memory(monkeypatch):
    def broken(_):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr("experiments.studies.linear.predict.predict", broken)
    with pytest.raises(RuntimeError, match="mat1"):
        cli.main(["predict"])


@pytest.mark.parametrize("status", [0, 3, None])
def test_code_that_exits_does_not_end_a_study_in_silence(capsys, monkeypatch, status):
    def leaving(_):
        raise SystemExit(status)

    monkeypatch.setattr("experiments.studies.kernels.ntk.ntk", leaving)
    line = complaint(capsys, "ntk", "--module", "a:b")
    assert line == f"code that ntk calls has exited, with status {status}"


def test_messages_spell_options_as_they_are_typed(capsys):
    assert complaint(capsys, "train", "--lr", "0").startswith("lr is 0.0; expected")
    line = complaint(capsys, "train", "--weight-decay", "-1")
    assert line.startswith("weight-decay is -1.0; expected")
