"""Bad calls of the public functions: each raises ValueError with a message of one line.

The calls are written as a user would write them, with these names: ``x`` and ``y`` two views
(6, 4), ``z`` their tensor, ``g`` and ``s`` eigenvalues and singular values (3,), ``bad`` a matrix
with NaN, ``i`` the imaginary unit, ``nan`` and ``inf``, ``images`` uint8 (4, 1, 8, 8).
"""

# ruff: noqa: F401  (the calls of the tables use the names)

import numpy as np
import pytest
import torch
from torch import nn

import sslsim.measures.embeddings as measures
import sslsim.measures.spectra as spectra
import theory
import theory.losses.vicreg as vicreg_theory
from sslsim import coding_rate as rates
from sslsim.data.datasets import load_images
from sslsim.data.pairs import draw_pairs
from sslsim.encoders.build import build_encoder
from sslsim.measures import probes
from sslsim.measures.steps import detect_eigenvalue_steps, detect_steps, half_rise_times
from sslsim.memorization import (
    alignment_loss,
    draw_members,
    most_memorized,
    rank_points,
    remaining_points,
    ssl_mem,
    subsample_scores,
)
from sslsim.memorization.represent import distances
from sslsim.methods.penalty import check_strength
from sslsim.ntk import empirical_ntk, pair_ntk
from sslsim.objectives import barlow_twins, simclr, vicreg
from sslsim.training.full_batch import train_linear
from sslsim.training.optimizers import make_optimizer
from sslsim.training.options import TrainingOptions, learning_rate_factor
from sslsim.training.records import record_steps
from sslsim.umm import UmmOptions
from theory.coding_rate import bounds as coding_rate_bounds
from theory.coding_rate import flow as coding_rate_flow
from theory.coding_rate import rate as coding_rate
from theory.growth import factors, lag, standard_deviation, two_factor
from theory.kernels import frozen as frozen_kernel
from theory.kernels import modes as kernel
from theory.kernels import plateau, refreshed
from theory.linear import (
    closed_form,
    gradient_descent,
    initialization,
    momentum,
    orthogonalised,
    preconditioned,
    weight_decay,
)
from theory.linear import deep as deep_linear
from theory.losses import near_origin
from theory.losses import spectral_contrastive as riccati
from theory.memorization import first_order as memorization
from theory.metrics import embeddings as metrics
from theory.metrics import spectra as embedding_spectra
from theory.pairs.spectrum import count_above
from theory.prediction.bootstrap import bootstrap_intervals

rng = np.random.default_rng(0)
i, nan, inf = 1j, float("nan"), float("inf")
x, y = rng.standard_normal((2, 6, 4))
z = torch.from_numpy(x)
g, s = np.array([3.0, 2.0, 1.0]), np.array([1e-3, 1e-3, 1e-3])
bad = x.copy()
bad[0, 0] = nan
k = np.eye(6)
images = torch.zeros(4, 1, 8, 8, dtype=torch.uint8)
flat = nn.Flatten()
net = nn.Sequential(nn.Flatten(), nn.Linear(64, 3)).eval()

