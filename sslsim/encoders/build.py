"""Encoders by name: a backbone for representations and a projector for embeddings."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from sslsim.core.names import ENCODERS, PROJECTORS
from sslsim.core.seeds import seeded
from sslsim.encoders import heads, small
from sslsim.encoders.checks import check_count, check_counts
from sslsim.encoders.resnet import FEATURE_DIMS, WIDTH, resnet
from sslsim.encoders.vit import VisionTransformer

_VITS = {"vit_tiny": (192, 12, 3), "vit_small": (384, 12, 6)}  # width, depth, heads


class Encoder(nn.Module):
    """Backbone and projector: images -> representation -> embedding.

    Parameters
    ----------
    backbone : nn.Module
        (n, c, h, w) -> representation (n, feature_dim).
    projector : nn.Module
        (n, feature_dim) -> embedding (n, dim).
    feature_dim, dim : int
        Dimensions of representation and embedding.
    layers : sequence of str
        Submodules of the backbone from early to late, for measurements by layer.
    shape : (int, int, int), optional
        Shape of the images that it was tried on, if any.

    Attributes
    ----------
    backbone, projector, feature_dim, dim, layers, shape
        The arguments.

    Raises
    ------
    ValueError
        If a dimension is not above zero or the backbone has no such layer.

    Examples
    --------
    >>> flat = nn.Flatten()
    >>> encoder = Encoder(flat, nn.Linear(64, 2), feature_dim=64, dim=2)
    >>> encoder(torch.rand(5, 1, 8, 8)).shape
    torch.Size([5, 2])
    """

    def __init__(
        self,
        backbone: nn.Module,
        projector: nn.Module,
        feature_dim: int,
        dim: int,
        layers: Sequence[str] = (),
        shape: tuple[int, ...] | None = None,
    ) -> None:
        super().__init__()
        check_count("feature_dim", feature_dim)
        check_count("dim", dim)
        names = {name for name, _ in backbone.named_modules()}
        if missing := [name for name in layers if name not in names]:
            raise ValueError(f"layers holds {missing}; expected names of the backbone's submodules")
        self.backbone = backbone
        self.projector = projector
        self.feature_dim = feature_dim
        self.dim = dim
        self.layers = tuple(layers)
        self.shape = shape

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Images (n, c, h, w) -> embedding (n, dim)."""
        return self.projector(self.backbone(x))


