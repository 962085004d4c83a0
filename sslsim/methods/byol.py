"""BYOL: predict the embedding of the other view by a moving average of the network."""

from __future__ import annotations

import torch

from sslsim.core.distributed import gather
from sslsim.data.views import Views
from sslsim.encoders.build import Encoder
from sslsim.encoders.heads import predictor
from sslsim.methods.learner import Learner, pair_of
from sslsim.methods.teacher import cosine_momentum, teacher_of, update_teacher
from sslsim.objectives import byol


class ByolLearner(Learner):
    """An encoder, a predictor and a teacher (arXiv 2006.07733).

    Parameters
    ----------
    encoder : Encoder
        Online network at initialisation; the teacher starts as its copy.
    hidden : int
        Width of the predictor's hidden layer, 4096 in the paper. The predictor is drawn from
        torch's global generator.
    momentum : float
        Momentum of the teacher at the start; it rises to 1 over the run.

    Raises
    ------
    ValueError
        If the width or the momentum is out of range.

    Examples
    --------
    >>> from sslsim.encoders.build import build_encoder
    >>> learner = ByolLearner(build_encoder("linear", (1, 8, 8), 4, seed=0), hidden=8)
    >>> pair = Views((torch.rand(6, 1, 8, 8), torch.rand(6, 1, 8, 8)), None)
    >>> 0 < learner(pair, None).item() < 8
    True
    """

    views = "strong"
    follows_progress = True

    def __init__(self, encoder: Encoder, *, hidden: int = 512, momentum: float = 0.996) -> None:
        super().__init__(encoder)
        cosine_momentum(momentum, 0.0)  # checks
        self.predictor = predictor(encoder.dim, hidden)
        self.teacher = teacher_of(encoder)
        self.momentum = momentum

    def forward(self, batch: Views, labels: torch.Tensor | None) -> torch.Tensor:
        """Loss of the pairs of the global batch; labels are not used."""
        pair = pair_of(batch)
        predictions = [gather(self.predictor(self.encoder(view))) for view in pair]
        with torch.no_grad():
            targets = [gather(self.teacher(view)) for view in pair]
        with torch.autocast(predictions[0].device.type, enabled=False):
            return self.prediction_loss(*predictions, *targets)

    def prediction_loss(self, *embeddings: torch.Tensor) -> torch.Tensor:
        """Loss of the predictions of both views and the teacher's embeddings of both."""
        return byol(*embeddings)

    def after_step(self, done: float) -> None:
        """Update the teacher."""
        update_teacher(self.teacher, self.encoder, cosine_momentum(self.momentum, done))
