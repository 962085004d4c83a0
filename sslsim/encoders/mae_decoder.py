"""Decoder of masked autoencoders."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from sslsim.encoders.checks import check_count, check_counts
from sslsim.encoders.vit import Block, draw_linear, patch_grid, position_embedding


class MaeDecoder(nn.Module):
    """Predict all patches from the tokens of the visible ones (arXiv 2111.06377, section 3).

    Parameters
    ----------
    shape : (int, int, int)
        Channels, height and width of the images.
    patch_size : int
        Side p of the patches.
    encoder_width : int
        Width of the encoder's tokens.
    width, depth, heads : int
        Sizes of the decoder, (512, 8, 16) in the paper for ImageNet.
    class_token : bool
        Whether the encoder puts a class token first. It is decoded with the others, without a
        position, and is not part of the prediction.

    Raises
    ------
    ValueError
        If sizes do not fit.

    Examples
    --------
    >>> decoder = MaeDecoder((1, 8, 8), 4, encoder_width=12, width=8, depth=1, heads=2)
    >>> decoder(torch.rand(3, 1, 12), visible=torch.tensor([[0], [2], [3]])).shape
    torch.Size([3, 4, 16])
    """

    positions: torch.Tensor

    def __init__(
        self,
        shape: Sequence[int],
        patch_size: int,
        encoder_width: int,
        *,
        width: int = 128,
        depth: int = 2,
        heads: int = 4,
        class_token: bool = False,
    ) -> None:
        super().__init__()
        channels, height, wide = check_counts("shape", shape, 3)
        check_count("encoder_width", encoder_width)
        check_count("depth", depth)
        grid = patch_grid(height, wide, patch_size)
        self.register_buffer("positions", position_embedding(*grid, width), persistent=False)
        self.leading = int(class_token)
        self.embedding = nn.Linear(encoder_width, width)
        self.mask_token = nn.Parameter(torch.zeros(width))
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.head = nn.Linear(width, channels * patch_size**2)
        self.apply(draw_linear)
        nn.init.normal_(self.mask_token, std=0.02)

    def forward(self, tokens: torch.Tensor, visible: torch.Tensor) -> torch.Tensor:
        """Predict the patches.

        Parameters
        ----------
        tokens : Tensor, shape (n, k, encoder_width), (n, 1 + k, encoder_width) with a class token
            Tokens from ``VisionTransformer.tokens``.
        visible : Tensor of int64, shape (n, k)
            Indices of the patches that the tokens belong to.

        Returns
        -------
        Tensor, shape (n, h w / p^2, c p^2)
            Patches in the order of ``patchify``.

        Raises
        ------
        ValueError
            If shapes do not fit.
        """
        expected = (len(visible), self.leading + visible.shape[-1])
        if visible.ndim != 2 or tokens.ndim != 3 or tuple(tokens.shape[:2]) != expected:
            raise ValueError(
                f"tokens have shape {tuple(tokens.shape)} and visible {tuple(visible.shape)}; "
                f"expected (n, {self.leading} + k, width) and (n, k)"
            )
        x = self.embedding(tokens)
        leading, embedded = x[:, : self.leading], x[:, self.leading :]
        everywhere = self.mask_token.expand(len(x), len(self.positions), -1).to(x.dtype)
        places = visible[:, :, None].expand(-1, -1, x.shape[2])
        filled = everywhere.scatter(1, places, embedded) + self.positions
        decoded = self.blocks(torch.cat([leading, filled], dim=1))[:, self.leading :]
        return self.head(self.norm(decoded))
