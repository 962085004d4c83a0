"""Views of a masked autoencoder know which patches are hidden."""

import pytest
import torch

from sslsim.data.datasets import load_images
from sslsim.data.views import TRAINING_VIEWS, draw_view, draw_views
from sslsim.encoders.vit import VisionTransformer
from sslsim.training.batches import training_batches
from sslsim.training.loop import TrainingOptions


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def images_of(height, width, n=6):
    shape = (n, 1, height, width)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator(3))


@pytest.mark.parametrize(("height", "width"), [(8, 8), (32, 24), (64, 96)])
def test_kept_and_masked_share_out_the_patches_of_the_default_vision_transformer(height, width):
    found = draw_views(images_of(height, width), "mask", generator())
    patches = len(VisionTransformer((1, height, width), width=4, depth=1, heads=1).positions)
    every = torch.cat([found.visible, found.masked], dim=1).sort(dim=1).values
    assert torch.equal(every, torch.arange(patches).expand(6, -1))
    assert found.masked.shape[1] == 3 * patches // 4
    assert len({tuple(row) for row in found.visible.tolist()}) > 1


def test_masks_are_pure_and_those_of_rows_are_rows_of_those_of_all():
    images = images_of(16, 16)
    whole = draw_views(images, "mask", generator())
    part = draw_views(images, "mask", generator(), rows=slice(2, 5))
    other = draw_views(images, "mask", generator(1))
    assert torch.equal(whole.visible[2:5], part.visible)
    assert torch.equal(whole.masked[2:5], part.masked)
    assert not torch.equal(whole.visible, other.visible)
    # The image's own changes are drawn first and do not move.
    assert torch.equal(whole.views[0], draw_view(images, "mask", generator()))


@pytest.mark.parametrize("size", [(17, 23), (4, 4)])
def test_images_that_patches_do_not_tile_have_no_masks(size):
    found = draw_views(images_of(*size), "mask", generator())
    assert found.visible is None
    assert found.masked is None


@pytest.mark.parametrize("kind", [kind for kind in TRAINING_VIEWS if kind != "mask"])
def test_no_other_kind_hides_anything(kind):
    found = draw_views(images_of(16, 16), kind, generator())
    assert found.visible is None
    assert found.masked is None


def test_every_tensor_is_changed():
    found = draw_views(images_of(8, 8), "mask", generator())
    last = found.each(lambda held: held[-1:])
    for one, of_all in ((last.views[0], found.views[0]), (last.boxes, found.boxes)):
        assert torch.equal(one, of_all[-1:])
    assert torch.equal(last.visible, found.visible[-1:])
    assert torch.equal(last.masked, found.masked[-1:])
    noisy = draw_views(images_of(8, 8), "noise", generator()).each(lambda held: held[:2])
    assert [len(view) for view in noisy.views] == [2, 2]
    assert noisy.boxes is None


@pytest.mark.parametrize("channels_last", [False, True])
def test_masks_reach_the_batch_and_fixed_ones_stay_with_their_image(channels_last):
    data, device = load_images(limit=12), torch.device("cpu")
    chosen = TrainingOptions(batch=12, fixed_views=True, channels_last=channels_last)
    batch = training_batches(data, "mask", chosen, device)
    seen = {}
    for number in range(3):  # epochs of one batch, in orders of their own
        views, labels = batch(number)
        held = zip(views.views[0], views.visible.tolist(), labels.tolist(), strict=True)
        for image, *others in held:
            assert seen.setdefault(tuple(image.flatten().tolist()), others) == others
    assert len(seen) == 12
    fresh = training_batches(data, "mask", TrainingOptions(batch=12), device)
    assert torch.equal(fresh(1)[0].visible, fresh(1)[0].visible)
    assert not torch.equal(fresh(0)[0].masked, fresh(1)[0].masked)
