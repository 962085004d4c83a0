"""Tangent kernels of networks: ``ntk`` of one run, over training and across runs."""
