"""The values of the Redis protocol: what a reply can say, and how it is written down for people and histories.

A value is the same whether RESP2 or RESP3 said it, wherever the two versions say the same.
"""

import json
import zlib
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

__all__ = [
    "RespError",
    "RespMap",
    "RespSet",
    "RespValue",
    "Verbatim",
    "reply_to_json",
    "shortened",
    "to_text",
]

LONGEST_STRING: Final = 1 << 16
"""Bytes of a string that are written down whole."""
_LONGEST_WORD: Final = 200


@dataclass(frozen=True, slots=True)
class RespError:
    """An error as a value: "WRONGTYPE Operation against …"."""

    text: str


@dataclass(frozen=True, slots=True)
class RespMap:
    """Pairs in the order of the wire; keys may be anything, so this is no dict."""

    pairs: tuple[tuple["RespValue", "RespValue"], ...]


@dataclass(frozen=True, slots=True)
class RespSet:
    """Members in the order of the wire."""

    members: tuple["RespValue", ...]


@dataclass(frozen=True, slots=True)
class Verbatim:
    """A string for people, with its format of three letters ("txt", "mkd")."""

    format: bytes
    content: bytes


RespValue: TypeAlias = (
    bytes | int | float | None | RespError | RespMap | RespSet | Verbatim | tuple["RespValue", ...]
)
"""Simple and bulk strings are bytes, arrays and pushes tuples, booleans bool, big numbers int, nulls None."""


def to_text(data: bytes) -> str:
    r"""Bytes for people: UTF-8, and what is not as readable escapes (b"\xff1" is "\\xff1")."""
    return data.decode("utf-8", "backslashreplace")


def shortened(data: bytes) -> str:
    """Bytes for people, at most 200 characters and what tells them from others (see `commands.words`)."""
    text = to_text(data[: 4 * _LONGEST_WORD + 4])  # no character has more bytes than 4
    if len(text) <= _LONGEST_WORD:
        return text
    return f"{text[:_LONGEST_WORD]}… ({len(data)} bytes, crc32 {zlib.crc32(data):08x})"


def reply_to_json(value: RespValue) -> Any:
    """A reply in canonical form: what JSON can hold, equal for RESP2 and RESP3 where the server says the same.

    Strings become str (of one longer than 64 KiB the beginning, with its size and checksum), null None, an error `{"error": text}`, an array a list, a set a sorted list, a map a
    dict whose keys are str (JSON text for what is neither string nor number), an infinite double or one that
    is no number a str ("inf", "-inf", "nan").
    """
    match value:
        case bytes():
            return to_text(value) if len(value) <= LONGEST_STRING else shortened(value)
        case float() if value - value != 0:  # infinite, or no number
            return str(value)
        case tuple():
            return [reply_to_json(item) for item in value]
        case RespError(text):
            return {"error": text}
        case RespMap(pairs):
            return {_json_key(key): reply_to_json(item) for key, item in pairs}
        case RespSet(members):
            return sorted(map(reply_to_json, members), key=_json_text)
        case Verbatim(_, content):
            return to_text(content)
    return value


def _json_key(key: RespValue) -> str:
    plain = reply_to_json(key)
    return plain if isinstance(plain, str) else _json_text(plain)


def _json_text(plain: Any) -> str:
    return json.dumps(plain, ensure_ascii=False, sort_keys=True)
