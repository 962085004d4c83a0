r"""Tangent kernels from random directions in parameter space, with their standard error.

For u a standard normal direction, the change J(x) u of the outputs along it satisfies

    E (J(x) u) . (J(x') u) = tr J(x) J(x')^T,

the trace kernel: a random projection of all gradients (Johnson and Lindenstrauss 1984) that is
never larger than the outputs. Forward-mode differentiation (arXiv 2202.08587) gives it in about two
forward passes, for any number of parameters. Every sample is visited once, not once for each block
of partners. The mean of k directions has variance at most 2 K(x, x) K(x', x') / k, and exactly
(K(x, x) K(x', x') + K(x, x')^2) / k for a single output.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import torch
from torch import nn
from torch.func import jvp
from torch.nn.attention import SDPBackend, sdpa_kernel
from tqdm import tqdm

from sslsim.encoders.checks import check_count
from sslsim.ntk.checks import checked_inputs
from sslsim.ntk.tracing import trace_module, with_parameters


@dataclass(frozen=True, eq=False)
class SketchedKernel:
    """An estimated trace kernel.

    Attributes
    ----------
    kernel : Tensor of float64, shape (n1, n2)
        Mean over directions: unbiased, symmetric and positive semi-definite for one set of inputs,
        of rank k d at most.
    standard_error : Tensor of float64, shape (n1, n2)
        Standard error of each entry, from the spread over directions; it falls as 1 / sqrt(k). The
        errors of different entries are not independent, because they share the directions.
    """

    kernel: torch.Tensor
    standard_error: torch.Tensor


def sketched_ntk(
    module: nn.Module,
    x1: torch.Tensor,
    x2: torch.Tensor | None = None,
    *,
    sketch: int,
    seed: int,
    batch_size: int = 256,
    progress: bool = False,
) -> SketchedKernel:
    """Estimate the trace kernel from random directions in parameter space.

    Parameters
    ----------
    module : nn.Module
        (n, ...) -> (n, d), in evaluation mode; left as it is.
    x1 : Tensor, shape (n1, ...)
        Inputs of the module, of its floating type.
    x2 : Tensor, shape (n2, ...), optional
        By default ``x1``.
    sketch : int
        Number k of directions, at least 2.
    seed : int
        Seed of the directions; they depend on nothing else.
    batch_size : int
        Samples in one forward pass.
    progress : bool
        Show a bar over directions.

    Returns
    -------
    SketchedKernel
        Estimate of the trace over outputs, not divided by d, on the CPU.

    Raises
    ------
    ValueError
        If inputs or outputs are not valid, a BatchNorm or Dropout is in training mode, samples are
        coupled, a number is out of range, or the module has no forward-mode derivative.

    Examples
    --------
    >>> layer, x = nn.Linear(2, 3, bias=False), torch.tensor([[1.0, 0.0], [2.0, 1.0]])
    >>> estimate = sketched_ntk(layer, x, sketch=400, seed=0)
    >>> exact = torch.tensor([[3.0, 6.0], [6.0, 15.0]])
    >>> bool(((estimate.kernel - exact).abs() < 4 * estimate.standard_error).all())
    True
    """
    if check_count("sketch", sketch) < 2:
        raise ValueError(f"sketch is {sketch}; expected 2 directions or more, to know their spread")
    check_count("batch_size", batch_size)
    x1, x2 = checked_inputs(module, x1, x2)
    trace_module(module, x1)
    values = {name: p.detach() for name, p in module.named_parameters() if p.requires_grad}
    x = x1 if x2 is None else torch.cat([x1, x2])
    n1, n2 = len(x1), len(x1 if x2 is None else x2)
    total = torch.zeros(n1, n2, dtype=torch.float64)
    squares = torch.zeros_like(total)
    # On the CPU: the same directions on every device.
    generator = torch.Generator().manual_seed(seed)
    for count in tqdm(range(1, sketch + 1), desc="directions", disable=not progress):
        direction = {
            name: torch.randn(value.shape, generator=generator, dtype=value.dtype).to(value.device)
            for name, value in values.items()
        }
        change = torch.cat(
            [_change(module, values, direction, batch) for batch in x.split(batch_size)]
        )
        change = change.double().cpu()
        product = change[:n1] @ change[len(change) - n2 :].T
        if x2 is None:
            # A matrix product with itself is symmetric up to rounding only.
            product = (product + product.T) / 2
        # Welford's update: entries may be large in comparison with their spread.
        step = product - total
        total += step / count
        squares += step * (product - total)
    return SketchedKernel(total, (squares / (sketch - 1) / sketch).sqrt())


def _change(
    module: nn.Module,
    values: dict[str, torch.Tensor],
    direction: dict[str, torch.Tensor],
    batch: torch.Tensor,
) -> torch.Tensor:
    def outputs(parameters: dict[str, torch.Tensor]) -> torch.Tensor:
        # A copy: the module may change its input in place.
        return with_parameters(module, parameters, batch.clone())

    try:
        # Fused attention has no forward-mode derivative.
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), warnings.catch_warnings():
            # torch compiles its own rules at the first use of forward mode.
            warnings.filterwarnings("ignore", message=".*torch.jit.script.*")
            return jvp(outputs, (values,), (direction,))[1]
    except (RuntimeError, NotImplementedError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(
            f"{type(module).__name__} has no forward-mode derivative: {reason}"
        ) from error
