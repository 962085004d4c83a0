"""Methods as learners: what they learn, what they hold still, what they refuse."""

import copy
import math
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from sslsim import objectives
from sslsim.core.seeds import seeded
from sslsim.data.datasets import load_images
from sslsim.data.views import Views, draw_views
from sslsim.encoders.build import Encoder, build_encoder
from sslsim.encoders.initialization import scale_initialization
from sslsim.encoders.vit import VisionTransformer
from sslsim.methods.build import METHODS, build_learner
from sslsim.methods.byol import ByolLearner
from sslsim.methods.dino import DinoLearner
from sslsim.methods.learner import embed_views
from sslsim.methods.lejepa import LejepaLearner
from sslsim.methods.mae import MaeLearner
from sslsim.methods.moco_v3 import MocoV3Learner
from sslsim.methods.simsiam import SimsiamLearner
from sslsim.methods.swav import SwavLearner
from sslsim.methods.teacher import cosine_momentum
from sslsim.training.full_batch import train_linear
from sslsim.training.loop import TrainingOptions, train

SHAPE = (1, 8, 8)
SMALL = {"encoder": "convnet", "widths": (16, 32), "seed": 0}
OPTIONS = {
    "dino": {"projector": "mlp", "projector_widths": (32,), "prototypes": 16},
    "swav": {"projector": "mlp", "projector_widths": (32,), "prototypes": 16},
}


@pytest.fixture(scope="module")
def data():
    return load_images(limit=128)


def learner_of(method, **changed):
    """A learner of few parameters; the named vision transformers are too large to train here."""
    if method == "mae":
        with seeded(0):
            backbone = VisionTransformer(SHAPE, width=16, depth=2, heads=2)
            encoder = Encoder(backbone, nn.Identity(), 16, 16)
            return MaeLearner(encoder, width=16, depth=1, heads=2)
    dim = 10 if method == "supervised" else 8
    return build_learner(method, SHAPE, dim, **(SMALL | OPTIONS.get(method, {}) | changed))


def batch_of(learner, data, n=16, seed=0, kind=None):
    generator = torch.Generator().manual_seed(seed)
    return draw_views(data.images[:n], kind or learner.views, generator), data.labels[:n]


def losses_of(learner):
    losses = []
    learner.register_forward_hook(lambda module, given, loss: losses.append(loss.item()))
    return losses


def options(**changed):
    given = {"steps": 60, "batch": 32, "optimizer": "adamw", "lr": 3e-3, "momentum": 0.0}
    return TrainingOptions(**(given | changed))


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_the_loss_falls(method, data, tmp_path):
    learner = learner_of(method)
    losses = losses_of(learner)
    train(learner, data, learner.views, options(), tmp_path)
    first, last = np.split(np.array(losses), [10])[0], np.array(losses)[-10:]
    # By more than batches differ among themselves, as two standard errors say.
    noise = math.hypot(first[5:].std(), last.std()) / math.sqrt(5)
    assert first.mean() - last.mean() > 2 * noise


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_training_goes_on_from_a_state_with_the_same_bits(method, data, tmp_path):
    class Stopped(Exception):
        pass

    def stop(module, given, loss):
        if len(seen) == 5:
            raise Stopped
        seen.append(loss)

    chosen = options(steps=8, checkpoint_every=3)
    whole = train(learner_of(method), data, learner_of(method).views, chosen, tmp_path / "whole")
    stopped, seen = learner_of(method), []
    stopped.register_forward_hook(stop)
    with pytest.raises(Stopped):
        train(stopped, data, stopped.views, chosen, tmp_path / "parts")
    resumed = learner_of(method)
    with torch.no_grad():
        for value in resumed.state_dict().values():  # nothing of the initialisation is left
            value.zero_()
    train(resumed, data, resumed.views, chosen, tmp_path / "parts")
    state = whole.state_dict()
    assert set(state) == set(resumed.state_dict())
    for name, value in resumed.state_dict().items():
        assert torch.equal(value, state[name]), name


