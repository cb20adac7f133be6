"""Plots are well-formed, whatever is written or counted in them."""

from xml.etree import ElementTree as ET

from hypothesis import example, given
from hypothesis import strategies as st

from secateur_server.pruning.report.scale import fit, ticks
from secateur_server.pruning.report.svg import Bars, Line, Point, Words, bars, lines, scatter

# XML itself forbids most control characters; pages are HTML, which does not.
texts = st.text(st.characters(blacklist_categories=("Cs", "Cc")), max_size=60)
numbers = st.floats(-1e9, 1e9)
words = st.builds(Words, texts, texts, texts, texts)


def read(drawing: str) -> ET.Element:
    root = ET.fromstring(drawing)  # noqa: S314 - our own text
    assert root.attrib["role"] == "img"
    ids = [each.attrib["id"] for each in root if each.tag in {"title", "desc"}]
    assert root.attrib["aria-labelledby"].split() == ids
    assert {each.tag for each in root.iter()} <= {
        "svg",
        "title",
        "desc",
        "path",
        "text",
        "circle",
        "rect",
    }
    return root


def coordinates(root: ET.Element, name: str) -> list[float]:
    return [float(each.attrib[name]) for each in root.iter() if name in each.attrib]


@given(words, st.lists(st.builds(Point, numbers, numbers, texts, numbers, numbers), max_size=6))
def test_points_stay_inside_and_texts_are_escaped(
    given_words: Words, some: list[Point]
) -> None:
    root = read(scatter(given_words, some))
    assert root.findtext("title") == given_words.title
    assert root.findtext("desc") == given_words.description
    assert sum(each.tag == "circle" for each in root) == len(some)
    assert all(0 <= x <= 440 for x in coordinates(root, "cx"))
    assert all(0 <= y <= 280 for y in coordinates(root, "cy"))


@given(
    words,
    st.lists(
        st.builds(Line, texts, st.lists(st.tuples(numbers, numbers), max_size=5).map(tuple)),
        max_size=9,
    ),
)
def test_lines_have_a_legend_entry_each(given_words: Words, some: list[Line]) -> None:
    root = read(lines(given_words, some))
    assert sum(each.tag == "rect" for each in root) == len(some)


@given(
    words,
    st.lists(
        st.builds(Bars, texts, st.tuples(*[st.none() | st.floats(0, 1e9)] * 3)), max_size=9
    ),
)
def test_every_number_has_a_bar_and_a_missing_one_has_none(
    given_words: Words, some: list[Bars]
) -> None:
    root = read(bars(given_words, some, ("a", "b", "c")))
    known = sum(value is not None for row in some for value in row.values)
    assert sum(each.tag == "rect" for each in root) == known + 3
    assert all(width >= 0 for width in coordinates(root, "width"))


def test_a_longer_bar_is_a_larger_number() -> None:
    root = read(bars(Words("t", "d"), [Bars("a", (1.0,)), Bars("b", (2.0,))], ("s",)))
    short, long = coordinates(root, "width")
    assert long > short * 1.9


@given(st.lists(numbers, min_size=1))
@example([0.7])
def test_an_axis_holds_all_numbers_between_a_handful_of_ticks(values: list[float]) -> None:
    scale = fit(values, start=0, end=100)
    assert scale.low <= min(values) <= max(values) <= scale.high
    marks = ticks(scale)
    assert 2 <= len(marks) <= 10
    assert marks == sorted(marks)


@given(numbers, numbers, st.lists(numbers, min_size=2))
def test_a_larger_number_is_never_further_back(
    one: float, other: float, values: list[float]
) -> None:
    scale = fit(values, start=0, end=100)
    assert (scale.at(one) <= scale.at(other)) or one > other
