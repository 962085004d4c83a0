"""torchvision is reached beside any torch: checked in fresh interpreters."""

import os
import subprocess
import sys
from pathlib import Path

import sslsim

CHECKOUT = Path(sslsim.__file__).parents[1]


def run(code, *path):
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([*map(str, path), str(CHECKOUT)])},
        capture_output=True,
        text=True,
    )


def test_models_and_transforms_work_beside_this_torch():
    done = run(
        "from sslsim.vision import torchvision; import torch\n"
        "net = torchvision.models.resnet18().eval()\n"
        "assert net(torch.zeros(1, 3, 32, 32)).shape == (1, 1000)\n"
        "assert torchvision.transforms.functional.hflip(torch.zeros(1, 3, 4, 4)).ndim == 4\n"
    )
    assert done.returncode == 0, done.stderr


def test_nothing_is_declared_for_a_torchvision_that_loads(tmp_path):
    (tmp_path / "torchvision.py").write_text("whole = True\n")
    done = run(
        "from sslsim.vision import torchvision; import torch\n"
        "assert torchvision.whole and not hasattr(torch.ops.torchvision, 'nms')\n",
        tmp_path,
    )
    assert done.returncode == 0, done.stderr


def test_another_failure_of_the_import_is_not_hidden(tmp_path):
    (tmp_path / "torchvision.py").write_text("raise RuntimeError('something else')\n")
    done = run("import sslsim.vision", tmp_path)
    assert done.returncode == 1
    assert "something else" in done.stderr.splitlines()[-1]
    assert "During handling" not in done.stderr