@pytest.mark.parametrize("method", ["byol", "moco_v3", "dino"])
def test_a_teacher_is_the_recursion_of_its_students(method, data):
    learner = learner_of(method, teacher_momentum=0.7)
    optimizer = torch.optim.SGD([p for p in learner.parameters() if p.requires_grad], 0.1)
    pairs = [(learner.teacher, learner.encoder)]
    if method == "dino":
        pairs.append((learner.teacher_head, learner.head))
    expected = [[p.detach().double() for p in student.parameters()] for _, student in pairs]
    for step in range(4):
        optimizer.zero_grad()
        learner(*batch_of(learner, data, seed=step)).backward()
        optimizer.step()
        done = (step + 1) / 5
        momentum = 1 - 0.3 * (math.cos(math.pi * done) + 1) / 2
        for slow, (_, student) in zip(expected, pairs, strict=True):
            for i, p in enumerate(student.parameters()):
                slow[i] = momentum * slow[i] + (1 - momentum) * p.detach().double()
        learner.after_step(done)
    for slow, (teacher, student) in zip(expected, pairs, strict=True):
        for wanted, found, p in zip(slow, teacher.parameters(), student.parameters(), strict=True):
            # Four roundings of float32, relative to the entries.
            torch.testing.assert_close(found.double(), wanted, rtol=1e-5, atol=1e-7)
            assert not torch.equal(found, p)


@pytest.mark.parametrize("method", METHODS)
def test_every_parameter_that_asks_for_a_gradient_gets_one_and_no_other(method, data):
    learner = learner_of(method)
    learner(*batch_of(learner, data)).backward()
    for name, parameter in learner.named_parameters():
        frozen = name.startswith("teacher")
        assert parameter.requires_grad != frozen, name
        assert (parameter.grad is None) == frozen, name
        if not frozen:
            assert parameter.grad.any(), name


def test_the_momentum_rises_from_its_start_to_one():
    values = [cosine_momentum(0.9, done) for done in np.linspace(0, 1, 11)]
    assert values[0] == pytest.approx(0.9, abs=1e-15)
    assert values[-1] == 1
    assert all(a < b for a, b in pairwise(values))


def test_byol_is_its_objective_of_predictions_and_targets(data):
    learner = learner_of("byol").eval()
    batch, _ = batch_of(learner, data)
    with torch.no_grad():
        for p in learner.teacher.parameters():
            p.add_(0.3 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())))
    z, z_prime = (learner.predictor(learner.encoder(view)) for view in batch.views)
    target, target_prime = (learner.teacher(view) for view in batch.views)
    wanted = objectives.byol(z, z_prime, target, target_prime)
    torch.testing.assert_close(learner(batch, None), wanted)
    assert wanted != objectives.byol(z, z_prime, target_prime, target)


def test_simsiam_is_its_objective_and_its_embeddings_as_targets_are_held_fixed(data):
    learner = learner_of("simsiam").eval()
    batch, _ = batch_of(learner, data)
    z, z_prime = (learner.encoder(view) for view in batch.views)
    fixed = z.detach(), z_prime.detach()
    wanted = objectives.simsiam(learner.predictor(z), learner.predictor(z_prime), *fixed)
    loss = learner(batch, None)
    torch.testing.assert_close(loss, wanted)
    weights = list(learner.parameters())
    found, expected = (torch.autograd.grad(value, weights) for value in (loss, wanted))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)


def test_moco_v3_is_its_objective_of_predictions_and_targets(data):
    learner = learner_of("moco_v3", temperature=0.7).eval()
    batch, _ = batch_of(learner, data)
    with torch.no_grad():
        for p in learner.teacher.parameters():
            p.add_(0.3 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())))
    z, z_prime = (learner.predictor(learner.encoder(view)) for view in batch.views)
    target, target_prime = (learner.teacher(view) for view in batch.views)
    wanted = objectives.moco_v3(z, z_prime, target, target_prime, temperature=0.7)
    torch.testing.assert_close(learner(batch, None), wanted)
    assert wanted != objectives.moco_v3(z, z_prime, target_prime, target, temperature=0.7)


