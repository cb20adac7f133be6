"""Names that travel: their grammar, in one place."""

from typing import Annotated

from pydantic import StringConstraints

NAME_PATTERN = r"^[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?$"
"""Lower-case letters, digits and inner hyphens, 1 to 64 characters: safe in a topic, a
certificate's CN, a file name and a host name alike."""

Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]

SiteId = Name
"""One place with its own broker and its own coordinator."""

DeviceId = Name
"""One machine that runs the agent; also its MQTT client id."""

ModelName = Name
"""A network as a family; its artifacts are named by digest."""

ClientId = Name
"""An operator's MQTT client, where its responses go."""

Version = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
"""A model's version, as its operator writes it; compared for equality only."""

Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
"""SHA-256 of an artifact's bytes, 64 lower-case hex digits."""

RequestId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9-]{1,64}$")]
"""What ties a response to its request."""

Words = Annotated[str, StringConstraints(max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")]
"""One line of free text about a device, from the device."""
