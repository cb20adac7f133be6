"""What an accelerometer on the bearing housing of a small motor would record.

Five conditions, each a sum of what is known to make such a signal:

- *Rotation*: unbalance shakes once per turn, misalignment twice, a little of both always.
- *A damaged bearing*: each time a ball rolls over the damage it strikes the housing, which
  rings at its resonance and dies away. On the outer race the blows are alike; the inner race
  carries its damage through the loaded zone once per turn, so that the blows swell and fade.
- *Noise*: of the sensor and of everything else in the hall.

With n balls of diameter d on a pitch circle D, contact angle 0, and a shaft that turns f times
a second, the balls pass

    the outer race   n/2 f (1 - d/D)      times a second
    the inner race   n/2 f (1 + d/D)

Source: R. B. Randall and J. Antoni, "Rolling element bearing diagnostics: a tutorial",
Mechanical Systems and Signal Processing 25 (2011), for both formulas, the slip of the balls
and the modulation. The amplitudes are our choice: from faint to clear. A real motor differs
in all of them, and in its resonances: record yours before you trust a detector.
"""

import numpy as np
import numpy.typing as npt

LABELS = ("healthy", "unbalance", "misalignment", "outer_race", "inner_race")

RATE_HZ = 6400
WINDOW = 1024
"""Samples in a frame: 0.16 s, about four turns."""

SHAFT_HZ = (23.0, 30.0)
"""Turns a second under load, from and to."""

BALLS, BALL_MM, PITCH_MM = 9, 7.94, 39.04
"""A bearing of the type 6205."""

RESONANCE_HZ = (1900.0, 2300.0)
DAMPING = 0.05
"""Of the housing's ringing, relative to critical."""

SLIP = 0.01
"""Balls slide a little: the scatter of the time between two blows."""

NOISE_G = 0.12

Signal = npt.NDArray[np.float32]
"""Acceleration in g, [n, 1, WINDOW, 1]: as the network takes it."""


def record(condition: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Record one window of one condition, [WINDOW], in g, the constant part removed."""
    label = LABELS[condition]
    shaft_hz = rng.uniform(*SHAFT_HZ)
    once = rng.uniform(0.08, 0.4) if label == "unbalance" else rng.uniform(0.01, 0.1)
    twice = rng.uniform(0.06, 0.35) if label == "misalignment" else rng.uniform(0.0, 0.08)
    seconds = np.arange(WINDOW) / RATE_HZ
    signal = rng.normal(0.0, NOISE_G, WINDOW)
    for order, amplitude in ((1, once), (2, twice), (3, 0.4 * twice)):
        phase = rng.uniform(0, 2 * np.pi)
        signal += amplitude * np.sin(2 * np.pi * order * shaft_hz * seconds + phase)
    if label.endswith("race"):
        signal += blows(seconds, shaft_hz, is_inner=label == "inner_race", rng=rng)
    return signal - signal.mean()


def blows(
    seconds: npt.NDArray[np.float64],
    shaft_hz: float,
    *,
    is_inner: bool,
    rng: np.random.Generator,
) -> npt.NDArray[np.float64]:
    """Let the balls strike a damaged race, and the housing ring; in g."""
    ratio = BALL_MM / PITCH_MM
    passing_hz = BALLS / 2 * shaft_hz * (1 + ratio if is_inner else 1 - ratio)
    gaps_s = rng.normal(1.0, SLIP, int(passing_hz) + 2) / passing_hz
    struck_s = rng.uniform(-2, 0) / passing_hz + np.cumsum(gaps_s)
    size_g = rng.uniform(0.15, 1.0) * rng.uniform(0.7, 1.3, len(struck_s))
    if is_inner:
        turn = 2 * np.pi * shaft_hz * struck_s + rng.uniform(0, 2 * np.pi)
        size_g *= 0.55 + 0.45 * np.cos(turn)
    pulsation = 2 * np.pi * rng.uniform(*RESONANCE_HZ)
    since_s = seconds - struck_s[:, np.newaxis]
    after_s = np.maximum(since_s, 0.0)
    ringing = np.exp(-DAMPING * pulsation * after_s) * np.sin(pulsation * after_s)
    return (size_g[:, np.newaxis] * ringing).sum(axis=0)


def make_set(count: int, seed: int) -> tuple[Signal, npt.NDArray[np.int64]]:
    """Make ``count`` windows, every condition in turn, and which condition each has."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % len(LABELS)
    windows = np.array([record(int(each), rng) for each in labels])
    return windows[:, np.newaxis, :, np.newaxis].astype(np.float32), labels.astype(np.int64)
