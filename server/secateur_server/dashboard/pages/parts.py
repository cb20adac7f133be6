"""What several pages draw: badges, pills, chips, cards."""

from collections.abc import Mapping

from secateur_server.dashboard import words
from secateur_server.dashboard.markup import EMPTY, Child, Html, join, tag
from secateur_server.dashboard.rows import Health

GRADES = 5
"""Shades of level badges, from dense on; the narrowest of a long ladder share the last."""

TONES = {
    Health.OFFLINE: "bad",
    Health.SILENT: "bad",
    Health.INFEASIBLE: "bad",
    Health.LATE: "bad",
    Health.UPDATE_FAILED: "warn",
    Health.STEPPED_DOWN: "warn",
    Health.STOPPED: "off",
    Health.UPDATING: "busy",
    Health.WAITING: "off",
    Health.GOOD: "good",
}


def level_badge(level: int | None, desired: int | None = None) -> Html:
    """Draw a level, and the one that it is on its way to."""
    if level is None and desired is None:
        return Html(words.DASH)
    parts = [_badge(level)] if level is not None else []
    if desired is not None and desired != level:
        arrow = tag("span", "\u2192", class_="arrow", aria_label="on its way to")
        parts += [arrow, _badge(desired, "wanted")]
    return tag("span", *parts, class_="levels")


def _badge(level: int, more: str = "") -> Html:
    title = "level 0: dense" if level == 0 else f"level {level}"
    grade = f"g{min(level, GRADES - 1)}"
    return tag("span", level, class_=f"level {grade} {more}".rstrip(), title=title)


def health_pill(health: Health) -> Html:
    """Draw a health as a word with a colour: never a colour alone."""
    return pill(str(health), TONES[health])


def pill(word: str, tone: str) -> Html:
    """Draw a state."""
    return tag(
        "span", tag("span", class_=f"dot {tone}", aria_hidden="true"), word, class_="pill"
    )


def card(title: str, *content: Child, class_: str = "") -> Html:
    """Draw a box with a heading."""
    heading = tag("h2", title) if title else EMPTY
    return tag("section", heading, *content, class_=f"card {class_}".rstrip())


def figure(value: Child, name: str, note: Child = None, tone: str = "") -> Html:
    """Draw one number of a summary."""
    return tag(
        "div",
        tag("span", value, class_=f"value {tone}".rstrip()),
        tag("span", name, class_="name"),
        tag("span", note, class_="note") if note is not None else EMPTY,
        class_="figure",
    )


def empty(title: str, *content: Child) -> Html:
    """Draw that there is nothing, and what to do about it."""
    return tag("div", tag("p", title, class_="title"), tag("p", *content), class_="empty")


def facts(pairs: list[tuple[str, Child]]) -> Html:
    """Draw names and values."""
    return tag(
        "dl",
        join(tag("div", tag("dt", name), tag("dd", value)) for name, value in pairs),
        class_="facts",
    )


def choices(name: str, title: str, options: list[tuple[str, str]], chosen: str) -> Html:
    """Draw a select with its label."""
    return tag(
        "label",
        tag("span", title),
        tag(
            "select",
            *(
                tag("option", shown, value=value, selected=value == chosen)
                for value, shown in options
            ),
            name=name,
            id=f"choice-{name}",
        ),
    )


def act(
    name: str,
    words: str,
    fields: Mapping[str, str],
    *,
    tone: str = "",
    question: str | None = None,
    title: str | None = None,
) -> Html:
    """Draw a button that does something; ``question``: asked first."""
    hidden = [
        tag("input", type="hidden", name=key, value=value) for key, value in fields.items()
    ]
    return tag(
        "form",
        *hidden,
        tag("button", words, class_=tone or None, data_confirm=question, title=title),
        method="post",
        action=f"/actions/{name}",
        data_action=True,
    )
