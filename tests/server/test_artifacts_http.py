"""Blobs by HTTP: whole, in ranges, and nothing but blobs."""

import gzip
import http.client
from collections.abc import Iterator
from pathlib import Path

import pytest

from secateur_agent.transfer.transfers import Transfers
from secateur_server.adapters.artifacts_http import ArtifactsServer
from secateur_server.errors import ServerError

DIGEST = "ab" * 32
CONTENT = bytes(range(256)) * 300


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ArtifactsServer]:
    blobs = tmp_path / "blobs"
    blobs.mkdir()
    (blobs / DIGEST).write_bytes(CONTENT)
    (tmp_path / "secret").write_bytes(b"secret")
    running = ArtifactsServer(blobs, host="127.0.0.1", port=0)
    running.start()
    yield running
    running.stop()


def get(
    server: ArtifactsServer, path: str, *, method: str = "GET", **headers: str
) -> tuple[int, bytes, http.client.HTTPMessage]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    try:
        connection.request(method, path, headers=headers)
        response = connection.getresponse()
        return response.status, response.read(), response.headers
    finally:
        connection.close()


def test_a_blob_comes_whole_and_may_be_kept_for_ever(server: ArtifactsServer) -> None:
    status, body, headers = get(server, f"/blobs/{DIGEST}")
    assert (status, body) == (200, CONTENT)
    assert "immutable" in headers["Cache-Control"]


def test_a_head_request_says_how_long_it_is(server: ArtifactsServer) -> None:
    status, body, headers = get(server, f"/blobs/{DIGEST}", method="HEAD")
    assert (status, body) == (200, b"")
    assert int(headers["Content-Length"]) == len(CONTENT)


@pytest.mark.parametrize(
    ("asked", "begin", "end"),
    [("0-0", 0, 1), ("1000-1999", 1000, 2000), ("76000-", 76000, 76800), ("-10", 76790, 76800)],
)
def test_a_range_continues_a_cut_download(
    server: ArtifactsServer, asked: str, begin: int, end: int
) -> None:
    status, body, headers = get(server, f"/blobs/{DIGEST}", Range=f"bytes={asked}")
    assert status == 206
    assert body == CONTENT[begin:end]
    assert headers["Content-Range"] == f"bytes {begin}-{end - 1}/{len(CONTENT)}"


def test_a_range_past_the_end_is_refused(server: ArtifactsServer) -> None:
    status, _, headers = get(server, f"/blobs/{DIGEST}", Range=f"bytes={len(CONTENT)}-")
    assert status == 416
    assert headers["Content-Range"].endswith(f"*/{len(CONTENT)}")


@pytest.mark.parametrize(
    "path",
    ["/blobs/../secret", "/blobs/..%2fsecret", "/blobs/%00", "/secret", f"/blobs/{'0' * 64}"],
)
def test_nothing_but_blobs_is_served(server: ArtifactsServer, path: str) -> None:
    status, body, _ = get(server, path)
    assert status == 404
    assert b"secret" not in body


def test_an_address_that_is_taken_is_named(server: ArtifactsServer, tmp_path: Path) -> None:
    with pytest.raises(ServerError, match=str(server.port)):
        ArtifactsServer(tmp_path, host="127.0.0.1", port=server.port)


def test_a_blob_comes_packed_to_whom_that_suits_and_only_whole(
    server: ArtifactsServer, tmp_path: Path
) -> None:
    packed = gzip.compress(CONTENT)
    (tmp_path / "blobs" / f"{DIGEST}.gz").write_bytes(packed)
    path, asking = f"/blobs/{DIGEST}", {"Accept-Encoding": "br, gzip"}
    status, body, headers = get(server, path, **asking)
    assert (status, body, headers["Content-Encoding"]) == (200, packed, "gzip")
    status, body, headers = get(server, path, **asking, Range="bytes=1000-")
    assert (status, body) == (206, CONTENT[1000:])
    assert headers["Content-Encoding"] is None
    assert get(server, path, **{"Accept-Encoding": "identity"})[1] == CONTENT
    assert get(server, f"{path}.gz")[0] == 404


def test_an_agent_takes_it_packed_and_goes_on_with_what_was_cut(
    server: ArtifactsServer, tmp_path: Path
) -> None:
    (tmp_path / "blobs" / f"{DIGEST}.gz").write_bytes(gzip.compress(CONTENT))
    repository = Transfers().open(f"http://127.0.0.1:{server.port}/blobs")
    into = tmp_path / "blob"
    told: list[int] = []
    for held in (0, 1000):
        into.write_bytes(CONTENT[:held])
        repository.bring(
            f"blobs/{DIGEST}",
            into,
            size_bytes=len(CONTENT),
            progress=lambda now, _total: told.append(now),
        )
        assert into.read_bytes() == CONTENT
        assert told[-1] == len(CONTENT)
