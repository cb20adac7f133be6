"""Draws the README's picture: running this file writes ``closed_loop.svg`` beside it."""

from dataclasses import dataclass
from pathlib import Path

INK, QUIET, PAPER = "#1f2933", "#52606d", "#ffffff"
GREEN, PALE_GREEN, GREY = "#2f855a", "#e6f4ec", "#f4f6f8"
FONT = "font-family='system-ui, sans-serif'"
WIDTH, HEIGHT = 960, 400
FRAME = (
    f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {HEIGHT}' role='img' "
    "aria-label='A pruned ladder, a coordinator, and devices in a closed loop'>"
    f"<rect width='{WIDTH}' height='{HEIGHT}' fill='{PAPER}'/>"
)
HEAD = (
    "<defs><marker id='head' viewBox='0 0 10 10' refX='9' refY='5' markerWidth='8' "
    f"markerHeight='8' orient='auto'><path d='M0 0L10 5L0 10z' fill='{INK}'/></marker></defs>"
)


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle with a title and lines of text; x, y, width and height in SVG units."""

    x: int
    y: int
    width: int
    height: int
    title: str
    lines: tuple[str, ...] = ()
    fill: str = GREY

    def draw(self) -> str:
        """Give its SVG."""
        parts = [
            (
                f"<rect x='{self.x}' y='{self.y}' width='{self.width}' height='{self.height}' "
                f"rx='10' fill='{self.fill}' stroke='{INK}' stroke-width='1.5'/>"
            ),
            text(self.x + 16, self.y + 27, self.title, size=16, weight="bold"),
        ]
        parts += [
            text(self.x + 16, self.y + 50 + 19 * k, line, colour=QUIET)
            for k, line in enumerate(self.lines)
        ]
        return "\n".join(parts)


def text(
    x: int, y: int, words: str, *, size: int = 13, weight: str = "normal", colour: str = INK
) -> str:
    """Give one line of text."""
    return (
        f"<text x='{x}' y='{y}' {FONT} font-size='{size}' font-weight='{weight}' "
        f"fill='{colour}'>{words}</text>"
    )


def arrow(points: str, *, colour: str = INK, is_dashed: bool = False) -> str:
    """Give a line with a head at its end."""
    dash = " stroke-dasharray='6 4'" if is_dashed else ""
    return (
        f"<polyline points='{points}' fill='none' stroke='{colour}' stroke-width='2'{dash} "
        f"marker-end='url(#head)'/>"
    )


def ladder(x: int, y: int) -> str:
    """Draw four rungs, each narrower than the one above."""
    rungs = []
    for level in range(4):
        width = 150 - 34 * level
        top = y + 26 * level
        rungs.append(
            f"<rect x='{x}' y='{top}' width='{width}' height='18' rx='4' fill='{GREEN}' "
            f"opacity='{1 - 0.18 * level:.2f}'/>"
        )
        rungs.append(text(x + 6, top + 13, f"level {level}", size=11, colour=PAPER))
    return "\n".join(rungs)


def draw() -> str:
    """Draw the whole picture."""
    devices = [
        Box(650, 40, 280, 78, "gateway", ("runs level 0",), PALE_GREEN),
        Box(650, 138, 280, 78, "camera, getting hot", ("from level 1 to level 3",)),
        Box(650, 236, 280, 78, "Raspberry Pi", ("runs level 2",), PALE_GREEN),
    ]
    coordinator = Box(
        300,
        116,
        210,
        122,
        "coordinator",
        ("fits one level to", "every device, now,", "and says why"),
    )
    parts = [
        FRAME,
        HEAD,
        text(30, 78, "your model.tflite", size=16, weight="bold"),
        text(30, 100, "pruned into a ladder,", colour=QUIET),
        text(30, 118, "each level measured", colour=QUIET),
        ladder(30, 138),
        arrow("200,177 300,177"),
        text(216, 167, "publish"),
        coordinator.draw(),
        *(device.draw() for device in devices),
        arrow("510,140 650,80"),
        arrow("510,177 650,177"),
        arrow("510,214 650,274"),
        text(520, 62, "the level that", size=12),
        text(520, 79, "fits, over MQTT", size=12),
        arrow("790,314 790,360 405,360 405,238", colour=GREEN),
        text(428, 350, "CPU, memory, temperature, measured latency"),
        text(
            428, 380, "A new level is fetched, proved, and swapped in between two inferences."
        ),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    Path(__file__).with_suffix(".svg").write_text(draw(), encoding="utf-8")
