"""The protocol, described for other programs: JSON Schemas and one AsyncAPI 3 document.

Both are derived from the message classes and the table of topics; nothing is written by
hand that code decides.

Source:
    AsyncAPI Specification 3.0.0; its MQTT operation binding 0.2.0.
"""

import re
from typing import Any

from pydantic import JsonValue
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue, models_json_schema
from pydantic_core import core_schema

from secateur_protocols.messages import TOPICS, Topic, Writer
from secateur_protocols.topics import ROOT

Document = dict[str, JsonValue]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
DESCRIPTION = """\
What Secateur's coordinator sends and receives. A device's side is the mirror image.

A receiver ignores fields that it does not know. A field that is null may be left out."""
PARAMETERS: Document = {
    "site": {"description": "One place with its own broker and coordinator."},
    "device": {"description": "One machine that runs the agent; also its MQTT client id."},
    "model": {"description": "A network as a family."},
    "rollout": {"description": "One attempt to bring a version of a model to the site."},
    "client": {"description": "An operator's MQTT client."},
}


def json_schemas() -> dict[str, Document]:
    """Give the schema of each message that is a topic's payload, by its class's name."""
    return {
        topic.message.__name__: {
            "$schema": DIALECT,
            **topic.message.model_json_schema(schema_generator=_PlainUnions),
        }
        for topic in TOPICS
    }


def asyncapi_document() -> Document:
    """Give the AsyncAPI document, as the coordinator sees the wire."""
    kinds = sorted({topic.message for topic in TOPICS}, key=lambda kind: kind.__name__)
    _, schemas = models_json_schema(
        [(kind, "validation") for kind in kinds],
        ref_template="#/components/schemas/{model}",
        schema_generator=_PlainUnions,
    )
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Secateur",
            "version": ROOT.rpartition("/v")[2],
            "description": DESCRIPTION,
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {_channel_id(topic): _channel(topic) for topic in TOPICS},
        "operations": {_operation_id(topic): _operation(topic) for topic in TOPICS},
        "components": {
            "messages": {kind.__name__: _message(kind.__name__) for kind in kinds},
            "parameters": PARAMETERS,
            "schemas": schemas["$defs"],
        },
    }


class _PlainUnions(GenerateJsonSchema):
    """Leaves out OpenAPI's ``discriminator`` object: AsyncAPI has another of that name."""

    def tagged_union_schema(self, schema: core_schema.TaggedUnionSchema) -> JsonSchemaValue:
        union: dict[str, Any] = super().tagged_union_schema(schema)
        union.pop("discriminator", None)
        return union


def _channel_id(topic: Topic) -> str:
    literal = re.sub(r"\{\w+\}", "", topic.pattern.removeprefix(ROOT))
    words: list[str] = re.findall(r"[a-z]+", literal)
    return words[0] + "".join(word.capitalize() for word in words[1:])


def _operation_id(topic: Topic) -> str:
    channel = _channel_id(topic)
    return f"{_action(topic)}{channel[0].upper()}{channel[1:]}"


def _action(topic: Topic) -> str:
    return "send" if topic.writer is Writer.COORDINATOR else "receive"


def _channel(topic: Topic) -> Document:
    name = topic.message.__name__
    names = re.findall(r"\{(\w+)\}", topic.pattern)
    return {
        "address": topic.pattern,
        "messages": {name: {"$ref": f"#/components/messages/{name}"}},
        "parameters": {each: {"$ref": f"#/components/parameters/{each}"} for each in names},
    }


def _operation(topic: Topic) -> Document:
    return {
        "action": _action(topic),
        "channel": {"$ref": f"#/channels/{_channel_id(topic)}"},
        "bindings": {
            "mqtt": {"qos": topic.qos, "retain": topic.is_retained, "bindingVersion": "0.2.0"}
        },
    }


def _message(name: str) -> Document:
    return {"name": name, "payload": {"$ref": f"#/components/schemas/{name}"}}
