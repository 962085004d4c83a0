"""Masked autoencoder: reconstruct the patches of an image that the encoder does not see."""

from __future__ import annotations

import torch

from sslsim.core.distributed import global_mean
from sslsim.data.views import Views
from sslsim.encoders.build import Encoder
from sslsim.encoders.mae_decoder import MaeDecoder
from sslsim.encoders.vit import VisionTransformer, patchify
from sslsim.methods.learner import Learner
from sslsim.objectives import mae


class MaeLearner(Learner):
    """A vision transformer with a decoder of its tokens (arXiv 2111.06377).

    Parameters
    ----------
    encoder : Encoder
        Encoder whose backbone is a ``VisionTransformer``. Its projector has no parameters, since
        nothing would train them: the embedding is the representation.
    width, depth, heads : int
        Sizes of the decoder, (512, 8, 16) in the paper. It is drawn from torch's global generator.

    Raises
    ------
    ValueError
        If the backbone is not a vision transformer, the projector has parameters, or sizes do not
        fit.

    Examples
    --------
    >>> backbone = VisionTransformer((1, 8, 8), width=8, depth=1, heads=2)
    >>> learner = MaeLearner(Encoder(backbone, torch.nn.Identity(), feature_dim=8, dim=8))
    >>> visible, masked = torch.tensor([[0]]), torch.tensor([[1, 2, 3]])
    >>> learner(Views((torch.rand(1, 1, 8, 8),), None, visible, masked), None).shape
    torch.Size([])
    """

    views = "mask"

    def __init__(
        self, encoder: Encoder, *, width: int = 128, depth: int = 2, heads: int = 4
    ) -> None:
        super().__init__(encoder)
        backbone = encoder.backbone
        if not isinstance(backbone, VisionTransformer):
            raise ValueError(
                f"the encoder's backbone is {type(backbone).__name__}; "
                "expected a vision transformer for mae"
            )
        if any(True for _ in encoder.projector.parameters()):
            raise ValueError("the encoder has a projector, which mae does not train; expected none")
        self.decoder = MaeDecoder(
            backbone.shape,
            backbone.patch_size,
            backbone.positions.shape[1],
            width=width,
            depth=depth,
            heads=heads,
            class_token=backbone.class_token is not None,
        )

    def forward(self, batch: Views, labels: torch.Tensor | None) -> torch.Tensor:
        """Mean squared error of the masked patches of the global batch."""
        backbone = self.encoder.backbone
        assert isinstance(backbone, VisionTransformer)
        (images, *_), visible, masked = batch.views, batch.visible, batch.masked
        if visible is None or masked is None:
            raise ValueError("the views hide no patches; expected views of kind 'mask' for mae")
        if visible.shape[1] + masked.shape[1] != len(backbone.positions):
            raise ValueError(
                f"the views have {visible.shape[1] + masked.shape[1]} patches; expected the "
                f"{len(backbone.positions)} of the vision transformer"
            )
        prediction = self.decoder(backbone.tokens(images, visible), visible)
        with torch.autocast(images.device.type, enabled=False):
            return global_mean(mae(prediction, patchify(images, backbone.patch_size), masked))
