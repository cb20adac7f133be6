"""Several models share the processor: so many at a time, the most urgent first."""

import threading

from hypothesis import given, settings
from hypothesis import strategies as st

from secateur_agent.inference.turnstile import Turnstile
from support.waiting import wait_until


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 1000), min_size=1, max_size=8))
def test_of_those_that_wait_the_earliest_deadline_goes_first(dues: list[int]) -> None:
    turnstile = Turnstile(1)
    turnstile.enter(0.0)
    order: list[int] = []
    waiting = []
    for number, due in enumerate(dues):
        thread = threading.Thread(target=pass_through, args=(turnstile, due, order))
        thread.start()
        waiting.append(thread)
        wait_until(lambda number=number: len(turnstile._waiting) == number + 1)  # type: ignore[misc] # bound now
    turnstile.leave()
    for thread in waiting:
        thread.join(60.0)
    assert order == sorted(dues)


def pass_through(turnstile: Turnstile, due: int, order: list[int]) -> None:
    turnstile.enter(float(due))
    order.append(due)
    turnstile.leave()


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 3), st.integers(1, 8))
def test_never_more_than_the_places_are_inside_and_everybody_gets_in(
    places: int, threads: int
) -> None:
    turnstile = Turnstile(places)
    inside, most, passed = 0, 0, 0
    counting = threading.Lock()

    def run() -> None:
        nonlocal inside, most, passed
        for turn in range(50):
            turnstile.enter(float(turn))
            with counting:
                inside += 1
                most = max(most, inside)
            with counting:
                inside -= 1
                passed += 1
            turnstile.leave()

    running = [threading.Thread(target=run) for _ in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join(60.0)
    assert passed == threads * 50
    assert 1 <= most <= places
