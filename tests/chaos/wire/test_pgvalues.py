"""PostgreSQL values as JSON values, from both formats (against a real server: test_pgcycle_server.py)."""

import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cacheproof.chaos.wire.pgvalues import decode_text, decode_value, parameter_text

BOOL, BYTEA, INT8, INT2, INT4, TEXT, OID, FLOAT4, FLOAT8 = 16, 17, 20, 21, 23, 25, 26, 700, 701
TEXTS, DATE, TIMESTAMP, TIMESTAMPTZ, NUMERIC, UUID, JSONB = 1009, 1082, 1114, 1184, 1700, 2950, 3802
SCALARS = (BOOL, BYTEA, INT8, INT2, INT4, TEXT, OID, FLOAT4, FLOAT8)
KNOWN = (*SCALARS, TEXTS, DATE, TIMESTAMP, TIMESTAMPTZ, NUMERIC, UUID, JSONB, 0, 18, 99999)


@pytest.mark.parametrize(
    ("oid", "value", "expected"),
    [
        (INT4, b"-7", -7),
        (INT8, b"9223372036854775807", 2**63 - 1),
        (BOOL, b"t", True),
        (BOOL, b"f", False),
        (FLOAT8, b"1e-07", 1e-07),
        (FLOAT4, b"NaN", "NaN"),
        (FLOAT8, b"Infinity", "Infinity"),
        (FLOAT8, b"-Infinity", "-Infinity"),
        (NUMERIC, b"1.50", "1.50"),
        (TEXT, "ä\n".encode(), "ä\n"),
        (TEXT, b"\xff", "\\xff"),
        (INT4, b"seven", "seven"),
        (BOOL, b"\xff", "\\xff"),
    ],
)
def test_text_format(oid: int, value: bytes, expected: Any) -> None:
    """Integers, floats and booleans by type, all else as text; what does not read stays text."""
    decoded = decode_value(value, oid, False)
    assert decoded == expected and type(decoded) is type(expected)


@pytest.mark.parametrize(
    ("oid", "value", "expected"),
    [
        (BOOL, b"\1", True),
        (BOOL, b"\0", False),
        (INT2, b"\xff\xf9", -7),
        (INT4, b"\0\0\1\2", 258),
        (INT8, b"\x7f" + b"\xff" * 7, 2**63 - 1),
        (OID, b"\xff" * 4, 2**32 - 1),
        (FLOAT4, struct.pack(">f", 0.1), 0.1),
        (FLOAT4, struct.pack(">f", 16777217.0), 16777216.0),
        (FLOAT4, b"\x7f\x7f\xff\xff", 3.4028235e38),
        (FLOAT4, struct.pack(">f", float("-inf")), "-Infinity"),
        (FLOAT8, struct.pack(">d", 0.1), 0.1),
        (FLOAT8, struct.pack(">d", float("nan")), "NaN"),
        (TEXT, b"\0\xff", "\0\\xff"),
        (BYTEA, b"ab", "\\x6162"),
        (JSONB, b'\1{"a": 1}', '{"a": 1}'),
        (UUID, bytes(range(16)), "00010203-0405-0607-0809-0a0b0c0d0e0f"),
        (DATE, struct.pack(">i", -1), "1999-12-31"),
        (TIMESTAMP, struct.pack(">q", 1_500_000), "2000-01-01 00:00:01.5"),
        (TIMESTAMP, struct.pack(">q", 2**63 - 1), "infinity"),
        (TIMESTAMP, struct.pack(">q", -(2**63)), "-infinity"),
        (TIMESTAMPTZ, struct.pack(">q", 0), "2000-01-01 00:00:00+00"),
        (NUMERIC, struct.pack(">HhHHH", 1, 0, 0x4000, 0, 7), "-7"),
        (NUMERIC, struct.pack(">HhHH", 0, 0, 0xC000, 0), "NaN"),
        (NUMERIC, struct.pack(">HhHHH", 1, -2, 0, 6, 12), "0.000000"),
        (NUMERIC, struct.pack(">HhHHH", 1, -2, 0, 8, 12), "0.00000012"),
        (NUMERIC, struct.pack(">HhHHH", 1, 2, 0, 0, 12), "1200000000"),
        (TEXTS, struct.pack(">iiI", 0, 0, TEXT), "{}"),
        (TEXTS, struct.pack(">iiIiii2si", 1, 1, TEXT, 2, 1, 2, b'a"', -1), '{"a\\"",NULL}'),
        (1000, struct.pack(">iiIiiisis", 1, 0, BOOL, 2, 1, 1, b"\1", 1, b"\0"), "{t,f}"),
    ],
)
def test_binary_format(oid: int, value: bytes, expected: Any) -> None:
    """The same values as from text format, by the layouts of the server's send functions."""
    decoded = decode_value(value, oid, True)
    assert decoded == expected and type(decoded) is type(expected)


