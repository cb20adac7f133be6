"""A device's state as a row of the database, and back."""

import json
from collections.abc import Mapping
from typing import Any

from secateur_protocols.codec import M, decode_document
from secateur_protocols.errors import ProtocolError
from secateur_protocols.info import Info
from secateur_protocols.message import Message
from secateur_protocols.presence import Presence
from secateur_protocols.state import Desired, Reported
from secateur_protocols.telemetry import Telemetry
from secateur_server.core.experience import Compared, Experience, Step
from secateur_server.core.fleet import DeviceState, know


def to_row(state: DeviceState) -> dict[str, str | None]:
    """Write what a device said; what is desired of it is `to_desired_row`'s."""
    return {
        "device": state.device,
        "presence": _dump(state.presence),
        "info": _dump(state.info),
        "telemetry": _dump(state.telemetry),
        "reported": _dump(state.reported),
        "experiences": _dump_experiences(state.experiences),
    }


def to_desired_row(device: str, desired: Desired) -> dict[str, str | int | None]:
    """Write what is desired of a device."""
    return {"device": device, "desired": _dump(desired), "revision": desired.revision}


def to_state(row: Mapping[str, Any]) -> DeviceState:
    """Read a row; a column that an older or newer program wrote otherwise counts as empty."""
    state = DeviceState(
        device=row["device"],
        presence=_parse(Presence, row["presence"]),
        telemetry=_parse(Telemetry, row["telemetry"]),
        reported=_parse(Reported, row["reported"]),
        desired=_parse(Desired, row["desired"]),
        experiences=_parse_experiences(row["experiences"]),
    )
    info = _parse(Info, row["info"])
    return state if info is None else know(state, info)


def _dump(message: Message | None) -> str | None:
    return None if message is None else message.model_dump_json(exclude_none=True)


def _parse(kind: type[M], text: str | None) -> M | None:
    try:
        return None if text is None else decode_document(kind, text.encode())
    except ProtocolError:
        return None


def _dump_experiences(experiences: Mapping[str, Experience]) -> str:
    """Write what lasts; a climb that is being watched is not worth keeping."""
    return json.dumps(
        {
            model: {
                "digest": each.digest,
                "level": each.level,
                "boot": each.boot,
                "sequence": each.sequence,
                "typical_ms": each.typical_ms,
                "periods": each.periods,
                "has_climbed": each.has_climbed,
                "setbacks": each.setbacks,
                "compared": [_dump_step(*item) for item in each.compared.items()],
            }
            for model, each in experiences.items()
        }
    )


def _dump_step(step: Step, compared: Compared) -> dict[str, str | float]:
    return {
        "from": step[0],
        "to": step[1],
        "log_ratio": compared.log_ratio,
        "count": compared.count,
        "boot": compared.boot,
        "sequence": compared.sequence,
    }


def _parse_experiences(text: str | None) -> dict[str, Experience]:
    try:
        document = json.loads(text or "{}")
        return {model: _parse_experience(each) for model, each in document.items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}


def _parse_experience(document: dict[str, Any]) -> Experience:
    steps = document.pop("compared")
    compared = {}
    for step in steps:
        key = (step.pop("from"), step.pop("to"))
        compared[key] = Compared(**step)
    return Experience(**document, compared=compared)
