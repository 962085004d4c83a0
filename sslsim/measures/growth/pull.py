r"""The pull of any loss on a mode at every size, without knowing the loss.

Mode u has the functions f_u = u . f of both views and the amplitude a, lambda = a^2. Scaled in the
embeddings, f + (a/a_0 - 1) f_u u, everything else stays what it is, and the loss pulls with

    g(lambda) = -(1/a) dL/da.

Barlow Twins in its theory form has g proportional to 1 - lambda; on batches it is less, as their
correlations vary. The eigenvalue at which the pull is zero is the ceiling of a mode that rises
alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch

SPECTRA = ("cross", "covariance")
Objective = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def pull_curve(
    z: torch.Tensor,
    z_prime: torch.Tensor,
    direction: torch.Tensor,
    objective: Objective,
    growth: Sequence[float],
    *,
    spectrum: str = "cross",
) -> torch.Tensor:
    """Pull of a loss on a mode scaled to other eigenvalues.

    Parameters
    ----------
    z, z_prime : Tensor, shape (n, d)
        Embeddings of both views.
    direction : Tensor, shape (d,)
        Unit vector u of the mode.
    objective : callable
        Loss of the embeddings of both views. One that compares samples should be the mean over
        batches of the run's size.
    growth : sequence of float, length k
        Factors lambda / lambda_0, above 0.
    spectrum : {"cross", "covariance"}
        Whether the mode is all of f_u, or what varies about its mean over both views.

    Returns
    -------
    Tensor, shape (k,)
        lambda_0 g(lambda) = -(1/s) dL/ds, where s = a / a_0.

    Raises
    ------
    ValueError
        If a factor is not positive and finite, or the spectrum is unknown.

    Examples
    --------
    >>> from sslsim.objectives import barlow_twins
    >>> z = torch.tensor([[0.1, 0.0], [-0.1, 0.0]], dtype=torch.float64)  # lambda is 0.01
    >>> u = torch.tensor([1.0, 0.0], dtype=torch.float64)
    >>> curve = pull_curve(z, z, u, barlow_twins, [1.0, 50.0, 90.0])
    >>> (curve / curve[0]).round(decimals=3)  # (1 - lambda) / 0.99
    tensor([1.0000, 0.5050, 0.1010], dtype=torch.float64)
    """
    if spectrum not in SPECTRA:
        raise ValueError(f"spectrum is {spectrum!r}; expected one of {', '.join(SPECTRA)}")
    f, f_prime = z @ direction, z_prime @ direction
    if spectrum == "covariance":
        mean = torch.cat([f, f_prime]).mean()
        f, f_prime = f - mean, f_prime - mean
    pulls = []
    for factor in growth:
        if not 0 < factor < math.inf:
            raise ValueError(f"growth holds {factor}; expected finite factors above 0")
        scale = math.sqrt(factor)
        sides = [
            (side + (scale - 1) * mode[:, None] * direction).detach().requires_grad_()
            for side, mode in ((z, f), (z_prime, f_prime))
        ]
        slopes = torch.autograd.grad(objective(*sides), sides, materialize_grads=True)
        along = f @ (slopes[0] @ direction) + f_prime @ (slopes[1] @ direction)
        pulls.append(-along / scale)
    return torch.stack(pulls)


def zero_of_pull(lam: Sequence[float], pull: Sequence[float]) -> float:
    """Smallest eigenvalue at which a pull falls to zero.

    Parameters
    ----------
    lam : sequence of float, length k
        Eigenvalues, ascending.
    pull : sequence of float, length k
        Pull at them.

    Returns
    -------
    float
        Interpolated linearly in lambda; infinite if the pull stays positive, and the first
        eigenvalue if it is not positive there.

    Examples
    --------
    >>> zero_of_pull([0.1, 0.5, 1.5], [0.9, 0.5, -0.5])
    1.0
    """
    for place, value in enumerate(pull):
        if value <= 0:
            if place == 0:
                return float(lam[0])
            before = pull[place - 1]
            share = before / (before - value)
            return float(lam[place - 1] + share * (lam[place] - lam[place - 1]))
    return math.inf
