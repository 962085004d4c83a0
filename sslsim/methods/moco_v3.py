"""MoCo v3: tell the teacher's embedding of the other view from those of other samples."""

from __future__ import annotations

import torch

from sslsim.encoders.build import Encoder
from sslsim.methods.byol import ByolLearner
from sslsim.objectives import moco_v3


class MocoV3Learner(ByolLearner):
    """BYOL's encoder, predictor and teacher with a contrastive loss (arXiv 2104.02057).

    There is no queue: the other samples of the batch are the negatives.

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
    >>> from sslsim.data.views import Views
    >>> learner = MocoV3Learner(build_encoder("linear", (1, 8, 8), 4, seed=0), hidden=8)
    >>> pair = Views((torch.rand(6, 1, 8, 8), torch.rand(6, 1, 8, 8)), None)
    >>> learner(pair, None).item() > 0
    True
    """

    def __init__(
        self,
        encoder: Encoder,
        *,
        hidden: int = 512,
        temperature: float = 0.2,
        momentum: float = 0.99,
    ) -> None:
        moco_v3(*[torch.zeros(2, 1)] * 4, temperature=temperature)  # checks
        super().__init__(encoder, hidden=hidden, momentum=momentum)
        self.temperature = temperature

    def prediction_loss(self, *embeddings: torch.Tensor) -> torch.Tensor:
        """Loss of the predictions of both views and the teacher's embeddings of both."""
        return moco_v3(*embeddings, temperature=self.temperature)
