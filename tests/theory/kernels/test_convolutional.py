"""Kernels of infinitely wide convolutional networks against loops, symmetries and wide networks."""

from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sslsim.encoders.build import build_encoder
from sslsim.ntk import empirical_ntk
from theory.kernels.convolutional import convolutional_kernels
from theory.kernels.infinite_width import infinite_width_kernels


def images(n, shape=(2, 5, 4), seed=0):
    return np.random.default_rng(seed).standard_normal((n, *shape))


def literal_kernels(a, b, depth, stride, padding):
    """Both kernels of two images, place by place, as the recursion is written in words."""

    def value(image, i, j):
        h, w = image.shape[1:]
        if padding == "circular":
            return image[:, i % h, j % w]
        return image[:, i, j] if 0 <= i < h and 0 <= j < w else np.zeros(len(image))

    def relu(q_ab, q_aa, q_bb):
        size = np.sqrt(q_aa * q_bb)
        angle = np.arccos(np.clip(q_ab / size, -1, 1)) if size > 0 else np.pi / 2
        left = np.pi - angle
        return size * (np.sin(angle) + left * np.cos(angle)) / (2 * np.pi), left / (2 * np.pi)

    offsets = list(product((-1, 0, 1), repeat=2))
    shape = a.shape[1:]
    q, theta = None, None
    for layer in range(depth):
        before, shape = shape, tuple(-(-side // stride) for side in shape)
        places = list(product(*map(range, shape)))
        new = {}
        for (first, p), (second, r) in product(product("ab", places), repeat=2):
            total = tangent = 0.0
            for di, dj in offsets:
                at, to = ((stride * i + di, stride * j + dj) for i, j in (p, r))
                if layer == 0:
                    pair = {"a": a, "b": b}
                    total += value(pair[first], *at) @ value(pair[second], *to) / len(a)
                    tangent = total
                    continue
                if padding == "circular":
                    at, to = (tuple(np.mod(place, before).tolist()) for place in (at, to))
                keys = (first, at), (second, to)
                if keys not in q:
                    continue  # outside, where there are zeros
                moment, both = relu(q[keys], q[keys[0], keys[0]], q[keys[1], keys[1]])
                total += moment
                tangent += both * theta[keys]
            new[(first, p), (second, r)] = (
                2 * total / 9,
                2 * tangent / 9 + (2 * total / 9 if layer else 0),
            )
        q = {keys: pair[0] for keys, pair in new.items()}
        theta = {keys: pair[1] for keys, pair in new.items()}
    covariance = tangent = 0.0
    for p, r in product(places, repeat=2):
        keys = ("a", p), ("b", r)
        moment, both = relu(q[keys], q[keys[0], keys[0]], q[keys[1], keys[1]])
        covariance += moment / len(places) ** 2
        tangent += (moment + both * theta[keys]) / len(places) ** 2
    return covariance, tangent


@pytest.mark.parametrize("padding", ["zero", "circular"])
@pytest.mark.parametrize(("depth", "stride"), [(1, 1), (2, 1), (2, 2), (3, 2)])
def test_the_recursion_is_that_of_loops_over_places(depth, stride, padding):
    a, b = images(2, (2, 4, 3))
    expected = literal_kernels(a, b, depth, stride, padding)
    found = convolutional_kernels(a[None], b[None], depth=depth, stride=stride, padding=padding)
    np.testing.assert_allclose(np.ravel(found), expected, rtol=1e-12)


def test_images_of_one_place_with_zeros_around_are_a_perceptron():
    """Only the middle of the nine offsets is inside: gain 2/9 instead of 2 in every layer."""
    x = images(4, (3, 1, 1))
    for depth in (1, 2, 3):
        covariance, tangent = convolutional_kernels(x, depth=depth, stride=1)
        expected = infinite_width_kernels(x[:, :, 0, 0], layers=depth + 1)
        np.testing.assert_allclose(covariance, expected[0] / 9**depth, rtol=1e-12)
        np.testing.assert_allclose(tangent, expected[1] / 9**depth, rtol=1e-12)


@given(st.integers(1, 3), st.integers(0, 4), st.integers(0, 3), st.integers(0, 50))
def test_a_shift_on_the_torus_changes_nothing(depth, down, right, seed):
    x = images(2, seed=seed)
    moved = np.roll(x, (down, right), axis=(2, 3))
    options = {"depth": depth, "stride": 1, "padding": "circular"}
    for still, shifted in zip(
        convolutional_kernels(x, **options), convolutional_kernels(x, moved, **options), strict=True
    ):
        # Where two patches coincide an angle of the root of a rounding is left.
        np.testing.assert_allclose(shifted, still, rtol=1e-6, atol=1e-9)


def test_a_shift_matters_where_zeros_are_around():
    x = images(2)
    still, shifted = (
        convolutional_kernels(x, y, depth=2, stride=1)[1] for y in (x, np.roll(x, 1, axis=2))
    )
    assert np.abs(still - shifted).max() > 0.01 * still.max()


@given(st.integers(1, 3), st.sampled_from([1, 2]), st.sampled_from(["zero", "circular"]),
       st.floats(0.1, 10))  # fmt: skip
def test_kernels_are_symmetric_semidefinite_and_homogeneous(depth, stride, padding, scale):
    x = images(5, (1, 4, 4))
    options = {"depth": depth, "stride": stride, "padding": padding}
    kernels = convolutional_kernels(x, **options)
    for kernel, scaled in zip(kernels, convolutional_kernels(scale * x, x, **options), strict=True):
        np.testing.assert_array_equal(kernel, kernel.T)
        np.testing.assert_allclose(scaled, scale * kernel, rtol=1e-6)
        assert np.linalg.eigvalsh(kernel)[0] > -1e-6 * np.trace(kernel)
    # Every layer before the last adds to the tangent kernel.
    assert np.all(np.diag(kernels[1]) > np.diag(kernels[0]))


@pytest.mark.parametrize("chunk_bytes", [1, 200_000])
def test_blocks_change_nothing(chunk_bytes):
    x, y = images(5), images(3, seed=1)
    for other in (None, y):
        whole = convolutional_kernels(x, other, depth=2)
        parts = convolutional_kernels(x, other, depth=2, chunk_bytes=chunk_bytes)
        np.testing.assert_allclose(parts, whole, rtol=1e-12)


@pytest.mark.parametrize("depth", [1, 2])
def test_wide_networks_come_close_as_the_root_of_their_width(depth):
    """Networks of the package: stride 2, zeros around."""
    x = images(3)
    exact = convolutional_kernels(x, depth=depth)[1]
    errors = []
    for width in (32, 512):
        found = [
            empirical_ntk(
                build_encoder(
                    "convnet", (2, 5, 4), 2, seed=seed, widths=(width,) * depth,
                    parameterization="ntk",
                ).double().eval(),
                torch.from_numpy(x),
            )
            for seed in range(6)
        ]  # fmt: skip
        kernels = np.array([np.asarray(kernel) / 2 for kernel in found])
        errors.append(np.sqrt(np.mean((kernels - exact) ** 2)) / np.abs(exact).max())
    assert errors[1] < 0.1
    assert errors[1] < 0.5 * errors[0]  # a quarter, for sixteen times the width


def test_a_circular_network_has_the_circular_kernel():
    x = images(2, (1, 4, 4))
    exact = convolutional_kernels(x, depth=1, stride=1, padding="circular")[0]
    torch.manual_seed(0)
    layer = torch.nn.Conv2d(1, 100_000, 3, padding=1, padding_mode="circular", bias=False).double()
    torch.nn.init.normal_(layer.weight)
    with torch.no_grad():
        features = (layer(torch.from_numpy(x)) * np.sqrt(2 / 9)).relu().mean((2, 3)).numpy()
    # The mean of 100,000 products, whose standard deviation is about their mean.
    np.testing.assert_allclose(features @ features.T / 100_000, exact, rtol=0.02)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((np.ones((2, 3)),), {"depth": 1}, "expected 4 dimension"),
        ((np.ones((1, 1, 2, 2)), np.ones((1, 1, 2, 3))), {"depth": 1}, "expected"),
        ((np.ones((1, 1, 0, 2)),), {"depth": 1}, "c, h and w above 0"),
        ((np.ones((1, 1, 2, 2)),), {"depth": 0}, "depth is 0"),
        ((np.ones((1, 1, 2, 2)),), {"depth": 1, "stride": 0}, "stride is 0"),
        ((np.ones((1, 1, 2, 2)),), {"depth": 1, "padding": "same"}, "expected one of zero, circ"),
    ],
)
def test_bad_input_is_refused(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        convolutional_kernels(*arguments, **options)
