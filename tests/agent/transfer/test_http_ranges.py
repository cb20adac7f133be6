"""Downloads from a real HTTP server: resumed, bounded, and failing as documented."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from secateur_agent.errors import AgentError, PermanentError, TransientError
from secateur_agent.transfer.channel import BlockChannel
from secateur_agent.transfer.http_ranges import CHUNK_BYTES
from secateur_agent.transfer.port import NotFoundError, TooLongError
from secateur_agent.transfer.transfers import Transfers
from secateur_protocols.ota import ReasonCode
from support.http_files import HttpFiles, Misdeed, http_files

CONTENT = bytes(range(256)) * 1000  # several chunks, every offset different from its neighbour


@pytest.fixture(scope="module")
def running() -> Iterator[HttpFiles]:
    with http_files() as server:
        yield server


@pytest.fixture
def server(running: HttpFiles) -> HttpFiles:
    running.files = {"blob": CONTENT}
    running.misdeed = Misdeed()
    running.requests.clear()
    return running


def get(server: HttpFiles, path: Path, size_bytes: int = len(CONTENT)) -> list[tuple[int, int]]:
    told: list[tuple[int, int]] = []
    Transfers().open(server.url).bring(
        "blobs/blob",
        path,
        size_bytes=size_bytes,
        progress=lambda received, total: told.append((received, total)),
    )
    return told


def test_a_download_brings_every_byte_and_tells_its_progress(
    server: HttpFiles, tmp_path: Path
) -> None:
    told = get(server, tmp_path / "blob")
    assert (tmp_path / "blob").read_bytes() == CONTENT
    assert told[-1] == (len(CONTENT), len(CONTENT))
    assert len(told) >= len(CONTENT) // CHUNK_BYTES
    assert told == sorted(told)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(held=st.integers(0, len(CONTENT)))
def test_a_download_goes_on_from_any_byte(server: HttpFiles, tmp_path: Path, held: int) -> None:
    path = tmp_path / "blob"
    path.write_bytes(CONTENT[:held])
    server.requests.clear()
    get(server, path)
    assert path.read_bytes() == CONTENT
    wanted = [] if held == len(CONTENT) else [("/blob", f"bytes={held}-" if held else None)]
    assert server.requests == wanted


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(cut=st.integers(0, len(CONTENT) - 1))
def test_a_connection_that_is_cut_anywhere_is_resumed(
    server: HttpFiles, tmp_path: Path, cut: int
) -> None:
    path = tmp_path / "blob"
    path.unlink(missing_ok=True)
    server.misdeed = Misdeed(cut_bytes=cut)
    with pytest.raises(TransientError) as caught:
        get(server, path)
    assert caught.value.reason is ReasonCode.CONNECTION_LOST
    assert CONTENT.startswith(path.read_bytes())
    server.misdeed = Misdeed()
    get(server, path)
    assert path.read_bytes() == CONTENT


def test_a_server_without_ranges_begins_again(server: HttpFiles, tmp_path: Path) -> None:
    path = tmp_path / "blob"
    path.write_bytes(CONTENT[:1000])
    server.misdeed = Misdeed(ignore_range=True)
    get(server, path)
    assert path.read_bytes() == CONTENT


def test_a_wrong_range_is_an_error_and_appends_nothing(
    server: HttpFiles, tmp_path: Path
) -> None:
    path = tmp_path / "blob"
    path.write_bytes(CONTENT[:1000])
    server.misdeed = Misdeed(wrong_start=True)
    with pytest.raises(TransientError):
        get(server, path)
    assert path.read_bytes() == CONTENT[:1000]


def test_never_more_bytes_than_announced_are_written(server: HttpFiles, tmp_path: Path) -> None:
    get(server, tmp_path / "blob", size_bytes=5000)
    assert (tmp_path / "blob").read_bytes() == CONTENT[:5000]


def test_what_is_longer_than_announced_is_thrown_away(
    server: HttpFiles, tmp_path: Path
) -> None:
    path = tmp_path / "blob"
    path.write_bytes(CONTENT + b"more")
    get(server, path)
    assert path.read_bytes() == CONTENT


def test_what_the_server_no_longer_has_is_begun_again(
    server: HttpFiles, tmp_path: Path
) -> None:
    path = tmp_path / "blob"
    path.write_bytes(CONTENT[:1000])
    server.files = {"blob": CONTENT[:500]}
    with pytest.raises(TransientError) as caught:
        get(server, path)
    assert caught.value.reason is ReasonCode.HTTP_STATUS
    assert not path.exists()


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, PermanentError),
        (403, PermanentError),
        (404, PermanentError),
        (410, PermanentError),
        (408, TransientError),
        (425, TransientError),
        (429, TransientError),
        (500, TransientError),
        (503, TransientError),
    ],
)
def test_4xx_is_final_but_for_three_and_5xx_is_not(
    server: HttpFiles, tmp_path: Path, status: int, kind: type[AgentError]
) -> None:
    server.misdeed = Misdeed(status=status)
    with pytest.raises(kind, match=f"{status}") as caught:
        get(server, tmp_path / "blob")
    assert caught.value.reason is ReasonCode.HTTP_STATUS


def test_a_server_that_is_not_there_may_come_back(tmp_path: Path) -> None:
    with http_files() as gone:
        pass
    with pytest.raises(TransientError) as caught:
        get(gone, tmp_path / "blob")
    assert caught.value.reason is ReasonCode.CONNECTION_LOST


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://127.0.0.1/x", "blob", ""])
def test_only_http_addresses_are_opened(tmp_path: Path, url: str) -> None:
    with pytest.raises(PermanentError):
        Transfers().open(url).bring("blobs/blob", tmp_path / "blob", size_bytes=1)
    assert not (tmp_path / "blob").exists()


def test_a_full_disk_is_said_so(server: HttpFiles) -> None:
    with pytest.raises(PermanentError) as caught:
        get(server, Path("/dev/full"))
    assert caught.value.reason is ReasonCode.NO_SPACE


def test_a_small_file_is_read_from_beside_the_blobs(server: HttpFiles) -> None:
    server.files["metadata/root.json"] = b"{}"
    repository = Transfers().open(f"{server.url}/blobs")
    assert repository.read("metadata/root.json", max_bytes=2) == b"{}"
    with pytest.raises(NotFoundError):
        repository.read("metadata/2.root.json", max_bytes=2)


def test_a_small_file_that_is_not_small_is_refused(server: HttpFiles) -> None:
    repository = Transfers().open(server.url)
    with pytest.raises(TooLongError):
        repository.read("blobs/blob", max_bytes=len(CONTENT) - 1)


def test_a_small_file_that_ends_early_is_not_taken_for_whole(server: HttpFiles) -> None:
    server.misdeed = Misdeed(cut_bytes=100)
    with pytest.raises(TransientError) as caught:
        Transfers().open(server.url).read("blobs/blob", max_bytes=len(CONTENT))
    assert caught.value.reason is ReasonCode.CONNECTION_LOST


def test_before_a_coordinator_has_said_where_files_are_none_is_asked_for(
    tmp_path: Path,
) -> None:
    asked: list[object] = []
    channel = BlockChannel()
    channel.attach(asked.append)
    repository = Transfers(channel=channel).open(None)
    with pytest.raises(TransientError, match="no coordinator has said yet"):
        repository.bring("blobs/blob", tmp_path / "blob", size_bytes=1)
    with pytest.raises(TransientError, match="no coordinator has said yet"):
        repository.read("metadata/timestamp.json", max_bytes=10)
    assert asked == []
    assert not (tmp_path / "blob").exists()