def test_lejepa_is_its_objective_of_full_and_local_views(data):
    learner = learner_of("lejepa").eval()
    batch, _ = batch_of(learner, data, kind="multicrop")
    embeddings = [learner.encoder(view) for view in batch.views]
    assert len(embeddings) == 8
    wanted = objectives.lejepa(embeddings, learner.directions, lam=0.05)
    torch.testing.assert_close(learner(batch, None), wanted)
    pair, _ = batch_of(learner, data)
    z, z_prime = (learner.encoder(view) for view in pair.views)
    torch.testing.assert_close(learner(pair, None), learner.objective(z, z_prime))


def test_directions_of_lejepa_are_unit_vectors_new_at_every_update(data):
    learner, again = learner_of("lejepa"), learner_of("lejepa")
    seen = [learner.directions.clone()]
    for step in range(3):
        learner(*batch_of(learner, data, seed=step))  # further batches of an update change nothing
        assert torch.equal(learner.directions, seen[-1])
        learner.after_step((step + 1) / 10)
        again.after_step((step + 1) / 3)  # whatever the planned number of updates
        seen.append(learner.directions.clone())
        assert torch.equal(again.directions, seen[-1])
        norms = seen[-1].norm(dim=0)
        torch.testing.assert_close(norms, torch.ones_like(norms))
    for one, other in pairwise(seen):
        cosines = one.T @ other
        assert cosines.abs().max() < 0.9999
    many = torch.cat(seen, dim=1)  # 1024 directions: their second moment is near I / d
    torch.testing.assert_close(many @ many.T / 1024, torch.eye(8) / 8, rtol=0, atol=0.03)


def test_swav_compares_unit_vectors_with_unit_prototypes(data, tmp_path):
    learner = learner_of("swav").eval()
    batch, _ = batch_of(learner, data, kind="multicrop")
    assert len(batch.views) == 8
    unit = nn.functional.normalize
    prototypes = learner.prototypes.weight
    scores = [unit(learner.encoder(view)) @ prototypes.T for view in batch.views]
    torch.testing.assert_close(learner(batch, None), objectives.swav(scores, eps=0.03))
    learner.train()
    train(learner, data, "multicrop", options(steps=2), tmp_path)
    assert not torch.equal(prototypes, learner_of("swav").prototypes.weight)
    torch.testing.assert_close(prototypes.norm(dim=1), torch.ones(16), rtol=1e-6, atol=0)


def test_the_teacher_of_dino_sees_the_full_views_alone(data):
    learner = learner_of("dino")
    batch, _ = batch_of(learner, data)
    seen = {"teacher": [], "encoder": []}
    for name, sizes in seen.items():
        hook = lambda module, given, sizes=sizes: sizes.append(tuple(given[0].shape))  # noqa: E731
        getattr(learner, name).register_forward_pre_hook(hook)
    learner(batch, None)
    assert seen == {
        "teacher": [(32, 1, 8, 8)],
        "encoder": [(32, 1, 8, 8), (6 * 16, 1, 3, 3)],
    }


def test_dino_is_its_objective_of_student_and_teacher(data):
    learner = learner_of("dino", temperature=0.3).eval()
    batch, _ = batch_of(learner, data)
    with torch.no_grad():
        learner.center.copy_(torch.linspace(-0.2, 0.3, 16))
        for p in learner.teacher.parameters():
            p.add_(0.3 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())))
    student = [learner.head(learner.encoder(view)) for view in batch.views]
    teacher = [learner.teacher_head(learner.teacher(view)) for view in batch.views[:2]]
    wanted = objectives.dino(student, teacher, learner.center, student_temperature=0.3)
    torch.testing.assert_close(learner(batch, None), wanted)


def test_the_centre_of_dino_moves_in_training_alone(data):
    learner = learner_of("dino")
    batch, _ = batch_of(learner, data)
    teacher = copy.deepcopy(learner.teacher)
    outputs = [learner.teacher_head(z) for z in embed_views(teacher, batch.views[:2])]
    assert all(bool((o.abs() <= 1 + 1e-6).all()) for o in outputs)
    learner(batch, None)
    wanted = objectives.dino_center(torch.zeros(16), outputs)
    torch.testing.assert_close(learner.center, wanted)
    assert learner.center.any()
    learner.eval()(batch, None)
    torch.testing.assert_close(learner.center, wanted)


