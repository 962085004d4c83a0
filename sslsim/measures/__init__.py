"""What is measured of embeddings: spectra, ranks, probes, steps, growth."""

from typing import TYPE_CHECKING

from sslsim.core.lazy import lazily

if TYPE_CHECKING:
    from sslsim.measures.embeddings import lidar
    from sslsim.measures.probes import ProbeResult, knn_accuracy, linear_probe
    from sslsim.measures.spectra import covariance_spectrum, cross_spectrum, effective_rank, rank_me
    from sslsim.measures.steps import Steps, detect_eigenvalue_steps, detect_steps

__all__ = [
    "ProbeResult",
    "Steps",
    "covariance_spectrum",
    "cross_spectrum",
    "detect_eigenvalue_steps",
    "detect_steps",
    "effective_rank",
    "knn_accuracy",
    "lidar",
    "linear_probe",
    "rank_me",
]

__getattr__ = lazily(
    __name__,
    {
        "ProbeResult": "probes",
        "Steps": "steps",
        "covariance_spectrum": "spectra",
        "cross_spectrum": "spectra",
        "detect_eigenvalue_steps": "steps",
        "detect_steps": "steps",
        "effective_rank": "spectra",
        "knn_accuracy": "probes",
        "lidar": "embeddings",
        "linear_probe": "probes",
        "rank_me": "spectra",
    },
)
