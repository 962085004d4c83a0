"""Encoders that are no longer trained, and what their features are worth to a linear probe."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from sslsim.data.datasets import Images
from sslsim.data.pixels import PixelStatistics
from sslsim.data.views import crop_to_input
from sslsim.encoders.build import Encoder
from sslsim.encoders.features import features
from sslsim.measures.probes import linear_probe


@dataclass(frozen=True, eq=False)
class FrozenEncoder:
    """An encoder as it is after its training, and how images are fed to it.

    Attributes
    ----------
    encoder : Encoder
        In evaluation mode.
    pixels : PixelStatistics or None
        Statistics by which its training images were standardised; None if they were not.
    views : str
        Kind of the views that it was trained on.
    """

    encoder: Encoder
    pixels: PixelStatistics | None
    views: str

    def features(
        self, views: torch.Tensor, layers: Sequence[str], *, batch_size: int = 256
    ) -> dict[str, torch.Tensor]:
        """Features of views or images.

        Parameters
        ----------
        views : Tensor, shape (n, c, h, w)
            Pixels in [0, 1], floating, not standardised.
        layers : sequence of str
            As for :func:`sslsim.encoders.features.features`.
        batch_size : int
            Views at a time.

        Returns
        -------
        dict of str to Tensor, shape (n, k)
            In the order of the layers.
        """
        fed = views if self.pixels is None else self.pixels.standardise(views)
        return features(self.encoder, fed, layers, batch_size=batch_size)


@dataclass(frozen=True, eq=False)
class EvaluationData:
    """Labelled images to evaluate encoders by.

    Attributes
    ----------
    name : str
        Name of the data set.
    train : Images
        Images that probes are fitted on.
    test : mapping of str to Images
        Images on which accuracies are read, by name.
    """

    name: str
    train: Images
    test: Mapping[str, Images]


def linear_accuracies(encoder: FrozenEncoder, data: EvaluationData) -> dict[str, float]:
    """Accuracies of a linear probe of the representation.

    Parameters
    ----------
    encoder : FrozenEncoder
        Its backbone gives the features.
    data : EvaluationData
        Brought to the shape that the encoder takes; all with labels.

    Returns
    -------
    dict of str to float
        Accuracy on every set of test images, from 0 to 1.

    Raises
    ------
    ValueError
        As :func:`sslsim.measures.probes.linear_probe`.

    Examples
    --------
    >>> from sslsim.data.datasets import load_images
    >>> from sslsim.encoders.build import build_encoder
    >>> encoder = FrozenEncoder(build_encoder("convnet", (1, 8, 8), 5, seed=0), None, "weak")
    >>> test = {"digits": load_images(split="test", limit=100)}
    >>> linear_accuracies(encoder, EvaluationData("digits", load_images(limit=150), test)).keys()
    dict_keys(['digits'])
    """

    def represented(part: Images) -> tuple[torch.Tensor, torch.Tensor]:
        images = crop_to_input(part, encoder.views).images.float() / 255
        assert part.labels is not None
        return encoder.features(images, ["backbone"])["backbone"].cpu(), part.labels

    train = represented(data.train)
    with warnings.catch_warnings():
        # Of the solver's convergence: the accuracy is reported as it is.
        warnings.simplefilter("ignore")
        return {
            name: linear_probe(*train, *represented(part)).accuracy
            for name, part in data.test.items()
        }
