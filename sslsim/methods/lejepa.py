"""LeJEPA: views agree, and random projections of the embeddings are Gaussian."""

from __future__ import annotations

import torch

from sslsim.core.distributed import gather
from sslsim.core.seeds import derived_generator
from sslsim.core.unit_rows import unit_rows
from sslsim.data.views import Views
from sslsim.encoders.build import Encoder
from sslsim.encoders.checks import check_count
from sslsim.methods.learner import Learner, embed_views
from sslsim.objectives import lejepa

_DIRECTIONS = 32  # purpose of the draws of directions


class LejepaLearner(Learner):
    """An encoder and random directions, new ones for every update (arXiv 2511.08544).

    Parameters
    ----------
    encoder : Encoder
        The network.
    lam : float
        Weight of the regularisation, from 0 to 1.
    directions : int
        Number of random directions, 256 as in the paper's algorithm 1.

    Attributes
    ----------
    views : str
        ``simclr``, a pair. The paper draws two full and six local views: ``multicrop``.
    directions : Tensor, shape (d, m)
        Unit vectors of the next update. All processes have the same.

    Raises
    ------
    ValueError
        If a number is out of range.

    Notes
    -----
    Directions depend on the number of updates and on a seed, which is drawn from torch's global
    generator. All batches of an update share them.

    Examples
    --------
    >>> from sslsim.encoders.build import build_encoder
    >>> learner = LejepaLearner(build_encoder("linear", (1, 8, 8), 4, seed=0), directions=3)
    >>> learner.directions.norm(dim=0).round(decimals=4)
    tensor([1., 1., 1.])
    >>> pair = Views((torch.rand(6, 1, 8, 8), torch.rand(6, 1, 8, 8)), None)
    >>> learner(pair, None).shape
    torch.Size([])
    """

    directions: torch.Tensor
    updates: torch.Tensor

    def __init__(self, encoder: Encoder, *, lam: float = 0.05, directions: int = 256) -> None:
        super().__init__(encoder)
        check_count("directions", directions)
        lejepa([torch.zeros(2, 1)] * 2, torch.ones(1, 1), lam=lam)  # checks
        self.lam = lam
        self.seed = int(torch.randint(2**62, ()))
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))
        self.register_buffer("directions", torch.empty(encoder.dim, directions))
        self._draw()

    def forward(self, batch: Views, labels: torch.Tensor | None) -> torch.Tensor:
        """Loss of the views of the global batch; the first two are the full ones."""
        embeddings = [gather(z) for z in embed_views(self.encoder, batch.views)]
        with torch.autocast(embeddings[0].device.type, enabled=False):
            return lejepa(embeddings, self.directions, lam=self.lam)

    def objective(self, z: torch.Tensor, z_prime: torch.Tensor) -> torch.Tensor:
        """Loss of the embeddings of two views with the directions of the next update."""
        return lejepa([z, z_prime], self.directions, lam=self.lam)

    def after_step(self, done: float) -> None:
        """Draw new directions."""
        self.updates += 1
        self._draw()

    def _draw(self) -> None:
        generator = derived_generator(self.seed, _DIRECTIONS, int(self.updates))
        shape = self.directions.T.shape
        drawn = torch.randn(shape, generator=generator, dtype=torch.float64)
        self.directions.copy_(unit_rows(drawn).T)
