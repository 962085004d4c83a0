"""How many steps an untrained network allows."""

import numpy as np
import pytest
import torch

from experiments.studies.kernels.representation import untrained_modes
from experiments.studies.training.train import train_network
from sslsim.measures.spectra import cross_spectrum
from sslsim.runs.options import TrainOptions
from sslsim.runs.trained_run import TrainedRun
from theory.prediction.predict import predict_steps_from

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def frozen_run(tmp_path_factory):
    """A convnet whose last layer starts small, trained for three updates."""
    folder = tmp_path_factory.mktemp("untrained") / "run"
    options = TrainOptions(
        widths=(4, 8), dim=3, init_which="last", init_scale=0.01, limit=300, steps=3, batch=50,
        records=2, probe=20, evaluate=False, out=folder,
    )  # fmt: skip
    train_network(options)
    return TrainedRun.open(folder)


def test_modes_of_the_untrained_network_are_those_of_its_first_checkpoint(frozen_run):
    found = untrained_modes(frozen_run, 100)
    encoder = frozen_run.learner(0).encoder
    with torch.no_grad():
        h, h_prime = (encoder.backbone(view).double() for view in frozen_run.pairs(100, draw=0))
    np.testing.assert_allclose(found["eigenvalues"][:3], cross_spectrum(h, h_prime)[:3], rtol=1e-5)
    assert found["n_pairs"] == 100
    assert found["shares"].sum() <= 1 + 1e-6
    assert found["at_most"] == sum(found["resolved"][:3])


def test_a_last_layer_on_fixed_features_steps_when_it_is_said_to(frozen_run):
    found = untrained_modes(frozen_run, 100)
    encoder = frozen_run.learner(0).encoder
    with torch.no_grad():
        views = [encoder.backbone(view).double().numpy() for view in frozen_run.pairs(100, draw=0)]
    w0 = encoder.projector[0].weight.detach().double().numpy()
    expected = predict_steps_from(*views, w0)
    # The same theory by another way; on the held-out pairs every rate is another.
    rates = found["held_out"][:3] / expected.eigenvalues
    first = found["step_times"][0] * rates[0] / expected.step_times[0]
    assert first == pytest.approx(1, abs=0.1)  # but for the logarithm of the rate
    end = frozen_run.flow_time(3)
    assert found["in_time"] == (found["step_times"] <= end).sum()


def test_a_run_that_is_no_barlow_twins_has_no_last_layer_times(tmp_path):
    options = TrainOptions(
        method="simclr", widths=(4,), dim=2, limit=60, steps=2, batch=20, records=2, probe=20,
        evaluate=False, out=tmp_path / "run",
    )  # fmt: skip
    train_network(options)
    found = untrained_modes(TrainedRun.open(tmp_path / "run"), 30)
    assert found["step_times"] is None
    assert found["in_time"] is None
    assert 0 <= found["at_most"] <= 2


def test_a_network_without_a_projector_has_no_representation_apart(tmp_path):
    options = TrainOptions(
        encoder="linear", dim=2, limit=60, steps=1, batch=20, records=2, probe=20, evaluate=False,
        out=tmp_path / "run",
    )  # fmt: skip
    train_network(options)
    assert untrained_modes(TrainedRun.open(tmp_path / "run"), 30) is None
