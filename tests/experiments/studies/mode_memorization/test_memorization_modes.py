"""``sslsim memorization-modes`` on small encoders: what it measures, resumes and refuses."""

import copy
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from experiments.studies.memorization.options import MemorizationOptions
from experiments.studies.memorization.study import memorization
from experiments.studies.mode_memorization import study as mode_study
from experiments.studies.mode_memorization.encoder_pairs import open_pairs, tuned_pair
from experiments.studies.mode_memorization.measures import pair_distances, pair_modes
from experiments.studies.mode_memorization.options import ModeMemorizationOptions, fine_tunings
from experiments.studies.mode_memorization.study import memorization_modes
from experiments.studies.mode_memorization.tables import mode_summary
from experiments.summary import as_text
from paper_figs.runs.memorization.modes import draw_modes
from sslsim.core.files import read_json, write_json
from sslsim.core.unit_rows import unit_rows
from sslsim.measures.frozen import FrozenEncoder
from sslsim.measures.layers import features_of
from sslsim.memorization.image_sets import image_hashes
from sslsim.memorization.losses import Scoring, encoder_losses
from sslsim.runs.setup import training_pairs

RESULT = "memorization_modes.json"
PAGE = (Path(__file__).parents[4] / "experiments/docs/memorization_modes.md").read_text("utf-8")
SMALL = ModeMemorizationOptions(
    split="layer1", steps=2, batch=8, augmentations=2, reference=60, test_images=60,
    remove=(0.5,), random=1, device="cpu",
)  # fmt: skip


