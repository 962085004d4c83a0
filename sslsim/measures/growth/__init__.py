"""How fast the modes of an embedding grow: rates, the pull of the loss, the Hessian."""

from sslsim.measures.growth.hessian import hessian_product
from sslsim.measures.growth.pull import SPECTRA, Objective, pull_curve, zero_of_pull
from sslsim.measures.growth.rates import Growth, adaptation, gradient_flow_step, growth

__all__ = [
    "SPECTRA",
    "Growth",
    "Objective",
    "adaptation",
    "gradient_flow_step",
    "growth",
    "hessian_product",
    "pull_curve",
    "zero_of_pull",
]
