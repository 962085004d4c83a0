"""Blocks of a kernel that fit a memory budget, and finished blocks kept on disk."""

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
from sslsim.ntk.tracing import Probe

DEFAULT_BUDGET = 2**30  # bytes
_WORK = 2**23  # bytes of per-sample gradients at once on a CPU: more leaves its caches


@dataclass(frozen=True)
class Blocks:
    """A partition of the rows and columns of a kernel.

    Attributes
    ----------
    rows : int
        Rows, and columns, of a block.
    work : int
        Bytes for per-sample gradients formed at once.
    """

    rows: int
    work: int


def plan_blocks(
    module: nn.Module,
    seen: Probe,
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
        Whose kernel is computed.
    seen : Probe
        Of the module.
    by_func : tuple of str
        Parameters left to ``torch.func``.
    size : (int, int)
        Rows and columns of the kernel.
    symmetric : bool
        Whether rows and columns are the same, so that a block on the diagonal needs its rows once.
    passes : int
        Output vectors.
    budget : int
        Bytes.

    Returns
    -------
    Blocks

    Raises
    ------
    ValueError
        If blocks of one row do not fit; the message says what they need.

    Examples
    --------
    >>> from sslsim.ntk.tracing import probe
    >>> module = nn.Linear(3, 2)
    >>> plan_blocks(module, probe(module, torch.rand(4, 3)), (), (4, 4), True, 2, 10**6).rows
    4
    """
    parameters = dict(module.named_parameters())
    item = next(iter(parameters.values())).element_size()
    whole = {name: seen.visits[name] for name in seen.visits if seen.visits[name] > 1}
    # Gradients held whole: as found, stacked, and wide.
    held = sum(parameters[name].numel() * (2 * item * n + 8) for name, n in whole.items())
    held += sum(parameters[name].numel() * (2 * item + 8) for name in by_func)
    sample = seen.sample_bytes + held
    # Tensors of many sizes come and go: the allocator holds up to a third more than they need.
    usable = budget * 3 // 4
    on_cpu = next(iter(parameters.values())).device.type == "cpu"
    work = min(usable // 8, _WORK) if on_cpu else usable // 8
    longest = max(size)
    count = 1
    while True:
        rows = -(-longest // count)
        block = (min(rows, size[0]), min(rows, size[1]))
        together = block[0] if symmetric and count == 1 else sum(block)
        pairs, floor = [0], 0
        for shape in seen.shapes:
            if by_places(shape, block, passes):
                pairs.append(block[0] * block[1] * shape.places**2 * 8)
                entries = together * shape.places * (shape.inputs + shape.outputs)
                floor = max(floor, entries * (item + 8))
            else:
                entries = together * shape.patch * (shape.places + 3 * shape.outputs)
                floor = max(floor, entries * item)
        fixed = together * sample + sum(pairs) + 2 * max(pairs)
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
        Of a block.

    Yields
    ------
    slice, slice

    Examples
    --------
    >>> [(a.start, b.start) for a, b in block_grid((3, 3), True, 2)]
    [(0, 0), (0, 2), (2, 2)]
    """
    for i in range(0, size[0], rows):
        for j in range(i if symmetric else 0, size[1], rows):
            yield slice(i, min(i + rows, size[0])), slice(j, min(j + rows, size[1]))


def kept_block(
    folder: Path | None, rows: slice, columns: slice, compute: Callable[[], torch.Tensor]
) -> torch.Tensor:
    """Read a block that an earlier run finished, or compute and keep it.

    Parameters
    ----------
    folder : Path, optional
        Opened by :func:`open_folder`; without one nothing is kept.
    rows, columns : slice
        Which block.
    compute : callable
        Gives it, float64.

    Returns
    -------
    Tensor of float64

    Raises
    ------
    ValueError
        If the block cannot be written.

    Examples
    --------
    >>> kept_block(None, slice(0, 1), slice(0, 1), lambda: torch.ones(1, 1))
    tensor([[1.]])
    """
    if folder is None:
        return compute()
    path = folder / f"rows_{rows.start}_{rows.stop}_columns_{columns.start}_{columns.stop}.npy"
    if path.exists():
        return torch.from_numpy(np.load(path))
    found = compute()
    with whole_file(path) as file:
        np.save(file, found.numpy())
    return found


def open_folder(path: str | os.PathLike[str] | None, fingerprint: str) -> Path | None:
    """Make a folder for blocks, or check that the blocks in it are of this kernel.

    Parameters
    ----------
    path : path, optional
        The folder; None keeps nothing.
    fingerprint : str
        Of all that the kernel depends on.

    Returns
    -------
    Path or None

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
        Printed for its structure.
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
