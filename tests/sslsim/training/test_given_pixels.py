"""Statistics of pixels that are given to a training instead of those of its own images."""

from dataclasses import replace

import pytest
import torch

from sslsim.data.datasets import load_images
from sslsim.data.pixels import PixelStatistics, pixel_statistics
from sslsim.encoders.build import build_encoder
from sslsim.methods.learner import PairLearner
from sslsim.objectives import simclr
from sslsim.training.batches import joint_batches, training_batches
from sslsim.training.loop import train
from sslsim.training.options import TrainingOptions

CPU = torch.device("cpu")
DATA = load_images(limit=40)
GIVEN = PixelStatistics(torch.tensor([0.7], dtype=torch.float64), torch.tensor([2.0]).double())
OPTIONS = TrainingOptions(batch=8, steps=3, seed=1)


@pytest.mark.parametrize("fixed", [False, True])
def test_batches_are_standardised_by_what_is_given(fixed):
    options = replace(OPTIONS, fixed_views=fixed)
    plain = training_batches(DATA, "crops", replace(options, standardise=False), CPU)
    given = training_batches(DATA, "crops", options, CPU, pixels=GIVEN)
    for view, found in zip(plain(2)[0].views, given(2)[0].views, strict=True):
        assert torch.equal(found, (view - 0.7) / 2)
    # The statistics of the images are the default, and nothing is standardised without the option.
    own = training_batches(DATA, "crops", options, CPU, pixels=pixel_statistics(DATA.images))
    default = training_batches(DATA, "crops", options, CPU)
    assert torch.equal(own(0)[0].views[0], default(0)[0].views[0])
    off = training_batches(DATA, "crops", replace(options, standardise=False), CPU, pixels=GIVEN)
    assert torch.equal(off(0)[0].views[0], plain(0)[0].views[0])


@pytest.mark.parametrize("fixed", [False, True])
def test_joint_batches_share_what_is_given(fixed):
    options = replace(OPTIONS, fixed_views=fixed)
    places = [torch.arange(10), torch.arange(20, 40)]
    joint = joint_batches(DATA, "crops", options, CPU, places, [3, 4], pixels=GIVEN)(1)[0].views
    for k, (part, seed) in enumerate(zip(places, (3, 4), strict=True)):
        own = replace(options, seed=seed)
        alone = training_batches(DATA, "crops", own, CPU, part, pixels=GIVEN)(1)[0].views
        for one, other in zip(joint, alone, strict=True):
            torch.testing.assert_close(one[k], other, rtol=1e-6, atol=1e-6)


def test_a_training_goes_on_with_the_statistics_it_began_with(tmp_path):
    def run(folder, pixels, steps=3):
        learner = PairLearner(build_encoder("linear", (1, 8, 8), 2, seed=0), simclr)
        options = replace(OPTIONS, steps=steps)
        trained = train(learner, DATA, "noise", options, folder, pixels=pixels)
        return torch.cat([value.flatten() for value in trained.state_dict().values()])

    own, given = run(tmp_path / "own", None), run(tmp_path / "given", GIVEN)
    assert not torch.equal(own, given)
    assert torch.equal(run(tmp_path / "given", GIVEN), given)
    for folder, pixels in (("own", GIVEN), ("given", None)):
        with pytest.raises(ValueError, match="holds a run on other images"):
            run(tmp_path / folder, pixels)
