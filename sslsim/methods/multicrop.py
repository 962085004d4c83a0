"""Embeddings of views of several sizes, and which networks take them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from sslsim.encoders.encoder import Encoder


def has_maps(encoder: Encoder) -> bool:
    """Whether a backbone ends by the mean over places, so that images of all sizes fit.

    Parameters
    ----------
    encoder : Encoder
        Of any kind.

    Returns
    -------
    bool
        True of convnet and ResNets.

    Examples
    --------
    >>> from sslsim.encoders.encoder import build_encoder
    >>> [has_maps(build_encoder(name, (1, 8, 8), 2, seed=0)) for name in ("mlp", "convnet")]
    [False, True]
    """
    children = dict(encoder.backbone.named_children())
    return type(encoder.backbone) is nn.Sequential and list(children)[-1:] == ["pool"]


def embed_views(encoder: Encoder, views: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Embed views, those of one size together.

    Parameters
    ----------
    encoder : Encoder
        The network. Its BatchNorms see all views of one size as one batch, as in the code of SwAV
        and DINO.
    views : sequence of Tensor, shape (r, c, h, w)
        Height and width may differ from view to view.

    Returns
    -------
    list of Tensor, shape (r, d)
        In the order of the views.

    Raises
    ------
    ValueError
        If sizes differ and the encoder takes images of one size only.

    Examples
    --------
    >>> from sslsim.encoders.encoder import build_encoder
    >>> encoder = build_encoder("convnet", (1, 8, 8), 2, seed=0)
    >>> [z.shape for z in embed_views(encoder, [torch.zeros(3, 1, 8, 8), torch.zeros(3, 1, 4, 4)])]
    [torch.Size([3, 2]), torch.Size([3, 2])]
    """
    groups: dict[torch.Size, list[int]] = {}
    for i, view in enumerate(views):
        groups.setdefault(view.shape, []).append(i)
    if len(groups) > 1 and not has_maps(encoder):
        sizes = ", ".join(f"{shape[2]} x {shape[3]}" for shape in groups)
        raise ValueError(
            f"views are {sizes}; expected one size, or an encoder that takes all: "
            "convnet or a ResNet"
        )
    found: dict[int, torch.Tensor] = {}
    for members in groups.values():
        z = encoder(torch.cat([views[i] for i in members]))
        found.update(zip(members, z.chunk(len(members)), strict=True))
    return [found[i] for i in range(len(views))]
