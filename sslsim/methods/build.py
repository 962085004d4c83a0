"""Building a method by name, with its encoder at initialisation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import nn

from sslsim import objectives
from sslsim.core.names import METHODS
from sslsim.core.seeds import derived_seed, seeded
from sslsim.encoders.build import Encoder, build_encoder
from sslsim.encoders.initialization import scale_initialization
from sslsim.methods.byol import ByolLearner
from sslsim.methods.dino import DinoLearner
from sslsim.methods.learner import Learner, PairLearner, PairObjective, SupervisedLearner
from sslsim.methods.lejepa import LejepaLearner
from sslsim.methods.mae import MaeLearner
from sslsim.methods.moco_v3 import MocoV3Learner
from sslsim.methods.simsiam import SimsiamLearner
from sslsim.methods.swav import SwavLearner
from sslsim.methods.vicregl import VicreglLearner

_WITH_HEADS = {
    "byol": ByolLearner,
    "simsiam": SimsiamLearner,
    "moco_v3": MocoV3Learner,
    "swav": SwavLearner,
    "dino": DinoLearner,
    "mae": MaeLearner,
    "vicregl": VicreglLearner,
    "lejepa": LejepaLearner,
}
_PAIRS: dict[str, PairObjective] = {
    "barlow_twins": objectives.barlow_twins,
    "simclr": objectives.simclr,
    "vicreg": objectives.vicreg,
    "spectral": objectives.spectral_contrastive,
}
_METHODS_WITH = {
    "barlow_form": ("barlow_twins",),
    "similarity": ("simclr",),
    "temperature": ("simclr", "moco_v3", "swav", "dino"),
    "prototypes": ("swav", "dino"),
    "teacher_momentum": ("byol", "moco_v3", "dino"),
}
_HEADS = 5  # purpose of the draws of the parts other than the encoder


def build_learner(
    method: str,
    shape: Sequence[int],
    dim: int | None,
    *,
    encoder: str | Encoder,
    seed: int,
    widths: Sequence[int] | None = None,
    parameterization: str = "standard",
    projector: str | None = None,
    projector_widths: Sequence[int] | None = None,
    norm: str | None = None,
    stem: str | None = None,
    residual_gain: float | None = None,
    init_scale: float = 1.0,
    init_which: str = "all",
    init_batch_norm: str = "keep",
    barlow_form: str | None = None,
    similarity: str | None = None,
    temperature: float | None = None,
    prototypes: int | None = None,
    teacher_momentum: float | None = None,
) -> Learner:
    """Build a method around an encoder; initial parameters depend only on the seed.

    Parameters
    ----------
    method : str
        Method, one of ``METHODS``.
    shape : (int, int, int)
        Channels, height and width of the images.
    dim : int or None
        Dimension of the embedding. For ``supervised`` it is the number of classes, 2 or more. For
        ``mae``, whose embedding is the representation, it is the encoder's 192 (vit_tiny) or 384,
        or None.
    encoder : str or Encoder
        Encoder, one of ``sslsim.encoders.build.ENCODERS``, or one that is built already; the
        options of a network then do not apply, but for ``init_scale`` and its like.
    seed : int
        Seed of the initial parameters, at least 0. The caller's random state does not change.
    widths, parameterization, projector, projector_widths, norm, stem, residual_gain
        Options of the encoder, as in ``sslsim.encoders.build.build_encoder``; ``mae`` has no
        projector.
    init_scale, init_which, init_batch_norm
        Factor on initial parameters, and the parameters that it applies to, as in
        ``sslsim.encoders.initialization.scale_initialization``. It applies to the encoder and its
        projector, and so to the teacher, their copy; the other parts of a method keep their
        initialisation, and so do parameters without gradients of an encoder that is given.
    barlow_form : {"theory", "published"}, optional
        Form of Barlow Twins, by default "theory".
    similarity : {"cosine", "dot"}, optional
        Similarity of SimCLR, by default "cosine".
    temperature : float, optional
        Temperature of SimCLR, by default 0.5, of MoCo v3, by default 0.2, of SwAV or of DINO's
        student, by default 0.1.
    prototypes : int, optional
        Number of clusters of SwAV, by default 128, or of outputs of DINO's head, by default 1024.
    teacher_momentum : float, optional
        Momentum of the teacher of BYOL or DINO, by default 0.996, or of MoCo v3, by default 0.99,
        at the start of the run.

    Returns
    -------
    Learner
        Learner on the CPU, in training mode; ``learner.encoder`` is the network to evaluate.

    Raises
    ------
    ValueError
        If a name is unknown, a size or number out of range, or an option does not belong to the
        method or the encoder.

    Examples
    --------
    >>> learner = build_learner("simclr", (1, 8, 8), 4, encoder="convnet", seed=0, init_scale=0.1)
    >>> learner.encoder(torch.rand(2, 1, 8, 8)).shape
    torch.Size([2, 4])
    """
    check_method(method)
    if not 0 < init_scale < math.inf:
        raise ValueError(f"init_scale is {init_scale}; expected a finite number above zero")
    if teacher_momentum is not None and not 0 <= teacher_momentum <= 1:
        raise ValueError(f"teacher_momentum is {teacher_momentum}; expected a number from 0 to 1")
    options = {
        "barlow_form": barlow_form,
        "similarity": similarity,
        "temperature": temperature,
        "prototypes": prototypes,
        "teacher_momentum": teacher_momentum,
    }
    named = _named_options(method, options)
    if method == "supervised" and dim == 1:
        raise ValueError("dim is 1 with method 'supervised'; expected 2 classes or more")
    if method == "mae" and projector not in (None, "none"):
        raise ValueError(f"projector is {projector!r} with method 'mae'; expected 'none'")
    if isinstance(encoder, Encoder):
        net = encoder
    else:
        net = build_encoder(
            encoder,
            shape,
            1 if method == "mae" else dim,  # type: ignore[arg-type]  # build_encoder refuses None
            seed=seed,
            widths=widths,
            parameterization=parameterization,
            projector="linear" if method == "mae" else projector,
            projector_widths=projector_widths,
            norm=norm,
            stem=stem,
            residual_gain=residual_gain,
        )
    if method == "mae":
        net = _without_projector(net, dim)
    scale_initialization(
        net, init_scale, init_which, init_batch_norm, trained_only=isinstance(encoder, Encoder)
    )
    if method == "supervised":
        return SupervisedLearner(net)
    if method in _PAIRS:
        return PairLearner(net, _pair_objective(method, named))
    with seeded(derived_seed(seed, _HEADS, 0) >> 1):
        return _WITH_HEADS[method](net, **named)


def pair_objective(
    method: str,
    *,
    barlow_form: str | None = None,
    similarity: str | None = None,
    temperature: float | None = None,
) -> PairObjective | None:
    """Loss of the embeddings of two views, by the name of its method.

    Parameters
    ----------
    method : str
        Method, one of ``METHODS``.
    barlow_form, similarity, temperature
        As for :func:`build_learner`.

    Returns
    -------
    callable or None
        ``(z, z_prime) -> loss``; None for a method whose loss needs more than these embeddings.

    Raises
    ------
    ValueError
        If the name is unknown, or an option is out of range or does not belong to the method.

    Examples
    --------
    >>> pair_objective("barlow_twins")(torch.zeros(4, 2), torch.zeros(4, 2)).item()
    2.0
    >>> pair_objective("byol") is None
    True
    """
    check_method(method)
    options = {"barlow_form": barlow_form, "similarity": similarity, "temperature": temperature}
    named = _named_options(method, options)
    return _pair_objective(method, named) if method in _PAIRS else None


def check_method(method: str) -> None:
    """Refuse a method that there is not; ValueError lists those that there are."""
    if method not in METHODS:
        raise ValueError(f"method is {method!r}; expected one of {', '.join(METHODS)}")


def _pair_objective(method: str, named: Mapping[str, Any]) -> PairObjective:
    objective = partial(_PAIRS[method], **named)
    objective(torch.zeros(2, 1), torch.zeros(2, 1))  # checks the range of options
    return objective


def _named_options(method: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Options that are given, by their names in the module of the method."""
    chosen = {name: value for name, value in options.items() if value is not None}
    for name, value in chosen.items():
        if method not in _METHODS_WITH[name]:
            raise ValueError(
                f"{name} is {value!r} with method {method!r}; "
                f"expected it with {' or '.join(_METHODS_WITH[name])} only"
            )
    return {
        name.removeprefix("barlow_").removeprefix("teacher_"): value
        for name, value in chosen.items()
    }


def _without_projector(net: Encoder, dim: int | None) -> Encoder:
    if dim not in (None, net.feature_dim):
        raise ValueError(
            f"dim is {dim} with method 'mae'; expected the representation's {net.feature_dim}"
        )
    return Encoder(net.backbone, nn.Identity(), net.feature_dim, net.feature_dim, net.layers)
