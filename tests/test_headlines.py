"""Numbers of the first page are those of stored results: a digit that is changed is found."""

from pathlib import Path

import pytest
from headlines import interval, number, stored

ROOT = Path(__file__).parents[1]
README = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())


def sooner(name):
    arms = stored(f"acceleration/{name}/acceleration.json", "arms")
    (arm,) = [arm for arm in arms if arm["arm"] == "muon+embedding"]
    return arm["passages"]["mode 8"]["sooner"]


def umm(measure, against="from_control"):
    row = {"group": "simclr", "setting": "full"}
    return stored("umm/untouched/table.json", "rows", row, "measures", measure, against)


def fall(measure):
    late = {"layer": "projector", "group": "simclr"}
    found = stored("umm/untouched/table.json", "falls", late, f"{measure}_fall")
    return number(100 * found["mean"])


def removed(data, share):
    result = stored("memorization/removal/removal.json", "results", {"data": data})
    (curve,) = [curve for curve in result["curves"] if curve["which"] == "most"]
    (point,) = [point for point in curve["points"] if abs(point["share"] - share) < 0.01]
    return point["from_random"]


def acceleration():
    times = [interval(sooner(name), unit=" times sooner") for name in ("convnet", "resnet18")]
    second = times[1].replace(" sooner", "")
    return f"{times[0]} than sgd on a convnet and {second} on a ResNet-18 with BatchNorm"


def fine_tuning():
    probe, neighbours = (
        interval(umm(name), scale=100) for name in ("linear_projector", "knn_projector")
    )
    mean, ends = probe.split(" ", 1)
    return (
        f"{mean} points {ends} of {fall('linear')} lost, its nearest neighbours {neighbours} of "
        f"{fall('knn')}"
    )


def removal():
    cells = [
        interval(removed(data, share), scale=100)
        for share in (1 / 3, 0.05)
        for data in ("cifar10", "imagenette2-96")
    ]
    return (
        f"{cells[0]} points on CIFAR-10 and {cells[1]} on Imagenette at a third of the pool, "
        f"{cells[2]} and {cells[3]} at 5 %"
    )


@pytest.mark.parametrize("sentence", [acceleration, fine_tuning, removal])
def test_the_first_page_says_what_is_stored(sentence):
    assert sentence() in README, sentence()


def test_a_changed_digit_is_found():
    said = acceleration()
    place = README.index(said)
    for at, digit in enumerate(said):
        if digit.isdigit():
            other = str((int(digit) + 1) % 10)
            changed = README[: place + at] + other + README[place + at + 1 :]
            assert said not in changed
