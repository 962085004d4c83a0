"""The inner and the outer loss on one batch, as functions of the trained parameters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.func import functional_call

from sslsim.core.errors import Diverged
from sslsim.data.views import Views
from sslsim.encoders.features import mean_over_places
from sslsim.methods.learner import Learner
from sslsim.umm.alignment import (
    cka_distance,
    gradient_logits,
    reduction_distance,
    uniform_divergence,
    volume_logits,
)
from sslsim.umm.forward import ForwardPass, forward_pass, instance_reduction
from sslsim.umm.hypergradient import Parameters
from sslsim.umm.options import UmmOptions
from sslsim.umm.split import Split, evaluating, split_encoder


@dataclass(frozen=True, eq=False)
class BilevelLosses:
    """The inner and the outer loss of one batch.

    Attributes
    ----------
    learner : Learner
        Learner whose late part is trained; :func:`sslsim.umm.split.frozen_early` must be active
        around all calls.
    split : Split
        Split of the learner's encoder.
    options : UmmOptions
        Terms of the losses and their weights.
    batch : Views
        Two or more views of n images.
    labels : Tensor or None
        Labels of the images, for the learner.
    names : tuple of str
        Names of the trained parameters, in the order of every ``phi`` below.
    alignment_target : Tensor or None
        Value that ``options.hold`` pulls the alignment to; None without.
    """

    learner: Learner
    split: Split
    options: UmmOptions
    batch: Views
    labels: torch.Tensor | None
    names: tuple[str, ...]
    alignment_target: torch.Tensor | None = None

    @property
    def early(self) -> Split:
        """Split at the layer whose features are the early ones of the alignment."""
        if self.options.early in (None, self.split.layer):
            return self.split
        return split_encoder(self.learner.encoder, self.options.early)

    def forward(self, phi: Sequence[torch.Tensor]) -> ForwardPass:
        """Forward pass at given parameters; buffers stay as they are."""
        state = dict(zip(self.names, phi, strict=True))
        state |= {name: buffer.clone() for name, buffer in self.learner.named_buffers()}
        return self._finite(forward_pass(self.learner, self.early, self.batch, self.labels, state))

    def forward_own(self) -> ForwardPass:
        """Forward pass at the learner's parameters; running statistics and centres change."""
        return self._finite(forward_pass(self.learner, self.early, self.batch, self.labels))

    def _finite(self, forward: ForwardPass) -> ForwardPass:
        if not bool(forward.loss.isfinite() & self._features(forward).isfinite().all()):
            raise Diverged(
                "the loss or the features are no longer finite; expected smaller learning rates "
                f"than {self.options.outer_lr:g} and {self.options.inner_lr:g}, or finite images"
            )
        return forward

    def _features(self, forward: ForwardPass) -> torch.Tensor:
        return getattr(forward, self.options.features)

    def coding_rate_reduction(self, forward: ForwardPass) -> torch.Tensor:
        """DeltaR of late features of unit norm, a group for each image; in nats."""
        return instance_reduction(self._features(forward), self.options.eps)

    def alignment(self, forward: ForwardPass, phi: Sequence[torch.Tensor]) -> torch.Tensor:
        """D(P_last, P_early) or another distance of the two; differentiable in ``phi``."""
        options = self.options
        if options.alignment == "gradient":
            return uniform_divergence(gradient_logits(forward.loss, forward.early))
        early = torch.cat(forward.early).detach()
        if options.alignment == "volume":
            return uniform_divergence(self._volume_logits(early, phi))
        late = self._features(forward)
        cut, backbone = self.early, self.learner.encoder.backbone
        pooled = mean_over_places(cut.layer, early, cut.cut, backbone)
        if options.alignment == "reduction":
            return reduction_distance(pooled, late, options.eps)
        return cka_distance(pooled, late)

    def _volume_logits(self, early: torch.Tensor, phi: Sequence[torch.Tensor]) -> torch.Tensor:
        cut = self.early
        parts = [cut.late]
        if self.options.features == "embedding":
            parts.append(cut.projector)
        late = nn.Sequential(*parts)
        names = {id(p): name for name, p in self.learner.named_parameters()}
        values = dict(zip(self.names, phi, strict=True))
        # Layers between an earlier layer and the split are frozen.
        state = {name: values.get(names[id(p)], p) for name, p in late.named_parameters()}
        with evaluating(late):
            return volume_logits(lambda z: functional_call(late, state, (z,)), early)

    def inner(self, phi: Parameters) -> torch.Tensor:
        """Loss of the inner level, ``loss + beta alignment``."""
        forward = self.forward(phi)
        return forward.loss + self._weighed_alignment(forward, phi)

    def outer(self, phi: Parameters) -> torch.Tensor:
        """Loss of the outer level, ``loss - coding_rate DeltaR``; minimised."""
        return self._outer(self.forward(phi))

    def joint(self, forward: ForwardPass, phi: Sequence[torch.Tensor]) -> torch.Tensor:
        """Loss of one level in place of two.

        ``loss + beta alignment - coding_rate DeltaR + hold (alignment - alignment_target)^2``.
        """
        value = self._outer(forward) + self._weighed_alignment(forward, phi)
        if self.alignment_target is not None:
            gap = self.alignment(forward, phi) - self.alignment_target
            value = value + self.options.hold * gap**2
        return value

    def alignment_now(self) -> torch.Tensor:
        """Alignment at the learner's parameters, without a gradient; buffers stay as they are."""
        phi = tuple(self.learner.get_parameter(name) for name in self.names)
        return self.alignment(self.forward(phi), phi).detach()

    def _weighed_alignment(
        self, forward: ForwardPass, phi: Sequence[torch.Tensor]
    ) -> torch.Tensor | float:
        beta = self.options.beta
        return beta * self.alignment(forward, phi) if beta > 0 else 0.0

    def _outer(self, forward: ForwardPass) -> torch.Tensor:
        weight = self.options.coding_rate
        if weight == 0:
            return forward.loss
        return forward.loss - weight * self.coding_rate_reduction(forward)
