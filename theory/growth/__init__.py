"""The growth of one mode while features adapt to it, by factors, under momentum.

Two factors in closed form, any number of factors with any pull by quadrature, factors from a
measured adaptation, the lag of momentum, the heavy ball itself, and VICReg's rise of a standard
deviation. Modules share function names, so
they are exported whole.
"""

from theory.growth import adaptation, factors, heavy_ball, lag, standard_deviation, two_factor

__all__ = ["adaptation", "factors", "heavy_ball", "lag", "standard_deviation", "two_factor"]
