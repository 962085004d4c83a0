"""Positive pairs: their matrix Gamma, its spectrum, and pairs with a planted one."""
