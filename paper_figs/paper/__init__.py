"""Figures 1 to 9: each a function from the folder of results to a figure and its caption."""
