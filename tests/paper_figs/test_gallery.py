"""The pictures of the gallery are those that the stored results give."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from experiments.cli import main
from paper_figs.figures import FIGURES, gallery, name_of, small_figure
from paper_figs.pictures import GALLERY, PICTURES, draw_picture, drawn_by, shrink
from paper_figs.store import RESULTS

PAGES = Path(__file__).parents[2] / "experiments" / "docs"
NOT_STORED = {"mode_images"}  # photographs of the data, of a run folder


@pytest.mark.slow
@pytest.mark.parametrize("name", [*PICTURES, *map(name_of, FIGURES)])
def test_a_committed_picture_is_that_of_the_stored_results(name, tmp_path):
    numbers = {name_of(number): number for number in FIGURES}
    path = (
        small_figure(numbers[name], RESULTS, tmp_path)
        if name in numbers
        else draw_picture(name, RESULTS, tmp_path)
    )
    with Image.open(path) as drawn, Image.open(GALLERY / path.name) as committed:
        shades = np.asarray(drawn.convert("L"))
        assert 0.005 < (shades < 230).mean() < 0.9
        same = committed.info["Software"] == drawn.info["Software"] == drawn_by()
    if same:  # else fonts and compression may differ
        assert path.read_bytes() == (GALLERY / path.name).read_bytes()


def test_every_picture_of_the_gallery_is_drawn_small_and_shown():
    committed = {path.stem for path in GALLERY.glob("*.png")}
    assert committed == {*PICTURES, *map(name_of, FIGURES), *NOT_STORED}
    assert all(path.stat().st_size < 150_000 for path in GALLERY.iterdir())
    shown = re.findall(r"paper_figs/gallery/(\w+)\.png", (PAGES / "gallery.md").read_text())
    assert set(shown) == committed


def test_a_small_picture_has_the_pixels_of_the_large_one(tmp_path):
    stripes = np.zeros((40, 60, 3), dtype=np.uint8)
    stripes[:, ::3] = (10, 120, 240)
    Image.fromarray(stripes).save(tmp_path / "large.png")
    with Image.open(shrink(tmp_path / "large.png", tmp_path / "small.png")) as small:
        np.testing.assert_array_equal(np.asarray(small.convert("RGB")), stripes)
        assert small.info["Software"] == drawn_by()


def test_a_picture_whose_result_is_missing_is_refused_with_its_name(tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["figures", "--gallery", "--results", str(tmp_path), "--out", str(out)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{tmp_path / 'acceleration' / 'convnet'} is missing" in line
    with pytest.raises(ValueError, match="with gallery all pictures are built"):
        gallery([3])
