"""Work on many images in a few threads: OpenCV and Pillow let go of the interpreter while they decode and resize."""

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

MOST = 8
"""Threads; with more, the interpreter between the calls is what they wait for."""

AHEAD = 64
"""How many results may be kept before they are taken."""


def in_threads(function: Callable[[int], T], count: int) -> Iterator[T]:
    """Give ``function(0)`` to ``function(count - 1)``, in order, computed a little ahead by a few threads.

    An exception of ``function`` is raised in its turn, and ends the work.
    """
    pool = ThreadPoolExecutor(min(MOST, os.cpu_count() or 1))
    ahead: deque[Future[T]] = deque()
    try:
        for index in range(count):
            ahead.append(pool.submit(function, index))
            if len(ahead) == AHEAD:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
