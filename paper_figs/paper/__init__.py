"""Figures 1 to 8: each a function from the folder of results to a figure and its caption."""
