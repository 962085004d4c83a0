"""The growth of one mode while features adapt to it, by factors, under momentum.

Two factors in closed form, any number of factors with any pull by quadrature, the lag of momentum,
the heavy ball itself, and VICReg's rise of a standard deviation. Modules share function names, so
they are exported whole.
"""

from theory.growth import factors, heavy_ball, lag, standard_deviation, two_factor

__all__ = ["factors", "heavy_ball", "lag", "standard_deviation", "two_factor"]
