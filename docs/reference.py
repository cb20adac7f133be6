"""For the site: the reference pages that are made from the code, each time it is built.

They are not stored: the code is what they say, and there is nothing that could fall behind.
"""

import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any

import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from pydantic import BaseModel

import secateur_agent.in_process
import secateur_agent.source
import secateur_server.pruning.task
from secateur_agent import cli as agent_cli
from secateur_agent.settings import AgentSettings
from secateur_protocols.manifest import Ladder
from secateur_protocols.messages import TOPICS
from secateur_server.cli.app import app as server_app
from secateur_server.coordinator.settings import ServeSettings

WIDTH = 96
"""Of help texts, characters."""

LONGEST = 70
"""Of a signature in one line, characters."""

UNREADABLE = (
    (re.compile(r"numpy\.ndarray\[.*?numpy\.dtype\[typing\.Any\]\]"), "numpy.ndarray"),
    (re.compile(r"<(?:function [^ ]+ at \w+|factory)>"), "..."),
)
"""What Python writes of types and defaults that helps nobody, and what is written instead."""

MADE = "<!-- Made from the code by docs/reference.py -->\n"

PUBLIC: dict[str, tuple[object, ...]] = {
    "secateur_agent: inferences in a program's own process": (
        secateur_agent.in_process.Agent,
        secateur_agent.in_process.Answer,
        secateur_agent.in_process.NoAnswerError,
    ),
    "secateur_agent.source: a source of frames of one's own": (
        secateur_agent.source.Source,
        secateur_agent.source.Offer,
        secateur_agent.source.SourceError,
    ),
    "secateur_server.pruning.task: a pruning method of one's own": (
        secateur_server.pruning.task.Method,
        secateur_server.pruning.task.Task,
        secateur_server.pruning.task.Options,
        secateur_server.pruning.task.Pruned,
    ),
}
"""What other people's programs may import. All else may change at any time."""

