"""Probes: planted classes, a literal transcription, scikit-learn, and what they may look at."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from sslsim.measures import probes
from sslsim.measures.probes import knn_accuracy, linear_probe

SEEDS = st.integers(0, 2**32 - 1)


def planted(n=60, d=6, classes=3, gap=6.0, seed=0, dtype=torch.float64):
    """Two splits of unit normal classes about orthogonal centres, and their labels 2, 4, 6, ..."""
    g = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % classes
    centres = gap * torch.eye(d, dtype=dtype)[:classes]
    train, test = (centres[labels] + torch.randn(n, d, generator=g, dtype=dtype) for _ in range(2))
    return train, 2 * labels + 2, test, 2 * labels + 2


def literal_votes(train, labels, test, k, temperature):
    """1805.01978, section 3.4, one test sample and one neighbour at a time."""
    found = []
    for q in test:
        near = [q @ x / (np.linalg.norm(q) * np.linalg.norm(x)) for x in train]
        votes = dict.fromkeys(sorted(set(labels)), 0.0)
        for i in sorted(range(len(near)), key=lambda i: -near[i])[:k]:
            votes[labels[i]] += math.exp(near[i] / temperature)
        found.append(max(votes, key=votes.get))
    return np.array(found)


@given(SEEDS, st.integers(2, 12), st.integers(2, 5), st.integers(1, 12), st.floats(0.02, 10))
def test_knn_is_the_literal_vote(seed, n, d, k, temperature):
    rng = np.random.default_rng(seed)
    train, test = rng.standard_normal((2, n, d))
    labels, truth = rng.integers(0, 3, n), rng.integers(0, 4, n)
    labels[:2] = 0, 1
    k = min(k, n)
    # In one dimension all similarities are 1 or -1, and which neighbours count is arbitrary.
    votes = literal_votes(train, labels, test, k, temperature)
    # All test samples at once, one after the other, two by two.
    for memory in (2**28, 1, 8 * n * 2):
        found = knn_accuracy(
            torch.from_numpy(train), labels, torch.from_numpy(test), truth, k, temperature, memory
        )
        assert found.accuracy == np.mean(votes == truth)
    assert found.classes == len(set(labels))


@pytest.mark.parametrize("k", [1, 5, 20])
def test_knn_is_scikit_learn_s(k):
    train, labels, test, truth = planted(gap=1.0)
    model = KNeighborsClassifier(k, metric="cosine", weights=lambda s: np.exp((1 - s) / 0.07))
    model.fit(train, labels)
    found = knn_accuracy(train, labels, test, truth, k=k)
    assert found.accuracy == model.score(test, truth)
    assert 0.4 < found.accuracy < 1  # a case with something to get wrong


@given(SEEDS, st.integers(2, 30), st.integers(2, 6))
def test_the_nearest_neighbour_of_a_training_sample_is_itself(seed, n, d):
    g = torch.Generator().manual_seed(seed)
    # float64: cosines tell directions apart that differ by the root of a rounding, 1e-8.
    train = torch.randn(n, d, generator=g, dtype=torch.float64)
    labels = torch.arange(n) % max(2, n // 2)
    assert knn_accuracy(train, labels, train, labels, k=1).accuracy == 1


@given(SEEDS, st.floats(1e-3, 1e3))
def test_knn_ignores_rotation_and_scale(seed, scale):
    train, labels, test, truth = planted(n=24, gap=1.0, seed=seed)
    turn = scale * torch.linalg.qr(planted(n=6, seed=seed + 1)[0]).Q
    found = knn_accuracy(train @ turn, labels, test @ turn, truth, k=5)
    assert found == knn_accuracy(train, labels, test, truth, k=5)


def test_a_small_temperature_is_the_nearest_neighbour():
    train, labels, test, truth = planted(gap=1.0, dtype=torch.float32)
    one = knn_accuracy(train, labels, test, truth, k=1).accuracy
    # As they stand the votes would be exp(10,000).
    assert knn_accuracy(train, labels, test, truth, k=20, temperature=1e-4).accuracy == one


def test_similarities_keep_to_their_memory(monkeypatch):
    train, labels, test, truth = planted(dtype=torch.float32)
    sizes = []

    def topk(self, k, dim):
        sizes.append(self.numel() * self.element_size())
        return torch.topk(self, k, dim)

    monkeypatch.setattr(torch.Tensor, "topk", topk)
    knn_accuracy(train, labels, test, truth, memory=4 * 60 * 7)
    assert len(sizes) == math.ceil(60 / 7)
    assert max(sizes) == 4 * 60 * 7


@pytest.mark.parametrize("probe", [knn_accuracy, linear_probe])
def test_separable_classes_are_told_apart(probe):
    found = probe(*planted())
    assert found.accuracy == 1
    # One of 62 is taken to be missed: a share of 1 is never certain.
    assert found.standard_error == pytest.approx(math.sqrt(61 / 62**2 / 60), rel=1e-12)
    assert (found.classes, found.train_size, found.test_size) == (3, 60, 60)


@pytest.mark.parametrize("probe", [knn_accuracy, linear_probe])
def test_random_labels_are_guessed_at_chance(probe):
    n, classes = 400, 4
    train, _, test, _ = planted(n=n)
    labels, truth = torch.randint(classes, (2, n), generator=torch.Generator().manual_seed(5))
    found = probe(train, labels, test, truth)
    assert abs(found.accuracy - 1 / classes) < 4 * math.sqrt(3 / 16 / n)
    share = (round(found.accuracy * n) + 1) / (n + 2)
    assert found.standard_error == math.sqrt(share * (1 - share) / n)


@pytest.mark.parametrize("right", [0, 2])
def test_two_samples_prove_nothing(right):
    train, labels = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), [0, 1]
    truth = [0, 1] if right else [1, 0]
    found = knn_accuracy(train, labels, train, truth, k=1)
    assert found.accuracy == right / 2
    assert found.standard_error > 0.3


def test_linear_probe_is_scikit_learn_s_with_its_penalty():
    train, labels, test, truth = planted(gap=1.0, d=30)
    train, test = 5 * train + 3, 5 * test + 3
    found = linear_probe(train, labels, test, truth, penalties=[0.03])
    mean, std = train.mean(0), train.std(0, correction=0)
    model = LogisticRegression(C=1 / (0.03 * 60), max_iter=1000, tol=1e-8)
    model.fit((train - mean) / std, labels)
    assert found.accuracy == model.score((test - mean) / std, truth)
    assert "penalty 0.03/2 ||W||^2 given" in found.protocol


@pytest.mark.parametrize("seed", range(4))
def test_the_penalty_is_the_best_on_what_was_held_out_of_the_fit(seed):
    """Many useless features, so that what a fit has seen would look best under a weak penalty."""
    g = torch.Generator().manual_seed(seed)
    n, d = 80, 60
    labels = torch.arange(n) % 2
    train, test = (torch.randn(n, d, generator=g) for _ in range(2))
    train[:, 0] += 2 * labels
    test[:, 0] += 2 * labels
    candidates = [1e-6, 10.0, 0.1]
    part = torch.from_numpy(probes._validation_part(labels.numpy(), 0.2, seed))
    split = train[~part], labels[~part], train[part], labels[part]
    score = {p: linear_probe(*split, penalties=[p]).accuracy for p in candidates}
    best = max(sorted(candidates, reverse=True), key=score.get)
    found = linear_probe(train, labels, test, labels, penalties=candidates, seed=seed)
    assert f"penalty {best:g}/2" in found.protocol
    assert "chosen from 3 on 16 held-out samples of the training split" in found.protocol
    alone = linear_probe(train, labels, test, labels, penalties=[best])
    assert found.accuracy == alone.accuracy  # of a fit on the whole training split


def test_of_equally_good_penalties_the_strongest_is_taken():
    assert "penalty 0.01/2" in linear_probe(*planted(gap=20), penalties=[1e-4, 1e-2]).protocol


@pytest.mark.parametrize("probe", [knn_accuracy, linear_probe])
def test_the_test_split_serves_the_reported_number_only(probe):
    """Other test labels, and other test samples, leave the predictions of the rest alone."""
    train, labels, test, truth = planted(gap=1.0)
    whole = probe(train, labels, test, truth)
    wrong = probe(train, labels, test, torch.where(truth == 2, 99, truth))
    halves = [probe(train, labels, test[s], truth[s]) for s in (slice(30), slice(30, 60))]
    assert abs(sum(h.accuracy for h in halves) / 2 - whole.accuracy) < 1e-12
    assert wrong.protocol == whole.protocol == halves[0].protocol
    by_class = [probe(train, labels, test[truth == c], truth[truth == c]) for c in (4, 6)]
    # What was class 2 is now always missed, everything else predicted as before.
    assert abs(wrong.accuracy - sum(r.accuracy for r in by_class) / 3) < 1e-12


def test_the_validation_part_is_a_share_of_each_class_and_never_all_of_it():
    targets = np.repeat([0, 1, 2], [50, 10, 1])
    part = probes._validation_part(targets, 0.2, seed=0)
    assert [part[targets == c].sum() for c in range(3)] == [10, 2, 0]
    assert (part == probes._validation_part(targets, 0.2, seed=0)).all()
    assert (part != probes._validation_part(targets, 0.2, seed=1)).any()
    assert [probes._validation_part(targets, 0.99, 0)[targets == c].sum() for c in range(3)] == [
        49,
        9,
        0,
    ]


def test_linear_probe_ignores_scale_and_shift_of_each_feature():
    train, labels, test, truth = planted(gap=1.0)
    constant = torch.full((60, 1), 0.1, dtype=torch.float64)
    scale, shift = torch.logspace(-3, 3, 7).double(), torch.arange(7.0).double()
    train, test = torch.cat([train, constant], 1), torch.cat([test, constant], 1)
    moved = linear_probe(train * scale + shift, labels, test * scale + shift, truth)
    assert moved == linear_probe(train, labels, test, truth)


def test_only_the_reported_fit_warns_that_it_has_not_converged():
    with pytest.warns(ConvergenceWarning) as caught:
        linear_probe(*planted(gap=0.5), iterations=1)
    assert len(caught) == 1


def test_results_are_frozen_and_equal_by_value():
    found = linear_probe(*planted())
    assert found == replace(found)
    with pytest.raises(AttributeError):
        found.accuracy = 1.0


def test_features_that_need_a_gradient_are_frozen():
    train, labels, test, truth = planted(dtype=torch.float32)
    weight = torch.eye(6, requires_grad=True)
    for probe in (knn_accuracy, linear_probe):
        assert probe(train @ weight, labels, test @ weight, truth).accuracy == 1
    assert weight.grad is None


FEATURES, LABELS = torch.eye(4), torch.tensor([0, 0, 1, 1])
NAN = torch.full((4, 4), math.nan)


@pytest.mark.parametrize("probe", [knn_accuracy, linear_probe])
@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((FEATURES, LABELS[:3], FEATURES, LABELS), "train_labels has shape"),
        ((FEATURES, LABELS, FEATURES, LABELS[:3]), "test_labels has shape"),
        ((FEATURES, LABELS.float(), FEATURES, LABELS), "whole numbers"),
        ((FEATURES, LABELS, FEATURES[:, :2], LABELS), "numbers of features"),
        ((FEATURES, 0 * LABELS, FEATURES, LABELS), "at least two"),
        ((NAN, LABELS, FEATURES, LABELS), "train holds NaN"),
        ((FEATURES, LABELS, NAN, LABELS), "test holds NaN"),
        ((FEATURES, LABELS, FEATURES[:0], LABELS[:0]), "test has shape"),
        ((FEATURES[0], LABELS, FEATURES, LABELS), "train has shape"),
    ],
)
def test_unfit_splits_are_refused_in_one_line(probe, given, message):
    with pytest.raises(ValueError, match=message) as error:
        probe(*given)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("probe", "options", "message"),
    [
        (knn_accuracy, {"k": 5}, "k is 5; expected from 1 to 4"),
        (knn_accuracy, {"k": 0}, "k is 0"),
        (knn_accuracy, {"k": 1, "temperature": 0.0}, "temperature"),
        (knn_accuracy, {"k": 1, "memory": 0}, "memory"),
        (linear_probe, {"penalties": []}, "penalties"),
        (linear_probe, {"penalties": [1.0, 0.0]}, "penalties"),
        (linear_probe, {"validation_share": 1.0}, "validation_share"),
        (linear_probe, {"validation_share": 0.1}, "large enough"),
        (linear_probe, {"iterations": 0}, "iterations"),
    ],
)
def test_unfit_options_are_refused_in_one_line(probe, options, message):
    with pytest.raises(ValueError, match=message) as error:
        probe(FEATURES, LABELS, FEATURES, LABELS, **options)
    assert "\n" not in str(error.value)
