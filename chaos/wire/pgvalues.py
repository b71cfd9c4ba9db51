"""What the bytes of a PostgreSQL value mean, as one JSON value: integers, floats, booleans, else text.

Both formats of the protocol give the same value wherever a driver may choose between them, so that a history
does not depend on the driver.  Types that nobody listed here are text in text format; in binary format they
are text if they read as printable UTF-8, else `\\x` and hexadecimal digits.  Nothing here ever raises.

Source: PostgreSQL documentation, "Frontend/Backend Protocol"; the binary layouts are those of the `typsend`
functions (src/backend/utils/adt).  Type numbers (OIDs) are fixed for ever in pg_type.dat.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from math import isfinite, isnan
from struct import Struct, error
from uuid import UUID

from cacheproof.models.operation import Value

__all__ = ["decode_text", "decode_value", "parameter_text"]

_INT2, _INT4, _INT8, _OID = Struct(">h"), Struct(">i"), Struct(">q"), Struct(">I")
_FLOAT4, _FLOAT8 = Struct(">f"), Struct(">d")
_NUMERIC = Struct(">HhHH")
_ARRAY, _DIMENSION = Struct(">iiI"), Struct(">ii")


def decode_text(value: bytes) -> str:
    """UTF-8 text; bytes that are none are shown as `\\xff`, so that the result can always be stored."""
    return value.decode("utf-8", "backslashreplace")


def decode_value(value: bytes | None, oid: int, binary: bool) -> Value:
    """The JSON value of a result column of type `oid`; None for NULL."""
    if value is None:
        return None
    reader = (_BINARY if binary else _TEXT).get(oid)
    if reader is None:
        return _guess(value) if binary else decode_text(value)
    try:
        return reader(value)
    except (ValueError, OverflowError, LookupError, error):
        return _guess(value)


def parameter_text(value: bytes | None, oid: int, binary: bool) -> str | None:
    """A parameter as text, whichever format it was sent in; None for NULL.  `oid` is 0 if it is unknown."""
    if value is None:
        return None
    if not binary:
        return decode_text(value)
    meaning = decode_value(value, oid, True)
    return _as_sql(meaning)


def _as_sql(value: Value) -> str:
    """How PostgreSQL would write the value as text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _guess(value: bytes) -> str:
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return _hex(value)
    visible = text.replace("\n", " ").replace("\t", " ").replace("\r", " ")
    return text if visible.isprintable() else _hex(value)


def _hex(value: bytes) -> str:
    return "\\x" + value.hex()


def _float(value: float) -> Value:
    """JSON has neither NaN nor infinities: those are the words that PostgreSQL uses."""
    if isfinite(value):
        return value
    return "NaN" if isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _float4(value: bytes) -> Value:
    """The shortest decimal that is this single-precision number, as PostgreSQL prints it."""
    number: float = _FLOAT4.unpack(value)[0]
    if not isfinite(number):
        return _float(number)
    nearest = (float(f"{number:.{digits}g}") for digits in range(6, 10))
    return next((short for short in nearest if _single(short) == number), number)


def _single(number: float) -> float:
    single: float = _FLOAT4.unpack(_FLOAT4.pack(number))[0]
    return single


def _jsonb(value: bytes) -> str:
    if value[0] != 1:
        raise ValueError("a version of jsonb that does not exist yet")
    return decode_text(value[1:])


def _date(value: bytes) -> str:
    return str(date(2000, 1, 1) + timedelta(days=_INT4.unpack(value)[0]))


def _timestamp(value: bytes) -> str:
    return _stamp(value, datetime(2000, 1, 1))


def _timestamp_utc(value: bytes) -> str:
    """In UTC: the time zone of the session is not known here."""
    return _stamp(value, datetime(2000, 1, 1, tzinfo=UTC)).removesuffix(":00")


