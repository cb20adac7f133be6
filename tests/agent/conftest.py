"""A published ladder for every test of the agent that fetches."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.published import PublishedLadder, publish


@pytest.fixture(scope="session")
def published(
    digits_ladder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PublishedLadder]:
    """Serve the demo's ladder of three levels over HTTP."""
    with publish(digits_ladder, tmp_path_factory.mktemp("registry")) as served:
        yield served
