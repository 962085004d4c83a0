"""VICRegL: VICReg of whole images and of matching places in them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch

from sslsim.core.distributed import gather
from sslsim.data.views import Views
from sslsim.encoders.build import Encoder
from sslsim.encoders.heads import projector
from sslsim.methods.learner import Learner, has_maps
from sslsim.objectives import map_places, vicregl


class VicreglLearner(Learner):
    """An encoder and a projector of the places of its feature maps (arXiv 2210.01571).

    Parameters
    ----------
    encoder : Encoder
        Encoder whose backbone ends with the mean over places: convnet or a ResNet.
    local_widths : sequence of int
        Widths of the layers of the projector that all places share; the last is the dimension of
        their embedding. By default the paper's. It is drawn from torch's global generator.
    alpha : float
        Weight of whole images, from 0 to 1; the weight of places is 1 - alpha.
    matches : int
        Number of pairs of places in each list.

    Raises
    ------
    ValueError
        If the encoder has no feature maps or an option is out of range.

    Examples
    --------
    >>> from sslsim.encoders.build import build_encoder
    >>> learner = VicreglLearner(build_encoder("convnet", (1, 8, 8), 4, seed=0))
    >>> whole = torch.tensor([0.0, 0.0, 8.0, 8.0, 0.0]).expand(6, 2, 5)
    >>> learner(Views((torch.rand(6, 1, 8, 8), torch.rand(6, 1, 8, 8)), whole), None).shape
    torch.Size([])
    """

    views = "strong"

    def __init__(
        self,
        encoder: Encoder,
        *,
        local_widths: Sequence[int] = (512, 512, 512),
        alpha: float = 0.75,
        matches: int = 20,
    ) -> None:
        super().__init__(encoder)
        if not has_maps(encoder):
            raise ValueError(
                "the encoder has no feature maps; expected convnet or a ResNet for vicregl"
            )
        self.objective_of_maps = partial(vicregl, alpha=alpha, matches=matches)
        z, maps, places = (torch.zeros(2, 1, *rest) for rest in ((), (1, 1), (1, 2)))
        self.objective_of_maps((z, z), (maps, maps), (places, places))  # checks
        self.local_projector = projector((encoder.feature_dim, *local_widths))

    def forward(self, batch: Views, labels: torch.Tensor | None) -> torch.Tensor:
        """Loss of the first two views of the global batch, which know their boxes."""
        if batch.boxes is None or len(batch.views) < 2:
            raise ValueError(
                f"{len(batch.views)} view(s) {'without' if batch.boxes is None else 'with'} boxes "
                "were drawn; expected two views that know their boxes, as of strong or multicrop"
            )
        z, maps = self._embed(batch.views[0])
        z_prime, maps_prime = self._embed(batch.views[1])
        first, second = gather(batch.boxes[:, :2]).unbind(dim=1)
        with torch.autocast(z.device.type, enabled=False):
            places = map_places(first, *maps.shape[2:]), map_places(second, *maps_prime.shape[2:])
            return self.objective_of_maps((z, z_prime), (maps, maps_prime), places)

    def _embed(self, view: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Embeddings (n, d) of the images and (n, c', h, w) of the places of the global batch."""
        maps = view
        for name, layer in self.encoder.backbone.named_children():
            if name != "pool":
                maps = layer(maps)
        embedding = self.encoder.projector(self.encoder.backbone.pool(maps))  # type: ignore[operator]
        by_place = maps.movedim(1, 3)  # (r, h, w, c)
        local = self.local_projector(by_place.flatten(0, 2)).unflatten(0, by_place.shape[:3])
        return gather(embedding), gather(local.movedim(3, 1))
