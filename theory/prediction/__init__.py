"""Step times of data, with intervals for the population they come from."""