@pytest.mark.parametrize(
    ("oid", "value", "expected"),
    [
        (INT4, b"\0\1", "\\x0001"),
        (INT4, b"abc", "abc"),
        (BOOL, b"\2", "\\x02"),
        (DATE, struct.pack(">i", 2**31 - 1), "\\x7fffffff"),
        (JSONB, b"\2{}", "\\x027b7d"),
        (JSONB, b"", ""),
        (UUID, b"\0", "\\x00"),
        (NUMERIC, b"\0\2\0\0\0\0\0\0\0\1", "\\x00020000000000000001"),
        (NUMERIC, b"\0\0\0\0\0\1\0\0", "\\x0000000000010000"),
        (TEXTS, struct.pack(">iiI", 2, 0, TEXT), "\\x000000020000000000000019"),
        (
            TEXTS,
            struct.pack(">iiIiii", 1, 0, TEXT, 1, 1, 9),
            "\\x" + struct.pack(">iiIiii", 1, 0, TEXT, 1, 1, 9).hex(),
        ),
        (0, b"plain\ttext\r\n", "plain\ttext\r\n"),
        (0, b"\0", "\\x00"),
        (99999, b"\xff", "\\xff"),
    ],
)
def test_binary_values_that_nobody_knows(oid: int, value: bytes, expected: str) -> None:
    """Unknown types, and values that are none of their type, are text if printable, else digits."""
    assert decode_value(value, oid, True) == expected


def test_null_has_no_type() -> None:
    """NULL is None as a value and as a parameter."""
    assert decode_value(None, INT4, False) is None
    assert parameter_text(None, INT4, True) is None


@pytest.mark.parametrize(
    ("value", "oid", "binary", "expected"),
    [
        (b"007", INT4, False, "007"),
        (b"t", BOOL, False, "t"),
        (b"\xc3\xa4\xff", TEXT, False, "ä\\xff"),
        (b"\0\7", INT2, True, "7"),
        (b"\1", BOOL, True, "true"),
        (b"\0", BOOL, True, "false"),
        (struct.pack(">d", 1.5), FLOAT8, True, "1.5"),
        (b"user:1", 0, True, "user:1"),
        (b"\0\0\0\7", 0, True, "\\x00000007"),
    ],
)
def test_parameters_are_text(value: bytes, oid: int, binary: bool, expected: str) -> None:
    """In text format as they were sent, in binary format by the type declared, else as well as one can."""
    assert parameter_text(value, oid, binary) == expected


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=24), st.sampled_from(KNOWN), st.booleans())
def test_any_bytes_have_a_value_that_can_be_stored(value: bytes, oid: int, binary: bool) -> None:
    """Nothing raises, and the value is a JSON scalar whose text can be written as UTF-8."""
    decoded = decode_value(value, oid, binary)
    assert isinstance(decoded, (str, int, float, bool))
    decode_text(str(decoded).encode())
    assert isinstance(parameter_text(value, oid, binary), str)


@settings(max_examples=100, deadline=None)
@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_single_precision_is_shortest(number: float) -> None:
    """The decimal is the number's own, with at most nine digits."""
    decoded = decode_value(struct.pack(">f", number), FLOAT4, True)
    assert isinstance(decoded, float)
    assert struct.pack(">f", decoded) == struct.pack(">f", number) and float(f"{decoded:.9g}") == decoded
