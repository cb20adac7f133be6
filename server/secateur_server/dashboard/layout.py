"""The frame of every page: head, navigation, where the connections stand."""

from secateur_server.dashboard.link import Role
from secateur_server.dashboard.markup import EMPTY, Child, Html, join, tag
from secateur_server.dashboard.page import Fragments, Page, Rows, View

PLACES = (
    ("fleet", "/", "Fleet"),
    ("models", "/models", "Models"),
    ("rollouts", "/rollouts", "Rollouts"),
    ("what-if", "/what-if", "What if"),
)

ROLES = {
    Role.UNKNOWN: "rights not known yet",
    Role.OPERATOR: "operator",
    Role.VIEWER: "read only",
}


def slot(seen: Fragments, name: str, element: str = "div", class_: str | None = None) -> Html:
    """Give the element that a fragment fills, filled."""
    fragment = seen[name]
    content = join(fragment.lines.values()) if isinstance(fragment, Rows) else fragment
    return tag(element, content, id=name, class_=class_)


def connection(view: View) -> Html:
    """Say whether broker and coordinator are there, in one line that is always in sight."""
    is_coordinated = view.fleet.is_coordinated
    if not view.is_connected:
        state, words = "bad", "broker lost: trying again, what you see may be old"
    elif is_coordinated is None:
        state, words = "warn", "connected; no coordinator has been heard of"
    elif not is_coordinated:
        state, words = "warn", "connected; the coordinator is gone, nothing is decided"
    else:
        state, words = "good", "connected"
    return join(
        (
            tag("span", class_=f"dot {state}", aria_hidden="true"),
            tag("span", words, class_="words"),
            tag("span", ROLES[view.role], class_="role"),
        )
    )


def document(title: str, *body: Child, class_: str = "") -> Html:
    """Give a whole document."""
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", f"{title} \u00b7 Secateur"),
        tag("link", rel="icon", href="/static/icon.svg", type="image/svg+xml"),
        tag("link", rel="stylesheet", href="/static/dashboard.css"),
        tag("script", src="/static/dashboard.js", defer=True),
    )
    return join(
        (
            Html("<!doctype html>"),
            tag("html", head, tag("body", *body, class_=class_), lang="en"),
        )
    )


def shell(page: Page, view: View, seen: Fragments, live: str) -> Html:
    """Put a page into its document.

    Args:
        page: Which.
        view: For whom.
        seen: What it looks like now.
        live: The address that its fragments come from, from now on.
    """
    links = [
        tag("a", words, href=address, aria_current="page" if name == page.place else None)
        for name, address, words in PLACES
    ]
    header = tag(
        "header",
        tag(
            "a",
            tag("img", src="/static/icon.svg", alt="", width="26", height="26"),
            "Secateur",
            class_="brand",
            href="/",
        ),
        tag("nav", *links, aria_label="Pages"),
        tag("div", slot(seen, "connection", class_="connection"), class_="grow", role="status"),
        tag(
            "form",
            tag("span", view.user or "no account", class_="user"),
            tag("button", "Log out", class_="quiet"),
            method="post",
            action="/logout",
        ),
    )
    main = tag("main", page.frame(view, seen), id="main", tabindex="-1", data_live=live)
    return document(
        page.title,
        tag("a", "Skip to content", href="#main", class_="skip"),
        header,
        main,
        tag("div", id="toasts", role="status", aria_live="polite"),
    )


def login_page(*, broker: str, user: str = "", error: str = "", is_open: bool = False) -> Html:
    """Draw the login.

    Args:
        broker: Where it is, without credentials.
        user: What was typed before.
        error: Why it did not work.
        is_open: Whether the broker lets everybody in.
    """
    complaint = tag("p", error, class_="error", role="alert") if error else EMPTY
    fields = tag(
        "div",
        tag(
            "label",
            "Name",
            tag(
                "input",
                name="user",
                autocomplete="username",
                value=user,
                autofocus=not is_open,
                maxlength="200",
            ),
        ),
        tag(
            "label",
            "Password",
            tag(
                "input",
                name="password",
                type="password",
                autocomplete="current-password",
                maxlength="1000",
            ),
        ),
        class_="fields",
    )
    if is_open:
        inner = join(
            (
                tag(
                    "p",
                    "This broker asks for no account. ",
                    tag("strong", "Whoever reaches it may do everything."),
                    class_="soft",
                ),
                tag("button", "Open the dashboard", class_="primary", autofocus=True),
                tag("details", tag("summary", "Log in with an account"), fields),
            )
        )
    else:
        inner = join((fields, tag("button", "Log in", class_="primary")))
    return document(
        "Log in",
        tag(
            "main",
            tag("img", src="/static/icon.svg", alt="", width="56", height="56"),
            tag("h1", "Secateur"),
            tag(
                "p",
                "Log in with your account on the broker ",
                tag("code", broker),
                class_="soft",
            ),
            complaint,
            tag("form", inner, method="post", action="/login"),
            class_="login",
        ),
        class_="plain",
    )


def problem_page(title: str, words: str) -> Html:
    """Draw what could not be drawn."""
    return document(
        title,
        tag(
            "main",
            tag("h1", title),
            tag("p", words),
            tag("p", tag("a", "To the fleet", href="/")),
            class_="login",
        ),
        class_="plain",
    )
