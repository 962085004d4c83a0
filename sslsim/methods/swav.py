"""SwAV: predict the cluster of one view from another."""

from __future__ import annotations

import torch
from torch import nn

from sslsim.core.distributed import gather
from sslsim.core.unit_rows import unit_rows
from sslsim.data.views import Views
from sslsim.encoders.build import Encoder
from sslsim.encoders.checks import check_count
from sslsim.methods.learner import Learner, embed_views, has_maps
from sslsim.objectives import swav


class SwavLearner(Learner):
    """An encoder and prototypes of unit length (arXiv 2006.09882).

    Parameters
    ----------
    encoder : Encoder
        The network.
    prototypes : int
        Number of clusters, 3000 in the paper for ImageNet. Prototypes are drawn from torch's global
        generator.
    temperature : float
        Temperature of the predictions.
    eps : float
        Smoothness of the codes. At the paper's 0.05 small networks do not leave the state of
        uniform codes, where the loss is the logarithm of the number of prototypes; at 0.03 they do.

    Attributes
    ----------
    views : str
        ``multicrop``, or ``strong`` (a pair) if the encoder accepts images of one size only.

    Raises
    ------
    ValueError
        If a number is not above zero.

    Notes
    -----
    Codes are computed on the global batch. Two parts of the paper are left out: the queue of
    earlier embeddings, for batches smaller than the number of prototypes, and the first epoch with
    fixed prototypes.

    Examples
    --------
    >>> from sslsim.encoders.build import build_encoder
    >>> learner = SwavLearner(build_encoder("linear", (1, 8, 8), 4, seed=0), prototypes=3)
    >>> learner.prototypes.weight.norm(dim=1).detach().round(decimals=4)
    tensor([1., 1., 1.])
    >>> pair = Views((torch.rand(6, 1, 8, 8), torch.rand(6, 1, 8, 8)), None)
    >>> learner(pair, None).shape
    torch.Size([])
    """

    def __init__(
        self,
        encoder: Encoder,
        *,
        prototypes: int = 128,
        temperature: float = 0.1,
        eps: float = 0.03,
    ) -> None:
        super().__init__(encoder)
        check_count("prototypes", prototypes)
        swav([torch.zeros(2, 1)] * 2, temperature=temperature, eps=eps)  # checks
        self.prototypes = nn.Linear(encoder.dim, prototypes, bias=False)
        self.temperature, self.eps = temperature, eps
        self.views = "multicrop" if has_maps(encoder) else "strong"
        self.after_step(0.0)

    def forward(self, batch: Views, labels: torch.Tensor | None) -> torch.Tensor:
        """Loss of the views of the global batch; the first two are the full ones."""
        embeddings = [gather(z) for z in embed_views(self.encoder, batch.views)]
        with torch.autocast(embeddings[0].device.type, enabled=False):
            scores = [self.prototypes(unit_rows(z.float())) for z in embeddings]
            return swav(scores, temperature=self.temperature, eps=self.eps)

    @torch.no_grad()
    def after_step(self, done: float) -> None:
        """Scale the prototypes to unit length."""
        weight = self.prototypes.weight
        weight.copy_(unit_rows(weight))
