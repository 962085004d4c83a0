"""Vision transformers with pre-norm blocks (arXiv 2010.11929), which can leave patches out."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from sslsim.encoders.checks import check_count, check_counts
from sslsim.encoders.patches import (
    default_patch_size,
    patch_grid,
    patchify,
    position_embedding,
)

POOLINGS = ("mean", "class")


class Block(nn.Module):
    """Pre-norm transformer block: x + attention(norm(x)), then x + mlp(norm(x)).

    Parameters
    ----------
    width : int
        Of the tokens; the hidden layer of the MLP is four times as wide.
    heads : int
        Of the attention; divides the width.

    Raises
    ------
    ValueError
        If the heads do not divide the width.

    Examples
    --------
    >>> Block(8, 2)(torch.rand(3, 5, 8)).shape
    torch.Size([3, 5, 8])
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        if check_count("width", width) % check_count("heads", heads):
            raise ValueError(f"heads is {heads}; expected a divisor of the width {width}")
        self.heads = heads
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Tokens (n, t, width) -> tokens (n, t, width)."""
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))

    def attention(self, x: torch.Tensor) -> torch.Tensor:
        """Softmax attention of every token to all, (n, t, width) -> (n, t, width)."""
        n, t, width = x.shape
        qkv = self.qkv(x).reshape(n, t, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each (n, heads, t, width / heads)
        mixed = nn.functional.scaled_dot_product_attention(q, k, v)
        return self.out(mixed.transpose(1, 2).reshape(n, t, width))


class VisionTransformer(nn.Module):
    """Patches, fixed positions, pre-norm blocks, a last norm and pooling.

    Parameters
    ----------
    shape : (int, int, int)
        Channels, height and width of the images.
    width, depth, heads : int
        Width of the tokens (a multiple of 4), number of blocks, heads of the attention.
    patch_size : int, optional
        Side of the patches, which divides height and width; by default
        ``patches.default_patch_size``.
    class_token : bool
        Whether a learnt token goes before the patches.
    pooling : {"mean", "class"}
        Representation: the mean of the patches' tokens, or the class token.

    Raises
    ------
    ValueError
        If sizes do not fit or the pooling asks for a class token that is not there.

    Notes
    -----
    Positions are sines and cosines (``patches.position_embedding``) as in masked autoencoders
    (arXiv 2111.06377, appendix A.1), linear maps start by Xavier's uniform law with no bias, the
    class token from a normal law of standard deviation 0.02.

    Examples
    --------
    >>> net = VisionTransformer((1, 8, 8), width=8, depth=2, heads=2)
    >>> images = torch.rand(3, 1, 8, 8)
    >>> net(images).shape
    torch.Size([3, 8])
    >>> net.tokens(images, kept=torch.tensor([[0], [2], [3]])).shape
    torch.Size([3, 1, 8])
    """

    positions: torch.Tensor

    def __init__(
        self,
        shape: Sequence[int],
        width: int,
        depth: int,
        heads: int,
        *,
        patch_size: int | None = None,
        class_token: bool = False,
        pooling: str = "mean",
    ) -> None:
        super().__init__()
        channels, height, wide = check_counts("shape", shape, 3)
        check_count("depth", depth)
        size = default_patch_size(height, wide) if patch_size is None else patch_size
        if pooling not in POOLINGS:
            raise ValueError(f"pooling is {pooling!r}; expected one of {POOLINGS}")
        if pooling == "class" and not class_token:
            raise ValueError("pooling is 'class' without a class token; expected class_token=True")
        self.shape, self.patch_size, self.pooling = (channels, height, wide), size, pooling
        grid = patch_grid(height, wide, size)
        # Derived from the sizes, hence not part of the state that is saved.
        self.register_buffer("positions", position_embedding(*grid, width), persistent=False)
        self.embedding = nn.Linear(channels * size**2, width)
        self.class_token = nn.Parameter(torch.zeros(width)) if class_token else None
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.apply(draw_linear)
        if self.class_token is not None:
            nn.init.normal_(self.class_token, std=0.02)

    def tokens(self, images: torch.Tensor, kept: torch.Tensor | None = None) -> torch.Tensor:
        """Encode all patches, or those kept only (arXiv 2111.06377, section 3).

        Parameters
        ----------
        images : Tensor, shape (n, c, h, w)
            Of the shape given at the start.
        kept : Tensor of int64, shape (n, k), optional
            Indices of the patches each image keeps, row by row from the top left.

        Returns
        -------
        Tensor, shape (n, k, width), (n, 1 + k, width) with a class token
            Normalised, in the order of ``kept``.

        Raises
        ------
        ValueError
            If shapes do not fit.
        """
        if images.ndim != 4 or tuple(images.shape[1:]) != self.shape:
            raise ValueError(
                f"images have shape {tuple(images.shape)}; expected (n, c, h, w) with {self.shape}"
            )
        x = self.embedding(patchify(images, self.patch_size)) + self.positions
        if kept is not None:
            if kept.ndim != 2 or len(kept) != len(images) or kept.dtype != torch.int64:
                raise ValueError(
                    f"kept has shape {tuple(kept.shape)} and type {kept.dtype}; expected "
                    f"({len(images)}, k) and int64"
                )
            x = x.gather(1, kept[:, :, None].expand(-1, -1, x.shape[2]))
        if self.class_token is not None:
            x = torch.cat([self.class_token.expand(len(x), 1, -1), x], dim=1)
        return self.norm(self.blocks(x))

    def pool(self, tokens: torch.Tensor) -> torch.Tensor:
        """Tokens (n, t, width) of the last norm -> representation (n, width)."""
        if self.pooling == "class":
            return tokens[:, 0]
        return tokens[:, self.class_token is not None :].mean(dim=1)

    def forward(self, images: torch.Tensor, kept: torch.Tensor | None = None) -> torch.Tensor:
        """Images (n, c, h, w) -> representation (n, width), of the kept patches if given."""
        return self.pool(self.tokens(images, kept))


def draw_linear(module: nn.Module) -> None:
    """Start a linear map by Xavier's uniform law with no bias; leave other modules as they are.

    Parameters
    ----------
    module : nn.Module
        Changed in place, drawn from torch's global generator.

    Examples
    --------
    >>> layer = nn.Linear(4, 2)
    >>> draw_linear(layer)
    >>> layer.bias.tolist()
    [0.0, 0.0]
    """
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)
