"""How much a device says: two profiles, each with its dead-bands, silences and bytes."""

from dataclasses import dataclass

MONTH_S = 30 * 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """How much is said.

    Attributes:
        silence_s: A message comes at least this often while there is budget, seconds.
        longest_silence_s: And at least this often without.
        refresh_periods: And, while there is budget, after so many periods.
        latency_ratio: Dead-band of a p95: this share of what was said last, or a fifth of this
            share of the deadline, whichever is more.
        resource_ratio: Dead-band of shares and pressures, 0 to 1, and of memory and disk as
            shares of what there is.
        celsius: Dead-band of the temperature.
        following: Periods said after one that mattered. The planner's patience counts them, 3
            by default: with as many again, one bad period among them does not put its next
            decision off.
        month_bytes: On the wire, all of the agent's messages, acknowledgements and pings and
            their overhead included; downloads not.
        burst_ratio: What the bucket holds, and how far it may be overdrawn, as a share of a
            month's bytes.
    """

    silence_s: float
    longest_silence_s: float
    refresh_periods: int
    latency_ratio: float
    resource_ratio: float
    celsius: float
    following: int
    month_bytes: float
    burst_ratio: float

    @property
    def burst_bytes(self) -> float:
        """What the bucket holds."""
        return self.burst_ratio * self.month_bytes

    @property
    def bytes_per_s(self) -> float:
        """What flows into the bucket: with four full ones it is a month's bytes."""
        return (self.month_bytes - 4 * self.burst_bytes) / MONTH_S


NORMAL = Profile(
    silence_s=180.0,
    longest_silence_s=3600.0,
    refresh_periods=18,
    latency_ratio=0.25,
    resource_ratio=0.25,
    celsius=5.0,
    following=6,
    month_bytes=72e6,
    burst_ratio=0.01,
)

METERED = Profile(
    silence_s=1800.0,
    longest_silence_s=21_600.0,
    refresh_periods=180,
    latency_ratio=1.0,
    resource_ratio=1.0,
    celsius=10.0,
    following=3,
    month_bytes=8e6,
    burst_ratio=0.005,
)
