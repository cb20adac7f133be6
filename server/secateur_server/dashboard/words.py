"""Numbers and names as people read them."""

DASH = "\u2013"

MANY_MS = 100.0
MINUTE_S, HOUR_S, DAY_S = 60.0, 3600.0, 86_400.0


def milliseconds(value: float | None) -> str:
    """Write a latency with three digits that count."""
    if value is None:
        return DASH
    return f"{value:.3g} ms" if value < MANY_MS else f"{value:.0f} ms"


def percent(value: float | None, digits: int = 0) -> str:
    """Write a share."""
    return DASH if value is None else f"{value:.{digits}%}".replace("%", " %")


def accuracy(value: float | None) -> str:
    """Write an accuracy as a share of one, as ladders have it."""
    return DASH if value is None else f"{value:.3f}"


def degrees(value: float | None) -> str:
    """Write a temperature."""
    return DASH if value is None else f"{value:.0f} \u00b0C"


def size(value: float | None) -> str:
    """Write bytes."""
    if value is None:
        return DASH
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000 or unit == "GB":  # noqa: PLR2004 - SI
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.3g} {unit}"
        value /= 1000
    raise AssertionError  # pragma: no cover - the last unit returns


def count(value: int) -> str:
    """Write a number with thin spaces between thousands."""
    return f"{value:,}".replace(",", "\u202f")


def plural(value: int, one: str, many: str = "") -> str:
    """Write how many of what."""
    return f"{count(value)} {one if value == 1 else many or one + 's'}"


def ago(passed_s: float) -> str:
    """Say how long ago something was."""
    if passed_s < 1.5:  # noqa: PLR2004
        return "now"
    return f"{span(passed_s)} ago"


def span(passed_s: float) -> str:
    """Write a duration in its largest unit."""
    for limit_s, unit, letter in (
        (MINUTE_S, 1.0, "s"),
        (HOUR_S, MINUTE_S, "min"),
        (DAY_S, HOUR_S, "h"),
    ):
        if passed_s < limit_s:
            return f"{passed_s / unit:.0f} {letter}"
    return f"{passed_s / DAY_S:.0f} d"


def amount(value: float) -> str:
    """Write a large number in short."""
    for unit in ("", "k", "M", "G"):
        if value < 1000 or unit == "G":  # noqa: PLR2004 - SI
            return f"{value:.3g} {unit}".rstrip()
        value /= 1000
    raise AssertionError  # pragma: no cover - the last unit returns
