"""Other losses: near the origin, VICReg, spectral contrastive learning."""
