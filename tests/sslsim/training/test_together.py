"""Networks trained together are those trained one after another, and resume exactly."""

import signal
from dataclasses import replace

import pytest
import torch
from torch import nn

from sslsim.core.checkpoints import checkpoints, load_checkpoint, save_checkpoint
from sslsim.data.datasets import Images, load_images
from sslsim.data.views import TRAINING_VIEWS
from sslsim.encoders.build import Encoder, build_encoder
from sslsim.encoders.vit import VisionTransformer
from sslsim.memorization import draw_members
from sslsim.methods.build import build_learner
from sslsim.methods.learner import PairLearner, SupervisedLearner
from sslsim.methods.mae import MaeLearner
from sslsim.objectives import barlow_twins, simclr, vicreg
from sslsim.training.batches import joint_batches, training_batches
from sslsim.training.ensemble import train_together
from sslsim.training.loop import Interrupted, TrainingOptions, train

pytestmark = pytest.mark.slow

DATA = load_images(limit=40)
MEMBERS = draw_members(3, 40, 0.6, seed=1)  # epochs of two batches of 10, and some left over
COLOURED = Images(
    torch.randint(256, (40, 3, 16, 16), generator=torch.Generator().manual_seed(0)).byte(),
    DATA.labels,
    "random",
)
SEEDS = (5, 3, 11)
OPTIONS = TrainingOptions(steps=7, batch=10, lr=0.02, weight_decay=0.01)


class Doubled(nn.Module):
    """Views, which are float32, for a network of float64."""

    def forward(self, x):
        """Lift."""
        return x.double()


def doubled(encoder):
    whole = Encoder(
        nn.Sequential(Doubled(), encoder.backbone),
        encoder.projector,
        encoder.feature_dim,
        encoder.dim,
    )
    return whole.double()


def convnet(seed, **options):
    return doubled(build_encoder("convnet", (1, 8, 8), 4, seed=seed, widths=(3, 5), **options))


def batch_norm(seed):
    return PairLearner(convnet(seed, projector="mlp", projector_widths=(6,)), vicreg)


LEARNERS = {
    "linear": lambda k: PairLearner(
        doubled(build_encoder("linear", (1, 8, 8), 3, seed=k)), barlow_twins
    ),
    "ntk": lambda k: PairLearner(convnet(k, parameterization="ntk"), simclr),
    "batch_norm": batch_norm,
    "supervised": lambda k: SupervisedLearner(
        doubled(build_encoder("mlp", (1, 8, 8), 10, seed=k, widths=(6,)))
    ),
    "resnet": lambda k: PairLearner(
        doubled(build_encoder("resnet18", (1, 8, 8), 4, seed=k, widths=(2,))), simclr
    ),
}
RUNS = {
    "linear": ({"momentum": 0.9}, "weak"),
    "ntk": ({"optimizer": "adamw", "schedule": "cosine", "warmup": 2}, "strong"),
    "batch_norm": ({"optimizer": "adamw", "lr": 0.003, "accumulate": 2}, "weak"),
    "supervised": ({"fixed_views": True, "standardise": False}, "noise"),
    "resnet": ({"lr": 1e-3, "steps": 3}, "simclr"),
}


def learners_of(name):
    return [LEARNERS[name](seed) for seed in range(3)]


def alone(learners, folder, kind, options, data=DATA, members=MEMBERS):
    """The literal other way: data sets of their own, one after another."""
    for k, learner in enumerate(learners):
        inside = members[k]
        labels = None if data.labels is None else data.labels[inside]
        part = Images(data.images[inside], labels, data.name)
        train(learner, part, kind, replace(options, seed=SEEDS[k]), folder / f"alone{k}")
    return learners


def assert_equal_states(found, expected, rtol):
    for one, other in zip(found, expected, strict=True):
        state, wanted = one.state_dict(), other.state_dict()
        assert list(state) == list(wanted)
        for name, value in state.items():
            scale = float(wanted[name].double().abs().max())
            torch.testing.assert_close(value, wanted[name], rtol=0, atol=rtol * scale)


@pytest.mark.machine
@pytest.mark.parametrize("name", RUNS)
def test_learners_end_as_if_trained_one_after_another(name, tmp_path):
    changes, kind = RUNS[name]
    options = replace(OPTIONS, **changes)
    learners = learners_of(name)
    start = [{n: p.clone() for n, p in one.state_dict().items()} for one in learners]
    found = train_together(learners, DATA, MEMBERS, kind, options, tmp_path, seeds=SEEDS)
    assert found == learners
    expected = alone(learners_of(name), tmp_path, kind, options)
    assert_equal_states(found, expected, rtol=1e-10)
    # By far more than rounding have they moved, and apart.
    for one, before in zip(found, start, strict=True):
        assert all((p - before[n]).abs().max() > 1e-4 for n, p in one.named_parameters())


