"""How rollouts look on a terminal: tables, and bars that move."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import typer
from rich.box import SIMPLE
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Column, Table
from rich.text import Text

from secateur_protocols.codec import decode
from secateur_protocols.errors import ProtocolError
from secateur_protocols.ota import OtaProgress
from secateur_protocols.rollout import ENDED, RolloutState, RolloutStatus, WaveStatus
from secateur_protocols.topics import (
    ANY,
    Leaf,
    device_topic,
    parse_device_topic,
    rollout_topic,
)
from secateur_server.adapters.broker import Received
from secateur_server.adapters.operator import OperatorClient
from secateur_server.errors import ServerError
from secateur_server.transfers import Total, Transfers

COUNTS = ("waiting", "told", "soaking", "good", "bad", "expired", "unsuited", "back")

REDRAW_S = 0.5
"""How often bars move, seconds."""


def show(view: RenderableType) -> None:
    """Print something once."""
    Console().print(view)


def list_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Lay out all rollouts, one a line."""
    table = Table(Column("rollout", no_wrap=True), "model", "version", "state", "why", "began")
    for row in rows:
        change = f"{row['from_version']} -> {row['version']}"
        cells = (row["rollout"], row["model"], change, row["state"], row["reason"])
        table.add_row(*(escape(str(cell)) for cell in (*cells, row["started_at"])))
    return table


def status_view(status: RolloutStatus) -> RenderableType:
    """Lay out one rollout: its state, its waves, its gates, its troubles."""
    columns = (Column(name, no_wrap=True) for name in ("wave", "size", "devices", *COUNTS))
    table = Table(*columns, box=SIMPLE, padding=(0, 1, 0, 0))
    for number, wave in enumerate(status.waves):
        counts = (str(getattr(wave, name) or "-") for name in COUNTS)
        marker = f"> {number}" if number == status.wave else str(number)
        table.add_row(marker, wave.size, str(wave.devices), *counts)
    parts: list[RenderableType] = [Text(_headline(status)), table]
    failed = ", ".join(f"{each.gate} {each.failed}" for each in status.gates if each.failed)
    parts.append(Text(f"gates failed: {failed or 'none'}"))
    parts += [Text(f"warning: {each}") for each in status.warnings]
    parts += [Text(f"  {each.device}: {each.gate}: {each.detail}") for each in status.troubles]
    return Group(*parts)


def follow(broker: str, site: str, rollout: str, *, as_json: bool) -> bool:
    """Show a rollout as it goes on, until it ends.

    Returns:
        Whether it has succeeded.

    Raises:
        ServerError: It was forgotten meanwhile.
    """
    topics = (
        rollout_topic(site, rollout),
        device_topic(site, ANY, Leaf.OTA_PROGRESS),
    )
    client = OperatorClient(broker, site, topics=topics)
    try:
        if as_json:
            return _follow_in_lines(client, _as_json)
        if not Console().is_terminal:
            return _follow_in_lines(client, _headline)
        return _follow_on_screen(client)
    finally:
        client.close()


def _as_json(status: RolloutStatus) -> str:
    return status.model_dump_json(exclude_none=True)


def _follow_in_lines(client: OperatorClient, words: Callable[[RolloutStatus], str]) -> bool:
    last = ""
    while True:
        received = client.watch(REDRAW_S)
        status = None if received is None else _status_of(received)
        if status is None:
            continue
        if words(status) != last:
            last = words(status)
            typer.echo(last)
        if status.state in ENDED:
            return status.state is RolloutState.SUCCEEDED


def _follow_on_screen(client: OperatorClient) -> bool:
    status: RolloutStatus | None = None
    transfers = Transfers("")
    with Live(console=Console(), auto_refresh=False) as live:
        while status is None or status.state not in ENDED:
            until_s = time.monotonic() + REDRAW_S
            while (left_s := until_s - time.monotonic()) > 0:
                received = client.watch(left_s)
                if received is None:
                    break
                found = _status_of(received)
                if found is not None:
                    transfers = transfers if status is not None else Transfers(found.model)
                    status = found
                else:
                    _take_progress(transfers, received)
            if status is not None:
                view = Group(status_view(status), _bars(status, transfers))
                live.update(view, refresh=True)
    return status.state is RolloutState.SUCCEEDED


def _status_of(received: Received) -> RolloutStatus | None:
    if "/_rollouts/" not in received.topic:
        return None
    if not received.payload:
        raise ServerError("the rollout was forgotten")
    try:
        return decode(RolloutStatus, received.payload)
    except ProtocolError:
        return None


def _take_progress(transfers: Transfers, received: Received) -> None:
    try:
        device = parse_device_topic(received.topic).device
        progress = decode(OtaProgress, received.payload)
    except ProtocolError:
        return
    transfers.take(device, progress, time.monotonic())


def _bars(status: RolloutStatus, transfers: Transfers) -> Progress:
    progress = Progress(
        TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[words]}")
    )
    for number, wave in enumerate(status.waves):
        progress.add_task(
            f"wave {number}",
            total=max(1, wave.devices),
            completed=settled(wave),
            words=f"{settled(wave)} of {wave.devices} devices",
        )
    total = transfers.total(time.monotonic())
    progress.add_task(
        "transfer",
        total=max(1, total.total_bytes),
        completed=total.received_bytes,
        words=transfer_words(total),
    )
    return progress


def settled(wave: WaveStatus) -> int:
    """Say how many of a wave's devices nothing more is expected of."""
    return wave.good + wave.bad + wave.expired + wave.unsuited


def transfer_words(total: Total) -> str:
    """Say how a transfer goes: bytes, bytes per second, time left."""
    if not total.devices:
        return "no download under way"
    left = "?" if total.remaining_s is None else f"{total.remaining_s:.0f} s left"
    amounts = f"{_size(total.received_bytes)} of {_size(total.total_bytes)}"
    rate = f"{_size(total.rate_bytes_per_s)}/s"
    return f"{amounts}, {rate}, {left}, {total.devices} devices"


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:  # noqa: PLR2004 - decimal units
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"


def _headline(status: RolloutStatus) -> str:
    change = f"{status.model} {status.from_version} -> {status.version}"
    return f"{status.rollout}: {change}: {status.state}: {status.reason}"
