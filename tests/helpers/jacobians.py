"""Tangent kernels by the contraction of full Jacobians: slow, in memory at once, one line long."""

import copy
import warnings

import torch
from torch.func import functional_call, jacrev, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel


def draw(*shape, seed=3):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def full_kernel(module, x1, x2=None):
    """Contraction of the Jacobians of every sample: all of them in memory at once."""
    # A copy: functional_call leaves a module that holds a layer twice without its parameters.
    module = copy.deepcopy(module)
    parameters = {name: p.detach() for name, p in module.named_parameters() if p.requires_grad}

    def jacobian(x):
        def one(values, row):
            return functional_call(module, values, (row[None],))[0]

        with sdpa_kernel(SDPBackend.MATH), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="There is a performance drop")
            return vmap(jacrev(one), (None, 0))(parameters, x)

    first, second = jacobian(x1), jacobian(x1 if x2 is None else x2)
    return sum(
        torch.einsum("ikp,jlp->ijkl", first[name].flatten(2), second[name].flatten(2))
        for name in parameters
    )


def trace(full):
    return full.diagonal(dim1=2, dim2=3).sum(-1)


def assert_equal(found, expected, tolerance=1e-12):
    """Within ``tolerance`` of the largest entry: entries may cancel."""
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= tolerance * expected.abs().max() + 1e-300


def randomise(module):
    """Give normalisations gains, offsets and statistics that are not those of the start."""
    for name, value in [*module.named_parameters(), *module.named_buffers()]:
        if name.endswith("running_var"):
            value.uniform_(0.5, 2.0)
        elif value.is_floating_point():
            with torch.no_grad():
                value.add_(0.3 * torch.randn_like(value))
    return module.double().eval()
