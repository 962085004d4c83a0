"""Vision transformers with pre-norm blocks (arXiv 2010.11929), which can skip masked patches."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from sslsim.encoders.checks import check_count, check_counts


def patchify(images: torch.Tensor, patch_size: int) -> torch.Tensor:
    """Cut images into square patches, row by row from the top left.

    Parameters
    ----------
    images : Tensor, shape (n, c, h, w)
        Images of any type.
    patch_size : int
        Side p of the patches, which divides h and w.

    Returns
    -------
    Tensor, shape (n, h w / p^2, c p^2)
        Patches. The entries of a patch are ordered by channel, then by row.

    Raises
    ------
    ValueError
        If there are not four axes, or patches do not tile the images.

    Examples
    --------
    >>> patchify(torch.arange(8).reshape(1, 1, 2, 4), 2).tolist()
    [[[0, 1, 4, 5], [2, 3, 6, 7]]]
    """
    if images.ndim != 4:
        raise ValueError(f"images have shape {tuple(images.shape)}; expected (n, c, h, w)")
    n, c, height, width = images.shape
    rows, columns = patch_grid(height, width, patch_size)
    cut = images.reshape(n, c, rows, patch_size, columns, patch_size)
    return cut.permute(0, 2, 4, 1, 3, 5).reshape(n, rows * columns, c * patch_size**2)


def unpatchify(patches: torch.Tensor, patch_size: int, shape: Sequence[int]) -> torch.Tensor:
    """Assemble images from patches, the inverse of ``patchify``.

    Parameters
    ----------
    patches : Tensor, shape (n, h w / p^2, c p^2)
        Patches in the form of ``patchify``.
    patch_size : int
        Side p of the patches.
    shape : (int, int, int)
        Channels c, height h and width w of the images.

    Returns
    -------
    Tensor, shape (n, c, h, w)
        The images.

    Raises
    ------
    ValueError
        If shapes do not fit or patches do not tile the images.

    Examples
    --------
    >>> images = torch.rand(2, 3, 8, 4)
    >>> torch.equal(unpatchify(patchify(images, 4), 4, (3, 8, 4)), images)
    True
    """
    c, height, width = check_counts("shape", shape, 3)
    rows, columns = patch_grid(height, width, patch_size)
    expected = (rows * columns, c * patch_size**2)
    if patches.ndim != 3 or tuple(patches.shape[1:]) != expected:
        raise ValueError(f"patches have shape {tuple(patches.shape)}; expected (n, *{expected})")
    cut = patches.reshape(len(patches), rows, columns, c, patch_size, patch_size)
    return cut.permute(0, 3, 1, 4, 2, 5).reshape(len(patches), c, height, width)


def position_embedding(rows: int, columns: int, width: int) -> torch.Tensor:
    r"""Sines and cosines of the places in a grid (arXiv 1706.03762, section 3.5, on each axis).

    Parameters
    ----------
    rows, columns : int
        Rows and columns of the grid.
    width : int
        Width of the tokens, a multiple of 4.

    Returns
    -------
    Tensor, shape (rows columns, width)
        Embeddings, row by row from the top left. Each has four quarters, with frequencies
        :math:`10000^{-4 i / width}`, i from 0: sines and cosines of the row number, sines and
        cosines of the column number.

    Raises
    ------
    ValueError
        If a size is not above zero or the width is not a multiple of 4.

    Examples
    --------
    >>> position_embedding(1, 2, 4)[0].tolist()
    [0.0, 1.0, 0.0, 1.0]
    """
    check_counts("rows and columns", (rows, columns))
    if check_count("width", width) % 4:
        raise ValueError(f"width is {width}; expected a multiple of 4")
    quarter = width // 4
    frequency = 10_000 ** (-torch.arange(quarter, dtype=torch.float64) / quarter)
    places = torch.cartesian_prod(torch.arange(rows), torch.arange(columns))  # (rows columns, 2)
    angle = places[:, :, None] * frequency  # (rows columns, 2, width / 4)
    waves = torch.stack([angle.sin(), angle.cos()], dim=2)
    return waves.reshape(rows * columns, width).to(torch.get_default_dtype())


def patch_grid(height: int, width: int, patch_size: int) -> tuple[int, int]:
    """Numbers of rows and columns of patches.

    Parameters
    ----------
    height, width : int
        Size of the images in pixels.
    patch_size : int
        Side of the patches in pixels.

    Returns
    -------
    (int, int)
        Rows and columns.

    Raises
    ------
    ValueError
        If patches do not tile the image.

    Examples
    --------
    >>> patch_grid(8, 12, 4)
    (2, 3)
    """
    check_count("patch_size", patch_size)
    if height % patch_size or width % patch_size:
        raise ValueError(
            f"patch_size is {patch_size}; expected a divisor of height {height} and width {width}"
        )
    return height // patch_size, width // patch_size


def default_patch_size(height: int, width: int) -> int:
    """Default patch size: 4 if the longer side is below 64 pixels, 8 below 128, else 16.

    Parameters
    ----------
    height, width : int
        Size of the images in pixels.

    Returns
    -------
    int
        Side of the patches in pixels.

    Examples
    --------
    >>> default_patch_size(32, 32), default_patch_size(96, 96), default_patch_size(224, 224)
    (4, 8, 16)
    """
    side = max(height, width)
    return 4 if side < 64 else 8 if side < 128 else 16


POOLINGS = ("mean", "class")


class Block(nn.Module):
    """Pre-norm transformer block: x + attention(norm(x)), then x + mlp(norm(x)).

    Parameters
    ----------
    width : int
        Width of the tokens; the hidden layer of the MLP is four times as wide.
    heads : int
        Number of attention heads, a divisor of the width.

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
    """Vision transformer with fixed positions, pre-norm blocks, a last norm and pooling.

    Parameters
    ----------
    shape : (int, int, int)
        Channels, height and width of the images.
    width, depth, heads : int
        Width of the tokens (a multiple of 4), number of blocks, heads of the attention.
    patch_size : int, optional
        Side of the patches, which divides height and width; by default that of
        :func:`default_patch_size`.
    class_token : bool
        Whether a learned token comes before the patches.
    pooling : {"mean", "class"}
        Representation: the mean of the patches' tokens, or the class token.

    Raises
    ------
    ValueError
        If sizes do not fit, or the pooling is "class" without a class token.

    Notes
    -----
    Positions are sines and cosines (:func:`position_embedding`) as in masked autoencoders
    (arXiv 2111.06377, appendix A.1). Linear maps start from Xavier's uniform distribution with zero
    bias, the class token from a normal distribution of standard deviation 0.02.

    Examples
    --------
    >>> net = VisionTransformer((1, 8, 8), width=8, depth=2, heads=2)
    >>> images = torch.rand(3, 1, 8, 8)
    >>> net(images).shape
    torch.Size([3, 8])
    >>> net.tokens(images, visible=torch.tensor([[0], [2], [3]])).shape
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
        # Positions follow from the sizes, so they are not part of the saved state.
        self.register_buffer("positions", position_embedding(*grid, width), persistent=False)
        self.embedding = nn.Linear(channels * size**2, width)
        self.class_token = nn.Parameter(torch.zeros(width)) if class_token else None
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.apply(draw_linear)
        if self.class_token is not None:
            nn.init.normal_(self.class_token, std=0.02)

    def tokens(self, images: torch.Tensor, visible: torch.Tensor | None = None) -> torch.Tensor:
        """Encode all patches, or only the visible ones (arXiv 2111.06377, section 3).

        Parameters
        ----------
        images : Tensor, shape (n, c, h, w)
            Images of the shape ``self.shape``.
        visible : Tensor of int64, shape (n, k), optional
            Indices of the visible patches of each image, row by row from the top left.

        Returns
        -------
        Tensor, shape (n, k, width), (n, 1 + k, width) with a class token
            Normalised tokens, in the order of ``visible``.

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
        if visible is not None:
            if visible.ndim != 2 or len(visible) != len(images) or visible.dtype != torch.int64:
                raise ValueError(
                    f"visible has shape {tuple(visible.shape)} and type {visible.dtype}; expected "
                    f"({len(images)}, k) and int64"
                )
            x = x.gather(1, visible[:, :, None].expand(-1, -1, x.shape[2]))
        if self.class_token is not None:
            x = torch.cat([self.class_token.expand(len(x), 1, -1), x], dim=1)
        return self.norm(self.blocks(x))

    def pool(self, tokens: torch.Tensor) -> torch.Tensor:
        """Tokens (n, t, width) of the last norm -> representation (n, width)."""
        if self.pooling == "class":
            return tokens[:, 0]
        return tokens[:, self.class_token is not None :].mean(dim=1)

    def forward(self, images: torch.Tensor, visible: torch.Tensor | None = None) -> torch.Tensor:
        """Images (n, c, h, w) -> representation (n, width), of the visible patches if given."""
        return self.pool(self.tokens(images, visible))


def draw_linear(module: nn.Module) -> None:
    """Draw a linear map from Xavier's uniform distribution, with zero bias; skip other modules.

    Parameters
    ----------
    module : nn.Module
        Module, changed in place; draws come from torch's global generator.

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
