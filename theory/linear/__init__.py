"""Linear Barlow Twins in closed form, one module for each kind of dynamics.

Gradient flow, gradient descent, mini-batches, momentum, weight decay, deep products,
preconditioning, orthogonalised descent, and the reduced equation that covers several of them.
Modules share function names, so they are exported whole.
"""

from theory.linear import (
    closed_form,
    deep,
    gradient_descent,
    initialization,
    minibatch,
    momentum,
    orthogonalised,
    preconditioned,
    reduced,
    ties,
    weight_decay,
)

__all__ = [
    "closed_form",
    "deep",
    "gradient_descent",
    "initialization",
    "minibatch",
    "momentum",
    "orthogonalised",
    "preconditioned",
    "reduced",
    "ties",
    "weight_decay",
]
