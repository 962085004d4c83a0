"""Queues of runs: as many as fit in the minutes at hand, the rest another time."""
