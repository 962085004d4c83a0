r"""Empirical neural tangent kernels of torch modules.

For outputs f(x) in R^d and parameters p, the kernel (arXiv 1806.07572, section 4) is

    Theta(x, x')_{kl} = sum over p of  d f_k(x)/dp . d f_l(x')/dp.

Its trace over outputs is the sum of d scalar kernels; divided by d it is the kernel in the theory
of stepwise learning (arXiv 2303.15438, section on kernels). Parameters with
``requires_grad=False`` are left out.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from numbers import Integral

import torch
from torch import nn
from tqdm import tqdm

from sslsim.ntk.blocks import (
    DEFAULT_BUDGET,
    Blocks,
    block_grid,
    fingerprint,
    open_folder,
    plan_blocks,
    stored_block,
)
from sslsim.ntk.checks import check_block, check_input, checked_inputs
from sslsim.ntk.engines import add_by_func, add_by_hooks
from sslsim.ntk.tracing import ModuleTrace, trace_module

ENGINES = ("auto", "hooks", "func")

Output = str | Sequence[int] | torch.Tensor


@dataclass(frozen=True, eq=False)
class _Task:
    """One kernel to compute, all its choices made."""

    module: nn.Module
    trace: ModuleTrace
    by_func: tuple[str, ...]
    x1: torch.Tensor
    x2: torch.Tensor | None
    vectors: torch.Tensor | None  # (d, p) whose columns are summed over, None for all pairs
    size: tuple[int, int]
    blocks: Blocks


def empirical_ntk(
    module: nn.Module,
    x1: torch.Tensor,
    x2: torch.Tensor | None = None,
    *,
    output: Output = "trace",
    memory_budget: int | None = None,
    engine: str = "auto",
    resume: str | os.PathLike[str] | None = None,
    progress: bool = False,
) -> torch.Tensor:
    """Tangent kernel of a module between two sets of inputs.

    Parameters
    ----------
    module : nn.Module
        (n, ...) -> (n, d), in evaluation mode; BatchNorm by its running statistics. Left as it is.
    x1 : Tensor, shape (n1, ...)
        Inputs of the module, in its floating type.
    x2 : Tensor, shape (n2, ...), optional
        By default ``x1``; then half of the blocks are computed and the result is symmetric.
    output : {"trace", "full"}, sequence of int, or Tensor of shape (d, p)
        "trace": the sum over all outputs, not divided. "full": all pairs of outputs. Integers: the
        sum over these outputs. A matrix P: the trace for the outputs ``f @ P``, for instance random
        projections or one direction of the embedding.
    memory_budget : int, optional
        Bytes beyond the module, the inputs and the result; 1 GiB by default. Blocks of samples (and
        of outputs, for "full") are as large as an estimate allows: what a forward pass keeps of
        their samples, gradients on their way through it, and the buffers of the costliest layer,
        with a quarter of the budget left to the allocator. Buffers inside torch's kernels come on
        top, some 30 MB on a CPU.
    engine : {"auto", "hooks", "func"}
        "hooks": linear maps, 2d convolutions and normalisations by their inputs and output
        gradients. "func": per-sample gradients by ``torch.func``, which takes any parameter.
        "auto": hooks, and "func" for the parameters that hooks do not see.
    resume : path, optional
        Folder for finished blocks. A later call with the same module, parameters, inputs and
        outputs reads those of equal rows and columns and computes the rest.
    progress : bool
        Show a bar over blocks.

    Returns
    -------
    Tensor of float64, shape (n1, n2) or, for "full", (n1, n2, d, d)
        On the CPU. Gradients are computed in the module's type and multiplied in float64. Values
        differ by rounding only between budgets and engines.

    Raises
    ------
    ValueError
        If inputs, outputs or gradients are not valid, a BatchNorm or Dropout is in training mode,
        samples are coupled, the module changes in place what gradients need, the budget is too
        small (it says what is needed), the folder holds another kernel, or an engine cannot see a
        parameter (it is named).

    Examples
    --------
    >>> layer = nn.Linear(2, 3, bias=False)
    >>> empirical_ntk(layer, torch.tensor([[1.0, 0.0], [2.0, 1.0]])).round().tolist()
    [[3.0, 6.0], [6.0, 15.0]]
    """
    task = _task(module, x1, x2, output, memory_budget, engine)
    inputs = (task.x1, task.x2, task.vectors)
    folder = None if resume is None else open_folder(resume, fingerprint(module, *inputs))
    kernel = torch.empty(task.size, dtype=torch.float64)

    def compute(rows: slice, columns: slice) -> torch.Tensor:
        # On the device: parts are many, and each would have to be waited for.
        size = (_length(rows), _length(columns))
        total = torch.zeros(size, dtype=torch.float64, device=task.x1.device)

        def add(name: str, part: torch.Tensor) -> None:
            total.add_(part)

        _add_block(task, rows, columns, add)
        return check_block(module, total.cpu())

    def store(rows: slice, columns: slice) -> None:
        block = stored_block(folder, rows, columns, lambda: compute(rows, columns))
        _place(kernel, rows, columns, block, task.x2 is None)

    _each_block(task, store, progress)
    if task.vectors is not None:
        return kernel
    d = task.trace.dim
    return kernel.unflatten(1, (-1, d)).unflatten(0, (-1, d)).transpose(1, 2).contiguous()


def layer_ntks(
    module: nn.Module,
    x1: torch.Tensor,
    x2: torch.Tensor | None = None,
    *,
    output: Output = "trace",
    memory_budget: int | None = None,
    engine: str = "auto",
    progress: bool = False,
) -> dict[str, torch.Tensor]:
    """Part of the tangent kernel that belongs to each parameter.

    Parameters
    ----------
    module, x1, x2, output, memory_budget, engine, progress
        As in :func:`empirical_ntk`, except that ``output="full"`` is not supported.

    Returns
    -------
    dict of str to Tensor of float64, shape (n1, n2)
        One part for each parameter that requires gradients, by name in the module's order. The sum
        of all parts is the kernel.

    Raises
    ------
    ValueError
        As :func:`empirical_ntk`, and for ``output="full"``.

    Examples
    --------
    >>> parts = layer_ntks(nn.Linear(2, 3), torch.tensor([[1.0, 0.0], [2.0, 1.0]]))
    >>> {name: part.round().tolist() for name, part in parts.items()}
    {'weight': [[3.0, 6.0], [6.0, 15.0]], 'bias': [[3.0, 3.0], [3.0, 3.0]]}
    """
    if isinstance(output, str) and output == "full":
        raise ValueError("output is 'full'; expected 'trace', indices or a matrix")
    task = _task(module, x1, x2, output, memory_budget, engine)
    parts = {name: torch.zeros(task.size, dtype=torch.float64) for name in task.trace.names}

    def store(rows: slice, columns: slice) -> None:
        sums: dict[str, torch.Tensor] = {}

        def add(name: str, part: torch.Tensor) -> None:
            sums[name] = sums[name] + part.cpu() if name in sums else part.cpu()

        _add_block(task, rows, columns, add)
        for name, block in sums.items():
            check_block(module, block)
            _place(parts[name], rows, columns, block, task.x2 is None)

    _each_block(task, store, progress)
    return parts


def pair_ntk(
    module: nn.Module,
    x: torch.Tensor,
    x_prime: torch.Tensor,
    *,
    output: Output = "trace",
    memory_budget: int | None = None,
    engine: str = "auto",
    resume: str | os.PathLike[str] | None = None,
    progress: bool = False,
) -> torch.Tensor:
    """Kernel of positive pairs in the theory of stepwise learning.

    Parameters
    ----------
    module : nn.Module
        As in :func:`empirical_ntk`.
    x, x_prime : Tensor, shape (n, ...)
        First and second views, of equal shape.
    output, memory_budget, engine, resume, progress
        As in :func:`empirical_ntk`, except that ``output="full"`` is not supported.

    Returns
    -------
    Tensor of float64, shape (2n, 2n)
        Kernel of the stacked views, first views first. It is divided by the number of outputs,
        indices or columns in the sum: by default it is the trace over outputs divided by d
        (arXiv 2303.15438, section on kernels), and for a single unit vector u it is the kernel of
        the scalar output u . f.

    Raises
    ------
    ValueError
        If the views differ in shape, ``output`` is "full", or as :func:`empirical_ntk`.

    Examples
    --------
    >>> layer = nn.Linear(2, 3, bias=False)
    >>> x, x_prime = torch.tensor([[1.0, 0.0]]), torch.tensor([[2.0, 1.0]])
    >>> pair_ntk(layer, x, x_prime).round().tolist()
    [[1.0, 2.0], [2.0, 5.0]]
    """
    if isinstance(output, str) and output == "full":
        raise ValueError("output is 'full'; expected 'trace', indices or a matrix")
    check_input("x", x)
    check_input("x_prime", x_prime)
    if x.shape != x_prime.shape:
        raise ValueError(
            f"x has shape {tuple(x.shape)} and x_prime {tuple(x_prime.shape)}; "
            "expected equal shapes"
        )
    views, _ = checked_inputs(module, torch.cat([x, x_prime]), None)
    kernel = empirical_ntk(
        module,
        views,
        output=output,
        memory_budget=memory_budget,
        engine=engine,
        resume=resume,
        progress=progress,
    )
    if isinstance(output, torch.Tensor):
        return kernel / output.shape[1]
    return kernel / (trace_module(module, views).dim if isinstance(output, str) else len(output))


def _task(
    module: nn.Module,
    x1: torch.Tensor,
    x2: torch.Tensor | None,
    output: Output,
    memory_budget: int | None,
    engine: str,
) -> _Task:
    if engine not in ENGINES:
        raise ValueError(f"engine is {engine!r}; expected one of {ENGINES}")
    budget = DEFAULT_BUDGET if memory_budget is None else memory_budget
    if type(budget) is not int or budget < 1:
        raise ValueError(f"memory_budget is {budget!r}; expected a number of bytes above zero")
    x1, x2 = checked_inputs(module, x1, x2)
    trace = trace_module(module, x1)
    missing = tuple(name for name in trace.names if name not in trace.visits)
    if engine == "hooks" and missing:
        raise ValueError(
            f"hooks do not see every use of {', '.join(missing)}; expected parameters of linear "
            "maps, 2d convolutions and normalisations, or engine 'auto'"
        )
    by_func = trace.names if engine == "func" else missing
    vectors = _vectors(output, trace.dim)
    each = trace.dim if vectors is None else 1
    size = (each * len(x1), each * len(x1 if x2 is None else x2))
    passes = 1 if vectors is None else vectors.shape[1]
    blocks = plan_blocks(module, trace, by_func, size, x2 is None, passes, budget)
    return _Task(module, trace, by_func, x1, x2, vectors, size, blocks)


def _vectors(output: Output, dim: int) -> torch.Tensor | None:
    if isinstance(output, torch.Tensor):
        if output.ndim != 2 or len(output) != dim or output.shape[1] < 1:
            raise ValueError(f"output has shape {tuple(output.shape)}; expected ({dim}, p)")
        if not output.is_floating_point() or not bool(output.isfinite().all()):
            raise ValueError(f"output is no matrix of finite floats ({output.dtype})")
        return output.detach()
    if isinstance(output, str):
        if output not in ("trace", "full"):
            raise ValueError(f"output is {output!r}; expected 'trace', 'full', indices or a matrix")
        return None if output == "full" else torch.eye(dim)
    indices = list(output) if isinstance(output, Iterable) else []
    good = all(isinstance(k, Integral) and k is not True and 0 <= k < dim for k in indices)
    if not good or not indices or len(set(indices)) < len(indices):
        raise ValueError(
            f"output is {output!r}; expected a sequence of distinct integers from 0 to {dim - 1}"
        )
    return torch.eye(dim)[:, [int(k) for k in indices]]


def _each_block(task: _Task, store: Callable[[slice, slice], None], progress: bool) -> None:
    grid = list(block_grid(task.size, task.x2 is None, task.blocks.rows))
    for rows, columns in tqdm(grid, desc="kernel blocks", disable=not progress):
        store(rows, columns)


def _add_block(
    task: _Task, rows: slice, columns: slice, add: Callable[[str, torch.Tensor], None]
) -> None:
    x, vectors = _rows(task, task.x1, rows)
    split = (slice(None), slice(None))
    if task.x2 is not None or rows != columns:
        more, others = _rows(task, task.x1 if task.x2 is None else task.x2, columns)
        split = (slice(0, len(x)), slice(len(x), None))
        x = torch.cat([x, more])
        vectors = [torch.cat(pair) for pair in zip(vectors, others, strict=True)]
    if len(task.by_func) < len(task.trace.names):
        add_by_hooks(task.module, task.trace, x, vectors, split, add, task.blocks.work)
    if task.by_func:
        add_by_func(task.module, task.by_func, x, vectors, split, add)


def _rows(task: _Task, x: torch.Tensor, rows: slice) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Inputs and output vectors of some rows; for all pairs of outputs, rows go over both."""
    d = task.trace.dim
    if task.vectors is None:
        numbers = torch.arange(rows.start, rows.stop)
        return x[(numbers // d).to(x.device)], [torch.eye(d).to(x)[numbers % d]]
    return x[rows], [column.to(x).expand(_length(rows), d) for column in task.vectors.T]


def _length(rows: slice) -> int:
    return rows.stop - rows.start


def _place(
    kernel: torch.Tensor, rows: slice, columns: slice, block: torch.Tensor, symmetric: bool
) -> None:
    if symmetric and rows == columns:
        # A matrix product with itself is symmetric up to rounding only.
        block = (block + block.T) / 2
    kernel[rows, columns] = block
    if symmetric and rows != columns:
        kernel[columns, rows] = block.T