Schema = dict[str, Any]


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages to those that are stored."""
    for name, make in PAGES.items():
        files.append(File.generated(config, f"reference/{name}.md", content=MADE + make()))
    return files


def commands_page() -> str:
    """Give what ``--help`` says, command by command."""
    lines = ["# Every command", "What `--help` says. [The command line](../cli.md) explains."]
    root = typer.main.get_command(server_app)
    for path, text in helps(root, None, "secateur"):
        lines += [f"## {path}", f"```text\n{text}\n```"]
    parser = agent_cli._parser()  # noqa: SLF001 - its owner has no use for it in public
    for name, each in {"": parser, **subcommands(parser)}.items():
        title = f"secateur-agent {name}".strip()
        lines += [f"## {title}", f"```text\n{each.format_help()}```"]
    return "\n\n".join(lines) + "\n"


def helps(command: Any, parent: Any, name: str) -> Iterator[tuple[str, str]]:  # noqa: ANN401
    """Give the path and the help of a command and of all below it; typer has its own click."""
    context = command.context_class(
        command, parent=parent, info_name=name, max_content_width=WIDTH
    )
    yield context.command_path, context.get_help()
    for below, inner in getattr(command, "commands", {}).items():
        if not inner.hidden:
            yield from helps(inner, context, below)


def subcommands(parser: Any) -> dict[str, Any]:  # noqa: ANN401 - argparse keeps them to itself
    """Give the parsers below a parser, by name."""
    return {
        name: each
        for action in parser._actions  # noqa: SLF001 - there is no other way
        if isinstance(action.choices, dict)
        for name, each in action.choices.items()
    }


def settings_page() -> str:
    """Give every key of both configuration files."""
    return (
        "# Every setting\n\n"
        "Key by key, with bounds and defaults. [The agent's configuration](../agent-config.md)"
        " explains those of devices.\n\n"
        + objects("agent.toml", AgentSettings)
        + objects("server.toml", ServeSettings)
    )


def wire_page() -> str:
    """Give every topic and every message."""
    rows = [
        f"| `{topic.pattern}` | [{topic.message.__name__}](#{topic.message.__name__.lower()}) "
        f"| {topic.writer} | {topic.qos} | {'yes' if topic.is_retained else 'no'} |"
        for topic in TOPICS
    ]
    messages = dict.fromkeys(topic.message for topic in TOPICS if topic.message is not Ladder)
    table = "| topic | message | written by | QoS | retained |\n|---|---|---|---|---|\n"
    return (
        "# Every message\n\nWhat travels, field by field. [The protocol](../protocol.md) has "
        "the rules.\n\n" + table + "\n".join(rows) + "\n\n## Ladder\n\nSee "
        "[the manifest](manifest.md).\n\n"
        + "".join(objects(message.__name__, message) for message in messages)
    )


def manifest_page() -> str:
    """Give every field of a ladder document."""
    return (
        "# The manifest\n\n`ladder.json`: one version of one model at several levels, and for "
        "each level what it is, what it costs and how good it was measured to be.\n\n"
        + objects("Ladder", Ladder)
    )


def objects(title: str, model: type[BaseModel]) -> str:
    """Describe a document: its own fields, then those of what stands in it."""
    schema = model.model_json_schema()
    parts = [f"## {title}\n\n{described(schema, model.__doc__)}\n{fields(schema)}"]
    for name, inner in schema.get("$defs", {}).items():
        parts.append(f"### {title}: {name}\n\n{described(inner, None)}\n{fields(inner)}")
    return "".join(parts)


def described(schema: Schema, docstring: str | None) -> str:
    """Give what a class says of itself."""
    text = plain(schema.get("description") or inspect.cleandoc(docstring or ""))
    return text + "\n"


def fields(schema: Schema) -> str:
    """Give a table of an object's fields, or an enumeration's words."""
    if "enum" in schema:
        return "One of " + ", ".join(f"`{word}`" for word in schema["enum"]) + ".\n\n"
    rows = ["| field | type | default | meaning |", "|---|---|---|---|"]
    required = schema.get("required", ())
    for name, each in schema.get("properties", {}).items():
        default = "required" if name in required else initial(each.get("default"))
        meaning = plain(each.get("description", "")).replace("\n", " ")
        rows.append(f"| `{name}` | {kind(each)} | {default} | {meaning} |".replace("\n", " "))
    return "\n".join(rows) + "\n\n"


def initial(value: object) -> str:
    """Say what a field is where nothing is said."""
    return "as below" if isinstance(value, dict) else f"`{value}`"


def kind(schema: Schema) -> str:
    """Say a type and its bounds in words."""
    if "$ref" in schema:
        return schema["$ref"].rsplit("/", 1)[1]
    if "const" in schema:
        return f"`{schema['const']}`"
    if found := schema.get("anyOf") or schema.get("oneOf"):
        return " or ".join(kind(each) for each in found)
    name = {"null": "none", "array": "list", "object": "table"}.get(
        schema.get("type", "anything"), schema.get("type", "anything")
    )
    if "items" in schema:
        name += f" of {kind(schema['items'])}"
    return name + bounds(schema)


def bounds(schema: Schema) -> str:
    """Say what a value must keep to, in brackets; empty: nothing."""
    words = {
        "minimum": "at least {}",
        "exclusiveMinimum": "above {}",
        "maximum": "at most {}",
        "exclusiveMaximum": "below {}",
        "minLength": "{} characters or more",
        "maxLength": "{} characters or fewer",
        "minItems": "{} or more",
        "maxItems": "{} or fewer",
    }
    said = [text.format(schema[key]) for key, text in words.items() if key in schema]
    return f" ({', '.join(said)})" if said else ""


def python_page() -> str:
    """Give what may be imported, with signatures and contracts."""
    lines = ["# The Python interfaces", "What programs of others may import and rely on."]
    for title, things in PUBLIC.items():
        lines.append(f"## {title}")
        for thing in things:
            lines += list(member(thing, getattr(thing, "__name__", ""), "###"))
    return "\n\n".join(lines) + "\n"


def member(thing: Any, name: str, heading: str) -> Iterator[str]:  # noqa: ANN401
    """Describe a class with its public methods, or a function."""
    yield f"{heading} `{name}`"
    if not inspect.isclass(thing) or is_made_by_callers(thing):
        yield f"```python\n{name}{signature(thing)}\n```"
    yield docstring(inspect.getdoc(thing) or "")
    if not inspect.isclass(thing):
        return
    for key, inner in vars(thing).items():
        is_public = not key.startswith("_") or key == "__call__"
        if is_public and inspect.isfunction(inner) and inner.__name__ == key:
            yield from member(inner, f"{name}.{key}", "####")


def is_made_by_callers(thing: type) -> bool:
    """Whether a class is called: exceptions are caught, protocols are met."""
    return not issubclass(thing, Exception) and not getattr(thing, "_is_protocol", False)


def signature(thing: Callable[..., Any]) -> str:
    """Write how a thing is called, line by line if long; ``...`` where nothing tells."""
    try:
        found = inspect.signature(thing)
    except (TypeError, ValueError):
        return "(...)"
    parameters = [each for each in found.parameters.values() if each.name != "self"]
    text = readable(str(found.replace(parameters=parameters)))
    if len(text) <= LONGEST:
        return text
    inside = [readable(str(each)) for each in parameters]
    kinds = [each.kind for each in parameters]
    if inspect.Parameter.KEYWORD_ONLY in kinds:
        inside.insert(kinds.index(inspect.Parameter.KEYWORD_ONLY), "*")
    end = text[text.rindex(")") :]
    return "(\n" + "".join(f"    {each},\n" for each in inside) + end


def readable(text: str) -> str:
    """Leave out what only Python understands."""
    for pattern, instead in UNREADABLE:
        text = pattern.sub(instead, text)
    return text


SECTION = re.compile(
    r"^(Args|Attributes|Raises|Returns|Source):\n((?: {4}.*\n?|\n)+)", re.MULTILINE
)
ENTRY = re.compile(r"^(\*?\w+): ", re.MULTILINE)


def docstring(text: str) -> str:
    """Lay a docstring out as a page has it."""

    def listed(match: re.Match[str]) -> str:
        body = inspect.cleandoc("\n" + match[2])
        items = re.sub(r"\n {4,}", " ", body)
        items = ENTRY.sub(r"- `\1`: ", items)
        return f"\n**{match[1]}**\n\n{items}\n"

    return plain(SECTION.sub(listed, text + "\n"))


def plain(text: str) -> str:
    """Turn what docstrings write as code into a page's way to write it."""
    return re.sub(r"``(.+?)``", r"`\1`", inspect.cleandoc(text)).replace("|", "\\|")


PAGES: dict[str, Callable[[], str]] = {
    "commands": commands_page,
    "settings": settings_page,
    "messages": wire_page,
    "manifest": manifest_page,
    "python": python_page,
}
