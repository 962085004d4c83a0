"""torchvision is reached beside any torch: checked in interpreters that have not imported it yet.

Run as a program, this file imports torch once and runs each case in a fork of its own.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import sslsim

CHECKOUT = Path(sslsim.__file__).parents[1]
CASES = {
    "real": (
        "",
        "from sslsim.core.torchvision import torchvision; import torch\n"
        "net = torchvision.models.resnet18().eval()\n"
        "assert net(torch.zeros(1, 3, 32, 32)).shape == (1, 1000)\n"
        "assert torchvision.transforms.functional.hflip(torch.zeros(1, 3, 4, 4)).ndim == 4\n",
    ),
    "whole": (
        "whole = True\n",
        "from sslsim.core.torchvision import torchvision; import torch\n"
        "assert torchvision.whole and not hasattr(torch.ops.torchvision, 'nms')\n",
    ),
    "broken": ("raise RuntimeError('something else')\n", "import sslsim.core.torchvision"),
}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """Whether each case ended well, and what it wrote to standard error."""
    if not hasattr(os, "fork"):
        pytest.skip("no fork on this system")
    folder = tmp_path_factory.mktemp("vision")
    for name, (module, _) in CASES.items():
        (folder / name).mkdir()
        if module:
            (folder / name / "torchvision.py").write_text(module)
    program = subprocess.run(
        [sys.executable, "-W", "error", __file__, str(folder)],
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        capture_output=True,
        text=True,
    )
    codes = [int(word) for word in program.stdout.split()]
    assert len(codes) == len(CASES), program.stderr
    texts = [(folder / f"{name}.txt").read_text() for name in CASES]
    return dict(zip(CASES, zip(codes, texts, strict=True), strict=True))


def test_models_and_transforms_work_beside_this_torch(done):
    code, text = done["real"]
    assert code == 0, text


def test_nothing_is_declared_for_a_torchvision_that_loads(done):
    code, text = done["whole"]
    assert code == 0, text


def test_another_failure_of_the_import_is_not_hidden(done):
    code, text = done["broken"]
    assert code == 1
    assert "something else" in text.splitlines()[-1]
    assert "During handling" not in text


def forked(folder, name):
    """Exit status of a case, in a fork whose complaints go to a file."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    sys.stderr = (folder / f"{name}.txt").open("w")
    sys.path.insert(0, str(folder / name))
    try:
        exec(CASES[name][1], {})
    except BaseException:
        sys.excepthook(*sys.exc_info())
        sys.stderr.close()
        os._exit(1)
    sys.stderr.close()
    os._exit(0)


if __name__ == "__main__":
    import torch  # noqa: F401  (once for all forks)

    assert "torchvision" not in sys.modules
    for case in CASES:
        print(forked(Path(sys.argv[1]), case), flush=True)
