"""What the operating system can do for a deadline, as far as it lets us."""

import ctypes
import gc
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass

_MCL_CURRENT_AND_FUTURE = 3
"""From ``<sys/mman.h>`` on Linux: pages that are there now, and all that will be."""

BACKGROUND_NICE = 10
"""Added to the niceness of threads that load: they must not delay those that answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Realtime:
    """What was configured.

    Attributes:
        cpus: Processors that may be used. Empty: all.
        nice: -20, the most urgent, to 19. ``None``: as the process was started.
        fifo_priority: ``SCHED_FIFO`` for the hot loops, 1 to 99. ``None``: no.
        lock_memory: Keep every page in memory.
    """

    cpus: tuple[int, ...] = ()
    nice: int | None = None
    fifo_priority: int | None = None
    lock_memory: bool = False


def prepare_process(wanted: Realtime) -> list[str]:
    """Set what holds for the whole process; call before other threads are started.

    Returns:
        What the system did not allow, one line each. The rest holds.
    """
    problems: list[str] = []
    if wanted.cpus:
        _try("cpus", lambda: os.sched_setaffinity(0, wanted.cpus), problems)
    if wanted.nice is not None:
        nice = wanted.nice
        _try("nice", lambda: os.setpriority(os.PRIO_PROCESS, 0, nice), problems)
    if wanted.lock_memory:
        _try("lock_memory", _lock_memory, problems)
    return problems


def prepare_hot_thread(wanted: Realtime) -> list[str]:
    """Set what holds for the calling thread, which answers; as `prepare_process`."""
    problems: list[str] = []
    if wanted.fifo_priority is not None:
        # Reset on fork: what a source starts must not compete with us.
        policy = os.SCHED_FIFO | os.SCHED_RESET_ON_FORK
        parameters = os.sched_param(wanted.fifo_priority)
        _try("fifo_priority", lambda: os.sched_setscheduler(0, policy, parameters), problems)
    return problems


def _give_way() -> None:
    thread = threading.get_native_id()
    now = os.getpriority(os.PRIO_PROCESS, thread)
    os.setpriority(os.PRIO_PROCESS, thread, min(19, now + BACKGROUND_NICE))


def run_in_background(deed: Callable[[], None]) -> None:
    """Do something long on a thread that gives way to those that answer, and wait for it.

    Only what seldom holds the interpreter's lock: who holds it while others wait must run,
    and a nice thread does not where something else wants the processor.

    Raises:
        Exception: Whatever the deed raises.
    """
    problems: list[BaseException] = []

    def run() -> None:
        _give_way()
        try:
            deed()
        except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
            problems.append(error)

    thread = threading.Thread(target=run, name="background", daemon=True)
    thread.start()
    thread.join()
    if problems:
        raise problems[0]


def keep_collections_out() -> None:
    """Collect now, and later only when `collect` is called: off the hot path.

    What exists now lives as long as the process, so that no collection looks at it again.
    """
    gc.collect()
    gc.freeze()
    gc.disable()


def collect() -> None:
    """Collect what has become garbage since, and give back what it took.

    A millisecond, since little is looked at. An engine that was let go leaves holes in the
    heap that the C library would keep.
    """
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc has it, musl has not
    if trim is not None:
        trim(0)


def _try(key: str, deed: Callable[[], None], problems: list[str]) -> None:
    try:
        deed()
    except (OSError, ValueError) as error:
        problems.append(f"realtime.{key} is not in force: {error}")


def _lock_memory() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mlockall(_MCL_CURRENT_AND_FUTURE) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
