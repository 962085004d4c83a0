"""Numbers that pages quote, read from stored results."""

from paper_figs.store import RESULTS
from sslsim.core.files import read_json


def stored(file, *path):
    """A value of a stored result: a key, a place, or what the entry of a list must hold."""
    value = read_json(RESULTS / file)
    for part in path:
        if isinstance(part, dict):
            (value,) = [each for each in value if part.items() <= each.items()]
        else:
            value = value[part]
    return value


def number(value, digits=1):
    """As pages write it; zero has no sign."""
    return f"{round(value, digits) + 0.0:.{digits}f}"


def interval(found, digits=1, scale=1.0, unit=""):
    """Mean and interval, as pages write them; an end below zero keeps its sign."""
    mean = number(scale * found["mean"], digits)
    low, high = (f"{scale * found[key]:.{digits}f}" for key in ("low", "high"))
    return f"{mean}{unit} [{low}, {high}]"
