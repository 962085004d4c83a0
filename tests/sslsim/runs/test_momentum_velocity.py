"""Velocities by the buffers of SGD, against what updates did and what the next one does."""

import pytest
import torch
from forecasts import trained
from hypothesis import given, settings
from hypothesis import strategies as st
from tolerances import rounding
from torch.nn.functional import pad

from sslsim.core.checkpoints import load_checkpoint, save_checkpoint
from sslsim.encoders.build import build_encoder
from sslsim.methods.learner import PairLearner
from sslsim.objectives import barlow_twins
from sslsim.runs.history import read_history
from sslsim.runs.networks import momentum_velocity
from sslsim.runs.trained_run import TrainedRun

CPU = torch.device("cpu")


def moving(learner):
    return [parameter for parameter in learner.encoder.parameters() if parameter.requires_grad]


def values(learner):
    return [parameter.detach().clone() for parameter in moving(learner)]


def toy_learner(frozen):
    """Four layers in float64, one of them frozen, and a head that is not of the encoder."""
    encoder = build_encoder("mlp", (1, 2, 2), 2, seed=0, widths=(3, 4, 3))
    learner = PairLearner(encoder, barlow_twins).double()
    learner.head = torch.nn.Linear(2, 2).double()
    list(encoder.parameters())[frozen].requires_grad_(False)
    return learner


def loss_of(learner):
    x = torch.randn(6, 1, 2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return learner.objective(*(learner.head(learner.encoder(view)) for view in (x, x.flip(3))))


@settings(max_examples=15)
@given(
    updates=st.integers(1, 6),
    momentum=st.floats(0.0, 0.99),
    rate=st.floats(1e-4, 1e-2),
    weight_decay=st.sampled_from([0.0, 0.1]),
    frozen=st.integers(0, 3),
)
def test_the_velocity_is_the_last_change_over_its_flow_time(
    tmp_path_factory, updates, momentum, rate, weight_decay, frozen
):
    learner, run = toy_learner(frozen), tmp_path_factory.mktemp("run")
    parameters = [parameter for parameter in learner.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(parameters, rate, momentum, weight_decay=weight_decay)

    def update():
        optimizer.zero_grad()
        loss_of(learner).backward()
        optimizer.step()

    for _ in range(updates):
        before = values(learner)
        update()
    save_checkpoint(run / "checkpoints", updates, {"optimizer": optimizer.state_dict()})
    velocity = momentum_velocity(learner, run, updates, momentum)
    after, flow_time = values(learner), rate / (1 - momentum)
    assert len(velocity) == len(after) == 3
    for found, start, end in zip(velocity, before, after, strict=True):
        assert found.dtype == torch.float64
        expected = torch.zeros_like(end) if momentum == 0 else (end - start) / flow_time
        rounded = rounding(torch.float64, 8, float(end.abs().max()) / flow_time)
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=rounded)
    # The next update goes on with the share mu of it, beside its own gradient.
    update()
    for found, parameter, start in zip(velocity, moving(learner), after, strict=True):
        pushed = -rate * (parameter.grad + weight_decay * start)
        expected = momentum * found * flow_time
        rounded = rounding(torch.float64, 8, float(start.abs().max()))
        torch.testing.assert_close(
            parameter.detach() - start - pushed, expected, rtol=1e-9, atol=rounded
        )


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Updates with momentum at a learning rate that falls, a checkpoint after each."""
    return trained(
        tmp_path_factory.mktemp("run"), momentum=0.9, steps=4, checkpoint_every=1,
        schedule="cosine", weight_decay=0.01,
    )  # fmt: skip


def test_of_a_run_velocities_are_changes_between_checkpoints_over_flow_time(run):
    opened = TrainedRun.open(run)
    history = read_history(run, 60)
    assert history.velocity_at(0) is None
    for step in (1, 2, 3, 4):
        before, after = (values(opened.learner(at)) for at in (step - 1, step))
        flow_time = opened.flow_time(step) - opened.flow_time(step - 1)
        velocity = momentum_velocity(opened.learner(step), run, step, 0.9)
        for found, start, end in zip(velocity, before, after, strict=True):
            # Checkpoints are in float32, and so is the sum of an update.
            rounded = rounding(torch.float32, 4, float(end.abs().max()) / flow_time)
            change = (end.double() - start.double()) / flow_time
            assert float(change.abs().max()) > 100 * rounded
            torch.testing.assert_close(found, change, rtol=1e-5, atol=rounded)
        for found, same in zip(history.velocity_at(step), velocity, strict=True):
            assert torch.equal(found, same)


def spoiled(run, tmp_path, change):
    """A copy of a checkpoint with another optimiser."""
    state = load_checkpoint(run / "checkpoints/checkpoint-000000002.pt", CPU)
    change(state)
    save_checkpoint(tmp_path / "checkpoints", 2, state)
    return TrainedRun.open(run).learner(2), tmp_path, 2, 0.9


def test_a_parameter_without_a_buffer_stands_still(run, tmp_path):
    given = spoiled(run, tmp_path, lambda state: state["optimizer"]["state"].pop(0))
    first, second = momentum_velocity(*given)
    assert first.shape == moving(given[0])[0].shape
    assert not first.any()
    assert torch.equal(second, momentum_velocity(given[0], run, 2, 0.9)[1])


def test_a_checkpoint_without_the_buffers_of_its_parameters_is_refused(run, tmp_path):
    def widened(state):
        buffers = state["optimizer"]["state"][1]
        buffers["momentum_buffer"] = pad(buffers["momentum_buffer"], (0, 1))

    refused = [
        (lambda state: state.pop("optimizer"), "holds no optimiser; expected a checkpoint of"),
        (lambda state: state.update(optimizer=[]), "holds no optimiser; expected a checkpoint of"),
        (lambda state: state["optimizer"].pop("state"), "holds no optimiser; expected"),
        (widened, r"the buffer of 'encoder\.projector\.0\.weight' is \(3, 9\); expected \(3, 8\)"),
    ]
    for change, message in refused:
        with pytest.raises(ValueError, match=message) as caught:
            momentum_velocity(*spoiled(run, tmp_path, change))
        assert "checkpoint-000000002.pt" in str(caught.value)
        assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match=r"checkpoint-000000007\.pt"):
        momentum_velocity(TrainedRun.open(run).learner(2), run, 7, 0.9)
