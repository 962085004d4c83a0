"""Networks by the name of a function that builds them: the user's own, timm's and torchvision's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from sslsim.core.lazy import one_line, own_callable, own_modules
from sslsim.core.seeds import everything_seeded
from sslsim.core.torchvision import torchvision
from sslsim.encoders.own.weights import load_weights_file

_EXTRA = {"timm": "networks"}  # extras of this package that install a library


def load_module(
    name: str, weights: Path | None = None, output: str | None = None, *, seed: int = 0
) -> nn.Module:
    """Build a user's own network and load its weights.

    Parameters
    ----------
    name : str
        ``package.module:factory``, imported from the current directory or the installed packages:
        a function without arguments that returns an ``nn.Module``. ``timm:NAME`` and
        ``torchvision:NAME`` build a network of these libraries without its classifier.
    weights : Path, optional
        File with weights, see :func:`sslsim.encoders.own.weights.load_weights_file`. Default: the
        weights that the factory gives.
    output : str, optional
        Which of several outputs is the embedding: a key of a dictionary, an attribute, or the
        place in a tuple. Default: the network gives one tensor.
    seed : int
        Seed of Python's, numpy's and torch's generators while the network is built.

    Returns
    -------
    nn.Module
        On the CPU, in evaluation mode; bfloat16 and float16 become float32. Outputs (n, d, 1, 1)
        become (n, d).

    Raises
    ------
    ValueError
        If the name has no colon, the module or its factory is not there, the factory raises or
        returns something else, or the weights cannot be read or do not fit.

    Examples
    --------
    >>> type(load_module("torch.nn:Identity")).__name__
    'Identity'
    >>> load_module("torch.nn.Identity")
    Traceback (most recent call last):
    ValueError: module is 'torch.nn.Identity'; expected package.module:name
    """
    build = _library_factory(name) or own_callable(name, "module")
    with own_modules(), everything_seeded(seed):
        try:
            network = build()
        except (Exception, SystemExit) as error:
            raise ValueError(f"{name} raised {one_line(error)}; expected an nn.Module") from error
    if not isinstance(network, nn.Module):
        raise ValueError(f"{name} returned a {type(network).__name__}; expected an nn.Module")
    if weights is not None:
        if any(map(is_lazy, [*network.parameters(), *network.buffers()])):
            raise ValueError(
                f"{name} returned a network with lazy layers, into which no weights fit; expected "
                "one that has been called on images"
            )
        load_weights_file(network, Path(weights))
    for tensor in [*network.parameters(), *network.buffers()]:
        if tensor.dtype in (torch.bfloat16, torch.float16):
            tensor.data = tensor.data.float()
    network.register_forward_hook(partial(_one_output, output))
    return network.cpu().eval()


def _library_factory(name: str) -> Callable[[], Any] | None:
    """Function that builds a network of a library by its name there."""
    library, _, model = name.partition(":")
    if library == "torchvision":
        return partial(_of_torchvision, model)
    if library != "timm":
        return None
    try:
        timm = import_module("timm")
    except ModuleNotFoundError as error:
        raise ValueError(
            f"module is {name!r}, and timm is not installed; expected it, by "
            f"pip install 'sslsim[{_EXTRA[library]}]'"
        ) from error
    return partial(timm.create_model, model, num_classes=0)


def _of_torchvision(model: str) -> nn.Module:
    """A network of torchvision whose last linear map, the classifier, is the identity."""
    network: nn.Module = torchvision.models.get_model(model, weights=None)
    last = [name for name, part in network.named_modules() if isinstance(part, nn.Linear)][-1]
    network.set_submodule(last, nn.Identity())
    return network


def _one_output(output: str | None, module: nn.Module, inputs: Any, found: Any) -> Any:
    """Forward hook: the output that is meant, if it is there, as a matrix where it is one."""
    if output is not None:
        found = _part_of(found, output)
    if isinstance(found, torch.Tensor) and found.ndim > 2 and found[0].numel() == found.shape[1]:
        return found.flatten(1)
    return found


def _part_of(found: Any, output: str) -> Any:
    if isinstance(found, Mapping):
        return found.get(output, found)
    if isinstance(found, (tuple, list)) and output.isdecimal() and int(output) < len(found):
        return found[int(output)]
    return found if isinstance(found, torch.Tensor) else getattr(found, output, found)
