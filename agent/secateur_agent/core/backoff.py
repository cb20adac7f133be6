"""Delays between tries: exponential, capped, with full jitter."""


def backoff_s(
    attempt: int, *, chance: float, base_s: float = 1.0, cap_s: float = 300.0
) -> float:
    """Choose how long to wait before the next try.

    Args:
        attempt: Tries that failed so far, at least 1.
        chance: A random number in [0, 1), drawn by the caller.
        base_s: Upper end of the first delay, seconds.
        cap_s: Upper end of every delay, seconds.

    Returns:
        Seconds, uniform in [0, min(cap, base x 2^(attempt-1))] over ``chance``.

    Source:
        M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    """
    exponent = min(attempt - 1, 32)  # beyond, the cap holds anyway and floats stay small
    return chance * min(cap_s, base_s * 2.0**exponent)
