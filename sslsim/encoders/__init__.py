"""Encoders, from a linear map to ResNets and vision transformers, and their initialisation."""

from typing import TYPE_CHECKING

from sslsim.core.lazy import lazily

if TYPE_CHECKING:
    from sslsim.encoders import features
    from sslsim.encoders.build import Encoder, build_encoder
    from sslsim.encoders.initialization import scale_initialization

__all__ = ["Encoder", "build_encoder", "features", "scale_initialization"]

__getattr__ = lazily(
    __name__,
    {
        "Encoder": "build",
        "build_encoder": "build",
        "features": "",
        "scale_initialization": "initialization",
    },
)
