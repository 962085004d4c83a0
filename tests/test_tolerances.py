"""The tolerance that tests of rounding share."""

import numpy as np
import pytest
import torch
from tolerances import rounding


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sums_in_two_orders_differ_by_less_than_the_tolerance(dtype):
    values = np.random.default_rng(0).random((20, 100)).astype(dtype)
    sums = values.cumsum(axis=1)[:, -1], values[:, ::-1].cumsum(axis=1)[:, -1]
    tolerance = rounding(dtype, 100, scale=values.sum(axis=1))
    assert np.abs(np.subtract(*sums)).max() > 0
    assert (np.abs(np.subtract(*sums)) <= tolerance).all()
    # A term that was left out is seen.
    assert (values.max(axis=1) > 100 * tolerance).all()


def test_types_of_numpy_and_torch_have_one_epsilon():
    assert rounding(np.float32, 3, 2.0) == rounding(torch.float32, 3, 2.0) == 6 * 2.0**-23
    assert rounding(np.float64, 1) == rounding(torch.float64, 1) == 2.0**-52
