"""Work shared between two threads.

numpy and the engine let go of Python's lock while they compute. That two threads of ours
share the samples beats threads inside of the linear algebra, which help only there, and
wait in busy loops for a core that other programs hold.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import TypeVar

from threadpoolctl import threadpool_limits

WORKERS = 2
"""Work is shared among so many threads."""

Item = TypeVar("Item")
Result = TypeVar("Result")


def share(do: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Do something with each item, several at a time; the results are in order.

    What is done must not share its own work again: it would wait for the thread it is in.
    """
    return _pool().map(do, items)


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Keep linear algebra in the thread that asks for it."""
    with threadpool_limits(1, user_api="blas"):
        yield


@cache
def _pool() -> ThreadPoolExecutor:
    """Keep the threads: starting them takes as long as a small operator."""
    return ThreadPoolExecutor(WORKERS, thread_name_prefix="sharing")
