"""Late modes sooner: training with other optimisers and preconditioned gradients."""
