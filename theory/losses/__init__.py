"""Other losses: growth near the origin, VICReg, spectral contrastive learning.

Modules share function names with ``theory.linear``, so they are exported whole.
"""

from theory.losses import near_origin, spectral_contrastive, vicreg

__all__ = ["near_origin", "spectral_contrastive", "vicreg"]
