"""What a fleet downloads, added up, and how it is told."""

from hypothesis import given
from hypothesis import strategies as st

from secateur_protocols.ota import OtaProgress
from secateur_server.cli.rollout_view import transfer_words
from secateur_server.transfers import STALE_S, Total, Transfers


def progress(received: int, total: int, rate: float, *, model: str = "digits") -> OtaProgress:
    return OtaProgress(
        model=model,
        digest="f" * 64,
        received_bytes=received,
        total_bytes=total,
        rate_bytes_per_s=rate,
    )


def test_bytes_and_rates_of_all_devices_add_up() -> None:
    transfers = Transfers("digits")
    transfers.take("d-1", progress(1_000_000, 4_000_000, 500_000.0), 10.0)
    transfers.take("d-2", progress(2_000_000, 4_000_000, 250_000.0), 11.0)
    transfers.take("d-3", progress(1, 2, 9e9, model="kws"), 11.0)
    total = transfers.total(12.0)
    assert total == Total(2, 3_000_000, 8_000_000, 750_000.0)
    assert transfer_words(total) == "3 MB of 8 MB, 750 kB/s, 7 s left, 2 devices"


def test_who_is_done_adds_no_rate_and_who_is_silent_is_left_out() -> None:
    transfers = Transfers("digits")
    transfers.take("d-1", progress(4, 4, 500.0), 10.0)
    transfers.take("d-2", progress(1, 4, 500.0), 10.0)
    assert transfers.total(11.0) == Total(1, 5, 8, 500.0)
    assert transfers.total(10.0 + STALE_S) == Total(0, 0, 0, 0.0)
    assert transfer_words(transfers.total(99.0)) == "no download under way"


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 100)), max_size=20))
def test_only_the_newest_word_of_a_device_counts(said: list[tuple[str, int]]) -> None:
    transfers = Transfers("digits")
    for device, received in said:
        transfers.take(device, progress(received, 100, 1.0), 0.0)
    assert transfers.total(0.0).received_bytes == sum(dict(said).values())