THEORY = """
theory.predict_steps(x * i, y, dim=2)                  | x is complex
theory.predict_steps(x, y * i, dim=2)                  | x_prime is complex
theory.predict_steps(bad, y, dim=2)                    | NaN
theory.predict_steps(x, y[:3], dim=2)                  | expected equal (n, m)
theory.predict_steps(x[:1], y[:1], dim=1)              | expected at least 2
theory.predict_steps(x, y, dim=0)                      | dim is 0
theory.predict_steps(x, y, dim=5)                      | dim is 5
theory.predict_steps(x, y, dim=2.5)                    | dim is 2.5
theory.predict_steps(x, y, dim=nan)                    | dim is nan
theory.predict_steps(x, y, dim=True)                   | dim is True
theory.predict_steps(x, y, dim="3x")                   | dim is '3x'
theory.predict_steps(x, y, dim=2, init_scale=0)        | init_scale is 0
theory.predict_steps(x, y, dim=2, init_scale=nan)      | init_scale is nan
theory.predict_steps(x, y, dim=2, init_scale=1j)       | init_scale is 1j
theory.predict_steps(x, y, dim=2, learning_rate=-1)    | learning_rate is -1
theory.predict_steps(x, y, dim=2, learning_rate=inf)   | learning_rate is inf
theory.predict_steps(x, y, dim=2, level=1)             | level is 1
theory.predict_steps(x, y, dim=2, level=nan)           | level is nan
theory.predict_steps(x, y, dim=2, scale=0)             | scale is 0
theory.predict_steps(x, y, dim=2, groups=[0, 1])       | groups
theory.predict_steps_from(x, y, x[:2] * i)             | w0 is complex
theory.predict_steps_from(x, y, np.ones((2, 3)))       | w0 has shape (2, 3)
theory.predict_steps_from(x, y, bad[:2])               | w0 holds 1 NaN
closed_form.step_times(g * i, s)                       | gamma is complex
closed_form.step_times(g, s * i)                       | s0 is complex
closed_form.step_times(g, s[:2])                       | expected
closed_form.step_times(g, -s)                          | s0
closed_form.step_times([nan], [1])                     | gamma holds 1 NaN
closed_form.eigenvalue_curves(1j, g, s)                | t is complex
closed_form.eigenvalue_curves(-1.0, g, s)              | t holds a negative
closed_form.eigenvalue_curves(nan, g, s)               | t holds a negative or NaN
closed_form.level_logits(1j)                           | level is complex
closed_form.level_logits([0.5, 1.0])                   | level holds a value outside (0, 1)
closed_form.loss(1.0, g, s, dim=1)                     | dim is 1
closed_form.rise_widths(g * i)                         | gamma is complex
coding_rate.coding_rate(x * i, 1.0)                    | z is complex
coding_rate.coding_rate(bad, 1.0)                      | z holds 1 NaN
coding_rate.coding_rate(x, 0)                          | eps is 0
coding_rate.coding_rate(x, nan)                        | eps is nan
coding_rate.coding_rate(x, -1)                         | eps is -1
coding_rate.coding_rate([1.0], 1.0)                    | z has shape (1,)
coding_rate.coding_rate(x[:0], 1.0)                    | z has shape (0, 4)
coding_rate.coding_rate([["a"]], 1.0)                  | z is [['a']]; expected an array of real
coding_rate.coding_rate_gradient(x * i, 1.0)           | z is complex
coding_rate.coding_rate_reduction(x, [0, 1], 1.0)      | groups has shape (2,)
coding_rate.coding_rate_reduction(x, x * i, 1.0)       | groups is complex
coding_rate.coding_rate_reduction(x, x, 1.0)           | groups holds a share of
coding_rate.coding_rate_reduction(x[:1], [0], 1.0)     | n of at least 2
coding_rate_bounds.hadamard_bound(x * i, 1.0)          | z is complex
coding_rate_flow.coding_rate_curve(x * i, y, 1.0)      | maps is complex
coding_rate_flow.coding_rate_curve(bad, y, 1.0)        | maps holds NaN
count_above(np.full((3, 3), nan), 0.0)                 | matrix holds 9 NaN
count_above(1j * np.eye(2), 0.0)                       | matrix is complex
count_above(np.ones((2, 3)), 0.0)                      | expected a square matrix
count_above(np.eye(2), nan)                            | threshold is nan
kernel.kernel_modes(1j * k)                            | kernel is complex
kernel.kernel_modes(k[:5])                             | kernel has shape (5, 6)
kernel.kernel_modes(np.full((4, 4), nan))              | NaN
kernel.kernel_modes(k, dim=0)                          | dim is 0
kernel.kernel_initialization(kernel.kernel_modes(k), x * i)   | complex
memorization.linear_points(x * i, y, 2)                | complex
memorization.linear_points(x, y, 0)                    | dim is 0
memorization.kernel_points(1j * k, 2)                  | complex
metrics.lidar(x * i, [0, 0, 0, 1, 1, 1])               | z is complex
metrics.lidar(x, [0, 1])                               | groups has shape (2,)
metrics.lidar(x, [0, 0, 0, 1, 1, 1], delta=0)          | delta is 0
metrics.alignment(x, y * i)                            | z_prime is complex
metrics.alignment(x, y, power=nan)                     | power is nan
metrics.uniformity(x, t=0)                             | t is 0
metrics.linear_cka(x * i, y)                           | complex
metrics.linear_cka(x, y[:3])                           | x has 6 rows and y 3
embedding_spectra.effective_rank([-1.0])               | spectrum holds -1
embedding_spectra.effective_rank([1j])                 | spectrum is complex
embedding_spectra.rank_me(x * i)                       | z is complex
embedding_spectra.cross_spectrum(x, y * i)             | complex
deep_linear.step_times(g, s, 0)                        | layers is 0
deep_linear.step_times(g, s * i, 2)                    | complex
gradient_descent.descent_step_iterations(g, s, 0)               | learning_rate is 0
gradient_descent.descent_step_iterations(g * i, s, 0.1)         | complex
gradient_descent.stable_learning_rate(g * i)                    | complex
frozen_kernel.frozen_kernel_descent(k, x, 0.1, 5)      | kernel has shape (6, 6)
initialization.column_norms(x * i, np.eye(4))          | complex
momentum.flow_time(1j, 0.1, 0.5)                       | complex
momentum.flow_time(-1, 0.1, 0.5)                       | t holds a negative
momentum.growth_root(g, 0.1, 1.0)                      | momentum is 1
momentum.growth_root(g, 0.1, nan)                      | momentum is nan
near_origin.barlow_twins_operator(x, y * i)            | x_prime is complex
near_origin.simclr_operator(x, y, 0)                   | temperature is 0
near_origin.lejepa_operator(x, y * i, 2)               | x_prime is complex
near_origin.lejepa_operator(x, y, 2, batch=2.5)        | batch is 2.5
near_origin.amplitude_times(g, s, 1j)                  | amplitude is complex
near_origin.growth_modes(k, 0)                         | dim is 0
plateau.plateau_rate(1j * k, x[:, :1], [1.0])          | complex
preconditioned.embedding_side_step_times(g, s, nan, 1) | power is nan
preconditioned.embedding_side_step_times(g, s, 1, -1)  | ridge is -1
preconditioned.two_sided_curves(1j, g, s, (1, 1), (0.5, 1)) | t is complex
orthogonalised.step_times(g * i, s)                    | complex
orthogonalised.polar_factor(x * i)                     | matrix is complex
orthogonalised.largest_deviation(nan)                  | learning_rate is nan
refreshed.cross_correlations(x * i)                    | embeddings is complex
refreshed.cross_correlations(x[:3])                    | expected (..., 2n, d)
riccati.whiten(x * i, y)                               | complex
riccati.step_times(g * i, s)                           | complex
factors.growth_time([i], np.ones_like, 0.1, 0.5)       | shares is complex
factors.growth_time([1], np.ones_like, 0.1, 0.5, rooms=[nan]) | rooms is [nan]
factors.growth_time([1], np.ones_like, nan, 0.5)       | start is nan
lag.lagged_rate(i, 0.1, 0.9)                           | rate is complex
lag.lagged_rate(1, 0.1, -0.5)                          | momentum is -0.5
standard_deviation.standard_deviation_time(nan, 1, 1, 1) | sigma is nan
two_factor.two_factor_law(nan, 1, 1)                   | nan
two_factor.growth_rate(two_factor.two_factor_law(0.1, 1, 1), 1j)        | lam is complex
two_factor.growth_time(two_factor.two_factor_law(0.1, 1, 1), 0.1, 1j)   | end is complex
two_factor.growth_time(two_factor.two_factor_law(0.1, 1, 1), 0.1, 1.5)  | end is 1.5
vicreg_theory.vicreg_operator(x, y * i, 2, 50, 25)     | complex
weight_decay.step_times(g, s, -1)                      | penalty is -1
weight_decay.step_times(g, s, nan)                     | penalty is nan
bootstrap_intervals(x, y, np.ones((2, 4)), draws=0)    | draws is 0
bootstrap_intervals(x, y * i, np.ones((2, 4)))         | complex
"""

