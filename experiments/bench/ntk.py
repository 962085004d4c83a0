"""What exact tangent kernels cost: layer hooks beside ``torch.func`` and neural-tangents.

Each side computes the trace kernel of the same network and images in a process of its own, in
turns, so that its peak memory is its own; two measurements go into ``bench.json``:

``networks``
    By network: layer hooks (:func:`sslsim.ntk.empirical_ntk`), the contraction of full Jacobians
    (``vmap(jacrev)``), per-sample gradients output by output (``vmap(grad)``), and, where an
    interpreter with it is given, neural-tangents with structured derivatives (arXiv 2206.08720).
``large``
    One random projection of the outputs of a large network for many samples within a budget.
"""

from __future__ import annotations

import gc
import multiprocessing
import subprocess
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.func import functional_call, grad, jacrev, vmap

from experiments.bench.checks import check_least
from experiments.bench.harness import peak_bytes, resident_bytes
from experiments.bench.options import BenchNtkOptions
from experiments.tables import table
from sslsim.core.files import read_json, write_json
from sslsim.encoders.build import build_encoder
from sslsim.ntk import empirical_ntk
from sslsim.runs.folder import new_results

_SHAPE = (3, 32, 32)
_JAX_NETWORK = "resnet18"
_JAX_SCRIPT = Path(__file__).with_name("jax_ntk.py")


def bench_ntk(options: BenchNtkOptions) -> Path:
    """Run the measurements and print them."""
    check_least(options, samples=1, outputs=1, repeats=1, threads=1, large_samples=1, budget=1)
    for name in (*options.networks, *([options.large_network] if options.large else [])):
        _network(name, 1)  # a name that is unknown is told before an hour of work
    if options.jax_python is not None and _JAX_NETWORK not in options.networks:
        raise ValueError(
            f"jax_python is given for networks {' '.join(options.networks)}; expected "
            f"{_JAX_NETWORK} among them, the one that neural-tangents is asked about"
        )
    with new_results(options.out, "bench", options, results=("bench.json",)) as folder:
        found: dict[str, Any] = {"networks": {}}
        for name in options.networks:
            found["networks"][name] = _compared(name, options)
            write_json(folder / "bench.json", found)
        if options.large:
            found["large"] = _alone(_large, "large", options)
            write_json(folder / "bench.json", found)
        print(_report(found))
    return options.out


def _compared(name: str, options: BenchNtkOptions) -> dict[str, Any]:
    sides: dict[str, Callable[[], dict[str, Any]]] = {
        side: lambda side=side: _alone(_side, side, name, options)  # type: ignore[misc]
        for side in _SIDES
    }
    if options.jax_python is not None and name == _JAX_NETWORK:
        sides["neural_tangents"] = lambda: _neural_tangents(options)
    runs: dict[str, list[dict[str, Any]]] = {side: [] for side in sides}
    for _ in range(options.repeats):
        for side, run in sides.items():
            runs[side].append(run())
    kernels = {side: done[-1]["kernel"] for side, done in runs.items()}
    ours = kernels["hooks"]
    found = {
        side: {key: median(run[key] for run in done) for key in done[0] if key != "kernel"}
        | {
            "all_seconds": [run["seconds"] for run in done],
            "difference": float(np.abs(kernels[side] - ours).max() / np.abs(ours).max()),
        }
        for side, done in runs.items()
    }
    return {
        "n": options.samples,
        "outputs": options.outputs,
        "sides": found,
        "time_ratio": {side: v["seconds"] / found["hooks"]["seconds"] for side, v in found.items()},
        "memory_ratio": {
            side: v["extra_bytes"] / found["hooks"]["extra_bytes"] for side, v in found.items()
        },
    }


