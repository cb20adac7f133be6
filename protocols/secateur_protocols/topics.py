"""The topic tree. Nothing else spells a topic.

    secateur/v1/{site}/{device}/presence    retained  QoS 1  agent, and broker by LWT
    secateur/v1/{site}/{device}/info        retained  QoS 1  agent
    secateur/v1/{site}/{device}/telemetry             QoS 0  agent
    secateur/v1/{site}/{device}/desired     retained  QoS 1  coordinator
    secateur/v1/{site}/{device}/reported    retained  QoS 1  agent
    secateur/v1/{site}/{device}/ota         retained  QoS 1  agent
    secateur/v1/{site}/{device}/ota/progress          QoS 0  agent
    secateur/v1/{site}/{device}/ota/blocks/request    QoS 1  agent
    secateur/v1/{site}/{device}/ota/blocks/data       QoS 1  coordinator
    secateur/v1/{site}/{device}/event                 QoS 1  agent
    secateur/v1/{site}/{device}/result/{model}        QoS 0  agent
    secateur/v1/{site}/_coordinator/status  retained  QoS 1  coordinator, broker by LWT
    secateur/v1/{site}/_coordinator/status/{replica}
                                            retained  QoS 1  one of several, likewise
    secateur/v1/{site}/_coordinator/rebirth           QoS 1  coordinator
    secateur/v1/{site}/_models/{model}      retained  QoS 1  coordinator
    secateur/v1/{site}/_rollouts/{rollout}  retained  QoS 1  coordinator
    secateur/v1/{site}/_control/request               QoS 1  operators
    secateur/v1/{site}/_control/response/{client}     QoS 1  coordinator

Rule W1: one writer per topic. A device touches only what is below its own name, which
never begins with an underscore.
"""

import re
from enum import StrEnum
from typing import NamedTuple

from secateur_protocols.errors import MalformedTopicError
from secateur_protocols.ids import NAME_PATTERN

ROOT = "secateur/v1"
"""The major version of the wire is part of every topic (rule W7)."""

ANY = "+"
"""Stands for every name at its level, in a subscription."""


class Leaf(StrEnum):
    """What a device's branch holds."""

    PRESENCE = "presence"
    INFO = "info"
    TELEMETRY = "telemetry"
    DESIRED = "desired"
    REPORTED = "reported"
    OTA = "ota"
    OTA_PROGRESS = "ota/progress"
    BLOCKS_REQUEST = "ota/blocks/request"
    BLOCKS_DATA = "ota/blocks/data"
    EVENT = "event"


RETAINED = frozenset({Leaf.PRESENCE, Leaf.INFO, Leaf.DESIRED, Leaf.REPORTED, Leaf.OTA})
"""Leaves whose last message the broker keeps; rule W6 empties them to forget a device."""

QOS = {leaf: 0 if leaf in {Leaf.TELEMETRY, Leaf.OTA_PROGRESS} else 1 for leaf in Leaf}
"""0: the next one makes up for a lost one. 1: every one counts. QoS 2 is not used."""


class DeviceTopic(NamedTuple):
    """One leaf of one device, taken apart."""

    site: str
    device: str
    leaf: Leaf


_LEAVES = {str(leaf): leaf for leaf in Leaf}
_NAME = NAME_PATTERN.removeprefix("^").removesuffix("$")
_TOPIC = re.compile(rf"{ROOT}/({_NAME})/({_NAME})/({'|'.join(_LEAVES)})\Z")


def device_topic(site: str, device: str, leaf: Leaf) -> str:
    """Spell the topic of one leaf; ``device`` may be `ANY` in a subscription."""
    return f"{ROOT}/{site}/{device}/{leaf}"


def parse_device_topic(topic: str) -> DeviceTopic:
    """Take a device's topic apart.

    Raises:
        MalformedTopicError: Another tree, another version, a name outside the grammar.
    """
    found = _TOPIC.match(topic)
    if found is None:
        raise MalformedTopicError(topic)
    site, device, leaf = found.groups()
    return DeviceTopic(site, device, _LEAVES[leaf])


def result_topic(site: str, device: str, model: str) -> str:
    """Spell where a model's results go. QoS 0, off by default, rate-limited."""
    return f"{ROOT}/{site}/{device}/result/{model}"


def coordinator_status(site: str, replica: str | None = None) -> str:
    """Spell where a coordinator says whether it is there. Retained, QoS 1.

    One of several has a topic of its own: there is one writer per topic (rule W1).
    """
    topic = f"{ROOT}/{site}/_coordinator/status"
    return topic if replica is None else f"{topic}/{replica}"


def rebirth(site: str) -> str:
    """Spell where the coordinator asks devices to say everything again. QoS 1."""
    return f"{ROOT}/{site}/_coordinator/rebirth"


def model_topic(site: str, model: str) -> str:
    """Spell where a model's ladder is announced. Retained, QoS 1."""
    return f"{ROOT}/{site}/_models/{model}"


def rollout_topic(site: str, rollout: str) -> str:
    """Spell where a rollout stands; ``rollout`` may be `ANY`. Retained, QoS 1."""
    return f"{ROOT}/{site}/_rollouts/{rollout}"


def control_request(site: str) -> str:
    """Spell where operators send requests. QoS 1, never retained (rule W5)."""
    return f"{ROOT}/{site}/_control/request"


def control_response(site: str, client: str) -> str:
    """Spell where one operator's client gets its responses. QoS 1, never retained."""
    return f"{ROOT}/{site}/_control/response/{client}"
