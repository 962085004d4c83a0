"""The benchmark of tangent kernels runs and its sides agree; its times are nobody's promise."""

import os
import sys
from pathlib import Path

import pytest
import torch

from experiments.bench import ntk as module
from experiments.bench.harness import in_own_process
from experiments.bench.ntk import BenchNtkOptions, bench_ntk
from sslsim.core.files import read_json
from sslsim.ntk import empirical_ntk

SIZES = ("samples", "outputs", "repeats", "threads", "large_samples", "budget")


@pytest.mark.slow
def test_small_run_measures_all_sides(tmp_path, capsys):
    options = BenchNtkOptions(
        samples=3, outputs=2, networks=("convnet",), repeats=1, large=True,
        large_network="convnet", large_samples=4, budget=100, out=tmp_path,
    )  # fmt: skip
    found = read_json(bench_ntk(options, lambda work, *rest: work(*rest)) / "bench.json")
    part = found["networks"]["convnet"]
    assert set(part["sides"]) == {"hooks", "jacrev", "vmap_grad"}
    for side, values in part["sides"].items():
        # Sums of thousands of float32 products.
        assert values["difference"] < 1e-4
        assert min(values["seconds"], values["extra_bytes"]) > 0
        assert part["time_ratio"][side] > 0
    assert part["time_ratio"]["hooks"] == part["memory_ratio"]["hooks"] == 1
    assert found["large"]["n"] == 4
    assert found["large"]["budget_bytes"] == 100 * 2**20
    printed = capsys.readouterr().out
    assert "vmap_grad" in printed
    assert "one projection" in printed


@pytest.mark.slow
def test_a_side_runs_in_a_process_of_its_own():
    options = BenchNtkOptions(samples=2, outputs=2)
    found = in_own_process(module._side, "hooks", "convnet", options)
    expected = empirical_ntk(module._network("convnet", 2), module._images(2))
    assert torch.equal(torch.from_numpy(found["kernel"]), expected)
    assert found["extra_bytes"] > 2**12


def test_a_process_that_is_ended_is_told():
    with pytest.raises(MemoryError, match=r"\(9,\) was ended by the system"):
        in_own_process(os._exit, 9)


def test_sides_compute_the_same_kernel():
    network = module._network("convnet", 3).double()
    x = module._images(3).double()
    expected = empirical_ntk(network, x)
    for side, compute in module._SIDES.items():
        assert torch.allclose(compute(network, x), expected, rtol=1e-12, atol=0), side


@pytest.mark.parametrize("name", SIZES)
def test_unfit_options_are_refused(name):
    with pytest.raises(ValueError, match=f"{name} is 0; expected at least 1"):
        bench_ntk(BenchNtkOptions(**{name: 0}, out=Path("unused")))
    with pytest.raises(ValueError, match="encoder is 'alexnet'"):
        bench_ntk(BenchNtkOptions(networks=("alexnet",), out=Path("unused")))
    with pytest.raises(ValueError, match="encoder is 'alexnet'"):
        bench_ntk(BenchNtkOptions(large=True, large_network="alexnet", out=Path("unused")))
    with pytest.raises(ValueError, match="jax_python is given for networks convnet; expected resn"):
        bench_ntk(BenchNtkOptions(networks=("convnet",), jax_python=Path("p"), out=Path("unused")))


def test_an_interpreter_without_neural_tangents_is_told():
    options = BenchNtkOptions(jax_python=Path(sys.executable), samples=2, outputs=2)
    with pytest.raises(ValueError, match=r"cannot compute the kernel: .*No module named 'jax'"):
        module._neural_tangents(options)
