"""Whatever a device calls itself is text, never markup."""

from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from secateur_server.dashboard.markup import Html, join, tag, text


class Elements(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.opened: list[tuple[str, list[tuple[str, str | None]]]] = []
        self.words = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.opened.append((tag, attrs))

    def handle_data(self, data: str) -> None:
        self.words += data


hostile = st.text(st.sampled_from("<>&\"' /=abcscript"), max_size=40)


@given(hostile, hostile)
def test_hostile_text_stays_text(child: str, value: str) -> None:
    parser = Elements()
    parser.feed(tag("p", child, title=value))
    parser.close()
    assert parser.opened == [("p", [("title", value)])]
    assert parser.words == child


def test_markup_of_our_own_is_not_escaped_twice() -> None:
    inner = tag("b", "a & b")
    assert tag("p", inner, "<") == "<p><b>a &amp; b</b>&lt;</p>"
    assert isinstance(join([inner, "<"], between=" & "), Html)
    assert join(["a", "b"], between="&") == "a&amp;b"


def test_attributes_that_are_off_are_left_out() -> None:
    written = tag("input", disabled=True, checked=False, value=None, data_x=0, class_="c")
    assert written == '<input disabled data-x="0" class="c">'


def test_nothing_is_nothing() -> None:
    assert text(None) == ""
    assert tag("p", None) == "<p></p>"
