"""Readers of payloads: what they read, and that they stop at the end of what is there."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cacheproof.chaos.wire.framing import FramingError
from cacheproof.chaos.wire.pgmessages import BackendParser, encode
from cacheproof.chaos.wire.pgpayload import (
    UNREADABLE,
    expect_end,
    for_each,
    read_columns,
    read_cstring,
    read_numbers,
    read_values,
    unreadable,
)


def test_readers_return_what_they_read_and_where_it_ends() -> None:
    """Strings, numbers of both widths and values, from the middle of a payload."""
    assert read_cstring(b"..ab\0..", 2) == (b"ab", 5)
    assert read_numbers(b".\0\0", 1, "h") == ((), 3)
    assert read_numbers(b".\0\2\0\1\xff\xff", 1, "h") == ((1, -1), 7)
    assert read_numbers(b"\0\1\xff\xff\xff\xff", 0, "I") == ((2**32 - 1,), 6)
    assert read_values(b".\0\3\0\0\0\1x\xff\xff\xff\xff\0\0\0\0", 1) == ([b"x", None, b""], 16)
    column = b"name\0" + struct.pack(">IhIhih", 1, 2, 25, -1, -1, 1)
    assert read_columns(b"\0\2" + column + column.replace(b"\x19", b"\x17")[:-1] + b"\0") == (
        (25, True),
        (23, False),
    )


@pytest.mark.parametrize(
    ("formats", "count", "expected"),
    [((), 2, (0, 0)), ((1,), 3, (1, 1, 1)), ((1,), 0, ()), ((0, 1), 2, (0, 1)), ((), 0, ())],
)
def test_format_codes_are_spelled_out(
    formats: tuple[int, ...], count: int, expected: tuple[int, ...]
) -> None:
    """None: all text; one: for all; else one each."""
    assert for_each(formats, count) == expected


def test_the_end_is_the_end() -> None:
    """Bytes too few or too many are noticed."""
    expect_end(b"ab", 2)
    for position in (1, 3):
        with pytest.raises(ValueError, match=f"2 bytes instead of {position}"):
            expect_end(b"ab", position)


def test_a_negative_length_is_none_but_for_null() -> None:
    """−1 is NULL, less is nonsense."""
    with pytest.raises(ValueError, match="a value of length -2"):
        read_values(b"\0\1\xff\xff\xff\xfe", 0)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=40))
def test_nothing_but_the_named_errors(payload: bytes) -> None:
    """Any bytes either read or raise one of UNREADABLE."""
    for reader in (
        lambda: read_cstring(payload, 0),
        lambda: read_numbers(payload, 0, "I"),
        lambda: read_numbers(payload, 0, "h"),
        lambda: read_values(payload, 0),
        lambda: read_columns(payload),
    ):
        try:
            reader()
        except UNREADABLE:
            continue


def test_the_error_names_the_message() -> None:
    """Tag, length, the beginning of the payload and the cause."""
    (message,) = BackendParser().feed(encode(b"T", b"x" * 100))
    error = unreadable(message, ValueError("why"))
    assert isinstance(error, FramingError)
    assert str(error).startswith("message b'T' of length 104 has a payload that does not read as one: b'xxx")
    assert str(error).endswith("x' (why)")
