"""Small studies of memorisation on digits, shared by the tests of the command and its results."""

from pathlib import Path

from experiments.cli import main
from experiments.studies.memorization.options import MemorizationOptions
from experiments.studies.memorization.study import memorization

PAGE = (Path(__file__).parents[2] / "experiments/docs/memorization.md").read_text(encoding="utf-8")
NETWORK = {"encoder": "linear", "dim": 2, "limit": 200, "steps": 4, "batch": 8, "augmentations": 2}
SMALL = {
    **NETWORK, "shared": 8, "candidates": 6, "independent": 5, "external": 4, "encoder_pairs": 2,
    "device": "cpu", "checkpoint_every": 2,
}  # fmt: skip
POOL = {**NETWORK, "protocol": "subsample", "pool": 12, "encoders": 4, "device": "cpu"}


def study(out, **options):
    return memorization(MemorizationOptions(**{**SMALL, "out": out, **options}))


def arguments(out, **options):
    """The command line of options."""
    given = ["memorization", "--out", str(out)]
    base = SMALL if options.get("protocol", "split") == "split" else NETWORK
    for name, value in {**base, **options}.items():
        values = value if isinstance(value, tuple) else (value,)
        flag = isinstance(value, bool) and name != "together"
        given += [f"--{name.replace('_', '-')}", *([] if flag else map(str, values))]
    return given


def contents(folder):
    """Bytes and times of all files of a folder, but for records, of which there are none."""
    files = [p for p in folder.rglob("*") if p.is_file() and not p.name.startswith("records.")]
    return {p.relative_to(folder): (p.read_bytes(), p.stat().st_mtime_ns) for p in files}


def refused(capsys, folder, **options):
    """The line of a refusal that leaves the folder as it was."""
    before = contents(folder) if folder.exists() else None
    assert main(arguments(folder, **options)) == 2
    assert (contents(folder) if folder.exists() else None) == before
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    return lines[0]


def of_runs(runs, f="f", g="g", **options):
    """Options of a study of encoders of runs."""
    families = {
        name: tuple(runs / f"{kind}{i}" for i in range(2)) for name, kind in (("f", f), ("g", g))
    }
    return {"limit": 40, "sets": runs / "sets.npz", **families, **options}