def test_masked_autoencoders_are_trained_together(tmp_path):
    def learners():
        made = []
        for k in range(3):
            with torch.random.fork_rng():
                torch.manual_seed(k)
                backbone = VisionTransformer((1, 8, 8), width=8, depth=1, heads=2)
                encoder = Encoder(backbone, nn.Identity(), feature_dim=8, dim=8)
                made.append(MaeLearner(encoder, width=8, depth=1, heads=2))
        return made

    found = train_together(learners(), DATA, MEMBERS, "mask", OPTIONS, tmp_path, seeds=SEEDS)
    assert_equal_states(found, alone(learners(), tmp_path, "mask", OPTIONS), rtol=1e-5)


def test_half_precision_is_that_of_training_alone(tmp_path):
    def learners():
        made = [build_encoder("mlp", (1, 8, 8), 4, seed=k, widths=(8,)) for k in range(3)]
        return [PairLearner(encoder, simclr) for encoder in made]

    options = replace(OPTIONS, precision="bfloat16", lr=0.1)
    found = train_together(learners(), DATA, MEMBERS, "weak", options, tmp_path, seeds=SEEDS)
    expected = alone(learners(), tmp_path, "weak", options)
    single = alone(learners(), tmp_path / "32", "weak", replace(options, precision="float32"))
    for one, same, other in zip(found, expected, single, strict=True):
        weights = [part.encoder.backbone.layer1[0].weight for part in (one, same, other)]
        assert weights[0].dtype == torch.float32
        gap, precision = ((weights[0] - w).norm() for w in weights[1:])
        # Products of stacks are summed in another order: the gap is of the size of rounding.
        assert precision > 0
        assert gap < 2 * precision


@pytest.mark.machine
@pytest.mark.parametrize("kind", TRAINING_VIEWS)
@pytest.mark.parametrize("changes", [{}, {"fixed_views": True}, {"standardise": False}])
def test_joint_batches_are_those_of_data_sets_of_the_parts(kind, changes):
    places = [row.nonzero()[:, 0] for row in MEMBERS]
    options, cpu = replace(OPTIONS, **changes), torch.device("cpu")
    joint = joint_batches(COLOURED, kind, options, cpu, places, SEEDS)
    for k, (chosen, seed) in enumerate(zip(places, SEEDS, strict=True)):
        part = Images(COLOURED.images[chosen], COLOURED.labels[chosen], "part")
        alone = training_batches(part, kind, replace(options, seed=seed), cpu)
        for number in (0, 1, 2, 7):
            (found, labels), (expected, wanted) = joint(number), alone(number)
            assert torch.equal(labels[k], wanted)
            assert len(found.views) == len(expected.views)
            for one, other in zip(found.views, expected.views, strict=True):
                assert torch.equal(one[k], other)
            for name in ("boxes", "visible", "masked"):
                one, other = getattr(found, name), getattr(expected, name)
                assert (one is None) == (other is None)
                assert one is None or torch.equal(one[k], other)


def leaves(nest, where=""):
    """Tensors, numbers and strings of a nest of dictionaries and lists, by their places."""
    if isinstance(nest, (dict, list)):
        items = nest.items() if isinstance(nest, dict) else enumerate(nest)
        return {k: v for key, one in items for k, v in leaves(one, f"{where}/{key}").items()}
    return {where: nest.numpy().tobytes() if isinstance(nest, torch.Tensor) else nest}


def state_of(folder):
    newest = checkpoints(folder / "checkpoints")[0]
    return leaves(load_checkpoint(newest, torch.device("cpu")))


@pytest.mark.machine
@pytest.mark.parametrize("name", ["linear", "batch_norm"])
def test_a_stopped_run_resumes_with_the_same_bits(name, tmp_path):
    changes, kind = RUNS[name]
    options = replace(OPTIONS, **changes, checkpoint_every=3)
    whole = train_together(
        learners_of(name), DATA, MEMBERS, kind, options, tmp_path / "whole", seeds=SEEDS
    )
    passes = []

    def interrupt(*_):
        passes.append(None)
        if len(passes) == 5 * options.accumulate:
            signal.raise_signal(signal.SIGTERM)

    folder = tmp_path / "part"
    learners = learners_of(name)
    learners[0].register_forward_pre_hook(interrupt)  # the first one computes for all
    with pytest.raises(Interrupted, match="stopped at step 5 of 7; saved"):
        train_together(learners, DATA, MEMBERS, kind, options, folder, seeds=SEEDS)
    arguments = (DATA, MEMBERS, kind, options, folder)
    resumed = train_together(learners_of(name), *arguments, seeds=SEEDS)
    assert_equal_states(resumed, whole, rtol=0.0)
    assert state_of(folder) == state_of(tmp_path / "whole")
    # A run at its end is read, not trained; also one of a version with fewer options.
    state = load_checkpoint(checkpoints(folder / "checkpoints")[0], torch.device("cpu"))
    del state["options"]["clip_norm"], state["options"]["precondition_embedding"]
    save_checkpoint(folder / "checkpoints", 7, state)
    learners = learners_of(name)
    learners[0].register_forward_pre_hook(lambda *_: pytest.fail("a finished run is trained"))
    again = train_together(learners, *arguments, seeds=SEEDS)
    assert_equal_states(again, whole, rtol=0.0)


