"""What a program can rely on in a line of the log."""

import ast
import json
import logging
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secateur_protocols.event import EventKind
from secateur_protocols.logs import JsonFormatter, LogEvent, LogForm, about, log_to_stderr

ROOT = Path(__file__).parents[2]
OURS = {"time", "level", "logger", "event", "text", "traceback"}


def written(text: str, /, **fields: str) -> str:
    record = logging.LogRecord("secateur.test", logging.WARNING, "", 0, "%s", (text,), None)
    record.__dict__.update(about(LogEvent.FAULT, **fields))
    return JsonFormatter().format(record)


@given(st.text(), st.dictionaries(st.sampled_from(sorted(OURS | {"device"})), st.text()))
def test_any_words_and_fields_are_one_line_and_never_hide_what_every_line_has(
    text: str, fields: dict[str, str]
) -> None:
    line = written(text, **fields)
    assert len(line.splitlines()) == 1
    said = json.loads(line)
    assert (said["level"], said["logger"], said["event"]) == (
        "warning",
        "secateur.test",
        "fault",
    )
    assert said["text"] == text
    assert said["time"].endswith("Z")
    assert said.get("device") == fields.get("device")


def test_an_error_that_nobody_expected_comes_with_its_traceback() -> None:
    error = ValueError("odd")
    info = (ValueError, error, error.__traceback__)
    record = logging.LogRecord("x", logging.ERROR, "", 0, "housekeeping", (), info)
    said = json.loads(JsonFormatter().format(record))
    assert "ValueError: odd" in said["traceback"]
    assert "event" not in said


def test_what_devices_say_by_mqtt_has_the_same_name_in_the_log() -> None:
    assert {str(kind) for kind in EventKind} <= {str(event) for event in LogEvent}


def test_every_event_is_written_somewhere_and_every_line_names_its_event() -> None:
    named, bare = set[str](), list[str]()
    for path in [*ROOT.glob("agent/**/*.py"), *ROOT.glob("server/**/*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "LogEvent":
                named.add(node.attr)
            if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("log."):
                is_expected = node.func.attr != "exception"  # type: ignore[attr-defined]
                if is_expected and not any(each.arg == "extra" for each in node.keywords):
                    bare.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert bare == []
    by_kind = {kind.name for kind in EventKind}  # named by the message that is published
    assert named | by_kind == set(LogEvent.__members__)


def test_the_form_that_is_asked_for_is_the_form_of_every_logger(
    capsys: pytest.CaptureFixture[str],
) -> None:
    root = logging.getLogger()
    before = root.handlers[:], root.level
    try:
        log_to_stderr(LogForm.JSON, logging.INFO)
        logging.getLogger("secateur.agent").info("here")
        assert json.loads(capsys.readouterr().err)["text"] == "here"
        log_to_stderr(LogForm.CONSOLE, logging.INFO)
        logging.getLogger("secateur.agent").info("there")
        assert capsys.readouterr().err.endswith(" INFO there\n")
    finally:
        root.handlers[:], level = before
        root.setLevel(level)


def test_every_event_is_described() -> None:
    page = (ROOT / "docs/logs.md").read_text(encoding="utf-8")
    assert [event for event in LogEvent if f"`{event}`" not in page] == []
