"""What mathematics predicts about self-supervised learning: closed forms, bounds, derivations."""
