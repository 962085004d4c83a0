"""Views without one part."""

import pytest
import torch

from sslsim.data.augmentation import PARTS, SIMCLR, recipe_without
from sslsim.data.single_view import draw_view, views_without

NAME = "sslsim.data.single_view:simclr_without_"


def images(size=32):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(256, (8, 3, size, size), generator=generator, dtype=torch.uint8)


@pytest.mark.parametrize("part", PARTS)
def test_a_recipe_loses_one_part_and_keeps_the_others(part):
    changed = recipe_without(SIMCLR, part)
    lost = {field for field in vars(SIMCLR) if getattr(changed, field) != getattr(SIMCLR, field)}
    expected = {"crop": {"area"}, "colour": {"jitter_share", "grey_share"}, "solarise": set()}
    assert lost == expected.get(part, {f"{part}_share"})


def test_without_colour_the_pixels_of_a_plain_image_stay():
    plain = torch.full((6, 3, 16, 16), 0, dtype=torch.uint8)
    plain[:, 0], plain[:, 1] = 200, 90
    view = draw_view(plain, f"{NAME}colour", torch.Generator().manual_seed(1))
    torch.testing.assert_close(view, plain.float() / 255)
    with_it = draw_view(plain, "simclr", torch.Generator().manual_seed(1))
    assert not torch.allclose(with_it, plain.float() / 255)


def test_without_crop_and_flip_places_stay():
    marked = torch.zeros(6, 3, 16, 16, dtype=torch.uint8)
    marked[:, :, 3, 4] = 255
    for part in ("crop", "flip"):
        first, second = views_without(
            marked, torch.Generator().manual_seed(2), kind="weak", part=part
        )
        found = {int(view.mean(dim=0).argmax()) for view in (*first, *second)}
        if part == "crop":  # mirrored or not
            assert found == {3 * 16 + 4, 3 * 16 + 11}
        else:
            assert len(found) > 2


@pytest.mark.parametrize("part", ["crop", "flip", "jitter", "grey", "colour", "blur"])
def test_views_without_a_part_are_drawn_by_name(part):
    first, again = (
        draw_view(images(), NAME + part, torch.Generator().manual_seed(3)) for _ in range(2)
    )
    assert torch.equal(first, again)
    assert first.shape == (8, 3, 32, 32)
    assert 0 <= float(first.min()) <= float(first.max()) <= 1


def test_unknown_parts_and_kinds_are_refused():
    with pytest.raises(ValueError, match=r"part is 'sound'; expected one of crop, flip, jitter"):
        recipe_without(SIMCLR, "sound")
    with pytest.raises(ValueError, match=r"views is 'crops'; expected one of simclr, weak"):
        views_without(images(), torch.Generator(), kind="crops", part="flip")
