"""What other programs read about the protocol is what the code speaks."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from secateur_protocols.messages import MESSAGES, TOPICS, Writer
from secateur_protocols.topics import Leaf
from secateur_server.asyncapi import asyncapi_document, json_schemas
from secateur_server.cli.app import run

COMMITTED = Path(__file__).parents[2] / "docs" / "protocol"


def files(folder: Path) -> dict[str, Any]:
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): json.loads(path.read_bytes()) for path in paths}


def references(document: object) -> Iterator[str]:
    if isinstance(document, dict):
        for key, value in document.items():
            if key == "$ref":
                yield value
            else:
                yield from references(value)
    elif isinstance(document, list):
        for value in document:
            yield from references(value)


def resolve(document: dict[str, Any], reference: str) -> Any:  # noqa: ANN401 - any JSON
    assert reference.startswith("#/")
    found: Any = document
    for step in reference[2:].split("/"):
        found = found[step]
    return found


def test_the_committed_copy_is_what_export_writes(tmp_path: Path) -> None:
    assert run(["protocol", "export", "--out", str(tmp_path)]) == 0
    assert files(COMMITTED) == files(tmp_path), "run 'secateur protocol export' and commit"


def test_a_file_in_place_of_the_folder_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    taken = tmp_path / "taken"
    taken.write_text("mine")
    assert run(["protocol", "export", "--out", str(taken)]) == 2
    complaint = capsys.readouterr().err
    assert str(taken) in complaint
    assert complaint.count("\n") == 1
    assert taken.read_text() == "mine"


def test_every_leaf_has_its_message() -> None:
    assert set(MESSAGES) == set(Leaf)


def test_no_two_topics_share_a_pattern_or_a_name_in_the_document() -> None:
    document: Any = asyncapi_document()
    assert len({topic.pattern for topic in TOPICS}) == len(TOPICS)
    assert len(document["channels"]) == len(document["operations"]) == len(TOPICS)


def test_every_reference_leads_somewhere() -> None:
    for document in (asyncapi_document(), *json_schemas().values()):
        for reference in references(document):
            assert isinstance(resolve(document, reference), dict)


def test_the_coordinator_sends_exactly_what_it_writes() -> None:
    document: Any = asyncapi_document()
    sent = {
        resolve(document, operation["channel"]["$ref"])["address"]
        for operation in document["operations"].values()
        if operation["action"] == "send"
    }
    assert sent == {t.pattern for t in TOPICS if t.writer is Writer.COORDINATOR}
    assert "secateur/v1/{site}/{device}/desired" in sent
    assert "secateur/v1/{site}/{device}/telemetry" not in sent