def test_runs_of_others_are_refused(tmp_path):
    def run(**changes):
        arguments = {
            "learners": learners_of("linear"),
            "data": DATA,
            "members": MEMBERS,
            "kind": "weak",
            "options": OPTIONS,
            "folder": tmp_path,
            "seeds": SEEDS,
        }
        return train_together(**(arguments | changes))

    run()
    for changes, message in (
        ({"kind": "noise"}, "views weak, now it is noise"),
        ({"options": replace(OPTIONS, lr=0.5)}, "lr 0.02, now it is 0.5"),
        ({"seeds": (5, 3, 12)}, r"seed \[5, 3, 11\], now it is \[5, 3, 12\]"),
        ({"members": MEMBERS.flip(1)}, "on other images or members"),
        ({"learners": learners_of("supervised")}, "a run of other networks"),
    ):
        with pytest.raises(ValueError, match=message):
            run(**changes)


def test_the_learner_that_diverged_is_named(tmp_path):
    learners = learners_of("linear")
    with torch.no_grad():
        next(learners[1].parameters()).mul_(1e200)
    with pytest.raises(ValueError, match="learner 1 is no longer finite by step 7"):
        train_together(learners, DATA, MEMBERS, "weak", OPTIONS, tmp_path, seeds=SEEDS)
    assert not checkpoints(tmp_path / "checkpoints")


def test_all_checkpoints_are_kept_where_asked_for(tmp_path):
    options = replace(OPTIONS, checkpoints_kept=0, checkpoint_every=3)
    train_together(learners_of("linear"), DATA, MEMBERS, "weak", options, tmp_path, seeds=SEEDS)
    names = [path.name for path in checkpoints(tmp_path / "checkpoints")]
    assert names == [f"checkpoint-{step:09d}.pt" for step in (7, 6, 3, 0)]


def dropping(seed):
    encoder = build_encoder("linear", (1, 8, 8), 3, seed=seed)
    return PairLearner(Encoder(encoder.backbone, nn.Dropout(0.5), 3, 3), barlow_twins)


def small(method, seed=0, **options):
    return build_learner(method, (1, 8, 8), 4, encoder="convnet", seed=seed, widths=(2,), **options)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"learners": []}, "no learners were given"),
        ({"learners": [small("simclr"), small("simclr", projector="mlp")] * 2}, r"learners\[1\]"),
        ({"learners": [small("byol", k) for k in range(3)]}, "ByolLearner does something after"),
        ({"learners": [small("lejepa", k) for k in range(3)]}, "LejepaLearner does something"),
        ({"learners": [small("swav", k) for k in range(3)]}, "SwavLearner does something after"),
        ({"learners": [dropping(k) for k in range(3)]}, "'encoder.projector' is Dropout"),
        ({"options": replace(OPTIONS, optimizer="lars")}, "optimizer is 'lars'"),
        ({"options": replace(OPTIONS, compile=True)}, "compile is True; expected False"),
        ({"options": replace(OPTIONS, channels_last=True)}, "channels_last is True"),
        ({"members": MEMBERS[:2]}, r"expected bool of shape \(3, 40\)"),
        ({"members": MEMBERS.int()}, "members is torch.int32"),
        ({"seeds": (1, 2)}, "there are 2 seeds; expected one for each of 3 learners"),
        ({"members": torch.arange(120).reshape(3, 40) >= 31}, "the smallest part .* has 9"),
        ({"members": torch.zeros(3, 40, dtype=torch.bool)}, "expected at least 2"),
        ({"kind": "other"}, "unknown views 'other'"),
    ],
)
def test_what_cannot_be_trained_together_is_refused(changes, message, tmp_path):
    arguments = {
        "learners": [small("simclr", k) for k in range(3)],
        "data": DATA,
        "members": MEMBERS,
        "kind": "weak",
        "options": OPTIONS,
        "folder": tmp_path / "run",
        "seeds": SEEDS,
    }
    with pytest.raises(ValueError, match=message):
        train_together(**(arguments | changes))
    assert not (tmp_path / "run").exists()
