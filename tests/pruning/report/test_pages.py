"""Pages: self-contained, harmless whatever a model's author wrote, whole or not there."""

import dataclasses
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from secateur_protocols.manifest import Ladder
from secateur_server.cli import app
from secateur_server.pruning.advice import advise
from secateur_server.pruning.allocation import Curve
from secateur_server.pruning.facts import Facts, GroupFacts, NotFollowed, OperatorFacts
from secateur_server.pruning.report.inspected import inspection_page
from secateur_server.pruning.report.layers import Layer
from secateur_server.pruning.report.pruned import ladder_page
from support.architectures import Sketch

DIGITS = Path(__file__).resolve().parents[3] / "examples" / "digits"
HOSTILE = "</title><script>alert(1)</script><img src=x onerror=alert(1)>&\"'"
VOID = {"meta"}


class Reader(HTMLParser):
    """Reads a page, and that every element is closed in turn."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def read(text: str) -> Reader:
    """Read a page that may load nothing and run nothing."""
    page = Reader(text)
    assert not {"script", "img", "link", "iframe", "object", "image", "use"} & set(page.tags)
    names = {name for name, _ in page.attributes}
    assert not names & {"src", "href", "xlink:href"}
    assert not any(name.startswith("on") for name in names)
    assert not re.search(r"url\(|@import|https?:", text)
    ids = [value for name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    return page


def hostile_facts() -> Facts:
    operator = OperatorFacts(
        index=0,
        kind=f"CUSTOM {HOSTILE}",
        input=(1, 2),
        output=(1, 2),
        macs=1,
        parameters=1,
        bytes=4,
        latency_ms=1.0,
        held_by=HOSTILE,
    )
    curve = Curve((1, 2), (0.5, 0.0))
    return Facts(
        name=HOSTILE,
        bytes=4,
        macs=1,
        parameters=1,
        precision="other",
        subgraphs=1,
        operators=(operator,),
        groups=(GroupFacts(name=HOSTILE, size=2, is_free=True, curve=curve),),
        not_followed=(NotFollowed(operator=HOSTILE, index=0, reason=HOSTILE),),
        refusal=HOSTILE,
    )


def test_what_a_file_says_of_itself_stays_text() -> None:
    facts = hostile_facts()
    page = read(inspection_page(facts, advise(facts)))
    assert HOSTILE in page.text


def test_names_in_a_ladders_page_stay_text(digits_ladder: Path) -> None:
    ladder = Ladder.model_validate_json((digits_ladder / "ladder.json").read_bytes())
    layers = (Layer(HOSTILE, HOSTILE, 4, 100, None),)
    record = {
        "left_out": [{"rule": HOSTILE, "reason": HOSTILE}],
        "not_followed": [{"operator": HOSTILE, "index": 1, "reason": HOSTILE}],
        "sensitivity": [{"group": HOSTILE, "widths": [1, 2], "losses": [0.2, 0.0]}],
    }
    page = read(ladder_page(ladder, record, [layers] * len(ladder.levels)))
    assert HOSTILE in page.text


def test_inspect_writes_one_page_with_plots_and_tables(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "report.html"
    given = ["--calibration", str(DIGITS / "calibration.npz"), "--report", str(out), "--json"]
    assert app.run(["inspect", str(DIGITS / "digits.tflite"), *given]) == 0
    json.loads(capsys.readouterr().out)
    page = read(out.read_text(encoding="utf-8"))
    assert page.tags.count("svg") == page.tags.count("desc") == 2
    assert "Short of latency" in page.text
    assert "Sensitivity by group" in page.text
    assert [each.name for each in tmp_path.iterdir()] == ["report.html"]


def test_prune_writes_one_page_beside_the_ladder(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "ladder" / "report.html"
    given = ["--calibration", str(DIGITS / "calibration.npz"), "--search", "1"]
    given += ["--evaluation", str(DIGITS / "evaluation.npz"), "--out", str(tmp_path / "ladder")]
    code = app.run(
        [
            "prune",
            str(DIGITS / "digits.tflite"),
            *given,
            "--ratio",
            "0.5",
            "--report",
            str(report),
        ]
    )
    assert code == 0, capfd.readouterr().err
    page = read(report.read_text(encoding="utf-8"))
    assert page.tags.count("svg") == page.tags.count("desc") >= 5
    ladder = Ladder.model_validate_json((tmp_path / "ladder" / "ladder.json").read_bytes())
    for level in ladder.levels:
        assert f"{level.size_bytes:,}" in page.text
        assert f"{level.accuracy.value:.4f}" in page.text
    assert "32 →\N{NO-BREAK SPACE}16" in page.text
    assert "Sensitivity by group" in page.text
    record = json.loads((tmp_path / "ladder" / "report.json").read_bytes())
    assert len(record["sensitivity"]) == 5
    assert all(each["losses"][-1] == 0.0 for each in record["sensitivity"])


def test_an_operator_that_has_left_is_said_to_have_left(digits_ladder: Path) -> None:
    ladder = Ladder.model_validate_json((digits_ladder / "ladder.json").read_bytes())
    first, second = (Layer(name, "CONV_2D", 8, 100, 0.1) for name in "ab")
    layers = [(first, second)] * (len(ladder.levels) - 1) + [(first,)]
    page = read(ladder_page(ladder, {}, layers))
    assert "→\N{NO-BREAK SPACE}left" in page.text


@pytest.mark.parametrize("command", ["inspect", "prune"])
def test_a_folder_where_the_page_should_be_is_refused_before_anything_is_done(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], command: str
) -> None:
    given = [command, str(DIGITS / "digits.tflite"), "--report", str(tmp_path)]
    if command == "prune":
        given += ["--calibration", str(DIGITS / "calibration.npz")]
        given += ["--evaluation", str(DIGITS / "evaluation.npz")]
        given += ["--out", str(tmp_path / "ladder")]
    assert app.run(given) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith(f"secateur: error: --report {tmp_path} is a folder")
    assert list(tmp_path.iterdir()) == []


def test_a_page_that_cannot_be_written_leaves_nothing_behind(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / "small.tflite"
    net = Sketch(0)
    model.write_bytes(net.finish(net.layer(net.layer(net.input(1, 4, 4, 3), 4), 2)))
    (tmp_path / "file").write_text("no folder")
    given = ["--report", str(tmp_path / "file" / "report.html")]
    assert app.run(["inspect", str(model), *given]) == 1
    assert "cannot write" in capfd.readouterr().err
    assert sorted(each.name for each in tmp_path.iterdir()) == ["file", "small.tflite"]


def test_a_page_without_measurements_says_so() -> None:
    facts = dataclasses.replace(hostile_facts(), refusal="an operator is missing")
    assert "The engine does not run it" in read(inspection_page(facts, advise(facts))).text
