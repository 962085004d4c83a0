"""What memorisation scores say: tests of sets, agreement of rankings, intervals, reliability."""

from sslsim.memorization.statistics.correlations import rank_correlations
from sslsim.memorization.statistics.rankings import (
    RankAgreement,
    agreement_of_pairs,
    rank_agreement,
)
from sslsim.memorization.statistics.reliability import CorrectedCorrelation, corrected_correlation
from sslsim.memorization.statistics.resampling import (
    Statistic,
    TwoWayInterval,
    areas,
    differences,
    two_way_interval,
)
from sslsim.memorization.statistics.sets import (
    COMPARISONS,
    SETS,
    Comparison,
    SplitTests,
    split_tests,
)

__all__ = [
    "COMPARISONS",
    "SETS",
    "Comparison",
    "CorrectedCorrelation",
    "RankAgreement",
    "SplitTests",
    "Statistic",
    "TwoWayInterval",
    "agreement_of_pairs",
    "areas",
    "corrected_correlation",
    "differences",
    "rank_agreement",
    "rank_correlations",
    "split_tests",
    "two_way_interval",
]
