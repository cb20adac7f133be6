"""No link of the documentation leads nowhere."""

import re
from pathlib import Path
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).parents[2]

CODE = re.compile(r"^( *)```.*?^\1```$|`[^`\n]+`", re.MULTILINE | re.DOTALL)
BLOCK = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(<?([^)\s>]+)>?[^)]*\)|<(?:img|source)[^>]+src(?:set)?=\"([^\"]+)\"")
HEADING = re.compile(r"^#+ +(.+?) *#*$", re.MULTILINE)
ELSEWHERE = re.compile(r"^[a-z]+:")

DOCUMENTS = [
    path
    for path in sorted(ROOT.rglob("*.md"))
    if not any(part.startswith(".") for part in path.relative_to(ROOT).parts)
]


def links_of(text: str) -> list[str]:
    found = [match[1] or match[2] for match in LINK.finditer(CODE.sub("", text))]
    return [link for link in found if not ELSEWHERE.match(link)]


def anchors_of(text: str) -> set[str]:
    """Name the headings as GitHub does."""
    headings: list[str] = HEADING.findall(BLOCK.sub("", text))
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.replace(" ", "-") for heading in plain}


def problem(document: Path, link: str) -> str | None:
    name, _, anchor = link.partition("#")
    target = document.parent / unquote(name) if name else document
    if not target.exists():
        return f"{link}: no such file"
    if anchor and anchor not in anchors_of(target.read_text(encoding="utf-8")):
        return f"{link}: no such heading"
    return None


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_relative_link_leads_to_a_file_and_a_heading(document: Path) -> None:
    links = links_of(document.read_text(encoding="utf-8"))
    assert [found for link in links if (found := problem(document, link))] == []


def test_a_link_to_nowhere_is_found(tmp_path: Path) -> None:
    document = tmp_path / "page.md"
    document.write_text("# A *fine* page\n[a](gone.md) ![b](#a-fine-page) [c](#b) `[d](e)`\n")
    problems = [problem(document, link) for link in links_of(document.read_text())]
    assert problems == ["gone.md: no such file", None, "#b: no such heading"]


def test_the_index_of_decisions_lists_each_of_them() -> None:
    folder = ROOT / "docs" / "adr"
    listed = set(links_of((folder / "README.md").read_text(encoding="utf-8")))
    assert {path.name for path in folder.glob("[0-9]*.md")} <= listed
