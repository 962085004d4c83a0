"""Probes: how well frozen features tell classes apart.

The encoder is never touched and the test split is read once, for the number that is reported:
whatever a probe chooses, it chooses on the training split. Features are (n, d), samples in rows.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from sslsim.core.checks import finite_matrix

PENALTIES = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)


@dataclass(frozen=True)
class ProbeResult:
    """Accuracy of a probe on the test split.

    Attributes
    ----------
    accuracy : float
        Share of test samples classified right.
    standard_error : float
        Binomial, ``sqrt(p (1 - p) / test_size)`` with ``p = (right + 1) / (test_size + 2)``, which
        unlike the accuracy is never 0 or 1: all of a few samples classified right is no certainty.
        It covers the draw of test samples only, not the encoder or the training split.
    classes : int
        Number of classes in the training split.
    train_size, test_size : int
        Number of samples in either split.
    protocol : str
        What was done, in words.
    """

    accuracy: float
    standard_error: float
    classes: int
    train_size: int
    test_size: int
    protocol: str


def knn_accuracy(
    train: torch.Tensor,
    train_labels: torch.Tensor | ArrayLike,
    test: torch.Tensor,
    test_labels: torch.Tensor | ArrayLike,
    k: int = 20,
    temperature: float = 0.07,
    memory: int = 2**28,
) -> ProbeResult:
    """Accuracy of the weighted k nearest neighbours by cosine similarity.

    Parameters
    ----------
    train : Tensor, shape (n, d)
        Features of the training split; those of the test split move to their device and type.
    train_labels : Tensor or array_like of int, shape (n,)
        Their classes, at least two.
    test : Tensor, shape (n_test, d)
        Features of the test split.
    test_labels : Tensor or array_like of int, shape (n_test,)
        Their classes; one that the training split lacks is always missed.
    k : int
        Number of neighbours that vote, from 1 to n.
    temperature : float
        A neighbour of similarity s has ``exp(s / temperature)`` votes.
    memory : int
        Bytes that similarities may take at once: test samples are worked off in chunks, of one at
        least.

    Returns
    -------
    ProbeResult
        Ties go to the smaller label.

    Raises
    ------
    ValueError
        If features or labels do not fit each other or are not finite, there is one class only, or
        an option is out of range.

    Notes
    -----
    arXiv 1805.01978, section 3.4. A feature of zeros has similarity 0 to everything.

    Examples
    --------
    >>> train, labels = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), [0, 1]
    >>> knn_accuracy(train, labels, torch.tensor([[2.0, 1.0], [1.0, 3.0]]), [0, 1], k=1).accuracy
    1.0
    """
    train, test, classes, targets, truth = _splits(train, train_labels, test, test_labels)
    n = len(train)
    if not 1 <= k <= n:
        raise ValueError(f"k is {k}; expected from 1 to {n}, the number of training samples")
    if not (math.isfinite(temperature) and temperature > 0):
        raise ValueError(f"temperature is {temperature}; expected a finite number above zero")
    if memory < 1:
        raise ValueError(f"memory is {memory}; expected a number of bytes above zero")
    train = torch.nn.functional.normalize(train, dim=1)
    member = torch.from_numpy(targets).to(train.device)
    chunk = max(1, memory // (n * train.element_size()))
    voted = []
    for rows in torch.nn.functional.normalize(test, dim=1).split(chunk):
        nearest = (rows @ train.T).topk(k, dim=1)
        # Less the nearest one's: the same votes up to a factor, without overflow.
        weight = torch.exp((nearest.values - nearest.values[:, :1]) / temperature)
        votes = weight.new_zeros(len(rows), len(classes))
        voted.append(votes.scatter_add_(1, member[nearest.indices], weight).argmax(dim=1))
    return _result(
        classes[torch.cat(voted).cpu().numpy()] == truth,
        len(classes),
        n,
        f"{k} nearest neighbours in the training split by cosine similarity s, each with "
        f"exp(s / {temperature:g}) votes (1805.01978); accuracy on the test split",
    )


def linear_probe(
    train: torch.Tensor | ArrayLike,
    train_labels: torch.Tensor | ArrayLike,
    test: torch.Tensor | ArrayLike,
    test_labels: torch.Tensor | ArrayLike,
    *,
    penalties: Sequence[float] = PENALTIES,
    validation_share: float = 0.2,
    seed: int = 0,
    iterations: int = 1000,
) -> ProbeResult:
    """Accuracy of multinomial logistic regression on standardised frozen features.

    Parameters
    ----------
    train : Tensor or array_like, shape (n, d)
        Features of the training split.
    train_labels : Tensor or array_like of int, shape (n,)
        Their classes, at least two.
    test : Tensor or array_like, shape (n_test, d)
        Features of the test split.
    test_labels : Tensor or array_like of int, shape (n_test,)
        Their classes; one that the training split lacks is always missed.
    penalties : sequence of float
        Candidates for the weight p of the penalty in the mean loss + p/2 ||W||_F^2, above zero.
    validation_share : float
        Share of each class in the training split on which the penalty is chosen, rounded; every
        class keeps at least one sample to fit. Nothing is chosen of a single candidate.
    seed : int
        Seed for the choice of the validation part.
    iterations : int
        Most iterations of L-BFGS a fit.

    Returns
    -------
    ProbeResult
        The protocol names the chosen penalty; of equally good ones the strongest.

    Raises
    ------
    ValueError
        If features or labels do not fit each other or are not finite, there is one class only, an
        option is out of range, or no class is large enough to validate on.

    Warns
    -----
    ConvergenceWarning
        If the reported fit has not converged.

    Notes
    -----
    The chosen penalty is fitted again on the whole training split. Features are standardised by the
    samples each fit sees. The objective is scikit-learn's with C = 1 / (p n).

    Examples
    --------
    >>> x, labels = torch.tensor([[-2.0], [-1.0], [1.0], [2.0]] * 5), [0, 0, 1, 1] * 5
    >>> linear_probe(x, labels, 3 * x, labels).accuracy
    1.0
    """
    train, test, classes, targets, truth = _splits(train, train_labels, test, test_labels)
    x, x_test = train.cpu().double().numpy(), test.cpu().double().numpy()
    candidates = sorted({float(p) for p in penalties}, reverse=True)
    if not candidates or not all(math.isfinite(p) and p > 0 for p in candidates):
        raise ValueError(f"penalties are {penalties}; expected finite numbers above zero")
    if not 0 < validation_share < 1:
        raise ValueError(
            f"validation_share is {validation_share}; expected a share between 0 and 1"
        )
    if iterations < 1:
        raise ValueError(f"iterations is {iterations}; expected at least 1")
    penalty, how = candidates[0], "given"
    if len(candidates) > 1:
        held_out = _validation_part(targets, validation_share, seed)
        penalty = _choose(x, targets, held_out, candidates, iterations)
        how = (
            f"chosen from {len(candidates)} on {held_out.sum()} held-out samples of the training "
            "split, then fitted again on all of it"
        )
    model = _fit(x, targets, penalty, iterations)
    return _result(
        classes[model.predict(x_test)] == truth,
        len(classes),
        len(x),
        "multinomial logistic regression on frozen features standardised by the training split, "
        f"penalty {penalty:g}/2 ||W||^2 {how}; accuracy on the test split",
    )


def _fit(
    x: NDArray[np.float64], targets: NDArray[np.int64], penalty: float, iterations: int
) -> Pipeline:
    """Logistic regression on features standardised by the same samples."""
    model = LogisticRegression(C=1 / (penalty * len(x)), max_iter=iterations)
    return make_pipeline(StandardScaler(), model).fit(x, targets)


def _choose(
    x: NDArray[np.float64],
    targets: NDArray[np.int64],
    held_out: NDArray[np.bool_],
    candidates: list[float],
    iterations: int,
) -> float:
    """Penalty of the best accuracy on the part held out; the first of equally good ones."""
    scores = []
    with warnings.catch_warnings():
        # A candidate that has not converged is judged as it is; only the final fit must warn.
        warnings.simplefilter("ignore", ConvergenceWarning)
        for penalty in candidates:
            model = _fit(x[~held_out], targets[~held_out], penalty, iterations)
            scores.append(model.score(x[held_out], targets[held_out]))
    return candidates[int(np.argmax(scores))]


def _validation_part(targets: NDArray[np.int64], share: float, seed: int) -> NDArray[np.bool_]:
    """Mask of a random part with the given share of every class, but never a whole class."""
    rng = np.random.default_rng(seed)
    held_out = np.zeros(len(targets), dtype=bool)
    for label in range(targets.max() + 1):
        members = rng.permutation(np.flatnonzero(targets == label))
        held_out[members[: min(round(share * len(members)), len(members) - 1)]] = True
    if not held_out.any():
        raise ValueError(
            f"no class of {len(targets)} training samples is large enough for a validation share "
            f"of {share}; expected more samples, or a single penalty"
        )
    return held_out


def _splits(
    train: torch.Tensor | ArrayLike,
    train_labels: torch.Tensor | ArrayLike,
    test: torch.Tensor | ArrayLike,
    test_labels: torch.Tensor | ArrayLike,
) -> tuple[torch.Tensor, torch.Tensor, NDArray, NDArray[np.int64], NDArray]:
    """Check both splits: features, classes, training labels as indices of classes, test labels."""
    train, test = finite_matrix("train", train).detach(), finite_matrix("test", test).detach()
    if train.shape[1] != test.shape[1]:
        raise ValueError(
            f"train has shape {tuple(train.shape)} and test {tuple(test.shape)}; expected equal "
            "numbers of features"
        )
    labels = _labels("train", train_labels, train)
    truth = _labels("test", test_labels, test)
    classes, targets = np.unique(labels, return_inverse=True)
    if len(classes) < 2:
        raise ValueError(f"train_labels holds the class {classes[0]} only; expected at least two")
    return train, test.to(train), classes, targets, truth


def _labels(split: str, labels: torch.Tensor | ArrayLike, features: torch.Tensor) -> NDArray:
    array = torch.as_tensor(labels).cpu().numpy()
    if array.shape != (len(features),) or array.dtype.kind not in "iub":
        raise ValueError(
            f"{split}_labels has shape {array.shape} and type {array.dtype}; expected whole "
            f"numbers of shape ({len(features)},), one a row of {split}"
        )
    return array


def _result(right: NDArray[np.bool_], classes: int, train_size: int, protocol: str) -> ProbeResult:
    accuracy, size = float(right.mean()), len(right)
    share = (int(right.sum()) + 1) / (size + 2)
    error = math.sqrt(share * (1 - share) / size)
    return ProbeResult(accuracy, error, classes, train_size, size, protocol)
