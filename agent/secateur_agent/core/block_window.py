"""Which blocks of a file to ask for next, when, and how large.

A few are on their way at any time, so that a long link is not idle. They arrive in order;
one that does not fit is dropped, and what does not come is asked for again. The window
begins small and grows while blocks come quickly; silence makes it small again: on a slow
link a large block takes longer than the patience, and asking again would only add to it.
Where the device takes no more than so many bytes a second, no more than a second's are on their
way, or a block: what waits to be written is lost with the process.
"""

from dataclasses import dataclass, replace

from secateur_protocols.blocks import BLOCK_BYTES, MAX_BLOCKS, MIN_BLOCK_BYTES

FIRST_BLOCK_BYTES = 16_384

PATIENCE_S = 3.0
"""Silence until the same is asked for again, seconds; doubled each time."""

LONGEST_PATIENCE_S = 30.0

AHEAD_S = 1.0
"""How much of what a limited rate takes may be on its way, seconds."""

QUICK_S = 1.0
"""A block that came within this time of the one before lets the window grow, seconds."""


@dataclass(frozen=True, slots=True)
class Ask:
    """So many blocks from this byte on."""

    offset: int
    blocks: int
    block_bytes: int


@dataclass(frozen=True, slots=True)
class BlockWindow:
    """How far a file has come and what is on its way.

    Attributes:
        size_bytes: Of the file.
        offset: What came; all bytes before it are held.
        asked: All bytes before it were asked for.
        heard_s: When a byte came last, or was asked for again; monotonic seconds.
        blocks: May be on their way at a time.
        block_bytes: In each.
        patience_s: Silence until the same is asked for again, seconds.
        most_bytes: May be on their way at a time, if they are more than a block.
    """

    size_bytes: int
    offset: int
    asked: int
    heard_s: float
    blocks: int = 1
    block_bytes: int = FIRST_BLOCK_BYTES
    patience_s: float = PATIENCE_S
    most_bytes: float = MAX_BLOCKS * BLOCK_BYTES

    @property
    def is_complete(self) -> bool:
        """Whether all has come."""
        return self.offset >= self.size_bytes


def begin(
    size_bytes: int, *, offset: int, now_s: float, rate_bytes_per_s: float | None = None
) -> BlockWindow:
    """Go on with a file of which the bytes before ``offset`` are held.

    Args:
        size_bytes: Of the file.
        offset: Where to go on.
        now_s: Monotonic seconds.
        rate_bytes_per_s: Faster they are not taken. ``None``: as fast as they come.
    """
    window = BlockWindow(size_bytes, offset, asked=offset, heard_s=now_s)
    if rate_bytes_per_s is None:
        return window
    return replace(window, most_bytes=min(window.most_bytes, rate_bytes_per_s * AHEAD_S))


def take(
    window: BlockWindow, offset: int, count: int, *, now_s: float
) -> tuple[BlockWindow, int]:
    """Take a block of ``count`` bytes that begins at ``offset``.

    Returns:
        The next window, and how many of its bytes, from its first on, are to be written:
        0 for a block that does not fit what is held.
    """
    if offset != window.offset or count < 1 or window.is_complete:
        return window, 0
    taken = min(count, window.size_bytes - offset)
    is_quick = now_s - window.heard_s < QUICK_S
    following = replace(
        window,
        offset=offset + taken,
        asked=max(window.asked, offset + taken),
        heard_s=now_s,
        patience_s=PATIENCE_S,
    )
    return (_grow(following) if is_quick else following), taken


def ask(window: BlockWindow, *, now_s: float) -> tuple[BlockWindow, Ask | None]:
    """Say what to ask for now. ``None``: enough is on its way."""
    if window.is_complete:
        return window, None
    if window.asked > window.offset and now_s - window.heard_s >= window.patience_s:
        window = _shrink(window, now_s)
    most = min(window.blocks * window.block_bytes, int(window.most_bytes))
    most = max(most, window.block_bytes)
    room = most - (window.asked - window.offset)
    if window.asked >= window.size_bytes or room < max(most // 2, window.block_bytes):
        return window, None
    missing = -(-(window.size_bytes - window.asked) // window.block_bytes)
    blocks = min(room // window.block_bytes, missing)
    wanted = Ask(window.asked, blocks, window.block_bytes)
    asked = min(window.size_bytes, window.asked + blocks * window.block_bytes)
    if window.asked == window.offset:
        window = replace(window, heard_s=now_s)  # nothing was awaited until now
    return replace(window, asked=asked), wanted


def _grow(window: BlockWindow) -> BlockWindow:
    if window.blocks < MAX_BLOCKS:
        return replace(window, blocks=min(MAX_BLOCKS, 2 * window.blocks))
    return replace(window, block_bytes=min(BLOCK_BYTES, 2 * window.block_bytes))


def _shrink(window: BlockWindow, now_s: float) -> BlockWindow:
    return replace(
        window,
        asked=window.offset,
        heard_s=now_s,
        blocks=1,
        block_bytes=max(MIN_BLOCK_BYTES, window.block_bytes // 4),
        patience_s=min(LONGEST_PATIENCE_S, 2 * window.patience_s),
    )
