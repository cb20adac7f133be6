"""Record `make demo`: running this file writes ``demo.svg`` beside it.

    .venv/bin/python docs/pictures/demo_recording.py

Plays the demo in a terminal of its own, as anybody would, and draws the screen as it was when
the most devices were under pressure, as a picture of a terminal.
"""

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

COLUMNS, ROWS = 150, 40
PICTURE = Path(__file__).with_name("demo.svg")
REDRAWN = re.compile(r"(?:\x1b\[1A\x1b\[2K|\x1b\[2K\x1b\[1A|\r\x1b\[2K)+")
"""How the table goes back to its first line before it is drawn again."""
FONTS = re.compile(r"@font-face \{[^}]*\}\s*")
"""What would be loaded from elsewhere."""
LATE = "\x1b[31m"
"""What p95 above the deadline is drawn in."""


def record() -> list[str]:
    """Run the demo in a terminal and give its screens, one after the other."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "COLUMNS": str(COLUMNS), "LINES": str(ROWS), "TERM": "xterm"}
    with subprocess.Popen(
        [sys.executable, "-m", "secateur_server", "demo"],
        stdout=theirs,
        stderr=subprocess.DEVNULL,
        stdin=theirs,
        env=environment,
    ):
        os.close(theirs)
        parts = []
        while True:
            try:
                part = os.read(ours, 65_536)
            except OSError:  # the terminal's other side is closed
                break
            if not part:
                break
            parts.append(part)
    text = b"".join(parts).decode(errors="replace").replace("\r\n", "\n")
    return [screen for screen in REDRAWN.split(text) if "p95 / deadline" in screen]


def draw(screen: str) -> str:
    """Give a picture of a terminal."""
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        console = Console(record=True, width=COLUMNS, file=nowhere)
        console.print(Text.from_ansi("$ make demo\n" + screen.strip("\n")))
    return FONTS.sub("", console.export_svg(title="secateur demo"))


def main() -> None:
    """Record and draw."""
    screens = record()
    if not screens:
        sys.exit("the demo drew no table")
    PICTURE.write_text(draw(max(screens, key=lambda screen: screen.count(LATE))), "utf-8")
    print(f"{PICTURE.name}: one of {len(screens)} screens")


if __name__ == "__main__":
    main()