STUDY = MemorizationOptions(
    limit=120, shared=16, candidates=8, independent=8, external=10, encoder_pairs=2,
    encoder="mlp", widths=(8, 6), dim=4, steps=3, batch=8, fixed_views=True, views="crops",
    device="cpu", layers=("projector",), augmentations=2, common_pixels=True,
)  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A finished study of two encoder pairs with fixed views."""
    folder = tmp_path_factory.mktemp("studies") / "split"
    memorization(replace(STUDY, out=folder))
    return folder


@pytest.fixture(scope="module")
def measured(trained, tmp_path_factory):
    out = tmp_path_factory.mktemp("modes") / "modes"
    memorization_modes(replace(SMALL, run=(trained,), out=out))
    return out


def numbers_of(out, state="before"):
    return read_json(out / "memorization_modes.json")["groups"][0]["states"][state]["numbers"]


def test_it_writes_tables_and_pictures_of_all_states(measured):
    result = read_json(measured / "memorization_modes.json")
    (group,) = result["groups"]
    assert list(group["states"]) == ["before", "control", "full"]
    assert list(group["changes"]["full"]) == ["from_before", "from_control"]
    assert list(group["changes"]["control"]) == ["from_before"]
    text = as_text(mode_summary(result))
    assert "memorisation of candidates above external images" in text
    assert "views seen in training" in text
    assert draw_modes(measured).stat().st_size > 10_000


def documented():
    """Patterns of the names that the tables of the page explain, and the keys before them."""
    section = PAGE.partition("## Result file")[2]
    keys, names = section.split("`modes` has lists", 1)
    choices = "most|least|most_absolute|least_absolute|first|last|random|more|less"
    places = {
        "FORM": "(absolute|relative|ratio)",
        "PROBE": "(linear|knn)",
        "FITTED": "(unseen|own)",
        "SHARE": "(neighbours|0[.][0-9]+)",
        "CHOICE": f"({choices})",
    }
    patterns = []
    for row in re.findall(r"^\| (`.*?) \|", names, re.MULTILINE):
        whole = ""
        for name in re.findall(r"`(\w+)`", row):
            # A name that begins with an underscore goes on from the first of its row.
            found = whole + name if name.startswith("_") else name
            whole = whole or re.sub("_first$", "", name)
            for place, values in places.items():
                found = re.sub(rf"\b{place}|(?<=_){place}", values, found)
            patterns.append(re.compile(found))
    return set(re.findall(r"`(\w+)`", keys)), patterns


def test_every_key_of_the_result_is_documented(measured):
    result = read_json(measured / "memorization_modes.json")
    keys, patterns = documented()
    (group,) = result["groups"]
    assert {*result, *group, *group["states"]["before"]} <= keys
    halves = re.compile("_(first_half|last_half|last_less_first)$")
    names = {
        halves.sub("", name) for section in group["states"]["before"].values() for name in section
    }
    missing = {name for name in names if not any(p.fullmatch(name) for p in patterns)}
    assert not missing
    unused = [p.pattern for p in patterns if not any(p.fullmatch(name) for name in names)]
    assert not unused


def test_modes_sum_to_the_scores_of_the_study_of_memorisation(trained, measured):
    """Squared distances of unit embeddings, by the functions that score whole encoders."""
    study = open_pairs(trained)
    rows = study.images.sets
    scoring = Scoring("crops", ("projector",), pairs=2, distance="sqeuclidean")
    expected = []
    for pair in range(2):
        encoders = [study.frozen(study.learner(name, pair), name) for name in "fg"]
        f, g = encoder_losses(encoders, study.images.images, scoring, numbers=study.images.numbers)[
            :, 0
        ]
        above = (g - f)[rows["candidate"]].mean() - (g - f)[rows["external"]].mean()
        expected.append(float(above))
    found = numbers_of(measured)
    np.testing.assert_allclose(found["new_absolute"]["values"], expected, rtol=1e-6, atol=1e-9)
    # A rotation of g's modes leaves the sum.
    np.testing.assert_allclose(
        found["new_aligned_absolute"]["values"], expected, rtol=1e-6, atol=1e-9
    )
    state = read_json(measured / "memorization_modes.json")["groups"][0]["states"]["before"]
    for name in ("new_absolute", "seen_absolute", "instance_reduction", "class_reduction"):
        assert np.sum(state["modes"][name]["mean"]) == pytest.approx(
            state["numbers"][name]["mean"], rel=1e-9, abs=1e-12
        )


def test_views_seen_are_those_of_the_training(trained, measured):
    study = open_pairs(trained)
    data = study.trained_on("f")
    options = replace(study.options, seed=1, standardise=False)
    views = training_pairs(options, data, "crops", len(data.images), 0)
    f = study.frozen(study.learner("f", 1), "f")
    z, z_prime = (f.features(view, ["projector"])["projector"].double() for view in views)
    gaps = (z / z.norm(dim=1, keepdim=True) - z_prime / z_prime.norm(dim=1, keepdim=True)).square()
    places = study.images.numbers[study.images.rows("f")].sort().values
    chosen = torch.isin(places, study.images.numbers[study.images.sets["candidate"]])
    cells = [read_json(path) for path in (measured / "cells").glob("*/cell.json")]
    (cell,) = (c for c in cells if c["state"] == "before" and c["pair"] == 1)
    found = np.sum(cell["distances"]["seen"]["f"]["candidate"])
    assert found == pytest.approx(float(gaps.sum(dim=1)[chosen].mean()), rel=1e-6)
    # Other views than the new ones that are drawn for the scores.
    assert found != pytest.approx(np.sum(cell["distances"]["new"]["f"]["candidate"]), rel=1e-3)


def distances_of(study, encoders):
    """Modes and mean distances of a pair, without probes."""
    data = study.unseen(60)
    z = [features_of(encoders[name], data, ["projector"])["projector"] for name in "fg"]
    modes = pair_modes(*(unit_rows(each.double()) for each in z))
    return modes, pair_distances(study, 0, encoders, modes, SMALL)


def test_f_taken_for_g_memorises_nothing_in_any_mode(trained):
    study = open_pairs(trained)
    f = study.frozen(study.learner("f", 0), "f")
    _, found = distances_of(study, {"f": f, "g": f})
    assert list(found) == ["new", "seen"]
    for of_encoder in found.values():
        for name in of_encoder["f"]:
            assert torch.equal(of_encoder["f"][name], of_encoder["g"][name])
            torch.testing.assert_close(
                of_encoder["f"][name], of_encoder["aligned"][name], rtol=1e-8, atol=1e-12
            )


def test_a_rotated_embedding_has_the_same_modes(trained):
    study = open_pairs(trained)
    plain = {name: study.frozen(study.learner(name, 0), name) for name in "fg"}
    turn = torch.linalg.qr(torch.randn(4, 4, generator=torch.Generator().manual_seed(0)))[0]
    encoder = copy.deepcopy(plain["f"].encoder)
    encoder.projector = torch.nn.Sequential(encoder.projector, torch.nn.Linear(4, 4, bias=False))
    with torch.no_grad():
        encoder.projector[1].weight.copy_(turn)
    turned = {"f": FrozenEncoder(encoder, plain["f"].pixels, plain["f"].views), "g": plain["g"]}
    (_, found), (_, expected) = (distances_of(study, each) for each in (turned, plain))
    for views, by_encoder in expected.items():
        for name, sets in by_encoder.items():
            for part, values in sets.items():
                torch.testing.assert_close(found[views][name][part], values, rtol=1e-4, atol=1e-6)


def test_fine_tuning_leaves_the_early_layers_and_trains_the_late_ones(trained, tmp_path):
    study = open_pairs(trained)
    states = fine_tunings(SMALL, study.options)
    assert states["control"].joint
    assert states["control"].beta == states["control"].coding_rate == 0
    before, after = (
        tuned_pair(study, 1, states[name], tmp_path / name, torch.device("cpu"))
        for name in ("before", "full")
    )
    for family in "fg":
        old, new = (dict(pair[family].encoder.named_parameters()) for pair in (before, after))
        changed = {name for name in old if not torch.equal(old[name], new[name])}
        assert changed
        assert not any(name.startswith("backbone.layer1") for name in changed)


def test_a_finished_study_is_not_measured_again(trained, measured, monkeypatch):
    before = (measured / "memorization_modes.json").read_bytes()

    def never(*_):
        raise AssertionError("measured again")

    monkeypatch.setattr(mode_study, "measured_pair", never)
    memorization_modes(replace(SMALL, run=(trained,), out=measured))
    assert (measured / "memorization_modes.json").read_bytes() == before
    with pytest.raises(AssertionError, match="measured again"):
        memorization_modes(replace(SMALL, run=(trained,), out=measured, augmentations=1))


def test_other_external_images_are_measured_again(trained, measured, tmp_path, monkeypatch):
    """The encoders are the same: they see no external image."""
    memorization(replace(STUDY, external=8, out=tmp_path / "split"))
    runs = (trained, tmp_path / "split")
    weights = [open_pairs(run).learner("f", 0).state_dict() for run in runs]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])

    def never(*_):
        raise AssertionError("measured again")

    monkeypatch.setattr(mode_study, "measured_pair", never)
    with pytest.raises(AssertionError, match="measured again"):
        memorization_modes(replace(SMALL, run=runs[1:], out=measured))


def test_an_embedding_of_one_mode_is_measured_and_drawn(tmp_path):
    """There are no halves of it, and no mode to remove."""
    memorization(replace(STUDY, dim=1, out=tmp_path / "split"))
    memorization_modes(replace(SMALL, run=(tmp_path / "split",), out=tmp_path / "modes"))
    numbers = numbers_of(tmp_path / "modes")
    assert not [name for name in numbers if "removed" in name or "half" in name]
    assert numbers["memorization_variance_correlation"]["mean"] is None
    assert "new views" in as_text(mode_summary(read_json(tmp_path / "modes" / RESULT)))
    assert draw_modes(tmp_path / "modes").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"run": ()}, "no run is given"),
        ({"augmentations": 0}, "augmentations is 0"),
        ({"remove": ()}, "remove is"),
        ({"remove": (1.0,)}, "remove holds 1.0"),
        ({"remove": (0.5, 0.5)}, "different shares"),
        ({"interval_level": 1.0}, "interval_level is 1.0"),
        ({"coding_rate_weight": -1.0}, "coding_rate_weight is -1.0"),
        ({"split": "layer9"}, "layer9"),
        ({"workers": 0}, "workers is 0"),
    ],
)
def test_bad_options_are_refused_before_anything_is_written(trained, tmp_path, changes, message):
    options = replace(SMALL, run=(trained,), out=tmp_path / "out")
    with pytest.raises(ValueError, match=message):
        memorization_modes(replace(options, **changes))
    assert not (tmp_path / "out").exists()


def test_studies_that_do_not_fit_are_refused(trained, tmp_path):
    config = read_json(trained / "config.json")
    for changes, message in (
        ({"protocol": "subsample"}, "protocol subsample"),
        ({"f": ["a", "b"], "g": ["c", "d"]}, "encoders that were given to it"),
    ):
        folder = tmp_path / message.split()[-1]
        folder.mkdir()
        write_json(folder / "config.json", {**config, "options": {**config["options"], **changes}})
        with pytest.raises(ValueError, match=message):
            open_pairs(folder)
    with pytest.raises(ValueError, match="twice"):
        memorization_modes(replace(SMALL, run=(trained, trained), out=tmp_path / "out"))


def test_images_outside_all_sets_are_needed(tmp_path):
    options = MemorizationOptions(
        limit=40, shared=20, candidates=8, independent=8, external=10, encoder_pairs=2,
        encoder="linear", dim=2, steps=1, batch=8, device="cpu", out=tmp_path / "split",
    )  # fmt: skip
    memorization(options)
    with pytest.raises(ValueError, match="has 4 images outside its sets"):
        open_pairs(tmp_path / "split")


def test_modes_are_taken_from_images_that_no_encoder_has_seen(trained):
    study = open_pairs(trained)
    unseen = set(image_hashes(study.unseen(60).images).tolist())
    seen = {digest for name in "fg" for digest in image_hashes(study.trained_on(name).images)}
    tested = set(image_hashes(study.tested(60).images).tolist())
    external = study.images.images[study.images.sets["external"]]
    assert len(unseen) == 60
    assert not unseen & seen
    assert not tested & set(image_hashes(external).tolist())


def test_tables_take_any_json():
    damaged = '{"groups": [{"states": {"before": {"numbers": {"new_ratio": []}}}}]}'
    for text in ("{}", '{"groups": [{"states": {"before": 3}, "changes": []}, 7]}', damaged):
        as_text(mode_summary(json.loads(text)))
