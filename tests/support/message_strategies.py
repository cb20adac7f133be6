"""Hypothesis strategies for every message, read off the message classes themselves.

A new field or a new bound is covered the day it is written.
"""

from collections.abc import Iterable
from enum import StrEnum
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from hypothesis import strategies as st
from pydantic import JsonValue, StringConstraints
from pydantic.fields import FieldInfo

from secateur_protocols.manifest import Ladder, Manifest
from secateur_protocols.message import Message

M = TypeVar("M", bound=Message)

MAX_ITEMS = 3
"""Of a collection: enough to tell none, one and several apart."""

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
"""Any text but lone surrogates, which UTF-8 cannot carry."""

numbers = st.floats(allow_nan=False, allow_infinity=False)

json_values: st.SearchStrategy[JsonValue] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | numbers | texts,
    lambda inner: (
        st.lists(inner, max_size=MAX_ITEMS) | st.dictionaries(texts, inner, max_size=MAX_ITEMS)
    ),
    max_leaves=8,
)


def messages(kind: type[M]) -> st.SearchStrategy[M]:
    """Draw any valid message of a kind."""
    if issubclass(kind, Ladder):
        return _fields(
            kind, levels=st.lists(messages(Manifest), min_size=1, max_size=MAX_ITEMS)
        )
    return _fields(kind)


def _fields(kind: type[M], **given: st.SearchStrategy[Any]) -> st.SearchStrategy[M]:
    drawn = {
        name: _of(field.annotation, field.metadata)
        for name, field in kind.model_fields.items()
        if name not in given
    }
    return st.builds(kind, **drawn, **{name: s.map(_count_up) for name, s in given.items()})


def _count_up(levels: list[Manifest]) -> tuple[Manifest, ...]:
    return tuple(
        manifest.model_copy(update={"level": level, "digest": f"{level:064x}"})
        for level, manifest in enumerate(levels)
    )


def _of(annotation: Any, metadata: Iterable[Any] = ()) -> st.SearchStrategy[Any]:  # noqa: ANN401 - an annotation has no narrower type
    if annotation is JsonValue:
        return json_values
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _of(arguments[0], [*_flatten(arguments[1:]), *metadata])
    if origin in {Union, UnionType}:
        return st.one_of([_of(argument) for argument in arguments])
    if origin is Literal:
        return st.sampled_from(arguments)
    if origin in {tuple, dict}:
        return _of_collection(origin, arguments, _bound(metadata, "min_length", 0))
    return _of_class(annotation, list(metadata))


def _of_collection(
    kind: type[Any], arguments: tuple[Any, ...], fewest: int
) -> st.SearchStrategy[Any]:
    if kind is tuple:
        items = st.lists(_of(arguments[0]), min_size=fewest, max_size=MAX_ITEMS)
        return items.map(tuple)
    return st.dictionaries(_of(arguments[0]), _of(arguments[1]), max_size=MAX_ITEMS)


def _of_class(kind: type[Any], metadata: list[Any]) -> st.SearchStrategy[Any]:
    if issubclass(kind, Message):
        return messages(kind)
    if issubclass(kind, StrEnum):
        return st.sampled_from(list(kind))
    if kind is str:
        return _text(_bound(metadata, "pattern", None), _bound(metadata, "max_length", 20))
    if kind is int:
        return st.integers(_bound(metadata, "ge", -(2**53)), _bound(metadata, "le", 2**53))
    if kind is float:
        low, above = _bound(metadata, "ge", None), _bound(metadata, "gt", None)
        high = _bound(metadata, "le", None)
        least = low if above is None else above
        return st.floats(
            least, high, exclude_min=above is not None, allow_nan=False, allow_infinity=False
        )
    return {bool: st.booleans(), type(None): st.none()}[kind]


def _text(pattern: str | None, most: int) -> st.SearchStrategy[str]:
    if pattern is None:
        return texts.map(lambda text: text[:most])
    return st.from_regex(pattern, fullmatch=True)


def _flatten(metadata: Iterable[Any]) -> list[Any]:
    flat: list[Any] = []
    for item in metadata:
        if isinstance(item, FieldInfo):
            flat += item.metadata
        elif isinstance(item, StringConstraints):
            flat.append(item)
    return flat


def _bound(metadata: Iterable[Any], name: str, otherwise: Any) -> Any:  # noqa: ANN401 - bounds of any type
    for item in metadata:
        value = getattr(item, name, None)
        if value is not None:
            return value
    return otherwise