def build_encoder(
    name: str,
    shape: Sequence[int],
    dim: int,
    *,
    seed: int,
    widths: Sequence[int] | None = None,
    parameterization: str = "standard",
    projector: str | None = None,
    projector_widths: Sequence[int] | None = None,
    norm: str | None = None,
    stem: str | None = None,
    residual_gain: float | None = None,
) -> Encoder:
    """Build an encoder whose initial parameters depend only on the seed.

    Parameters
    ----------
    name : str
        Encoder, one of ``ENCODERS``. Vision transformers have patches of 4 pixels below 64 pixels
        (longer side), 8 below 128, else 16. Other patch sizes and poolings: ``Encoder`` with
        ``vit.VisionTransformer``.
    shape : (int, int, int)
        Channels, height and width of the images.
    dim : int
        Dimension of the embedding.
    seed : int
        Seed, at least 0. The caller's random state does not change.
    widths : sequence of int, optional
        Widths of the layers of linear (default ``(dim,)``: one map), mlp (default 512, 512) and
        convnet (default 32, 64, 128). For ResNets, the width of the first stage (default 64).
    parameterization : {"standard", "ntk"}
        Parameterisation, see ``sslsim.encoders.small``; "ntk" for linear, mlp and convnet without
        an mlp projector.
    projector : {"linear", "mlp", "none"}, optional
        "linear": one map without bias. "mlp": ``heads.projector``. "none": the embedding is the
        representation. The default is "none" for linear, so that its embedding is W x with a single
        W, and "linear" for all others.
    projector_widths : sequence of int, optional
        Hidden widths of the mlp projector, by default 2048, 2048.
    norm : {"batch", "none"}, optional
        Normalisation in ResNets, by default "batch".
    stem : {"small", "imagenet"}, optional
        First layers of ResNets (see ``resnet.resnet``), by default "small" below 64 pixels.
    residual_gain : float, optional
        Gain of the residual branches of ResNets at initialisation, by default 1.

    Returns
    -------
    Encoder
        Encoder on the CPU, in torch's default type and in training mode.

    Raises
    ------
    ValueError
        If a name is unknown, a size out of range, or options do not fit together.

    Examples
    --------
    >>> encoder = build_encoder("convnet", (3, 32, 32), 10, seed=0)
    >>> encoder.layers, encoder.feature_dim
    (('layer1', 'layer2', 'layer3'), 128)
    >>> encoder(torch.rand(2, 3, 32, 32)).shape
    torch.Size([2, 10])
    """
    if name not in ENCODERS:
        raise ValueError(f"encoder is {name!r}; expected one of {ENCODERS}")
    shape = check_counts("shape", shape, 3)
    check_count("dim", dim)
    if projector is None:
        projector = "none" if name == "linear" else "linear"
    if projector not in PROJECTORS:
        raise ValueError(f"projector is {projector!r}; expected one of {PROJECTORS}")
    if projector_widths is not None and projector != "mlp":
        raise ValueError(f"projector_widths is given with projector {projector!r}; expected 'mlp'")
    if parameterization not in small.PARAMETERIZATIONS:
        raise ValueError(
            f"parameterization is {parameterization!r}; expected one of {small.PARAMETERIZATIONS}"
        )
    for option, value in (("norm", norm), ("stem", stem), ("residual_gain", residual_gain)):
        if value is not None and not name.startswith("resnet"):
            raise ValueError(
                f"{option} is {value!r} for {name}; expected None, only ResNets have a choice"
            )
    if name.startswith("resnet") and widths is not None and len(widths) != 1:
        raise ValueError(f"widths is {widths!r} for {name}; expected one, that of its first stage")
    if name.startswith("vit") and widths is not None:
        raise ValueError(f"widths is {widths!r} for {name}; expected None, they are fixed")
    if name.startswith(("resnet", "vit")) and parameterization == "ntk":
        raise ValueError(f"parameterization is 'ntk' for {name}; expected 'standard'")
    if parameterization == "ntk" and projector == "mlp":
        raise ValueError("parameterization is 'ntk' with projector 'mlp'; expected 'standard'")
    with seeded(seed):
        if name.startswith("resnet"):
            backbone, feature_dim = _resnet(name, shape, widths, norm, stem, residual_gain)
        else:
            backbone, feature_dim = _backbone(name, shape, dim, widths, parameterization)
        if projector == "linear":
            head: nn.Module = small.linear_map(feature_dim, dim, parameterization)
        elif projector == "mlp":
            hidden = (2048, 2048) if projector_widths is None else projector_widths
            head = heads.projector((feature_dim, *check_counts("projector_widths", hidden), dim))
        elif dim != feature_dim:
            raise ValueError(
                f"dim is {dim} without a projector; expected the representation's {feature_dim}"
            )
        else:
            head = nn.Identity()
    if isinstance(backbone, VisionTransformer):
        layers = [f"blocks.{i}" for i in range(len(backbone.blocks))]
    else:
        layers = [child for child, _ in backbone.named_children()]
        layers = [child for child in layers if child not in ("flatten", "pool")]
    return Encoder(backbone, head, feature_dim, dim, layers)


def _backbone(
    name: str,
    shape: tuple[int, ...],
    dim: int,
    widths: Sequence[int] | None,
    parameterization: str,
) -> tuple[nn.Module, int]:
    if name in _VITS:
        width, blocks, attention = _VITS[name]
        return VisionTransformer(shape, width, blocks, attention), width
    default = {"linear": (dim,), "mlp": (512, 512), "convnet": (32, 64, 128)}[name]
    sizes = check_counts("widths", default if widths is None else widths)
    if name == "convnet":
        return small.convnet(shape[0], sizes, parameterization), sizes[-1]
    build = small.linear if name == "linear" else small.mlp
    return build(shape, sizes, parameterization), sizes[-1]


def _resnet(
    name: str,
    shape: tuple[int, ...],
    widths: Sequence[int] | None,
    norm: str | None,
    stem: str | None,
    residual_gain: float | None,
) -> tuple[nn.Module, int]:
    channels, *size = shape
    depth = int(name.removeprefix("resnet"))
    (width,) = (WIDTH,) if widths is None else check_counts("widths", widths)
    backbone = resnet(
        depth,
        channels,
        ("small" if max(size) < 64 else "imagenet") if stem is None else stem,
        width=width,
        norm=norm or "batch",
        residual_gain=1.0 if residual_gain is None else residual_gain,
    )
    return backbone, FEATURE_DIMS[depth] * width // WIDTH
