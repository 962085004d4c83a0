"""How far two ways of computing one number may lie apart by rounding."""

import numpy as np
import torch


def rounding(dtype, operations, scale=1.0):
    """Greatest difference of two results of as many rounded operations, in whatever order.

    Every operation errs by at most half an epsilon of ``scale``, the size of what is summed, and
    either result may err to its own side: ``operations * eps * scale`` between them.
    """
    kinds = torch.finfo if isinstance(dtype, torch.dtype) else np.finfo
    return operations * float(kinds(dtype).eps) * scale
