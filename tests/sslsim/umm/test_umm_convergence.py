"""The diagnostic: three signs that a run does not converge."""

import math

import pytest
from finetuning import learner_of, run

from sslsim.umm.convergence import diagnose
from sslsim.umm.evaluation import Measured

pytestmark = pytest.mark.slow


def lines(count=40, **series):
    held = {"inner_start": 1.0, "inner_end": 0.9, "gradient_norm": 1.0, "objective": 0.0} | series
    return [
        {name: value(k) if callable(value) else value for name, value in held.items()}
        for k in range(count)
    ]


def wave(k):
    return math.sin(7 * k)  # noise enough, without a trend


@pytest.mark.parametrize(
    ("series", "signs"),
    [
        ({}, (False, False, False)),
        ({"objective": wave}, (False, False, False)),
        ({"objective": lambda k: wave(k) + k}, (False, False, False)),
        ({"objective": lambda k: wave(k) - k / 5}, (False, False, True)),
        ({"objective": lambda k: None if k == 35 else 0.0}, (False, False, True)),
        ({"gradient_norm": lambda k: 1 + 0.05 * k}, (False, False, False)),
        ({"gradient_norm": lambda k: 1.1**k}, (False, True, False)),
        ({"gradient_norm": lambda k: 100.0 if k in (31, 35) else 1.0}, (False, False, False)),
        ({"gradient_norm": lambda k: None if k > 25 else 1.0}, (False, True, False)),
        ({"inner_end": 1.1}, (True, False, False)),
        ({"inner_end": lambda k: 1.1 if k < 30 else 0.9}, (False, False, False)),
        ({"inner_start": None, "inner_end": None}, (False, False, False)),
    ],
)
def test_the_three_signs_of_no_convergence(series, signs):
    found = diagnose(lines(**series), window=10)
    assert (found.inner_rises, found.gradient_grows, found.outer_falls) == signs
    assert found.converges == (not any(signs))
    assert found.window == 10


def test_the_window_is_half_of_few_records_and_too_few_are_refused():
    assert diagnose(lines(24)).window == 12
    with pytest.raises(ValueError, match="there are 19 records and a window of 50; expected at"):
        diagnose(lines(19))
    with pytest.raises(ValueError, match="a window of 9; expected at least 20 and 10"):
        diagnose(lines(40), window=9)


def test_an_inner_rate_too_large_is_noticed(tmp_path):
    settings = {"beta": 0.0, "steps": 20, "coding_rate": 0.0, "optimizer": "sgd", "outer_lr": 1e-6}
    calm = run(tmp_path / "calm", learner_of("barlow_twins"), "noise", inner_lr=0.01, **settings)
    wild = run(tmp_path / "wild", learner_of("barlow_twins"), "noise", inner_lr=1.0, **settings)
    assert not calm.convergence.inner_rises
    assert wild.convergence.inner_rises
    assert isinstance(calm.after, Measured)
