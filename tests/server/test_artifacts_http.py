"""Blobs by HTTP: whole, in ranges, and nothing but blobs."""

import http.client
from collections.abc import Iterator
from pathlib import Path

import pytest

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
