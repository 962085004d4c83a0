r"""Preconditioned gradients: late modes sooner, by covariances of embeddings and of activations.

Eigenmodes with a small eigenvalue are learned late. Two factors on the gradient raise them:

* on the side of the embedding, ``dL/dZ -> dL/dZ (S + rho I)^-p`` with S the second moments of the
  embeddings of a batch, the suggestion of arXiv 2303.15438 to focus the gradient on small embedding
  directions;
* on the side of the inputs of every linear map and convolution, ``dL/dW -> dL/dW (A + delta I)^-q``
  with A the second moments of its inputs (of patches for a convolution), and delta relative to the
  mean of their eigenvalues (arXiv 2201.12250 for q = 1).

In the linear model the first replaces the factor log(1 / initialisation) of a step time, the second
the factor 1 / gamma: ``theory.linear.preconditioned``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from sslsim.core.distributed import global_mean
from sslsim.methods.learner import Learner
from sslsim.methods.mae import MaeLearner
from sslsim.methods.vicregl import VicreglLearner
from sslsim.training.options import TrainingOptions


def inverse_power(moments: torch.Tensor, power: float, ridge: float) -> torch.Tensor:
    """``(S + ridge I)^-power`` of second moments.

    Parameters
    ----------
    moments : Tensor, shape (n, n)
        Symmetric matrix without negative eigenvalues, but for rounding.
    power : float
        Exponent p.
    ridge : float
        Ridge, above zero.

    Returns
    -------
    Tensor, shape (n, n)
        In the dtype of the moments; NaN where these are not finite, as they are when a training
        diverges.

    Examples
    --------
    >>> inverse_power(torch.tensor([[3.0, 0.0], [0.0, 0.0]]), 0.5, 1.0).tolist()
    [[0.5, 0.0], [0.0, 1.0]]
    """
    if not bool(moments.isfinite().all()):
        return torch.full_like(moments, torch.nan)
    values, vectors = torch.linalg.eigh(moments.double())
    inverse = (vectors * (values.clamp(min=0.0) + ridge) ** -power) @ vectors.T
    return inverse.to(moments.dtype)


class InputMoments:
    """Second moments of the inputs of linear maps and convolutions, over the batches of an update.

    Parameters
    ----------
    module : nn.Module
        Every ``nn.Linear`` and ungrouped ``nn.Conv2d`` in it whose weight is trained is watched;
        other weights (of grouped convolutions, of ``nn.MultiheadAttention``) keep their gradients.
    power, ridge : float
        Exponent q, and ridge delta relative to the mean eigenvalue.

    Raises
    ------
    ValueError
        If a convolution pads with something else than a given number of zeros.

    Notes
    -----
    Of a layer with k inputs (for a convolution: channels times places of its kernel), an update
    takes k^2 numbers, 2 n k^2 operations for n rows (patches), and an eigendecomposition, of order
    k^3: wide convolutions cost more than their own gradient.

    Examples
    --------
    >>> layer = nn.Linear(2, 1, bias=False)
    >>> moments = InputMoments(layer, power=1.0, ridge=1e-9)
    >>> layer(torch.tensor([[2.0, 0.0], [0.0, 1.0]])).sum().backward()
    >>> moments.precondition()
    >>> layer.weight.grad.round(decimals=4).tolist()  # (2, 1) times the inverse of (2, 1/2)
    [[1.0, 2.0]]
    """

    def __init__(self, module: nn.Module, power: float, ridge: float) -> None:
        self.power, self.ridge = power, ridge
        self.layers: list[Any] = [
            part
            for part in module.modules()
            if (isinstance(part, nn.Linear) or (isinstance(part, nn.Conv2d) and part.groups == 1))
            and part.weight.requires_grad
        ]
        for layer in self.layers:
            strange = getattr(layer, "padding_mode", "zeros") != "zeros"
            if strange or isinstance(getattr(layer, "padding", 0), str):
                raise ValueError(
                    f"the layer is {layer}; expected a number of zeros as padding, to precondition "
                    "the gradient by its inputs"
                )
        self.sums: dict[Any, torch.Tensor] = {}
        self.counts: dict[Any, int] = {}
        self.handles = [layer.register_forward_pre_hook(self._add) for layer in self.layers]

    def _add(self, layer: Any, inputs: tuple[torch.Tensor, ...]) -> None:
        if not torch.is_grad_enabled():
            return  # what is embedded is measured, not trained on
        with torch.no_grad():
            rows = _rows(layer, inputs[0].detach().to(layer.weight.dtype))
            self.sums[layer] = self.sums.get(layer, 0.0) + rows.T @ rows
            self.counts[layer] = self.counts.get(layer, 0) + len(rows)

    @torch.no_grad()
    def precondition(self) -> None:
        """Multiply the gradients of the weights, and forget the batches."""
        for layer, total in self.sums.items():
            moments = global_mean(total / self.counts[layer])
            gradient = layer.weight.grad
            mean = float(moments.diagonal().mean())
            if gradient is None or mean == 0:
                continue
            factor = inverse_power(moments / mean, self.power, self.ridge) * mean**-self.power
            gradient.copy_((gradient.flatten(1) @ factor).view_as(gradient))
        self.sums.clear()
        self.counts.clear()


def _rows(layer: nn.Linear | nn.Conv2d, x: torch.Tensor) -> torch.Tensor:
    """Inputs of a layer as rows that its weight, flattened, is multiplied by."""
    if isinstance(layer, nn.Linear):
        return x.flatten(0, -2)
    assert not isinstance(layer.padding, str), "refused by InputMoments"
    patches = functional.unfold(x, layer.kernel_size, layer.dilation, layer.padding, layer.stride)
    return patches.transpose(1, 2).flatten(0, 1)


@contextmanager
def preconditioned(learner: Learner, options: TrainingOptions) -> Iterator[Callable[[], None]]:
    """Precondition the gradients of a learner while it is trained, as the options say.

    Parameters
    ----------
    learner : Learner
        Learner, in a process group or alone: moments are those of the global batch.
    options : TrainingOptions
        Options; at power 0 nothing is done, so that training is plain to the last bit.

    Yields
    ------
    callable
        To be called between the gradients and the step of the optimiser.

    Raises
    ------
    ValueError
        If the method's loss is not one of the encoder's embedding.

    Examples
    --------
    >>> from sslsim.methods.build import build_learner
    >>> learner = build_learner("mae", (1, 8, 8), None, encoder="vit_tiny", seed=0)
    >>> with preconditioned(learner, TrainingOptions(precondition_embedding="covariance")):
    ...     pass
    Traceback (most recent call last):
    ValueError: precondition_embedding is given with MaeLearner, whose loss is not one of the \
