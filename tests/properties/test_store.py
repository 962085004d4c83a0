"""Cutting paths to names: always, everywhere, once."""

from pathlib import PurePosixPath

from hypothesis import given
from hypothesis import strategies as st

from paper_figs.store import without_paths

NAMES = st.text(st.characters(categories=("L", "N")), min_size=1, max_size=8)
PATHS = st.lists(NAMES, min_size=1, max_size=5).map(lambda parts: "/" + "/".join(parts))
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), NAMES, PATHS),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)


def leaves(value):
    if isinstance(value, dict):
        return [leaf for item in value.values() for leaf in leaves(item)]
    return [leaf for item in value for leaf in leaves(item)] if isinstance(value, list) else [value]


@given(VALUES)
def test_no_absolute_path_is_left_and_all_else_stays(value):
    cut = without_paths(value)
    for before, after in zip(leaves(value), leaves(cut), strict=True):
        if isinstance(before, str) and PurePosixPath(before).is_absolute():
            assert not PurePosixPath(after).is_absolute()
            assert PurePosixPath(after).name == PurePosixPath(before).name
        else:
            assert after == before
    assert without_paths(cut) == cut
