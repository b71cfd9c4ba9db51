"""Values of the Redis protocol in canonical form."""

import json
import math
import zlib
from typing import Any

import pytest

from cacheproof.chaos.wire.respvalues import (
    LONGEST_STRING,
    RespError,
    RespMap,
    RespSet,
    RespValue,
    Verbatim,
    reply_to_json,
    shortened,
    to_text,
)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"caf\xc3\xa9", "café"),
        (b"\xff\x00", "\\xff\x00"),
        (None, None),
        (True, True),
        (12, 12),
        (1.5, 1.5),
        (math.inf, "inf"),
        (-math.inf, "-inf"),
        (math.nan, "nan"),
        (2**70, 2**70),
        (RespError("ERR no"), {"error": "ERR no"}),
        (Verbatim(b"txt", b"words"), "words"),
        ((b"a", (1, None)), ["a", [1, None]]),
        (RespSet((b"b", b"a", 1)), ["a", "b", 1]),
        (
            RespMap(((b"k", b"v"), (1, (b"x",)), (None, True), ((b"p", b"q"), 2))),
            {"k": "v", "1": ["x"], "null": True, '["p", "q"]': 2},
        ),
    ],
)
def test_canonical_form_of_values(value: RespValue, expected: Any) -> None:
    """What a history stores of a reply: JSON, readable, and the same whenever the reply is the same."""
    assert reply_to_json(value) == expected
    assert json.loads(json.dumps(reply_to_json(value), allow_nan=False)) == expected


def test_text_for_people_never_fails() -> None:
    """UTF-8 as it is, other bytes as escapes."""
    assert to_text(b"\xe2\x82\xac\xff1") == "€\\xff1"


def test_a_long_string_is_written_down_short_and_stays_itself() -> None:
    """64 KiB are kept whole; of more, what tells one value from another."""
    whole = b"x" * LONGEST_STRING
    assert reply_to_json(whole) == whole.decode()
    one, other = whole + b"1", whole + b"2"
    assert reply_to_json(one).startswith("x" * 200 + "… (65537 bytes, crc32 ")
    assert reply_to_json((one,)) == [reply_to_json(one)] != [reply_to_json(other)]


def test_a_word_has_at_most_200_characters() -> None:
    """Characters, not bytes; and bytes that are no text count as they are shown."""
    assert shortened("é".encode() * 200) == "é" * 200
    assert shortened("é".encode() * 201).startswith("é" * 200 + "… (402 bytes")
    assert shortened(b"\xff" * 51).endswith("… (51 bytes, crc32 " + f"{zlib.crc32(bytes([255] * 51)):08x})")
