"""The user's packages may have the names of ours, and ours those of theirs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import experiments.study
import theory
from sslsim.core.lazy import own_callable, own_modules

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A repository of the user's, with packages named as ours, one without ``__init__.py``."""
    for name in ("experiments", "tests"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "models.py").write_text(f"def net(): return {name!r}\n")
    (tmp_path / "experiments" / "__init__.py").touch()
    (tmp_path / "theory.py").write_text("VALUE = 7\n")
    (tmp_path / "mine_shadow.py").write_text(
        "import theory\n"
        "from experiments.models import net\n"
        "from tests.models import net as other\n"
        "from sslsim.coding_rate import coding_rate\n"
        "def late():\n"
        "    from experiments import models\n"
        "    return models\n"
    )
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    sys.modules.pop("mine_shadow", None)


def test_the_users_packages_are_theirs_and_ours_stay_ours(folder):
    before, path = dict(sys.modules), list(sys.path)
    net = own_callable("mine_shadow:net", "module")
    assert net() == "experiments"
    mine = sys.modules["mine_shadow"]
    assert mine.theory.VALUE == 7
    assert mine.other() == "tests"
    assert sys.path == path
    for name in ("theory", "experiments", "experiments.study"):
        assert sys.modules[name] is before[name]
    assert "experiments.models" not in sys.modules
    assert experiments.study.__file__.startswith(str(ROOT))
    assert theory.predict_steps
    with own_modules():
        assert mine.late().net() == "experiments"
        assert mine.late() is sys.modules["experiments.models"]
    assert own_callable("experiments.models:net", "module") is net


def test_ours_are_ours_where_the_user_has_none(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert own_callable("theory:predict_steps", "module") is theory.predict_steps


@pytest.mark.slow
def test_the_command_finds_a_network_in_a_package_called_experiments(folder):
    (folder / "experiments" / "models.py").write_text(
        "from torch import nn\ndef net(): return nn.Sequential(nn.Flatten(), nn.Linear(64, 4))\n"
    )
    command = "import sys; from experiments.cli import main; sys.exit(main())"
    arguments = [
        "ntk",
        "--module",
        "mine_shadow:net",
        "--data",
        "digits",
        "--samples",
        "8",
        "--out",
        "out",
    ]
    done = subprocess.run(
        [sys.executable, "-P", "-c", command, *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert (folder / "out" / "ntk.json").exists()
