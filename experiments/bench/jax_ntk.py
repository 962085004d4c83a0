"""Trace kernel of the package's ResNet-18 by neural-tangents, for ``sslsim bench ntk``.

Run by an interpreter of its own, which has jax and neural-tangents and nothing of this package:

    python -P jax_ntk.py FOLDER THREADS

reads ``given.npz`` (images, and weights by the package's names) in FOLDER and writes
``kernel.npy`` and ``found.json`` there. BatchNorm by its running statistics is an affine map of
each channel, whose gain and offset are parameters as in the package.
"""

from __future__ import annotations

import json
import os
import runpy
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

_EPS = 1e-5  # of torch's BatchNorm


def main(folder: Path, threads: int) -> None:
    """Compute the kernel of what is given, compiled first."""
    single = " --xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    if threads == 1:
        os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + single
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import jax
    import neural_tangents as nt

    memory = runpy.run_path(str(Path(__file__).with_name("memory.py")))
    given = dict(np.load(folder / "given.npz"))
    x = jax.numpy.asarray(given.pop("images").transpose(0, 2, 3, 1))  # XLA wants channels last
    statistics = {k: v for k, v in given.items() if "running_" in k}
    values = {
        # Kernels of convolutions (o, i, h, w) -> (h, w, i, o).
        k: jax.numpy.asarray(v.transpose(2, 3, 1, 0) if v.ndim == 4 else v)
        for k, v in given.items()
        if "running_" not in k and "num_batches" not in k
    }
    kernel_of = nt.empirical_ntk_fn(
        lambda parameters, images: _resnet18(parameters, statistics, images),
        trace_axes=(-1,),
        vmap_axes=0,
        implementation=nt.NtkImplementation.STRUCTURED_DERIVATIVES,
    )
    before = memory["resident_bytes"]()
    begun = time.perf_counter()
    compiled = jax.jit(lambda images, parameters: kernel_of(images, None, parameters))
    compiled = compiled.lower(x, values).compile()
    compiling = time.perf_counter() - begun
    begun, spent = time.perf_counter(), time.process_time()
    kernel = compiled(x, values).block_until_ready()
    found = {
        "seconds": time.perf_counter() - begun,
        "processor_seconds": time.process_time() - spent,
        "compile_seconds": compiling,
        # With what compiling takes, which cannot be told apart.
        "extra_bytes": memory["peak_bytes"]() - before,
    }
    # neural-tangents divides by the number of outputs traced over.
    np.save(
        folder / "kernel.npy", np.asarray(kernel, np.float64) * len(given["projector.0.weight"])
    )
    (folder / "found.json").write_text(json.dumps(found))


def _resnet18(p: dict[str, Any], statistics: dict[str, Any], x: Any) -> Any:
    import jax
    from jax import lax

    def convolution(name: str, x: Any, stride: int) -> Any:
        kernel = p[f"{name}.weight"]
        side = kernel.shape[0] // 2
        return lax.conv_general_dilated(
            x,
            kernel,
            (stride, stride),
            ((side, side), (side, side)),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )

    def norm(name: str, x: Any) -> Any:
        mean, variance = (statistics[f"{name}.running_{which}"] for which in ("mean", "var"))
        x = (x - mean) * (1 / np.sqrt(variance + _EPS))
        return x * p[f"{name}.weight"] + p[f"{name}.bias"]

    relu = jax.nn.relu
    x = relu(norm("backbone.stem.1", convolution("backbone.stem.0", x, 1)))
    for stage in range(1, 5):
        for block in range(2):
            name = f"backbone.layer{stage}.{block}"
            stride = 2 if stage > 1 and block == 0 else 1
            inner = relu(norm(f"{name}.bn1", convolution(f"{name}.conv1", x, stride)))
            inner = norm(f"{name}.bn2", convolution(f"{name}.conv2", inner, 1))
            if f"{name}.downsample.0.weight" in p:
                x = convolution(f"{name}.downsample.0", x, stride)
                x = norm(f"{name}.downsample.1", x)
            x = relu(x + inner)
    return x.mean((1, 2)) @ p["projector.0.weight"].T


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
