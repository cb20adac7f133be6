"""A ladder that is not one is refused, whoever wrote it."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secateur_protocols.codec import decode_document, encode
from secateur_protocols.errors import MalformedMessageError
from secateur_protocols.manifest import Ladder
from support.message_strategies import messages

ladders = messages(Ladder).filter(lambda ladder: len(ladder.levels) > 1)


def refused_because(document: dict[str, Any]) -> str:
    with pytest.raises(MalformedMessageError) as refused:
        decode_document(Ladder, json.dumps(document).encode())
    return refused.value.problem


@settings(max_examples=25, deadline=None)
@given(ladder=ladders, data=st.data())
def test_levels_in_any_order_but_their_own_are_refused(
    ladder: Ladder, data: st.DataObject
) -> None:
    document = json.loads(encode(ladder))
    levels = document["levels"]
    order = st.permutations(levels).filter(lambda shuffled: shuffled != levels)
    document["levels"] = data.draw(order)
    assert "levels must count up from 0 without a gap" in refused_because(document)


@settings(max_examples=25, deadline=None)
@given(ladder=ladders)
def test_a_ladder_begins_with_the_dense_level(ladder: Ladder) -> None:
    document = json.loads(encode(ladder))
    del document["levels"][0]
    assert "levels must count up from 0 without a gap" in refused_because(document)


@settings(max_examples=25, deadline=None)
@given(ladder=ladders)
def test_two_levels_are_never_the_same_artifact(ladder: Ladder) -> None:
    document = json.loads(encode(ladder))
    document["levels"][-1]["digest"] = document["levels"][0]["digest"]
    assert "two levels are the same artifact" in refused_because(document)


@settings(max_examples=5, deadline=None)
@given(ladder=ladders)
def test_a_ladder_has_levels_inputs_and_outputs(ladder: Ladder) -> None:
    document = json.loads(encode(ladder))
    for missing in ("levels", "inputs", "outputs"):
        assert refused_because(document | {missing: []}).startswith(missing)


@settings(max_examples=5, deadline=None)
@given(ladder=ladders)
def test_a_digest_is_64_lower_case_hex_digits(ladder: Ladder) -> None:
    document = json.loads(encode(ladder))
    for digest in ("", "0" * 63, "0" * 65, "A" * 64, "0" * 64 + "\n", "../" + "0" * 61):
        document["levels"][0]["digest"] = digest
        assert refused_because(document).startswith("levels.0.digest")


@settings(max_examples=5, deadline=None)
@given(ladder=ladders)
def test_a_version_is_safe_as_a_file_name(ladder: Ladder) -> None:
    document = json.loads(encode(ladder))
    for version in ("", ".", "../1", "1/2", "1\n", "1 2", "x" * 65):
        assert refused_because(document | {"version": version}).startswith("version")
