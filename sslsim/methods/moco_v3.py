"""MoCo v3: tell the teacher's embedding of the other view from those of other samples."""

from __future__ import annotations

import torch

from sslsim.core.distributed import gather
from sslsim.data.views import Views
from sslsim.encoders.build import Encoder
from sslsim.encoders.heads import predictor
from sslsim.methods.learner import Learner, pair_of
from sslsim.methods.teacher import cosine_momentum, teacher_of, update_teacher
from sslsim.objectives import moco_v3


class MocoV3Learner(Learner):
    """An encoder, a predictor and a teacher, without a queue (arXiv 2104.02057).

    Parameters
    ----------
    encoder : Encoder
        Network to train, at initialisation; the teacher starts as its copy.
    hidden : int
        Width of the predictor's hidden layer, 4096 in the paper. The predictor is drawn from
        torch's global generator.
    temperature : float
        Temperature of the softmax, 0.2 as in the paper for vision transformers.
    momentum : float
        Momentum of the teacher at the start, 0.99 as in the paper; it rises to 1 over the run.

    Raises
    ------
    ValueError
        If a number is out of range.

    Notes
    -----
    The paper ends the projector, and for vision transformers the predictor, with a BatchNorm, and
    does not train the first layer of vision transformers. Both are left out.

    Examples
    --------
    >>> from sslsim.encoders.build import build_encoder
    >>> learner = MocoV3Learner(build_encoder("linear", (1, 8, 8), 4, seed=0), hidden=8)
    >>> pair = Views((torch.rand(6, 1, 8, 8), torch.rand(6, 1, 8, 8)), None)
    >>> learner(pair, None).item() > 0
    True
    """

    views = "strong"
    follows_progress = True

    def __init__(
        self,
        encoder: Encoder,
        *,
        hidden: int = 512,
        temperature: float = 0.2,
        momentum: float = 0.99,
    ) -> None:
        super().__init__(encoder)
        moco_v3(*[torch.zeros(2, 1)] * 4, temperature=temperature)  # checks
        cosine_momentum(momentum, 0.0)
        self.predictor = predictor(encoder.dim, hidden)
        self.teacher = teacher_of(encoder)
        self.temperature, self.momentum = temperature, momentum

    def forward(self, batch: Views, labels: torch.Tensor | None) -> torch.Tensor:
        """Loss of the pairs of the global batch; labels are not used."""
        pair = pair_of(batch)
        predictions = [gather(self.predictor(self.encoder(view))) for view in pair]
        with torch.no_grad():
            targets = [gather(self.teacher(view)) for view in pair]
        with torch.autocast(predictions[0].device.type, enabled=False):
            return moco_v3(*predictions, *targets, temperature=self.temperature)

    def after_step(self, done: float) -> None:
        """Update the teacher."""
        update_teacher(self.teacher, self.encoder, cosine_momentum(self.momentum, done))
