"""What an engine must know about a module, measured in one pass of two samples.

Hooks see the calls of layers, but no other use of their parameters. The pass therefore counts all
uses of a parameter in the graph of automatic differentiation and compares them with the calls seen.
It also differentiates the output of one sample only. The other sample's row of every gradient must
then be zero: otherwise samples are coupled, or a layer's first axis does not number samples.
Parameters that fail a check are left to the other engine and never miscounted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.func import functional_call

from sslsim.core.distributed import GlobalBatchNorm
from sslsim.ntk.layers import HANDLED, OWN, Call, WeightShape, weight_shape

_COUPLING = (nn.modules.batchnorm._NormBase, nn.modules.dropout._DropoutNd, GlobalBatchNorm)


@dataclass(frozen=True, eq=False)
class ModuleTrace:
    """What the engines know of a module.

    Attributes
    ----------
    dim : int
        Number of outputs d.
    names : tuple of str
        All parameters that require gradients.
    visits : dict of str to int
        Parameters whose every use is seen by hooks, with their number of uses in a forward pass.
    shapes : tuple of WeightShape
        Sizes of the weights in the calls that hooks see.
    sample_bytes : int
        Estimate in bytes for one sample: all tensors that a forward pass keeps, four times the
        largest of them for gradients in transit, and four copies of the sample itself.
    """

    dim: int
    names: tuple[str, ...]
    visits: dict[str, int]
    shapes: tuple[WeightShape, ...]
    sample_bytes: int


def trace_module(module: nn.Module, x: torch.Tensor) -> ModuleTrace:
    """Find which parameters hooks see and how much memory a sample needs.

    Parameters
    ----------
    module : nn.Module
        (n, ...) -> (n, d), in evaluation mode; left as it is.
    x : Tensor, shape (n, ...)
        Inputs; the first two are used.

    Returns
    -------
    ModuleTrace

    Raises
    ------
    ValueError
        If a submodule couples samples or is random, nothing requires gradients, the module changes
        in place what gradients need, or the output is not (n, d), not finite or not the same twice.

    Examples
    --------
    >>> trace = trace_module(nn.Linear(3, 2), torch.rand(4, 3))
    >>> trace.dim, trace.visits
    (2, {'weight': 1, 'bias': 1})
    """
    _check_modes(module)
    names = {p: name for name, p in module.named_parameters() if p.requires_grad}
    if not names:
        raise ValueError(f"{_kind(module)} has no parameter that requires gradients; expected one")
    two = x[:2] if len(x) > 1 else torch.cat([x, x])
    calls: list[tuple[Call, tuple[int, ...]]] = []
    output_gradients: dict[int, torch.Tensor] = {}
    saved_bytes: dict[int, int] = {p.untyped_storage().data_ptr(): 0 for p in module.parameters()}

    def pack(value: torch.Tensor) -> torch.Tensor:
        storage = value.untyped_storage()
        saved_bytes.setdefault(storage.data_ptr(), storage.nbytes())
        return value

    def watch(call: Call, output: torch.Tensor) -> None:
        calls.append((call, tuple(output.shape)))
        saved_bytes.setdefault(
            call.x.untyped_storage().data_ptr(), call.x.untyped_storage().nbytes()
        )
        index = len(calls) - 1
        output.register_hook(lambda g: output_gradients.__setitem__(index, g.detach()))

    with torch.enable_grad(), in_place_errors(module), ExitStack() as hooks:
        hook_layers(module, watch, hooks)
        leaf = two.detach().clone().requires_grad_()
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda value: value):
            out = module(leaf.clone())
        _check_output(module, out, len(two))
        uses = _uses(out)
        weights = torch.arange(1, out.shape[1] + 1, device=out.device).to(out.dtype).cos()
        (through,) = torch.autograd.grad((out[0] * weights).sum(), leaf, allow_unused=True)
    with torch.no_grad():
        again = module(two.clone())
    if not torch.equal(again, out):
        raise ValueError(
            f"{_kind(module)} gives other outputs for the same inputs; expected a module without "
            "randomness or memory"
        )
    if through is not None and bool(through[1].any()):
        raise ValueError(
            f"the output of {_kind(module)} for one sample depends on another; expected samples "
            "that do not meet, as with BatchNorm by running statistics"
        )
    visits: Counter[torch.Tensor] = Counter()
    shapes = []
    for i, (call, output) in enumerate(calls):
        g = output_gradients.get(i)
        if g is None or output[0] != 2 or call.x.shape[0] != 2 or bool(g[1].any()):
            continue
        if isinstance(call.layer, nn.LayerNorm) and g.ndim <= len(call.layer.normalized_shape):
            continue
        own = (call.layer._parameters.get(key) for key in OWN)
        visits.update(p for p in own if p is not None and p in names)
        shape = weight_shape(call.layer, g.shape)
        if shape is not None:
            shapes.append(shape)
    return ModuleTrace(
        dim=out.shape[1],
        names=tuple(names.values()),
        visits={name: visits[p] for p, name in names.items() if 0 < visits[p] == uses[p]},
        shapes=tuple(shapes),
        sample_bytes=(sum(saved_bytes.values()) + 4 * max(saved_bytes.values())) // 2
        + 4 * x[0].numel() * x.element_size(),
    )


def check_finite(module: nn.Module, out: torch.Tensor) -> None:
    """Raise an error if outputs of a module are not finite.

    Parameters
    ----------
    module : nn.Module
        Module that the message names.
    out : Tensor
        Outputs of the module.

    Raises
    ------
    ValueError
        If one is NaN or infinite.

    Examples
    --------
    >>> check_finite(nn.Linear(1, 1), torch.ones(1, 1))
    """
    if not bool(out.isfinite().all()):
        raise ValueError(f"outputs of {_kind(module)} are not finite; expected finite numbers")


def with_parameters(
    module: nn.Module, values: dict[str, torch.Tensor], x: torch.Tensor
) -> torch.Tensor:
    """Outputs of a module under other values of some parameters.

    Parameters
    ----------
    module : nn.Module
        Left as it is, even if it contains a submodule twice. (With tied weights,
        ``torch.func.functional_call`` would leave plain tensors in place of such parameters.)
    values : dict of str to Tensor
        Values by the name in ``named_parameters``; a shared parameter changes in every place. All
        other parameters are constants.
    x : Tensor, shape (n, ...)
        Inputs.

    Returns
    -------
    Tensor, shape (n, d)

    Examples
    --------
    >>> layer = nn.Linear(1, 1, bias=False)
    >>> with_parameters(nn.Sequential(layer, layer), {"0.weight": 3 * torch.ones(1, 1)},
    ...     torch.ones(1, 1))
    tensor([[9.]])
    >>> isinstance(layer.weight, nn.Parameter)
    True
    """
    first = {p: name for name, p in module.named_parameters()}
    every = {
        f"{prefix}.{key}" if prefix else key: values.get(first[p], p.detach())
        for prefix, part in module.named_modules()
        for key, p in part._parameters.items()
        if p is not None
    }
    out: torch.Tensor = functional_call(module, every, (x,), tie_weights=False)
    return out


@contextmanager
def in_place_errors(module: nn.Module) -> Iterator[None]:
    """Report in one line that the module overwrote values which a gradient needs.

    Parameters
    ----------
    module : nn.Module
        Module that the message names.

    Raises
    ------
    ValueError
        Replaces torch's RuntimeError.

    Examples
    --------
    >>> y = torch.ones(2, requires_grad=True).exp()
    >>> with in_place_errors(nn.Identity()):
    ...     y.zero_().sum().backward()  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    ValueError: Identity changes in place what its gradient needs (...); expected new tensors there
    """
    try:
        yield
    except RuntimeError as error:
        if "inplace" not in str(error) and "in-place" not in str(error):
            raise
        reason = str(error).splitlines()[0].split(": [")[0]
        raise ValueError(
            f"{_kind(module)} changes in place what its gradient needs ({reason}); "
            "expected new tensors there"
        ) from error


def hook_layers(
    module: nn.Module, watch: Callable[[Call, torch.Tensor], None], hooks: ExitStack
) -> None:
    """Watch the calls of all layers of known types.

    Parameters
    ----------
    module : nn.Module
        Hooks are set on it and on its submodules.
    watch : callable
        Called with each call and its output while the graph is recorded.
    hooks : ExitStack
        Removes the hooks.

    Examples
    --------
    >>> module, shapes = nn.Linear(3, 2), []
    >>> with ExitStack() as hooks:
    ...     hook_layers(module, lambda call, output: shapes.append(tuple(call.x.shape)), hooks)
    ...     output = module(torch.rand(4, 3))
    >>> shapes
    [(4, 3)]
    """

    def hook(layer: nn.Module, args: Any, kwargs: dict[str, Any], output: torch.Tensor) -> None:
        x = args[0] if args else kwargs["input"]
        if output.requires_grad:
            watch(Call(layer, x.detach(), x._version), output)

    for part in module.modules():
        if type(part) in HANDLED and any(p.requires_grad for p in part.parameters(recurse=False)):
            # First of all hooks: another one may change the output.
            hooks.enter_context(part.register_forward_hook(hook, prepend=True, with_kwargs=True))


def _check_modes(module: nn.Module) -> None:
    for name, part in module.named_modules():
        where = f"{_kind(part)} {name!r}" if name else _kind(part)
        random = getattr(part, "dropout", 0.0)
        if part.training and (
            isinstance(part, _COUPLING) or (isinstance(random, float) and random > 0)
        ):
            raise ValueError(f"{where} is in training mode; expected module.eval()")
        if isinstance(part, nn.modules.batchnorm._BatchNorm) and part.running_mean is None:
            raise ValueError(
                f"{where} has no running statistics; expected them, it couples samples"
            )


def _check_output(module: nn.Module, out: Any, n: int) -> None:
    if not isinstance(out, torch.Tensor) or out.ndim != 2 or len(out) != n or out.shape[1] < 1:
        shape = tuple(out.shape) if isinstance(out, torch.Tensor) else type(out).__name__
        raise ValueError(f"{_kind(module)} gives {shape} for {n} samples; expected shape ({n}, d)")
    check_finite(module, out)
    if not out.requires_grad:
        raise ValueError(f"outputs of {_kind(module)} carry no gradient; expected a graph")


def _uses(out: torch.Tensor) -> Counter[torch.Tensor]:
    """How often each leaf enters the graph of an output."""
    uses: Counter[torch.Tensor] = Counter()
    waiting, known = [out.grad_fn], {out.grad_fn}
    while waiting:
        node = waiting.pop()
        assert node is not None
        for following, _ in node.next_functions:
            if following is None:
                continue
            if hasattr(following, "variable"):
                uses[following.variable] += 1
            elif following not in known:
                known.add(following)
                waiting.append(following)
    return uses


def _kind(module: nn.Module) -> str:
    return type(module).__name__
