"""The first page."""

from claims.page import Page
from claims.stored import interval, number, stored


def _sooner(name):
    arms = stored(f"acceleration/{name}/acceleration.json", "arms")
    (arm,) = [arm for arm in arms if arm["arm"] == "muon+embedding"]
    return arm["passages"]["mode 8"]["sooner"]


def _umm(measure, against="from_control"):
    row = {"group": "simclr", "setting": "full"}
    return stored("umm/untouched/table.json", "rows", row, "measures", measure, against)


def _fall(measure):
    late = {"layer": "projector", "group": "simclr"}
    found = stored("umm/untouched/table.json", "falls", late, f"{measure}_fall")
    return number(100 * found["mean"])


def _removed(data, share):
    result = stored("memorization/removal/removal.json", "results", {"data": data})
    (curve,) = [curve for curve in result["curves"] if curve["which"] == "most"]
    (point,) = [point for point in curve["points"] if abs(point["share"] - share) < 0.01]
    return point["from_random"]


def acceleration():
    """Modes sooner than by sgd."""
    times = [interval(_sooner(name), unit=" times sooner") for name in ("convnet", "resnet18")]
    second = times[1].replace(" sooner", "")
    return f"{times[0]} than sgd on a convnet and {second} on a ResNet-18 with BatchNorm"


def fine_tuning():
    """What UMM regains."""
    probe, neighbours = (
        interval(_umm(name), scale=100) for name in ("linear_projector", "knn_projector")
    )
    mean, ends = probe.split(" ", 1)
    return (
        f"{mean} points {ends} of {_fall('linear')} lost, its nearest neighbours {neighbours} of "
        f"{_fall('knn')}"
    )


def removal():
    """Accuracy without the most memorised images, less that without random ones."""
    cells = [
        interval(_removed(data, share), scale=100)
        for share in (1 / 3, 0.05)
        for data in ("cifar10", "imagenette2-96")
    ]
    return (
        f"{cells[0]} points on CIFAR-10 and {cells[1]} on Imagenette at a third of the pool, "
        f"{cells[2]} and {cells[3]} at 5 %"
    )


PAGES = (Page("README.md", held=(acceleration, fine_tuning, removal)),)