def test_vicregl_of_whole_images_is_vicreg_and_places_take_the_rest(data):
    batch, _ = batch_of(learner_of("vicregl"), data)
    losses = {}
    for alpha in (0.0, 0.25, 1.0):
        learner = learner_of("vicregl")
        learner.objective_of_maps = partial(objectives.vicregl, alpha=alpha)
        losses[alpha] = learner(batch, None).item()
    pair = learner_of("vicreg")(batch, None).item()
    assert losses[1.0] == pytest.approx(pair, rel=1e-6)
    assert losses[0.0] != pytest.approx(pair, rel=1e-3)
    mixed = 0.25 * losses[1.0] + 0.75 * losses[0.0]
    assert losses[0.25] == pytest.approx(mixed, rel=1e-6)


def test_places_of_vicregl_come_from_their_own_place_and_box(data):
    learner = learner_of("vicregl", widths=(16,)).eval()  # maps of 4 x 4
    given = {}

    def spy(embeddings, maps, places):
        given.update(embeddings=embeddings, maps=maps, places=places)
        return embeddings[0].sum()

    learner.objective_of_maps = spy
    batch, _ = batch_of(learner, data)
    learner(batch, None)
    features = learner.encoder.backbone.layer1(batch.views[1])
    assert given["maps"][1].shape == (16, 512, 4, 4)
    one = learner.local_projector(features[:, :, 1, 2])
    torch.testing.assert_close(given["maps"][1][:, :, 1, 2], one, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(given["embeddings"][0], learner.encoder(batch.views[0]))
    for v in range(2):
        assert torch.equal(given["places"][v], objectives.map_places(batch.boxes[:, v], 4, 4))


def test_vicregl_takes_the_full_views_of_multicrop_and_resnets(data):
    learner = build_learner("vicregl", SHAPE, 8, encoder="resnet18", seed=0)
    batch, _ = batch_of(learner, data, n=4, kind="multicrop")
    assert torch.isfinite(learner(batch, None))


def test_mae_reconstructs_hidden_patches_from_the_others(data):
    learner = learner_of("mae")
    batch, _ = batch_of(learner, data)
    backbone, (images,) = learner.encoder.backbone, batch.views
    assert torch.equal(
        torch.cat([batch.visible, batch.masked], 1).sort(1).values[0], torch.arange(4)
    )
    tokens = backbone.tokens(images, batch.visible)
    patches = images.unfold(2, 4, 4).unfold(3, 4, 4).flatten(2, 3).squeeze(1).flatten(2)
    wanted = objectives.mae(learner.decoder(tokens, batch.visible), patches, batch.masked)
    torch.testing.assert_close(learner(batch, None), wanted)
    # What is hidden is no input: it moves the target alone.
    hidden = torch.ones(16, 4, dtype=torch.bool).scatter(1, batch.visible, False)
    noise = torch.rand(16, 4, 16) * hidden[:, :, None]
    changed = patches + noise
    image = changed.reshape(16, 2, 2, 4, 4).permute(0, 1, 3, 2, 4).reshape(16, 1, 8, 8)
    other = objectives.mae(learner.decoder(tokens, batch.visible), changed, batch.masked)
    moved = learner(Views((image,), None, batch.visible, batch.masked), None)
    torch.testing.assert_close(moved, other)
    assert not torch.equal(moved, wanted)


def test_a_linear_encoder_with_the_theory_is_the_linear_model(data, tmp_path):
    learner = build_learner("barlow_twins", SHAPE, 3, encoder="linear", seed=0, init_scale=0.05)
    learner.double()
    batch, _ = batch_of(learner, data, n=64, kind="simclr")
    pair = Views(tuple(view.double() for view in batch.views), batch.boxes)
    (weight,) = (p for p in learner.encoder.parameters())
    x, x_prime = (view.flatten(1).numpy() for view in pair.views)
    run = train_linear(x, x_prime, weight.detach().numpy().copy(), 1e-3, 30)
    optimizer = torch.optim.SGD(learner.parameters(), 1e-3)
    losses = []
    for _ in range(31):
        optimizer.zero_grad()
        loss = learner(pair, None)
        losses.append(loss.item())
        loss.backward()
        if len(losses) <= 30:
            optimizer.step()
    np.testing.assert_allclose(losses, run.loss, rtol=1e-12)
    np.testing.assert_allclose(weight.detach().numpy(), run.weights, rtol=1e-10, atol=1e-14)
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("method", METHODS)
def test_the_seed_decides_all_parameters_and_nothing_else_is_touched(method):
    def build(seed):
        given = {"encoder": "vit_tiny", "seed": seed} if method == "mae" else SMALL | {"seed": seed}
        return build_learner(method, SHAPE, None if method == "mae" else 8, **given).state_dict()

    torch.manual_seed(7)
    before = torch.get_rng_state()
    one, again, other = build(1), build(1), build(2)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(one[name], again[name]) for name in one)
    drawn = [name for name in one if one[name].ndim > 1]
    assert all(not torch.equal(one[name], other[name]) for name in drawn)
    if method == "mae":
        assert build_learner(method, SHAPE, 192, encoder="vit_tiny", seed=1).encoder.dim == 192


