"""The losses of both levels on one batch, as functions of what is trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.func import functional_call

from sslsim.data.views import Views
from sslsim.methods.learner import Learner
from sslsim.umm.alignment import (
    cka_distance,
    gradient_logits,
    reduction_distance,
    uniform_divergence,
    volume_logits,
)
from sslsim.umm.convergence import Diverged
from sslsim.umm.forward import Reading, instance_reduction, read
from sslsim.umm.hypergradient import Parameters
from sslsim.umm.options import UmmOptions
from sslsim.umm.split import Split, evaluating, split_encoder


@dataclass(frozen=True, eq=False)
class Levels:
    """Both levels of one batch.

    Attributes
    ----------
    learner : Learner
        Whose late part is trained; with :func:`sslsim.umm.split.frozen_early` around all calls.
    split : Split
        Of its encoder.
    options : UmmOptions
        The weights of the terms, and of what.
    batch : Views
        Two views of n images, or more.
    labels : Tensor or None
        Handed to the learner.
    names : tuple of str
        Of the learner's parameters that are trained, in the order of ``phi`` everywhere here.
    held : Tensor or None
        Alignment that ``options.hold`` holds on to; none without.
    """

    learner: Learner
    split: Split
    options: UmmOptions
    batch: Views
    labels: torch.Tensor | None
    names: tuple[str, ...]
    held: torch.Tensor | None = None

    @property
    def early(self) -> Split:
        """The cut whose features are the early ones of the alignment."""
        if self.options.early in (None, self.split.layer):
            return self.split
        return split_encoder(self.learner.encoder, self.options.early)

    def read(self, phi: Sequence[torch.Tensor]) -> Reading:
        """Run the learner at some parameters; its buffers stay as they are."""
        state = dict(zip(self.names, phi, strict=True))
        state |= {name: held.clone() for name, held in self.learner.named_buffers()}
        return self._finite(read(self.learner, self.early, self.batch, self.labels, state))

    def read_own(self) -> Reading:
        """Run it at its own parameters; running statistics and centres move."""
        return self._finite(read(self.learner, self.early, self.batch, self.labels))

    def _finite(self, reading: Reading) -> Reading:
        if not bool(reading.loss.isfinite() & self._features(reading).isfinite().all()):
            raise Diverged(
                "the loss or the features are no longer finite; expected smaller learning rates "
                f"than {self.options.outer_lr:g} and {self.options.inner_lr:g}, or finite images"
            )
        return reading

    def _features(self, reading: Reading) -> torch.Tensor:
        return getattr(reading, self.options.features)

    def coding_rate_reduction(self, reading: Reading) -> torch.Tensor:
        """DeltaR of the views of each image, of late features of unit norm; in nats."""
        return instance_reduction(self._features(reading), self.options.eps)

    def alignment(self, reading: Reading, phi: Sequence[torch.Tensor]) -> torch.Tensor:
        """D(P_last, P_early), or another distance of the two, differentiable in ``phi``."""
        options = self.options
        if options.alignment == "gradient":
            return uniform_divergence(gradient_logits(reading.loss, reading.early))
        early = torch.cat(reading.early).detach()
        if options.alignment == "volume":
            return uniform_divergence(self._volume_logits(early, phi))
        late = self._features(reading)
        pooled = early if early.ndim == 2 else _over_places(early)
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
        # What lies between an earlier layer and the split is frozen.
        state = {name: values.get(names[id(p)], p) for name, p in late.named_parameters()}
        with evaluating(late):
            return volume_logits(lambda z: functional_call(late, state, (z,)), early)

    def inner(self, phi: Parameters) -> torch.Tensor:
        """Loss of the inner level, ``loss + beta alignment``."""
        reading = self.read(phi)
        return reading.loss + self._weighed_alignment(reading, phi)

    def outer(self, phi: Parameters) -> torch.Tensor:
        """Loss of the outer level, ``loss - coding_rate DeltaR``; minimised."""
        return self._outer(self.read(phi))

    def joint(self, reading: Reading, phi: Sequence[torch.Tensor]) -> torch.Tensor:
        """Loss of one level in place of two, ``loss + beta alignment - coding_rate DeltaR``.

        Plus ``hold (alignment - held)^2``.
        """
        value = self._outer(reading) + self._weighed_alignment(reading, phi)
        if self.held is not None:
            value = value + self.options.hold * (self.alignment(reading, phi) - self.held) ** 2
        return value

    def alignment_now(self) -> torch.Tensor:
        """Alignment of the learner as it is, without a gradient; its buffers stay as they are."""
        phi = tuple(self.learner.get_parameter(name) for name in self.names)
        return self.alignment(self.read(phi), phi).detach()

    def _weighed_alignment(
        self, reading: Reading, phi: Sequence[torch.Tensor]
    ) -> torch.Tensor | float:
        beta = self.options.beta
        return beta * self.alignment(reading, phi) if beta > 0 else 0.0

    def _outer(self, reading: Reading) -> torch.Tensor:
        weight = self.options.coding_rate
        if weight == 0:
            return reading.loss
        return reading.loss - weight * self.coding_rate_reduction(reading)


def _over_places(z: torch.Tensor) -> torch.Tensor:
    """Feature maps (n, k, h, w) averaged over places, tokens (n, t, k) over tokens."""
    return z.mean(dim=(2, 3)) if z.ndim == 4 else z.mean(dim=1)
