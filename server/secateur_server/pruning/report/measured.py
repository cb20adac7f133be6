"""The page of ``secateur bench``: latency, memory and energy of each level on one machine."""

import importlib.metadata
import platform
from collections.abc import Sequence

from secateur_server.bench import Found
from secateur_server.pruning.report.page import figure, page, paragraph, section, table
from secateur_server.pruning.report.svg import Bars, Words, bars


def bench_page(found: Sequence[Found], threads: int) -> str:
    """Give the page as HTML."""
    engine = f"ai-edge-litert {importlib.metadata.version('ai-edge-litert')}"
    said = f"{engine}, {threads} thread(s), {platform.machine()}, one sample at a time."
    columns = (
        "model",
        "p50 ms",
        "p95 ms",
        "p99 ms",
        "runs",
        "file bytes",
        "memory bytes",
        "mJ",
    )
    rows = [
        (
            each.name,
            each.p50_ms,
            each.p95_ms,
            each.p99_ms,
            each.runs,
            each.size_bytes,
            each.memory_bytes,
            each.energy_mj,
        )
        for each in found
    ]
    words = Words("Latency", "Median, p95 and p99 of each level, in milliseconds.", x="ms")
    drawn = bars(
        words,
        [Bars(each.name, (each.p50_ms, each.p95_ms, each.p99_ms)) for each in found],
        ("p50", "p95", "p99"),
    )
    numbers = table("What was measured, all levels in turns", columns, rows)
    return page(
        "Measured on this machine",
        paragraph(said, is_soft=True),
        section("Latency", figure(drawn, words.description)),
        section("All numbers", numbers),
    )