SSLSIM = """
load_images(limit=1.5)                                 | limit is 1.5; expected a whole number
load_images(limit=nan)                                 | limit is nan
load_images(limit=0)                                   | limit is 0
load_images(limit=True)                                | limit is True
load_images(size=0)                                    | size is 0
load_images(split="night")                             | digits has no split 'night'
load_images("nowhere")                                 | unknown data set 'nowhere'
load_images("./nowhere")                               | no such folder or data set: ./nowhere
load_images("nowhere.npz")                             | nowhere.npz cannot be read
load_images("")                                        | name is ''
load_images(3)                                         | name is 3
load_images("cifar10", "nowhere")                      | root nowhere is not a folder
rates.coding_rate(z * i, 1.0)                          | z is complex
rates.coding_rate(torch.from_numpy(bad), 1.0)          | z holds NaN
rates.coding_rate(z, 0)                                | eps is 0
rates.coding_rate(z, nan)                              | eps is nan
rates.coding_rate(1e300 * z, 1e-100)                   | overflows; expected a smaller scale
rates.coding_rate_reduction(z, [0, 1], 1.0)            | groups has shape (2,)
rates.coding_rate_reduction(z, torch.ones(6, 2), 1.0)  | sum is 1 off 1
rates.coding_rate_reduction(z, torch.ones(6) * i, 1.0) | groups has shape (6,)
rates.instance_groups(0, 2)                            | 0
measures.lidar(z * i, torch.arange(6) // 2)            | z is complex
measures.lidar(z, torch.arange(6))                     | one with 1 view(s)
measures.alignment(z, z * i)                           | z_prime is complex
measures.alignment(z, z[:3])                           | expected equal shapes
measures.alignment(z, z, power=0)                      | power is 0
measures.uniformity(z, t=nan)                          | t is nan
measures.linear_cka(z, z[:3])                          | x has 6 rows and y 3
spectra.effective_rank(torch.tensor([1j]))             | spectrum is complex
spectra.effective_rank(torch.tensor([-1.0]))           | spectrum holds -1
spectra.rank_me(z * i)                                 | z is complex
spectra.cross_spectrum(z, z * i)                       | complex
spectra.alpha_req(torch.ones(3) * i)                   | spectrum is complex
train_linear(x * i, y, x[:2], 0.1, 5)                  | x is complex
train_linear(x, y, x[:2], nan, 5)                      | learning_rate is nan
train_linear(x, y, x[:2], 0.1, 0)                      | iterations is 0
train_linear(x, y, x[:2], 0.1, 5, momentum=1)          | momentum is 1
train_linear(x, y, bad[:2], 0.1, 5)                    | w0 holds NaN
detect_steps(np.arange(6) * i, x)                      | times is complex
detect_steps(np.arange(6), x * i)                      | curves is complex
detect_steps(np.arange(6), bad)                        | NaN
detect_steps(np.zeros(6), x)                           | ascend
detect_eigenvalue_steps(np.arange(6), x * i)           | curves is complex
half_rise_times(np.arange(6), x * i)                   | curves is complex
half_rise_times(np.arange(6), x, level=1.5)            | level is 1.5
half_rise_times(np.arange(6), x, top=0)                | top is 0
probes.knn_accuracy(z, [0] * 6, z, [0] * 6, k=1)       | holds the class 0 only
probes.knn_accuracy(z, [0, 1] * 3, z, [0, 1] * 3, k=9) | k is 9
probes.knn_accuracy(z, [0, 1], z, [0, 1] * 3)          | train_labels has shape (2,)
probes.knn_accuracy(z * i, [0, 1] * 3, z, [0, 1] * 3)  | train is complex
probes.knn_accuracy(z, [0.5] * 6, z, [0, 1] * 3)       | expected whole numbers
probes.linear_probe(z, [0, 1] * 3, z, [0, 1] * 3, penalties=[nan])           | penalties are [nan]
probes.linear_probe(z, [0, 1] * 3, z, [0, 1] * 3, validation_share=1.0)      | _share is 1.0
probes.linear_probe(z, [0, 1] * 3, z, [0, 1] * 3, iterations=0)              | iterations is 0
alignment_loss(lambda v: {"z": v}, images, "noise")    | the network gives a dict
alignment_loss(lambda v: (v, v), images, "noise")      | the network gives a tuple
alignment_loss(lambda v: v, images, "noise")           | the network gives (
alignment_loss(lambda v: 1 / 0, images, "noise")       | the network does not take inputs
alignment_loss(flat, images.float(), "noise")          | expected uint8
alignment_loss(flat, images, "sideways")               | unknown views 'sideways'
alignment_loss(flat, images, "noise", pairs=0)         | pairs is 0
alignment_loss(flat, images, "noise", pairs=1.5)       | pairs is 1.5
alignment_loss(flat, images, "noise", distance="far")  | distance is 'far'
alignment_loss(flat, images, "noise", seed=-1)         | seed is -1
alignment_loss(flat, images, "noise", noise=nan)       | noise is nan
alignment_loss(flat, images[:0], "noise")              | expected at least one image
distances(z, z * i)                                    | complex
ssl_mem([1.0, 2.0], [1.0])                             | expected
ssl_mem([1.0, nan], [1.0, 1.0])                        | f_losses holds NaN
ssl_mem([1.0, 1j], [1.0, 1.0])                         | f_losses is complex
ssl_mem([1.0, -1.0], [1.0, 1.0])                       | none negative
ssl_mem([1.0], [1.0], "odd")                           | form is 'odd'
subsample_scores([[1.0]], [[True]])                    | the training of no encoder or of
draw_members(4, 10, nan)                               | share is nan
draw_members(0, 10)                                    | encoders is 0
draw_members(4, 2.5)                                   | points is 2.5
rank_points([nan])                                     | scores holds NaN
rank_points([1j])                                      | scores is complex
rank_points([])                                        | n above zero
most_memorized([1.0, 2.0], 3)                          | k is 3; expected a whole number from 0 to 2
remaining_points([1.0, 2.0], 1, "some")                | which is 'some'
check_strength(nan)                                    | nan
barlow_twins(z, z[:3])                                 | equal for all
barlow_twins(z * i, z * i)                             | expected floating point
barlow_twins(z, z, form="odd")                         | form is 'odd'
simclr(z, z, temperature=0)                            | temperature is 0
simclr(z, z, temperature=nan)                          | temperature is nan
vicreg(z, z, sim=nan)                                  | sim is nan
vicreg(z, z, eps=0)                                    | eps is 0
empirical_ntk(net, images)                             | uint8
empirical_ntk(net, images.float(), output="some")      | output
empirical_ntk(net, images.float(), memory_budget=0)    | memory_budget is 0
empirical_ntk(net, images.float(), engine="steam")     | engine is 'steam'
empirical_ntk(net, images.float() * nan)               | NaN
pair_ntk(net, images.float(), images[:2].float())      | (2, 1, 8, 8)
build_encoder("magic", (1, 8, 8), 2, seed=0)           | encoder is 'magic'
build_encoder("linear", (1, 8, 8), 0, seed=0)          | dim is 0
build_encoder("linear", (1, 8, 8), 2.5, seed=0)        | dim is 2.5
build_encoder("mlp", (1, 8, 8), 2, seed=0, widths=())  | widths
record_steps(0, 5)                                     | steps is 0
record_steps(5, 1)                                     | records 1
learning_rate_factor("odd", 0, 5)                      | unknown schedule 'odd'
learning_rate_factor("cosine", 0, 5, warmup=9)         | warmup is 9
draw_pairs(images, "noise", 1.5)                       | pairs is 1.5
draw_pairs(images, "noise", 0)                         | pairs is 0
draw_pairs(images, "noise", 99)                        | 99
draw_pairs(images, "noise", 2, views_per_image=3)      | views_per_image is 3
draw_pairs(images, "noise", 2, noise=nan)              | noise is nan
TrainingOptions(steps=0)                               | steps is 0
TrainingOptions(batch=1)                               | batch is 1
TrainingOptions(seed=-1)                               | seed is -1
make_optimizer("sgd", net, nan, momentum=0.9, weight_decay=0.0)   | learning_rate is nan
make_optimizer("sgd", net, 0, momentum=0.9, weight_decay=0.0)     | learning_rate is 0
make_optimizer("sgd", net, 0.1, momentum=1.5, weight_decay=0.0)   | momentum is 1.5
make_optimizer("sgd", net, 0.1, momentum=0.9, weight_decay=-1)    | weight_decay is -1
make_optimizer("steam", net, 0.1, momentum=0.9, weight_decay=0.0) | optimizer 'steam'
UmmOptions(beta=nan)                                   | beta is nan
UmmOptions(eps=0)                                      | eps is 0
UmmOptions(steps=0)                                    | steps is 0
UmmOptions(hold=1.0)                                   | hold is 1.0 without joint
UmmOptions(alignment="odd")                            | alignment is 'odd'
"""


def rows(table):
    """Calls of a table, and what their messages say."""
    return [
        pytest.param(*map(str.strip, line.rsplit(" | ", 1)), id=line.rsplit(" | ", 1)[0].strip())
        for line in table.strip().splitlines()
    ]


@pytest.mark.parametrize(("call", "expected"), rows(THEORY) + rows(SSLSIM))
def test_a_bad_call_raises_one_line(call, expected):
    with pytest.raises(ValueError) as caught:  # noqa: PT011  (the table says what it tells)
        eval(call)
    told = str(caught.value)
    assert expected in told
    assert "\n" not in told


def test_there_are_many_calls_of_both_rooms():
    assert min(len(rows(THEORY)), len(rows(SSLSIM))) > 100
