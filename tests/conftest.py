"""Settings shared by all tests."""

# ruff: noqa: E402  (the environment comes first)

import os

# Before anything loads a BLAS: on arrays this small a second thread waits longer than it works.
# What the caller set stays; .ci/machines plays machines of other sizes by it.
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import pytest
from hypothesis import HealthCheck, settings

# The same examples on every machine and no deadline: a slow machine is not a failure.
settings.register_profile(
    "ci",
    deadline=None,
    derandomize=True,
    max_examples=50,
    suppress_health_check=[HealthCheck.too_slow],
)
# Other examples at every run: HYPOTHESIS_PROFILE=explore.
settings.register_profile(
    "explore", settings.get_profile("ci"), derandomize=False, max_examples=500
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@pytest.fixture(scope="session", autouse=True)
def _unsynced():
    """Leave writing to the disk to the system: tests kill processes, not machines."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


@pytest.fixture(autouse=True)
def _temporary_home(tmp_path, monkeypatch):
    """Run every test in a folder of its own, so that nothing is written into the checkout."""
    monkeypatch.chdir(tmp_path)
