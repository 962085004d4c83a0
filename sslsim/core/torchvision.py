"""The only module that imports torchvision.

The wheels of torchvision on the package index are built for CUDA. With a CPU-only torch their
compiled library cannot be loaded, and ``import torchvision`` stops with "operator torchvision::nms
does not exist", although models, transforms and data sets need no compiled code. It is enough to
declare the two missing operators. Import ``torchvision`` from here, so that worker processes load
this module too.
"""

from __future__ import annotations

import torch

__all__ = ["torchvision"]

_SIGNATURE = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"

try:
    import torchvision
except RuntimeError as error:
    if "operator torchvision::nms does not exist" not in str(error):
        raise
    # The declarations exist as long as this object does.
    _OPERATORS = torch.library.Library("torchvision", "DEF")
    _OPERATORS.define("nms" + _SIGNATURE)
    _OPERATORS.define("qnms" + _SIGNATURE)
    import torchvision
