"""Methods of self-supervised learning: an encoder, the other trained parts, and a loss.

``build_learner`` makes any of them by name.
"""

from typing import TYPE_CHECKING

from sslsim.core.lazy import lazily

if TYPE_CHECKING:
    from sslsim.methods.build import build_learner
    from sslsim.methods.learner import Learner, PairLearner, SupervisedLearner

__all__ = ["Learner", "PairLearner", "SupervisedLearner", "build_learner"]

__getattr__ = lazily(
    __name__,
    {
        "Learner": "learner",
        "PairLearner": "learner",
        "SupervisedLearner": "learner",
        "build_learner": "build",
    },
)
