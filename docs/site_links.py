"""For the site: what lies outside this folder is named, since no page of the site shows it."""

import re

OUTSIDE = re.compile(r"\[([^\]]+)\]\((?:\.\./)+([^)#\s]+)[^)]*\)")


def on_page_markdown(markdown: str, **_: object) -> str:
    """Replace links out of the folder by the path they lead to."""
    return OUTSIDE.sub(_named, markdown)


def _named(match: "re.Match[str]") -> str:
    text, path = match.groups()
    return text if path in text else f"{text} (`{path}`)"
