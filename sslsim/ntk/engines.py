"""Two ways to the tangent kernel of one block of rows, parameter by parameter.

Both differentiate the scalars v . f(x) of rows (x, v): samples with output vectors. Hooks need one
forward pass of all rows and one backward pass per output vector; they multiply and discard
per-sample gradients layer by layer. ``torch.func`` differentiates each row on its own, with respect
to all parameters at once, and supports every parameter of a module.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from contextlib import ExitStack

import torch
from torch import nn
from torch.func import grad, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from sslsim.ntk.layers import OWN, Call, Split, gradients, product, products
from sslsim.ntk.tracing import (
    ModuleTrace,
    check_finite,
    hook_layers,
    in_place_errors,
    with_parameters,
)

Add = Callable[[str, torch.Tensor], None]


def add_by_hooks(
    module: nn.Module,
    trace: ModuleTrace,
    x: torch.Tensor,
    vectors: Sequence[torch.Tensor],
    split: Split,
    add: Add,
    work: int = 0,
) -> None:
    """Add the kernel's parts of all parameters that hooks see.

    Parameters
    ----------
    module : nn.Module
        Left as it is.
    trace : ModuleTrace
        Result of ``trace_module`` for the module.
    x : Tensor, shape (rows, ...)
        Inputs of the rows.
    vectors : sequence of Tensor, each of shape (rows, d)
        Output vectors; the kernel is summed over the sequence.
    split : (slice, slice)
        Which rows are rows and columns of the kernel block.
    add : callable
        Called with the name of a parameter and a summand of its part, float64 (n1, n2).
    work : int
        Bytes for the per-sample gradients formed at once, 0 for no limit.

    Raises
    ------
    ValueError
        If an output is not finite, a value that gradients need was changed in place, or the module
        calls other layers for these rows than for those that were traced.

    Examples
    --------
    >>> from sslsim.ntk.tracing import trace_module
    >>> layer, x = nn.Linear(2, 1, bias=False), torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    >>> both = (slice(0, 2), slice(0, 2))
    >>> trace, vectors = trace_module(layer, x), [torch.ones(2, 1)]
    >>> add_by_hooks(layer, trace, x, vectors, both, lambda name, k: print(k.tolist()))
    [[5.0, 11.0], [11.0, 25.0]]
    """
    names = {p: name for name, p in module.named_parameters() if name in trace.visits}
    visits = dict.fromkeys(names.values(), 0)
    shared: dict[str, list[torch.Tensor]] = {}

    def take(call: Call, g: torch.Tensor) -> None:
        if call.x._version != call.version:
            raise ValueError(
                f"the input of a {type(call.layer).__name__} was changed in place after its call; "
                "expected layers whose inputs stay as they are, or engine 'func'"
            )
        parameters = call.layer._parameters
        own = {key: names[p] for key in OWN if (p := parameters.get(key)) in names}
        for name in own.values():
            visits[name] += 1
        alone = [key for key, name in own.items() if trace.visits[name] == 1]
        for key, part in products(call, g, alone, split, len(vectors), work):
            add(own[key], part)
        # Gradients of a parameter used several times add up before they are multiplied.
        for key, gradient in gradients(call, g, [key for key in own if key not in alone], 0):
            shared.setdefault(own[key], []).append(gradient)

    def watch(call: Call, output: torch.Tensor) -> None:
        output.register_hook(lambda g: take(call, g.detach()))

    with torch.enable_grad(), in_place_errors(module), ExitStack() as hooks:
        hook_layers(module, watch, hooks)
        # Gradients flow to the inputs, hence through every layer that depends on them.
        leaf = x.detach().clone().requires_grad_()
        out = module(leaf.clone())
        check_finite(module, out)
        for i, vector in enumerate(vectors):
            last = i + 1 == len(vectors)
            torch.autograd.grad(out, leaf, vector.to(out), retain_graph=not last, allow_unused=True)
            for name, parts in shared.items():
                add(name, product(torch.stack(parts).sum(0), split))
            shared.clear()
    for name, count in visits.items():
        if count != len(vectors) * trace.visits[name]:
            raise ValueError(
                f"parameter {name!r} was used {count} times in {len(vectors)} passes; expected "
                f"{trace.visits[name]} times in each, whatever the inputs"
            )


def add_by_func(
    module: nn.Module,
    names: Sequence[str],
    x: torch.Tensor,
    vectors: Sequence[torch.Tensor],
    split: Split,
    add: Add,
) -> None:
    """Add the kernel's parts of the named parameters.

    Parameters
    ----------
    module : nn.Module
        Left as it is.
    names : sequence of str
        Parameters to differentiate.
    x : Tensor, shape (rows, ...)
        Inputs of the rows.
    vectors : sequence of Tensor, each of shape (rows, d)
        Output vectors; the kernel is summed over the sequence.
    split : (slice, slice)
        Which rows are rows and columns of the kernel block.
    add : callable
        Called with the name of a parameter and its part for one vector, float64 (n1, n2).

    Raises
    ------
    ValueError
        If an output is not finite or ``torch.func`` cannot differentiate the module row by row.

    Examples
    --------
    >>> layer, x = nn.Linear(2, 1), torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    >>> both = (slice(0, 2), slice(0, 2))
    >>> add_by_func(
    ...     layer, ["bias"], x, [torch.ones(2, 1)], both, lambda name, k: print(k.tolist())
    ... )
    [[1.0, 1.0], [1.0, 1.0]]
    """
    own = {name: p.detach() for name, p in module.named_parameters() if name in names}

    def scalar(
        values: dict[str, torch.Tensor], row: torch.Tensor, vector: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        # A copy: the module may change its input in place, and every vector needs it as it was.
        out = with_parameters(module, values, row[None].clone())[0]
        return (out * vector).sum(), out

    differentiate = vmap(grad(scalar, has_aux=True), in_dims=(None, 0, 0))
    # Fused attention has no rule for batches of gradients, and warns that it falls back.
    with sdpa_kernel(SDPBackend.MATH), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="There is a performance drop")
        for vector in vectors:
            try:
                gradients_by_name, out = differentiate(own, x, vector.to(x))
            except RuntimeError as error:
                reason = (str(error).splitlines() or [type(error).__name__])[0]
                raise ValueError(
                    f"torch.func cannot differentiate {type(module).__name__} row by row: {reason}"
                ) from error
            check_finite(module, out)
            for name in own:
                add(name, product(gradients_by_name.pop(name).flatten(1), split))
