"""What the system is asked for: in force where it allows it, said where it does not."""

import json
import subprocess
import sys

import pytest

SCRIPT = """
import gc, json, os, resource, sys, threading
from secateur_agent.inference.realtime import (
    Realtime, keep_collections_out, prepare_hot_thread, prepare_process, run_in_background,
)
wanted = Realtime(**json.loads(sys.argv[1]))
seen = {"problems": prepare_process(wanted) + prepare_hot_thread(wanted)}
seen["cpus"] = sorted(os.sched_getaffinity(0))
seen["nice"] = os.getpriority(os.PRIO_PROCESS, 0)
seen["policy"] = os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK
locked = [line for line in open("/proc/self/status") if line.startswith("VmLck")]
seen["locked_kb"] = int(locked[0].split()[1])
keep_collections_out()
seen["collects"] = gc.isenabled()
def nice():
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
def background():
    seen["background_nice"] = nice()
    raise ValueError("seen")
try:
    run_in_background(background)
except ValueError as error:
    seen["raised"] = str(error)
seen["nice_after"] = nice()
print(json.dumps(seen))
"""


def ask(**wanted: object) -> dict[str, object]:
    """Set it in a process of its own, and see what holds there."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps(wanted)],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    seen: dict[str, object] = json.loads(done.stdout)
    return seen


def test_without_a_wish_nothing_is_asked_for_and_collections_stay_out_of_the_hot_loop() -> None:
    seen = ask()
    assert seen["problems"] == []
    assert seen["policy"] == 0
    assert seen["locked_kb"] == 0
    assert seen["collects"] is False


def test_affinity_and_niceness_are_in_force() -> None:
    seen = ask(cpus=[0], nice=3)
    assert seen["problems"] == []
    assert (seen["cpus"], seen["nice"]) == ([0], 3)


def test_what_is_done_in_the_background_is_nicer_than_who_waits_for_it() -> None:
    seen = ask(nice=3)
    assert (seen["background_nice"], seen["nice_after"]) == (13, 3)
    assert seen["raised"] == "seen"


@pytest.mark.parametrize(
    ("wanted", "key", "is_in_force"),
    [
        ({"fifo_priority": 5}, "fifo_priority", lambda seen: seen["policy"] == 1),
        ({"lock_memory": True}, "lock_memory", lambda seen: int(seen["locked_kb"]) > 0),
        ({"nice": -5}, "nice", lambda seen: seen["nice"] == -5),
    ],
)
def test_what_needs_a_right_is_in_force_or_said_not_to_be(
    wanted: dict[str, object], key: str, is_in_force: object
) -> None:
    seen = ask(**wanted)
    problems = seen["problems"]
    assert isinstance(problems, list)
    assert callable(is_in_force)
    assert is_in_force(seen) != any(f"realtime.{key}" in problem for problem in problems)


def test_processors_that_are_not_there_are_said_and_the_rest_holds() -> None:
    seen = ask(cpus=[4000], nice=1)
    assert seen["nice"] == 1
    problems = seen["problems"]
    assert isinstance(problems, list)
    assert [problem.split(" is not")[0] for problem in problems] == ["realtime.cpus"]