@pytest.mark.parametrize("method", ["barlow_twins", "byol", "moco_v3", "vicregl"])
def test_the_initial_scale_is_of_the_encoder_and_its_teacher(method):
    scaled = learner_of(method, init_scale=0.5, init_which="last")
    wanted = learner_of(method)
    scale_initialization(wanted.encoder, 0.5, "last")
    if method in ("byol", "moco_v3"):
        scale_initialization(wanted.teacher, 0.5, "last")
    for (name, a), b in zip(scaled.state_dict().items(), wanted.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


def test_options_reach_the_objectives():
    z, z_prime = torch.randn(2, 6, 8, generator=torch.Generator().manual_seed(0))
    published = learner_of("barlow_twins", barlow_form="published")
    dot = learner_of("simclr", similarity="dot", temperature=2.0)
    assert published.objective(z, z_prime) == objectives.barlow_twins(z, z_prime, form="published")
    wanted = objectives.simclr(z, z_prime, similarity="dot", temperature=2.0)
    assert dot.objective(z, z_prime) == wanted
    assert learner_of("swav", prototypes=5, temperature=0.2).prototypes.weight.shape == (5, 8)
    assert learner_of("swav", temperature=0.2).temperature == 0.2
    moco = learner_of("moco_v3", temperature=0.3, teacher_momentum=0.5)
    assert (moco.temperature, moco.momentum) == (0.3, 0.5)
    assert learner_of("moco_v3").momentum == 0.99
    assert learner_of("dino", temperature=0.2, teacher_momentum=0.5).momentum == 0.5


@pytest.mark.parametrize("method", ["swav", "dino"])
def test_networks_of_one_size_get_pairs_and_refuse_local_views(method, data):
    for encoder in ("linear", "mlp", "vit_tiny"):
        learner = build_learner(method, SHAPE, 8, encoder=encoder, seed=0)
        assert learner.views == "strong"
    assert learner_of(method).views == "multicrop"
    assert torch.isfinite(learner(*batch_of(learner, data, n=4)))
    with pytest.raises(ValueError, match=r"views are 8 x 8, 3 x 3; expected one size"):
        learner(*batch_of(learner, data, n=4, kind="multicrop"))


def test_views_embedded_together_are_the_views_embedded_alone(data):
    encoder = build_encoder("convnet", SHAPE, 4, seed=0)
    views = draw_views(data.images[:6], "multicrop", torch.Generator().manual_seed(0)).views
    order = [views[i] for i in (2, 0, 3, 1)]
    for together, view in zip(embed_views(encoder, order), order, strict=True):
        torch.testing.assert_close(together, encoder(view), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    ("method", "changed", "message"),
    [
        ("mocov2", {}, "method is 'mocov2'; expected one of barlow_twins, "),
        ("vicreg", {"temperature": 0.1}, "temperature is 0.1 with method 'vicreg'; expected it"),
        ("simclr", {"temperature": 0.0}, "temperature is 0.0; expected a finite number above"),
        ("simclr", {"similarity": "l2"}, "similarity is 'l2'; expected one of"),
        ("barlow_twins", {"barlow_form": "old"}, "form is 'old'; expected one of"),
        ("byol", {"teacher_momentum": 1.5}, "momentum is 1.5; expected a number from 0 to 1"),
        ("moco_v3", {"teacher_momentum": -0.1}, "momentum is -0.1; expected a number from 0"),
        ("moco_v3", {"temperature": 0.0}, "temperature is 0.0; expected a finite number above"),
        ("simsiam", {"teacher_momentum": 0.9}, "teacher_momentum is 0.9 with method 'simsiam'"),
        ("dino", {"prototypes": 0}, "prototypes is 0; expected a whole number above zero"),
        ("swav", {"temperature": -1.0}, "temperature is -1.0; expected a finite number above"),
        ("supervised", {"dim": 1}, "dim is 1 with method 'supervised'; expected 2 classes"),
        ("simclr", {"dim": None}, "dim is None; expected a whole number above zero"),
        ("simclr", {"init_scale": 0.0}, "init_scale is 0.0; expected a finite number above"),
        ("mae", {"dim": None}, "backbone is Sequential; expected a vision transformer"),
        ("mae", {"encoder": "vit_tiny"}, "dim is 8 with method 'mae'; expected the repr.* 192"),
        ("mae", {"projector": "mlp"}, "projector is 'mlp' with method 'mae'; expected 'none'"),
        ("vicregl", {"encoder": "mlp"}, "no feature maps; expected convnet or a ResNet"),
    ],
)
def test_what_does_not_fit_is_refused_in_words(method, changed, message):
    with pytest.raises(ValueError, match=message) as caught:
        build_learner(method, SHAPE, **({"dim": 8, "encoder": "convnet", "seed": 0} | changed))
    assert "\n" not in str(caught.value)


def test_views_and_labels_that_do_not_fit_are_refused_in_words(data):
    pair, _ = batch_of(learner_of("simclr"), data)
    alone = Views(pair.views[:1], None)
    with pytest.raises(ValueError, match="no labels; expected labels"):
        learner_of("supervised")(pair, None)
    for method in ("byol", "simclr", "simsiam", "moco_v3"):
        with pytest.raises(ValueError, match=r"1 view\(s\) were drawn; expected the two"):
            learner_of(method)(alone, None)
    with pytest.raises(ValueError, match="scores has 1 views; expected 2 or more"):
        learner_of("swav")(alone, None)
    with pytest.raises(ValueError, match="embeddings has 1 views; expected 2 or more"):
        learner_of("lejepa")(alone, None)
    with pytest.raises(ValueError, match="teacher has 1 views; expected the two full ones"):
        learner_of("dino")(alone, None)
    with pytest.raises(ValueError, match=r"2 view\(s\) without boxes were drawn; expected two"):
        learner_of("vicregl")(Views(pair.views, None), None)
    with pytest.raises(ValueError, match="hide no patches; expected views of kind 'mask'"):
        learner_of("mae")(pair, None)
    kept, masked = torch.arange(16).expand(16, -1).split([4, 12], dim=1)
    finer = Views(pair.views, None, kept, masked)
    with pytest.raises(ValueError, match="16 patches; expected the 4 of the vision transformer"):
        learner_of("mae")(finer, None)


def test_learners_of_their_own_make_take_any_width():
    encoder = build_encoder("linear", SHAPE, 4, seed=0)
    assert ByolLearner(encoder, hidden=3).predictor[0].weight.shape == (3, 4)
    assert SimsiamLearner(encoder, hidden=3).predictor[0].weight.shape == (3, 4)
    assert MocoV3Learner(encoder, hidden=3).predictor[0].weight.shape == (3, 4)
    assert LejepaLearner(encoder, directions=3).directions.shape == (4, 3)
    assert DinoLearner(encoder, prototypes=3).center.shape == (3,)
    assert SwavLearner(encoder, prototypes=3, eps=0.05).eps == 0.05
