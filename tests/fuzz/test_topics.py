"""Any text is a device's topic, spelled as we spell it, or the documented error."""

from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st

from secateur_protocols.errors import MalformedTopicError
from secateur_protocols.topics import ROOT, Leaf, device_topic, parse_device_topic

parts = st.text(max_size=70) | st.sampled_from(
    [*Leaf, "secateur", "v1", "meter-1", "_coordinator", "+", "#", "", "meter-1\n"]
)


def assert_a_device_topic_or_the_documented_error(topic: str) -> None:
    with suppress(MalformedTopicError):
        parsed = parse_device_topic(topic)
        assert device_topic(parsed.site, parsed.device, parsed.leaf) == topic
        assert not parsed.device.startswith("_")


@given(topic=st.text())
def test_any_text(topic: str) -> None:
    assert_a_device_topic_or_the_documented_error(topic)


@given(below=st.lists(parts, max_size=5))
def test_any_topic_below_our_root(below: list[str]) -> None:
    assert_a_device_topic_or_the_documented_error("/".join([ROOT, *below]))
