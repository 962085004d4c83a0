"""One outer step of bi-level fine-tuning: trained parameters, gradient, record."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch

from sslsim.methods.learner import Learner, SupervisedLearner
from sslsim.methods.mae import MaeLearner
from sslsim.umm.bilevel_losses import BilevelLosses
from sslsim.umm.hypergradient import Hypergradient, darts, implicit, unrolled
from sslsim.umm.options import UmmOptions
from sslsim.umm.split import Split, split_encoder


def outer_step(
    losses: BilevelLosses, phi: Sequence[torch.Tensor] | None = None
) -> tuple[tuple[torch.Tensor, ...], list[torch.Tensor] | None, dict[str, float | None]]:
    """Gradient of one outer step at the learner's parameters, and its record.

    Parameters
    ----------
    losses : BilevelLosses
        Losses of a batch. The learner's buffers change once, by this batch.
    phi : sequence of Tensor, optional
        Starting point of the inner steps of the implicit hypergradient; the other methods ignore
        it.

    Returns
    -------
    gradient : tuple of Tensor
        Gradient of the outer loss, which is minimised, with respect to ``losses.names``.
    phi : list of Tensor or None
        End point of the inner steps if the next call starts there, else None.
    record : dict of str to float or None
        Record, described in the notes of :func:`sslsim.umm.finetune.undo_memorization`.

    Examples
    --------
    >>> from sslsim.methods.build import build_learner
    >>> from sslsim.umm.split import frozen_early, split_encoder
    >>> from sslsim.data.views import Views
    >>> learner = build_learner("simclr", (1, 8, 8), 4, encoder="mlp", widths=(16, 8), seed=0)
    >>> split, options = split_encoder(learner.encoder, "layer1"), UmmOptions(split="layer1")
    >>> pair = Views((torch.rand(3, 1, 8, 8), torch.rand(3, 1, 8, 8)), None)
    >>> names = trained_names(learner, split, options)
    >>> with frozen_early(learner, split):
    ...     losses = BilevelLosses(learner, split, options, pair, None, names)
    ...     gradient, _, record = outer_step(losses)
    >>> [tuple(g.shape) for g in gradient], record["gradient_norm"] > 0
    ([(8, 16), (4, 8)], True)
    """
    options = losses.options
    theta = tuple(losses.learner.get_parameter(name) for name in losses.names)
    forward = losses.forward_own()
    alignment = losses.alignment(forward, theta)
    reduction = losses.coding_rate_reduction(forward)
    inner_start = inner_end = residual = None
    if options.joint:
        value = losses.joint(forward, theta)
        gradient = torch.autograd.grad(value, theta, materialize_grads=True)
        objective, end = -float(value.detach()), None
    else:
        hypergradient = _hypergradient(losses, theta, phi)
        gradient, objective = hypergradient.gradient, -hypergradient.outer
        inner_start, inner_end = hypergradient.inner_start, hypergradient.inner_end
        residual = hypergradient.residual
        end = list(hypergradient.phi) if options.hypergradient == "implicit" else None
    norm = torch.stack([g.double().norm() for g in gradient]).norm()
    record = {
        "coding_rate_reduction": float(reduction.detach()),
        "loss": float(forward.loss.detach()),
        "alignment": float(alignment.detach()),
        "gradient_norm": float(norm),
        "objective": objective,
        "inner_start": inner_start,
        "inner_end": inner_end,
        "residual": residual,
    }
    return gradient, end, record


def _hypergradient(
    losses: BilevelLosses, theta: Sequence[torch.Tensor], phi: Sequence[torch.Tensor] | None
) -> Hypergradient:
    options = losses.options
    methods: dict[str, Any] = {
        "unrolled": unrolled,
        "darts": partial(darts, radius=options.radius),
        "implicit": partial(
            implicit, phi=phi, proximal=options.proximal, damping=options.damping,
            solver=options.solver, iterations=options.solver_iterations,
        ),
    }  # fmt: skip
    method = methods[options.hypergradient]
    return method(losses.inner, losses.outer, theta, options.inner_lr, options.inner_steps)


def trained_names(learner: Learner, split: Split, options: UmmOptions) -> tuple[str, ...]:
    """Names of the parameters that fine-tuning trains: all except those of the early part.

    Parameters
    ----------
    learner : Learner
        Learner of any method that embeds two views.
    split : Split
        Split of the learner's encoder.
    options : UmmOptions
        Options; ``features`` and ``early`` are used.

    Returns
    -------
    tuple of str
        Names in the learner's order.

    Raises
    ------
    ValueError
        If the method does not embed two views of an image, if no trained parameter acts on the
        late features, or if one acts on the early features.

    Examples
    --------
    >>> from sslsim.methods.build import build_learner
    >>> from sslsim.umm.split import split_encoder
    >>> learner = build_learner("byol", (1, 8, 8), 4, encoder="convnet", seed=0)
    >>> split = split_encoder(learner.encoder, "layer2")
    >>> trained_names(learner, split, UmmOptions())[:3]
    ('encoder.backbone.layer3.0.weight', 'encoder.projector.0.weight', 'predictor.0.weight')
    """
    if isinstance(learner, (MaeLearner, SupervisedLearner)):
        raise ValueError(
            f"the learner is a {type(learner).__name__}, which embeds one view of every image; "
            "expected a method that embeds two, for its coding rate reduction is that of views"
        )
    layers = learner.encoder.layers
    if options.early is not None:
        split_encoder(learner.encoder, options.early)  # checks the name
        if layers.index(options.early) > layers.index(split.layer):
            raise ValueError(
                f"early is {options.early!r}, behind split layer {split.layer!r}; expected one of "
                f"{', '.join(layers[: layers.index(split.layer) + 1])}, which stay as they are"
            )
    raised = [*split.late.parameters()]
    if options.features == "embedding":
        raised += split.projector.parameters()
    if not raised:
        raise ValueError(
            f"no parameter lies between split layer {split.layer!r} and the {options.features}; "
            f"expected an earlier one of {', '.join(learner.encoder.layers)}, or another of "
            "'representation' and 'embedding'"
        )
    early = {id(p) for p in split.early.parameters()}
    return tuple(
        name for name, p in learner.named_parameters() if p.requires_grad and id(p) not in early
    )