def _stamp(value: bytes, epoch: datetime) -> str:
    microseconds: int = _INT8.unpack(value)[0]
    if abs(microseconds) >= (1 << 63) - 1:
        return "infinity" if microseconds > 0 else "-infinity"
    moment = epoch + timedelta(microseconds=microseconds)
    fraction = f".{moment.microsecond:06}".rstrip("0") if moment.microsecond else ""
    return f"{moment:%Y-%m-%d %H:%M:%S}{fraction}{moment.isoformat()[-6:] if moment.tzinfo else ''}"


_NUMERIC_WORDS = {0xC000: "NaN", 0xD000: "Infinity", 0xF000: "-Infinity"}


def _numeric(value: bytes) -> str:
    """Digits to the base 10,000; `weight` is the power of the first, `scale` the decimals to be shown."""
    count, weight, sign, scale = _NUMERIC.unpack_from(value)
    if sign in _NUMERIC_WORDS:
        return _NUMERIC_WORDS[sign]
    if len(value) != _NUMERIC.size + 2 * count or sign not in (0, 0x4000):
        raise ValueError("not a numeric")
    digits = [f"{int.from_bytes(value[at : at + 2]):04}" for at in range(_NUMERIC.size, len(value), 2)]
    whole = "".join(digits[: weight + 1]) + "0000" * max(0, weight + 1 - count)
    decimals = "0000" * max(0, -weight - 1) + "".join(digits[max(0, weight + 1) :])
    shown = whole.lstrip("0") or "0"
    if scale:
        shown += "." + decimals[:scale].ljust(scale, "0")
    return f"-{shown}" if sign else shown


def _array(value: bytes) -> str:
    """An array as PostgreSQL writes it, '{a,"b c",NULL}'; of one dimension only."""
    dimensions, _, oid = _ARRAY.unpack_from(value)
    if dimensions == 0:
        return "{}"
    if dimensions != 1:
        raise ValueError("an array of several dimensions")
    count, position = _DIMENSION.unpack_from(value, _ARRAY.size)[0], _ARRAY.size + _DIMENSION.size
    shown = []
    for _ in range(count):
        length: int = _INT4.unpack_from(value, position)[0]
        position += 4
        if length < 0:
            shown.append("NULL")
            continue
        shown.append(_element(decode_value(value[position : position + length], oid, True)))
        position += length
    if position != len(value):
        raise ValueError("an array whose length is wrong")
    return "{" + ",".join(shown) + "}"


def _element(value: Value) -> str:
    if isinstance(value, bool):
        return "t" if value else "f"
    text = str(value)
    plain = text and text.upper() != "NULL" and not any(mark in '{},"\\' or mark.isspace() for mark in text)
    return text if plain else '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


Reader = Callable[[bytes], Value]

_TEXT: Mapping[int, Reader] = {
    16: {b"t": True, b"f": False}.__getitem__,  # bool
    20: int,  # int8
    21: int,  # int2
    23: int,  # int4
    26: int,  # oid
    700: lambda value: _float(float(value)),  # float4
    701: lambda value: _float(float(value)),  # float8
}

_PLAIN_TEXT = (18, 19, 25, 114, 142, 705, 1042, 1043)  # char, name, text, json, xml, unknown, bpchar, varchar
_ARRAYS = (1000, 1005, 1007, 1009, 1015, 1016, 1021, 1022, 1231, 2951)  # of the scalar types here

_BINARY: Mapping[int, Reader] = {
    **dict.fromkeys(_PLAIN_TEXT, decode_text),
    **dict.fromkeys(_ARRAYS, _array),
    16: {b"\1": True, b"\0": False}.__getitem__,
    17: _hex,  # bytea
    20: lambda value: _INT8.unpack(value)[0],
    21: lambda value: _INT2.unpack(value)[0],
    23: lambda value: _INT4.unpack(value)[0],
    26: lambda value: _OID.unpack(value)[0],
    700: _float4,
    701: lambda value: _float(_FLOAT8.unpack(value)[0]),
    1082: _date,
    1114: _timestamp,
    1184: _timestamp_utc,
    1700: _numeric,
    2950: lambda value: str(UUID(bytes=value)),
    3802: _jsonb,
}
