"""The same in kernel form: modes of K_Gamma, infinite width, kernels that move."""
