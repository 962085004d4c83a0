"""Linear Barlow Twins in closed form, one module for each kind of dynamics.

Gradient flow, gradient descent, momentum, weight decay, deep products, preconditioning, and the
two-factor law of features that adapt. Modules share function names, so they are exported whole.
"""

from theory.linear import (
    closed_form,
    deep,
    gradient_descent,
    initialization,
    momentum,
    preconditioned,
    ties,
    two_factor,
    weight_decay,
)

__all__ = [
    "closed_form",
    "deep",
    "gradient_descent",
    "initialization",
    "momentum",
    "preconditioned",
    "ties",
    "two_factor",
    "weight_decay",
]
