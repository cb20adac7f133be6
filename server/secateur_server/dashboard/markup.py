"""HTML that escapes by construction: only `tag` and `join` make it, and they escape text.

A device, a label or a reason is hostile text until it has gone through here.
"""

from collections.abc import Iterable
from html import escape


class Html(str):
    """Text that is markup already. Made by this module alone."""

    __slots__ = ()


Attribute = str | float | bool | None

Child = str | int | float | None
"""`Html` as it is, other text escaped, a number as Python writes it, ``None`` left out."""

VOID = frozenset({"br", "hr", "img", "input", "link", "meta"})
"""Elements without an end tag."""

EMPTY = Html("")


def text(value: Child) -> Html:
    """Give one child as markup."""
    if value is None:
        return EMPTY
    return value if isinstance(value, Html) else Html(escape(str(value)))


def join(children: Iterable[Child], between: str = "") -> Html:
    """Put children behind each other."""
    return Html(escape(between).join(text(child) for child in children))


def tag(name: str, /, *children: Child, **attributes: Attribute) -> Html:
    """Make one element.

    Args:
        name: Of the element; ours, never a peer's.
        children: Its content.
        attributes: ``class_`` is written ``class``, ``stroke_width`` ``stroke-width``; ``True``
            stands alone, ``None`` and ``False`` are left out; other values are escaped.
    """
    written = "".join(_attribute(key, value) for key, value in attributes.items())
    if name in VOID:
        return Html(f"<{name}{written}>")
    return Html(f"<{name}{written}>{join(children)}</{name}>")


def _attribute(key: str, value: Attribute) -> str:
    if value is None or value is False:
        return ""
    name = key.rstrip("_").replace("_", "-")
    return f" {name}" if value is True else f' {name}="{escape(str(value))}"'