def _alone(work: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
    """Result of work in a fresh process."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        try:
            return pool.submit(work, *arguments).result()
        except BrokenProcessPool:
            raise MemoryError(f"{arguments[:2]} was ended by the system") from None


def _side(side: str, name: str, options: BenchNtkOptions) -> dict[str, Any]:
    torch.set_num_threads(options.threads)
    compute = _SIDES[side]
    module, x = _network(name, options.outputs), _images(options.samples)
    # Loads libraries and starts threads; small, so that nothing large is left of it.
    compute(build_encoder("convnet", _SHAPE, 2, seed=0, widths=(4,)).eval(), x[:2])
    return _weighed(lambda: compute(module, x))


def _weighed(compute: Callable[[], torch.Tensor]) -> dict[str, Any]:
    gc.collect()
    before = resident_bytes()
    begun, spent = time.perf_counter(), time.process_time()
    kernel = compute()
    return {
        "seconds": time.perf_counter() - begun,
        "processor_seconds": time.process_time() - spent,
        "extra_bytes": max(peak_bytes() - before, 1),
        "kernel": kernel.numpy(),
    }


def _jacobians(module: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Contraction of full Jacobians, literally: all in memory, one einsum a parameter."""
    parameters, outputs = _function(module)

    def one(values: dict[str, torch.Tensor], row: torch.Tensor) -> torch.Tensor:
        return outputs(values, row)

    found = vmap(jacrev(one), (None, 0))(parameters, x)
    kernel = torch.zeros(len(x), len(x), dtype=torch.float64)
    for jacobian in found.values():
        flat = jacobian.flatten(2)
        kernel += torch.einsum("ikp,jkp->ij", flat, flat)
    return kernel


def _gradients(module: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Per-sample gradients of all parameters, one output at a time."""
    parameters, outputs = _function(module)
    kernel = torch.zeros(len(x), len(x), dtype=torch.float64)
    for k in range(len(outputs(parameters, x[0]))):

        def one(values: dict[str, torch.Tensor], row: torch.Tensor, k: int = k) -> torch.Tensor:
            return outputs(values, row)[k]

        found = vmap(grad(one), (None, 0))(parameters, x)
        for gradient in found.values():
            flat = gradient.flatten(1)
            kernel += flat @ flat.T
    return kernel


def _function(
    module: nn.Module,
) -> tuple[
    dict[str, torch.Tensor], Callable[[dict[str, torch.Tensor], torch.Tensor], torch.Tensor]
]:
    parameters = {name: p.detach() for name, p in module.named_parameters()}

    def outputs(values: dict[str, torch.Tensor], row: torch.Tensor) -> torch.Tensor:
        return functional_call(module, values, (row[None],))[0]

    return parameters, outputs


_SIDES: dict[str, Callable[[nn.Module, torch.Tensor], torch.Tensor]] = {
    "hooks": empirical_ntk,
    "jacrev": _jacobians,
    "vmap_grad": _gradients,
}


def _neural_tangents(options: BenchNtkOptions) -> dict[str, Any]:
    """The same kernel by the other interpreter, which is given weights and images in a file."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        state = _network(_JAX_NETWORK, options.outputs).state_dict()
        arrays = {key: value.numpy() for key, value in state.items()}
        np.savez(folder / "given.npz", images=_images(options.samples).numpy(), **arrays)
        done = subprocess.run(
            [
                str(options.jax_python), "-P", str(_JAX_SCRIPT), str(folder),
                str(options.threads),
            ],
            capture_output=True,
            text=True,
        )  # fmt: skip
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["it says nothing"])[-1]
            raise ValueError(f"{options.jax_python} cannot compute the kernel: {last}")
        return read_json(folder / "found.json") | {"kernel": np.load(folder / "kernel.npy")}


def _large(_: str, options: BenchNtkOptions) -> dict[str, Any]:
    torch.set_num_threads(options.threads)
    module = _network(options.large_network, options.outputs)
    x = _images(options.large_samples)
    draw = torch.Generator().manual_seed(1)
    direction = torch.randn(options.outputs, 1, generator=draw)
    empirical_ntk(build_encoder("convnet", _SHAPE, 2, seed=0, widths=(4,)).eval(), x[:2])
    budget = options.budget * 2**20
    found = _weighed(
        lambda: empirical_ntk(
            module, x, output=direction / direction.norm(), memory_budget=budget, progress=True
        )
    )
    found.pop("kernel")
    sizes = {"network": options.large_network, "n": options.large_samples, "budget_bytes": budget}
    return sizes | {"parameters": sum(p.numel() for p in module.parameters())} | found


def _network(name: str, outputs: int) -> nn.Module:
    return build_encoder(name, _SHAPE, outputs, seed=0).eval()


def _images(count: int) -> torch.Tensor:
    return torch.rand(count, *_SHAPE, generator=torch.Generator().manual_seed(0))


def _report(found: dict[str, Any]) -> str:
    rows = []
    for name, part in found["networks"].items():
        for side, values in part["sides"].items():
            rows.append(
                [
                    name,
                    side,
                    f"{values['seconds']:.3g}",
                    f"{part['time_ratio'][side]:.3g}",
                    f"{values['processor_seconds']:.3g}",
                    f"{values['extra_bytes'] / 2**20:.0f}",
                    f"{part['memory_ratio'][side]:.3g}",
                    f"{values['difference']:.1e}",
                ]
            )
    headers = [
        "network",
        "side",
        "seconds",
        "ratio",
        "processor s",
        "extra MiB",
        "ratio",
        "difference",
    ]
    lines = [table(headers, rows)]
    if "large" in found:
        large = found["large"]
        lines.append(
            f"{large['network']}, n = {large['n']}, one projection: {large['seconds']:.0f} s, "
            f"{large['extra_bytes'] / 2**20:.0f} MiB of {large['budget_bytes'] / 2**20:.0f}"
        )
    return "\n".join(lines)
