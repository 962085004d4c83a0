"""Work done ahead of time by a background thread."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Result = TypeVar("Result")


def prefetched(work: Callable[[int], Result]) -> Callable[[int], Result]:
    """The same function of a number; meanwhile, a thread computes the result of the next number.

    Parameters
    ----------
    work : callable
        Pure function of a number.

    Returns
    -------
    callable
        Function with the same results, or errors, for any sequence of numbers.

    Examples
    --------
    >>> square = prefetched(lambda number: number**2)
    >>> [square(number) for number in (0, 1, 2, 7, 8)]
    [0, 1, 4, 49, 64]
    """
    thread = ThreadPoolExecutor(1)
    ahead: dict[int, Future[Result]] = {}

    def result(number: int) -> Result:
        future = ahead.get(number) or thread.submit(work, number)
        value = future.result()
        ahead.clear()
        ahead[number + 1] = thread.submit(work, number + 1)
        return value

    return result
