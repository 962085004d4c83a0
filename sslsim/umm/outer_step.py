"""One outer step of bi-level fine-tuning: what is trained, its gradient, its record."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch

from sslsim.methods.learner import Learner, SupervisedLearner
from sslsim.methods.mae import MaeLearner
from sslsim.umm.bilevel_losses import Levels
from sslsim.umm.hypergradient import Hypergradient, darts, implicit, unrolled
from sslsim.umm.options import UmmOptions
from sslsim.umm.split import Split, split_encoder


def outer_step(
    levels: Levels, phi: Sequence[torch.Tensor] | None = None
) -> tuple[tuple[torch.Tensor, ...], list[torch.Tensor] | None, dict[str, float | None]]:
    """Gradient of one outer step at the learner's parameters, and its record.

    Parameters
    ----------
    levels : Levels
        Of a batch. The learner's buffers move once, by this batch.
    phi : sequence of Tensor, optional
        Where the inner steps of the implicit hypergradient start; of no account to the others.

    Returns
    -------
    gradient : tuple of Tensor
        Of the outer loss, which is minimised, with respect to ``levels.names``.
    phi : list of Tensor or None
        Where the inner steps ended; None unless the next call goes on from there.
    record : dict of str to float or None
        As in the notes of :func:`sslsim.umm.finetune.undo_memorization`.

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
    ...     gradient, _, record = outer_step(Levels(learner, split, options, pair, None, names))
    >>> [tuple(g.shape) for g in gradient], record["gradient_norm"] > 0
    ([(8, 16), (4, 8)], True)
    """
    options = levels.options
    theta = tuple(levels.learner.get_parameter(name) for name in levels.names)
    reading = levels.read_own()
    aligned = levels.alignment(reading, theta)
    reduction = levels.coding_rate_reduction(reading)
    inner_start = inner_end = residual = None
    if options.joint:
        value = levels.joint(reading, theta)
        gradient = torch.autograd.grad(value, theta, materialize_grads=True)
        objective, end = -float(value.detach()), None
    else:
        found = _hypergradient(levels, theta, phi)
        gradient, objective = found.gradient, -found.outer
        inner_start, inner_end, residual = found.inner_start, found.inner_end, found.residual
        end = list(found.phi) if options.hypergradient == "implicit" else None
    norm = torch.stack([g.double().norm() for g in gradient]).norm()
    record = {
        "coding_rate_reduction": float(reduction.detach()),
        "loss": float(reading.loss.detach()),
        "alignment": float(aligned.detach()),
        "gradient_norm": float(norm),
        "objective": objective,
        "inner_start": inner_start,
        "inner_end": inner_end,
        "residual": residual,
    }
    return gradient, end, record


def _hypergradient(
    levels: Levels, theta: Sequence[torch.Tensor], phi: Sequence[torch.Tensor] | None
) -> Hypergradient:
    options = levels.options
    methods: dict[str, Any] = {
        "unrolled": unrolled,
        "darts": partial(darts, radius=options.radius),
        "implicit": partial(
            implicit, phi=phi, proximal=options.proximal, damping=options.damping,
            solver=options.solver, iterations=options.solver_iterations,
        ),
    }  # fmt: skip
    method = methods[options.hypergradient]
    return method(levels.inner, levels.outer, theta, options.inner_lr, options.inner_steps)


def trained_names(learner: Learner, split: Split, options: UmmOptions) -> tuple[str, ...]:
    """Names of the parameters that fine-tuning trains: the learner's, but for the early part.

    Parameters
    ----------
    learner : Learner
        Of any method that embeds two views.
    split : Split
        Of its encoder.
    options : UmmOptions
        Say which features are raised.

    Returns
    -------
    tuple of str
        In the learner's order.

    Raises
    ------
    ValueError
        If the method does not embed two views of an image, what is raised would not depend on
        what is trained, or the early features would.

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
