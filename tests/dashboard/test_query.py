"""Which rows a table shows is a pure function of the rows and the question."""

from hypothesis import given
from hypothesis import strategies as st

from secateur_server.dashboard.query import ORDERS, Query, parse_query, select
from secateur_server.dashboard.rows import Health, Row

NAMES = [f"meter-{n}" for n in range(12)]

rows_ = st.lists(
    st.builds(
        Row,
        device=st.sampled_from(NAMES),
        state=st.sampled_from(["online", "offline"]),
        hardware_class=st.sampled_from(["pi-4", "gateway"]),
        labels=st.dictionaries(st.sampled_from(["room", "site"]), st.sampled_from("abc")),
        model=st.sampled_from(["digits", "words"]) | st.none(),
        level=st.integers(0, 3) | st.none(),
        p95_ms=st.floats(0, 100) | st.none(),
        deadline_ms=st.floats(1, 100) | st.none(),
        answered=st.integers(0, 10),
        missed=st.integers(0, 3),
        spoken_health=st.sampled_from(Health),
        overdue_at_s=st.floats(0, 10) | st.none(),
    ),
    max_size=40,
)

queries = st.builds(
    Query,
    search=st.sampled_from(["", "METER-1", "pi", "room=a", "no such"]),
    label=st.sampled_from(["", "room", "room=a", "room="]),
    state=st.sampled_from(["", "online"]),
    health=st.sampled_from(["", "late", "no such"]),
    level=st.none() | st.integers(0, 3),
    model=st.sampled_from(["", "digits"]),
    sort=st.sampled_from([*ORDERS, *(f"-{key}" for key in ORDERS)]),
    page=st.integers(1, 5),
    size=st.sampled_from([25, 50]),
)


@given(rows_, queries)
def test_the_pages_together_are_all_that_match_each_once(rows: list[Row], query: Query) -> None:
    first = select(rows, query.with_(page=1), 5.0)
    pages = [select(rows, query.with_(page=n + 1), 5.0) for n in range(first.pages)]
    shown = [row for page in pages for row in page.rows]
    assert len(shown) == first.matching
    assert all(row in rows for row in shown)
    assert all(len(page.rows) <= query.size for page in pages)


@given(rows_, queries)
def test_what_is_shown_matches_the_filters(rows: list[Row], query: Query) -> None:
    for row in select(rows, query, 5.0).rows:
        assert query.state in {"", row.state}
        assert query.level in {None, row.level}
        assert query.model in {"", row.model}
        if query.label == "room=a":
            assert row.labels["room"] == "a"
        if query.search == "METER-1":
            assert "meter-1" in row.device


@given(rows_, st.sampled_from(sorted(ORDERS)))
def test_what_was_not_measured_comes_last_whichever_way_round(
    rows: list[Row], key: str
) -> None:
    for sort in (key, f"-{key}"):
        page = select(rows, Query(sort=sort, size=100), 5.0)
        if key == "share":
            is_known = [row.share is not None for row in page.rows]
            assert is_known == sorted(is_known, reverse=True)


def test_names_are_sorted_as_people_count() -> None:
    rows = [Row(device=name, state="online") for name in sorted(NAMES)]
    assert [row.device for row in select(rows, Query(), 0.0).rows] == NAMES


def test_a_page_past_the_end_is_the_last_one() -> None:
    rows = [Row(device=f"d-{n}", state="online") for n in range(60)]
    page = select(rows, Query(page=99), 0.0)
    assert (page.number, page.pages, len(page.rows)) == (2, 2, 10)


@given(queries)
def test_a_question_survives_its_address(query: Query) -> None:
    given_ = {k: str(v) for k, v in zip(*_parts(query), strict=True)}
    assert parse_query(given_) == query


def _parts(query: Query) -> tuple[list[str], list[object]]:
    from urllib.parse import parse_qsl  # noqa: PLC0415 - only here

    pairs = parse_qsl(query.encode(), keep_blank_values=True)
    return [key for key, _ in pairs], [value for _, value in pairs]


@given(st.dictionaries(st.sampled_from(["search", "level", "page", "size", "sort"]), st.text()))
def test_no_address_is_too_strange(given_: dict[str, str]) -> None:
    query = parse_query(given_)
    assert select([Row(device="d", state="online")], query, 0.0).number >= 1
