"""The reference of the protocol tells the topics and the words that the code speaks."""

import re
from pathlib import Path

from secateur_protocols.messages import TOPICS
from secateur_protocols.ota import UpdateState

REFERENCE = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text(encoding="utf-8")

TOPIC_ROW = re.compile(
    r"^\| `(secateur/\S+)` \| \[(\w+)\]\(protocol/schemas/(\w+)\.json\) "
    r"\| (\w+) \| (\d) \| (yes|no) \|$",
    re.MULTILINE,
)


def test_the_table_of_topics_is_that_of_the_code() -> None:
    documented = TOPIC_ROW.findall(REFERENCE)
    assert documented == [
        (
            topic.pattern,
            topic.message.__name__,
            topic.message.__name__,
            str(topic.writer),
            str(topic.qos),
            "yes" if topic.is_retained else "no",
        )
        for topic in TOPICS
    ]


def test_every_state_of_an_update_is_explained() -> None:
    section = REFERENCE.partition("## Updates")[2].partition("\n## ")[0]
    assert {word for word in UpdateState if f"`{word}`" in section} == set(UpdateState)


def test_the_rules_are_numbered_without_a_gap() -> None:
    numbers = [int(number) for number in re.findall(r"^\| W(\d+) \|", REFERENCE, re.MULTILINE)]
    assert numbers == list(range(1, 13))
