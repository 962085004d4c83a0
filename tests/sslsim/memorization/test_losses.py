"""Alignment losses of many images under many encoders."""

import torch
from tolerances import rounding

from sslsim.data.datasets import load_images
from sslsim.data.pixels import pixel_statistics
from sslsim.encoders.build import build_encoder
from sslsim.encoders.features import features
from sslsim.measures.frozen import FrozenEncoder
from sslsim.memorization import alignment_loss
from sslsim.memorization.losses import Scoring, encoder_losses


def test_losses_of_many_images_are_those_of_all_at_once():
    images = load_images(limit=200).images
    numbers = torch.randperm(400, generator=torch.Generator().manual_seed(0))[:200]
    encoders = [
        FrozenEncoder(build_encoder("linear", (1, 8, 8), 3, seed=k), pixels, "weak")
        for k, pixels in enumerate((None, pixel_statistics(images), pixel_statistics(images[:9])))
    ]
    scoring = Scoring("weak", layers=("projector", "backbone"), pairs=3, seed=4)
    whole = encoder_losses(encoders, images, scoring, numbers=numbers)
    assert whole.shape == (3, 2, 200)
    parts = encoder_losses(encoders, images, scoring, numbers=numbers, blocks=2)
    # Encoders see the same batches; distances are averaged over 3 pairs.
    torch.testing.assert_close(parts, whole, rtol=rounding(torch.float64, 64), atol=1e-15)
    for one, layers in zip(encoders, whole, strict=True):
        for layer, found in zip(scoring.layers, layers, strict=True):

            def fed(views, one=one, layer=layer):
                views = views if one.pixels is None else one.pixels.standardise(views)
                return features(one.encoder, views, [layer])[layer]

            expected = alignment_loss(fed, images, "weak", pairs=3, seed=4, numbers=numbers)
            torch.testing.assert_close(found, expected.mean, rtol=1e-5, atol=1e-7)
