"""Blocks of a kernel that fit into a memory budget; finished blocks are stored on disk."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from sslsim.core.files import whole_file
from sslsim.ntk.layers import by_places
from sslsim.ntk.tracing import ModuleTrace

DEFAULT_BUDGET = 2**30  # bytes
_WORK = 2**23  # bytes of per-sample gradients at once on a CPU: more leaves its caches


@dataclass(frozen=True)
class Blocks:
    """A partition of the rows and columns of a kernel.

    Attributes
    ----------
    rows : int
        Number of rows, and of columns, of a block.
    work : int
        Bytes for the per-sample gradients that are in memory at the same time.
    """

    rows: int
    work: int


def plan_blocks(
    module: nn.Module,
    trace: ModuleTrace,
    by_func: tuple[str, ...],
    size: tuple[int, int],
    symmetric: bool,
    passes: int,
    budget: int,
) -> Blocks:
    """Choose the largest blocks whose estimated memory fits a budget.

    Parameters
    ----------
    module : nn.Module
        Module whose kernel is computed.
    trace : ModuleTrace
        Result of ``trace_module`` for the module.
    by_func : tuple of str
        Parameters left to ``torch.func``.
    size : (int, int)
        Rows and columns of the kernel.
    symmetric : bool
        Whether rows and columns are the same, so that a block on the diagonal needs its rows once.
    passes : int
        Number of output vectors.
    budget : int
        Memory in bytes.

    Returns
    -------
    Blocks

    Raises
    ------
    ValueError
        If blocks of one row do not fit; the message says what they need.

    Examples
    --------
    >>> from sslsim.ntk.tracing import trace_module
    >>> module = nn.Linear(3, 2)
    >>> plan_blocks(module, trace_module(module, torch.rand(4, 3)), (), (4, 4), True, 2, 10**6).rows
    4
    """
    parameters = dict(module.named_parameters())
    item = next(iter(parameters.values())).element_size()
    whole = {name: trace.visits[name] for name in trace.visits if trace.visits[name] > 1}
    # Gradients that are in memory as a whole: as computed, stacked, and in float64.
    whole_bytes = sum(parameters[name].numel() * (2 * item * n + 8) for name, n in whole.items())
    whole_bytes += sum(parameters[name].numel() * (2 * item + 8) for name in by_func)
    sample = trace.sample_bytes + whole_bytes
    # Tensors of many sizes are made and freed: the allocator uses up to a third more memory.
    usable = budget * 3 // 4
    on_cpu = next(iter(parameters.values())).device.type == "cpu"
    work = min(usable // 8, _WORK) if on_cpu else usable // 8
    longest = max(size)
    count = 1
    while True:
        rows = -(-longest // count)
        block = (min(rows, size[0]), min(rows, size[1]))
        block_rows = block[0] if symmetric and count == 1 else sum(block)
        pairs, floor = [0], 0
        for shape in trace.shapes:
            if by_places(shape, block, passes):
                pairs.append(block[0] * block[1] * shape.places**2 * 8)
                entries = block_rows * shape.places * (shape.inputs + shape.outputs)
                floor = max(floor, entries * (item + 8))
            else:
                entries = block_rows * shape.patch * (shape.places + 3 * shape.outputs)
                floor = max(floor, entries * item)
        fixed = block_rows * sample + sum(pairs) + 2 * max(pairs)
        if fixed + max(work, floor) <= usable:
            return Blocks(rows, work)
        if rows == 1:
            # What is usually set aside for gradients grows with the budget: the least is less.
            least = fixed + floor
            if least <= usable:
                return Blocks(rows, min(work, usable - fixed))
            raise ValueError(
                f"memory_budget is {budget} bytes; expected {-(-4 * least // 3)} or more, for two "
                "samples"
            )
        count = max(count + 1, int(1.1 * count))


def block_grid(size: tuple[int, int], symmetric: bool, rows: int) -> Iterator[tuple[slice, slice]]:
    """Rows and columns of each block, without those below the diagonal of a symmetric kernel.

    Parameters
    ----------
    size : (int, int)
        Rows and columns of the kernel.
    symmetric : bool
        Whether it is symmetric.
    rows : int
        Rows of a block.

    Yields
    ------
    slice, slice
        Rows and columns of the next block.

    Examples
    --------
    >>> [(a.start, b.start) for a, b in block_grid((3, 3), True, 2)]
    [(0, 0), (0, 2), (2, 2)]
    """
    for i in range(0, size[0], rows):
        for j in range(i if symmetric else 0, size[1], rows):
            yield slice(i, min(i + rows, size[0])), slice(j, min(j + rows, size[1]))


def stored_block(
    folder: Path | None, rows: slice, columns: slice, compute: Callable[[], torch.Tensor]
) -> torch.Tensor:
    """Read a block that an earlier run finished, or compute and store it.

    Parameters
    ----------
    folder : Path, optional
        Folder opened by :func:`open_folder`; without it, nothing is stored.
    rows, columns : slice
        Place of the block in the kernel.
    compute : callable
        Function that returns the block in float64.

    Returns
    -------
    Tensor of float64
        The block.

    Raises
    ------
    ValueError
        If the block cannot be written.

    Examples
    --------
    >>> stored_block(None, slice(0, 1), slice(0, 1), lambda: torch.ones(1, 1))
    tensor([[1.]])
    """
    if folder is None:
        return compute()
    path = folder / f"rows_{rows.start}_{rows.stop}_columns_{columns.start}_{columns.stop}.npy"
    if path.exists():
        return torch.from_numpy(np.load(path))
    block = compute()
    with whole_file(path) as file:
        np.save(file, block.numpy())
    return block


def open_folder(path: str | os.PathLike[str] | None, fingerprint: str) -> Path | None:
    """Make a folder for blocks, or check that the blocks in it are of this kernel.

    Parameters
    ----------
    path : path, optional
        The folder; None stores nothing.
    fingerprint : str
        Hash of everything that the kernel depends on.

    Returns
    -------
    Path or None
        The folder, ready for blocks.

    Raises
    ------
    ValueError
        If the folder cannot be written or belongs to another kernel.

    Examples
    --------
    >>> open_folder(None, "")
    """
    if path is None:
        return None
    folder = Path(path)
    known = folder / "fingerprint.txt"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        before = known.read_text() if known.exists() else None
    except OSError as error:
        raise ValueError(f"{folder} cannot be used: {error.strerror}") from error
    if before is None:
        if any(folder.iterdir()):
            raise ValueError(f"{folder} holds other files; expected an empty or a new folder")
        with whole_file(known) as file:
            file.write(fingerprint.encode())
    elif before != fingerprint:
        raise ValueError(
            f"{folder} holds blocks of another kernel; expected the same module, parameters, "
            "inputs and outputs"
        )
    return folder


def fingerprint(module: nn.Module, *tensors: torch.Tensor | None) -> str:
    """Hash of a module's structure, parameters and buffers and of further tensors.

    Parameters
    ----------
    module : nn.Module
        Module; its printed form stands for its structure.
    tensors : Tensor or None
        Inputs and output vectors.

    Returns
    -------
    str
        Hexadecimal SHA-256.

    Examples
    --------
    >>> module = nn.Linear(2, 1)
    >>> fingerprint(module, torch.ones(1)) == fingerprint(module, torch.zeros(1))
    False
    """
    state = hashlib.sha256(str(module).encode())
    trained = [name for name, p in module.named_parameters() if p.requires_grad]
    state.update(repr(trained).encode())
    named = [*module.named_parameters(), *module.named_buffers()]
    named += [(str(i), t) for i, t in enumerate(tensors) if t is not None]
    for name, value in named:
        state.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
        flat = value.detach().cpu().contiguous().flatten()
        state.update(flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b"")
    return state.hexdigest()
