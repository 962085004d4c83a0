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
import subprocess
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.func import functional_call, grad, jacrev, vmap

from experiments.bench.harness import (
    check_least,
    in_own_process,
    in_turns,
    run_bench,
    timed,
    turn_ratio,
    with_range,
)
from experiments.bench.memory import peak_bytes, resident_bytes
from experiments.bench.options import BenchNtkOptions
from experiments.tables import table
from sslsim.core.files import read_json
from sslsim.encoders.build import build_encoder
from sslsim.ntk import empirical_ntk

_SHAPE = (3, 32, 32)
_JAX_NETWORK = "resnet18"
_JAX_SCRIPT = Path(__file__).with_name("jax_ntk.py")

Apart = Callable[..., dict[str, Any]]
Parameters = dict[str, torch.Tensor]


def bench_ntk(options: BenchNtkOptions, apart: Apart = in_own_process) -> Path:
    """Run the measurements and print them, each piece of work apart from the others."""
    check_least(options, samples=1, outputs=1, repeats=1, threads=1, large_samples=1, budget=1)
    for name in (*options.networks, *([options.large_network] if options.large else [])):
        _network(name, 1)  # an unknown name is refused before an hour of work
    if options.jax_python is not None and _JAX_NETWORK not in options.networks:
        raise ValueError(
            f"jax_python is given for networks {' '.join(options.networks)}; expected "
            f"{_JAX_NETWORK} among them, the one that neural-tangents is asked about"
        )

    def measured(_: BenchNtkOptions) -> dict[str, Any]:
        results: dict[str, Any] = {
            "networks": {name: _compared(name, options, apart) for name in options.networks}
        }
        if options.large:
            results["large"] = apart(_large, "large", options)
        return results

    return run_bench(options, measured, _report)


def _compared(name: str, options: BenchNtkOptions, apart: Apart) -> dict[str, Any]:
    sides: dict[str, Callable[[], dict[str, Any]]] = {
        side: partial(apart, _side, side, name, options) for side in _SIDES
    }
    if options.jax_python is not None and name == _JAX_NETWORK:
        sides["neural_tangents"] = partial(_neural_tangents, options)
    runs = in_turns(sides, options.repeats, warm_up=False)
    kernels = {side: done[-1]["kernel"] for side, done in runs.items()}
    ours = kernels["hooks"]
    costs = {
        side: {key: median(run[key] for run in done) for key in done[0] if key != "kernel"}
        | {
            "all_seconds": [run["seconds"] for run in done],
            "difference": float(np.abs(kernels[side] - ours).max() / np.abs(ours).max()),
        }
        for side, done in runs.items()
    }

    def ratios(key: str) -> dict[str, dict[str, Any]]:
        numbers = {side: [run[key] for run in done] for side, done in runs.items()}
        return {side: turn_ratio(values, numbers["hooks"]) for side, values in numbers.items()}

    times, memories = ratios("seconds"), ratios("extra_bytes")
    return {
        "n": options.samples,
        "outputs": options.outputs,
        "sides": costs,
        "time_ratio": {side: of["ratio"] for side, of in times.items()},
        "time_ratio_range": {side: of["ratio_range"] for side, of in times.items()},
        "memory_ratio": {side: of["ratio"] for side, of in memories.items()},
    }


def _side(side: str, name: str, options: BenchNtkOptions) -> dict[str, Any]:
    module, x = _network(name, options.outputs), _images(options.samples)
    return _weighed(_SIDES[side], module, x, options)


def _weighed(
    compute: Callable[[nn.Module, torch.Tensor], torch.Tensor],
    module: nn.Module,
    x: torch.Tensor,
    options: BenchNtkOptions,
) -> dict[str, Any]:
    torch.set_num_threads(options.threads)
    # Loads libraries and starts threads; small, so that nothing large is left of it.
    small = build_encoder("convnet", _SHAPE, options.outputs, seed=0, widths=(4,)).eval()
    compute(small, x[:2])
    gc.collect()
    before = resident_bytes()
    kernel, seconds, processor_seconds = timed(lambda: compute(module, x))
    return {
        "seconds": seconds,
        "processor_seconds": processor_seconds,
        "extra_bytes": max(peak_bytes() - before, 1),
        "kernel": kernel.numpy(),
    }


def _jacobians(module: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Contraction of full Jacobians, literally: all in memory, one einsum a parameter."""
    parameters, outputs = _function(module)
    kernel = torch.zeros(len(x), len(x), dtype=torch.float64)
    for jacobian in vmap(jacrev(outputs), (None, 0))(parameters, x).values():
        flat = jacobian.flatten(2)
        kernel += torch.einsum("ikp,jkp->ij", flat, flat)
    return kernel


def _gradients(module: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Per-sample gradients of all parameters, one output at a time."""
    parameters, outputs = _function(module)
    kernel = torch.zeros(len(x), len(x), dtype=torch.float64)
    for k in range(len(outputs(parameters, x[0]))):

        def output(values: Parameters, row: torch.Tensor, k: int = k) -> torch.Tensor:
            return outputs(values, row)[k]

        for gradient in vmap(grad(output), (None, 0))(parameters, x).values():
            flat = gradient.flatten(1)
            kernel += flat @ flat.T
    return kernel


def _function(
    module: nn.Module,
) -> tuple[Parameters, Callable[[Parameters, torch.Tensor], torch.Tensor]]:
    parameters = {name: p.detach() for name, p in module.named_parameters()}

    def outputs(values: Parameters, row: torch.Tensor) -> torch.Tensor:
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
    module = _network(options.large_network, options.outputs)
    draw = torch.Generator().manual_seed(1)
    direction = torch.randn(options.outputs, 1, generator=draw)
    budget = options.budget * 2**20
    compute = partial(
        empirical_ntk, output=direction / direction.norm(), memory_budget=budget, progress=True
    )
    cost = _weighed(compute, module, _images(options.large_samples), options)
    del cost["kernel"]
    sizes = {"network": options.large_network, "n": options.large_samples, "budget_bytes": budget}
    return sizes | {"parameters": sum(p.numel() for p in module.parameters())} | cost


def _network(name: str, outputs: int) -> nn.Module:
    return build_encoder(name, _SHAPE, outputs, seed=0).eval()


def _images(count: int) -> torch.Tensor:
    return torch.rand(count, *_SHAPE, generator=torch.Generator().manual_seed(0))


def _report(results: dict[str, Any]) -> str:
    rows = [
        [name, side, f"{cost['seconds']:.3g}",
         with_range(part["time_ratio"][side], part["time_ratio_range"][side]),
         f"{cost['processor_seconds']:.3g}", f"{cost['extra_bytes'] / 2**20:.0f}",
         f"{part['memory_ratio'][side]:.3g}", f"{cost['difference']:.1e}"]
        for name, part in results["networks"].items()
        for side, cost in part["sides"].items()
    ]  # fmt: skip
    costs = ["seconds", "ratio", "processor s", "extra MiB", "ratio", "difference"]
    lines = [table(["network", "side", *costs], rows)]
    if "large" in results:
        large = results["large"]
        lines.append(
            f"{large['network']}, n = {large['n']}, one projection: {large['seconds']:.0f} s, "
            f"{large['extra_bytes'] / 2**20:.0f} MiB of {large['budget_bytes'] / 2**20:.0f}"
        )
    return "\n".join(lines)
