"""DINO: the student matches the centred and sharpened output of its teacher."""

from __future__ import annotations

import torch
from torch import nn

from sslsim.core.distributed import gather
from sslsim.core.unit_rows import unit_rows
from sslsim.data.views import Views
from sslsim.encoders.build import Encoder
from sslsim.encoders.checks import check_count
from sslsim.methods.learner import Learner, embed_views, has_maps
from sslsim.methods.teacher import cosine_momentum, teacher_of, update_teacher
from sslsim.objectives import dino, dino_center


class UnitLinear(nn.Module):
    """Cosines of embeddings with the rows of a weight.

    Weight normalisation (arXiv 1602.07868) with the gain fixed at 1, and a normalised input: the
    last layer of DINO's head (arXiv 2104.14294, appendix C).

    Parameters
    ----------
    dim, outputs : int
        Dimensions of the embedding and of the output. The weight is drawn from torch's global
        generator.

    Examples
    --------
    >>> bool((UnitLinear(3, 5)(torch.rand(2, 3)).abs() <= 1.000001).all())
    True
    """

    def __init__(self, dim: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, dim))

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        """Embedding (n, dim) -> output (n, outputs)."""
        return nn.functional.linear(unit_rows(z), unit_rows(self.weight))


class DinoLearner(Learner):
    """Student and teacher, each an encoder and a last layer, and a centre (arXiv 2104.14294).

    Parameters
    ----------
    encoder : Encoder
        Encoder of the student at initialisation. Its projector is the MLP of DINO's head, and its
        embedding is the bottleneck, which has 256 dimensions in the paper.
    prototypes : int
        Number of outputs of the last layer, 65536 in the paper for ImageNet. The layer is drawn
        from torch's global generator.
    temperature : float
        Temperature of the student; that of the teacher is 0.04.
    momentum : float
        Momentum of the teacher at the start; it rises to 1 over the run.

    Attributes
    ----------
    views : str
        ``multicrop``, or ``strong`` (a pair) if the encoder accepts images of one size only.

    Raises
    ------
    ValueError
        If a number is out of range.

    Notes
    -----
    The centre changes with every batch in training mode, as the statistics of a BatchNorm do. The
    last layer is trained from the first step; the paper freezes it for one epoch.

    Examples
    --------
    >>> from sslsim.encoders.build import build_encoder
    >>> learner = DinoLearner(build_encoder("linear", (1, 8, 8), 4, seed=0), prototypes=3)
    >>> pair = Views((torch.rand(6, 1, 8, 8), torch.rand(6, 1, 8, 8)), None)
    >>> learner(pair, None).shape, bool(learner.center.any())
    (torch.Size([]), True)
    """

    center: torch.Tensor
    follows_progress = True

    def __init__(
        self,
        encoder: Encoder,
        *,
        prototypes: int = 1024,
        temperature: float = 0.1,
        momentum: float = 0.996,
    ) -> None:
        super().__init__(encoder)
        check_count("prototypes", prototypes)
        trial = [torch.zeros(2, 1)] * 2
        dino(trial, trial, torch.zeros(1), student_temperature=temperature)  # checks
        cosine_momentum(momentum, 0.0)
        self.head = UnitLinear(encoder.dim, prototypes)
        self.teacher, self.teacher_head = teacher_of(encoder), teacher_of(self.head)
        self.register_buffer("center", torch.zeros(prototypes))
        self.temperature, self.momentum = temperature, momentum
        self.views = "multicrop" if has_maps(encoder) else "strong"

    def forward(self, batch: Views, labels: torch.Tensor | None) -> torch.Tensor:
        """Loss of the views of the global batch; the teacher sees the first two, which are full."""
        student = [gather(z) for z in embed_views(self.encoder, batch.views)]
        with torch.no_grad():
            teacher = [gather(z) for z in embed_views(self.teacher, batch.views[:2])]
        with torch.autocast(student[0].device.type, enabled=False):
            outputs = [self.head(z.float()) for z in student]
            targets = [self.teacher_head(z.float()) for z in teacher]
            loss = dino(outputs, targets, self.center, student_temperature=self.temperature)
            if self.training:
                self.center.copy_(dino_center(self.center, targets))
        return loss

    def after_step(self, done: float) -> None:
        """Update the teacher."""
        momentum = cosine_momentum(self.momentum, done)
        update_teacher(self.teacher, self.encoder, momentum)
        update_teacher(self.teacher_head, self.head, momentum)