encoder's embedding; expected none
    """
    handles: list[Any] = []
    inputs: InputMoments | None = None
    if options.precondition_embedding != "none" and options.precondition_embedding_power > 0:
        if isinstance(learner, (MaeLearner, VicreglLearner)):
            raise ValueError(
                f"precondition_embedding is given with {type(learner).__name__}, whose loss is not "
                "one of the encoder's embedding; expected none"
            )
        hook = partial(
            _embedding_hook,
            power=options.precondition_embedding_power,
            ridge=options.precondition_embedding_ridge,
        )
        handles.append(learner.encoder.register_forward_hook(hook))
    if options.precondition_inputs != "none" and options.precondition_inputs_power > 0:
        inputs = InputMoments(
            learner, options.precondition_inputs_power, options.precondition_inputs_ridge
        )
        handles += inputs.handles
    try:
        yield (lambda: None) if inputs is None else inputs.precondition
    finally:
        for handle in handles:
            handle.remove()


def _embedding_hook(
    encoder: nn.Module, inputs: object, z: torch.Tensor, *, power: float, ridge: float
) -> None:
    """Multiply the gradient of embeddings (n, d) by a power of their second moments."""
    if not (torch.is_grad_enabled() and z.requires_grad):
        return
    with torch.no_grad():
        rows = z.detach().to(torch.promote_types(z.dtype, torch.float32))
        factor = inverse_power(global_mean(rows.T @ rows / len(rows)), power, ridge).to(z.dtype)
    z.register_hook(lambda gradient: gradient @ factor)
