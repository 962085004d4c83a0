"""SimSiam: predict the embedding of the other view by the same network, without a teacher."""

from __future__ import annotations

import torch

from sslsim.core.distributed import gather
from sslsim.data.views import Views
from sslsim.encoders.build import Encoder
from sslsim.encoders.heads import predictor
from sslsim.methods.learner import Learner, pair_of
from sslsim.objectives import simsiam


class SimsiamLearner(Learner):
    """An encoder and a predictor (arXiv 2011.10566).

    Parameters
    ----------
    encoder : Encoder
        The network.
    hidden : int
        Width of the predictor's hidden layer, 512 as in the paper, whose embedding has 2048
        dimensions. The predictor is drawn from torch's global generator.

    Raises
    ------
    ValueError
        If the width is not above zero.

    Examples
    --------
    >>> from sslsim.encoders.build import build_encoder
    >>> learner = SimsiamLearner(build_encoder("linear", (1, 8, 8), 4, seed=0), hidden=8)
    >>> pair = Views((torch.rand(6, 1, 8, 8), torch.rand(6, 1, 8, 8)), None)
    >>> -1 < learner(pair, None).item() < 1
    True
    """

    views = "strong"

    def __init__(self, encoder: Encoder, *, hidden: int = 512) -> None:
        super().__init__(encoder)
        self.predictor = predictor(encoder.dim, hidden)

    def forward(self, batch: Views, labels: torch.Tensor | None) -> torch.Tensor:
        """Loss of the pairs of the global batch; labels are not used."""
        embeddings = [self.encoder(view) for view in pair_of(batch)]
        predictions = [gather(self.predictor(z)) for z in embeddings]
        targets = [gather(z.detach()) for z in embeddings]
        with torch.autocast(predictions[0].device.type, enabled=False):
            return simsiam(*predictions, *targets)
