"""Where a PostgreSQL message begins and ends: the framing of protocol 3, without a socket.

    untyped packet   int32 length, int32 code, rest      before and including the Startup packet
    typed message    one byte tag, int32 length, payload  everything after it

Lengths count themselves but not the tag.  Rules:

1. Bytes may arrive in any pieces; the result does not depend on them, and the work is linear in their number.
2. What cannot be a packet of the protocol raises FramingError as soon as its header is there; from then on
   every `feed` raises it again.  Packets of the same piece in front of it are gone: the connection is lost.
3. `raw` is what was read, byte for byte, so that forwarding never means encoding anew.

The functions below the parsers encode what the wire itself says to clients and servers.
Source: PostgreSQL documentation, "Frontend/Backend Protocol", Message Formats (protocol 3.0 and 3.2).
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from struct import Struct
from typing import Generic, TypeVar

from cacheproof.chaos.wire.framing import FramingError

__all__ = [
    "BackendParser",
    "CancelRequest",
    "FrontendPacket",
    "FrontendParser",
    "GSSENCRequest",
    "Message",
    "SSLRequest",
    "Startup",
    "authentication_ok",
    "backend_key_data",
    "cancel_request",
    "encode",
    "error_response",
    "negotiate_protocol_version",
    "parameter_status",
    "query",
    "ready_for_query",
    "ssl_refusal",
    "startup",
]

MAX_LENGTH = 1 << 30
"""The longest typed message, in bytes: PostgreSQL allocates no more (MaxAllocSize)."""
MAX_STARTUP_LENGTH = 10_000
"""The longest untyped packet, in bytes (MAX_STARTUP_PACKET_LENGTH)."""
MAX_SECRET_LENGTH = 256

_MAJOR = 3
_CANCEL, _SSL, _GSSENC = 80877102, 80877103, 80877104
_FRONTEND_TAGS = frozenset(bytes([tag]) for tag in b"BCDEFHPQSXcdfp")

_HEADER = Struct(">cI")
_INT = Struct(">I")
_TWO_INTS = Struct(">II")


@dataclass(frozen=True, slots=True)
class Startup:
    """The packet that opens a session: protocol 3.`minor` and its parameters (user, database, …)."""

    parameters: Mapping[str, str]
    raw: bytes
    minor: int = 0


@dataclass(frozen=True, slots=True)
class SSLRequest:
    """Asks for TLS.  The answer is one byte, `ssl_refusal()` for no; a Startup follows."""

    raw: bytes


@dataclass(frozen=True, slots=True)
class GSSENCRequest:
    """Asks for GSSAPI encryption.  The answer is one byte, `ssl_refusal()` for no; a Startup follows."""

    raw: bytes


@dataclass(frozen=True, slots=True)
class CancelRequest:
    """Asks, on a connection of its own, to cancel what session `pid` runs.

    `secret` is what BackendKeyData said: 4 bytes in protocol 3.0, up to 256 in 3.2.
    """

    pid: int
    secret: bytes
    raw: bytes


@dataclass(frozen=True, slots=True)
class Message:
    """One typed message: `raw` is `tag`, the length and `payload`."""

    tag: bytes
    payload: bytes
    raw: bytes


FrontendPacket = Startup | SSLRequest | GSSENCRequest | CancelRequest | Message
_Packet = TypeVar("_Packet", bound=FrontendPacket)


class _Parser(ABC, Generic[_Packet]):
    """Keeps the part of a packet that has arrived until the rest of it is there."""

    __slots__ = ("_failure", "_needed", "_passed", "_rest")

    def __init__(self) -> None:
        self._failure = ""
        self._passed = 0
        self._rest = bytearray()
        self._needed = 0

    def feed(self, data: bytes) -> list[_Packet]:
        """The packets that are complete now.  Raises FramingError for what can be none."""
        if self._failure:
            raise FramingError(self._failure)
        source = data
        if self._rest:
            # Only ever one partial packet is kept, so joining costs each byte once.
            self._rest += data
            if len(self._rest) < self._needed:
                return []
            source = bytes(self._rest)
        found: list[_Packet] = []
        try:
            position, self._needed = self._cut(source, found)
        except FramingError as error:
            offset = self._passed + sum(len(packet.raw) for packet in found)
            self._failure = f"at offset {offset}: {error}"
            raise FramingError(self._failure) from None
        self._passed += position
        self._rest = bytearray(source[position:])
        return found

    @abstractmethod
    def _cut(self, source: bytes, found: list[_Packet]) -> tuple[int, int]:
        """Append what is complete; returns where the rest begins and how many bytes of it are needed."""


class BackendParser(_Parser[Message]):
    """Cuts what a server sends into messages; the one-byte answer to an SSLRequest is not its matter.

    Unknown tags are let through: what they mean is between the server and its client.
    """

    __slots__ = ()

    def _cut(self, source: bytes, found: list[Message]) -> tuple[int, int]:
        return _cut_messages(source, 0, None, found)


class FrontendParser(_Parser[FrontendPacket]):
    """Cuts what a client sends: untyped packets up to its Startup, typed messages from then on.

    A tag that no client may send raises FramingError, as a server would end the session.
    """

    __slots__ = ("_started",)

    def __init__(self) -> None:
        super().__init__()
        self._started = False

    def _cut(self, source: bytes, found: list[FrontendPacket]) -> tuple[int, int]:
        position = 0
        while not self._started:
            available = len(source) - position
            if available < 4:
                return position, 4
            length = _startup_length(source, position)
            if available < length:
                return position, length
            packet = _read_untyped(source[position : position + length])
            self._started = isinstance(packet, Startup)
            found.append(packet)
            position += length
        return _cut_messages(source, position, _FRONTEND_TAGS, found)


def _cut_messages(
    source: bytes, position: int, tags: frozenset[bytes] | None, found: list[Message] | list[FrontendPacket]
) -> tuple[int, int]:
    size = len(source)
    while size - position >= 5:
        tag, length = _HEADER.unpack_from(source, position)
        if not 4 <= length <= MAX_LENGTH:
            raise FramingError(
                f"message {tag!r} has length {length}, expected 4 to {MAX_LENGTH}; "
                "this is not the PostgreSQL protocol, or its place in the stream was lost"
            )
        if tags is not None and tag not in tags:
            raise FramingError(
                f"message {tag!r} of length {length} is none that a PostgreSQL client may send"
            )
        end = position + length + 1
        if end > size:
            return position, length + 1
        found.append(Message(tag, source[position + 5 : end], source[position:end]))
        position = end
    return position, 5


def _startup_length(source: bytes, position: int) -> int:
    length: int = _INT.unpack_from(source, position)[0]
    if not 8 <= length <= MAX_STARTUP_LENGTH:
        raise FramingError(
            f"startup packet (no tag) has length {length}, expected 8 to {MAX_STARTUP_LENGTH}; "
            "is this a PostgreSQL client, and with sslnegotiation=postgres?"
        )
    return length


def _read_untyped(raw: bytes) -> Startup | SSLRequest | GSSENCRequest | CancelRequest:
    code: int = _INT.unpack_from(raw, 4)[0]
    if code == _SSL:
        return SSLRequest(raw)
    if code == _GSSENC:
        return GSSENCRequest(raw)
    if code == _CANCEL:
        return _read_cancel(raw)
    if code >> 16 != _MAJOR:
        raise FramingError(
            f"startup packet (no tag) of length {len(raw)} asks for protocol {code >> 16}.{code & 0xFFFF}, "
            f"expected {_MAJOR}.x"
        )
    return Startup(_read_parameters(raw), raw, code & 0xFFFF)


def _read_cancel(raw: bytes) -> CancelRequest:
    secret = raw[12:]
    if not 1 <= len(secret) <= MAX_SECRET_LENGTH:
        raise FramingError(
            f"cancel request (no tag) has length {len(raw)}, expected 13 to {12 + MAX_SECRET_LENGTH}"
        )
    return CancelRequest(_INT.unpack_from(raw, 8)[0], secret, raw)


def _read_parameters(raw: bytes) -> dict[str, str]:
    """Names and values end with a zero byte each, the list with one more."""
    fields = raw[8:].split(b"\0")
    # An even number of strings and the list's own end leave two empty fields behind.
    if len(fields) % 2 or fields[-2:] != [b"", b""] or b"" in fields[:-2:2]:
        raise FramingError(
            f"startup packet (no tag) of length {len(raw)} has parameters that are not pairs ended by a zero "
            f"byte: {raw[8:88]!r}"
        )
    texts = [field.decode("utf-8", "surrogateescape") for field in fields]
    return dict(zip(texts[:-2:2], texts[1:-2:2], strict=True))


def encode(tag: bytes, payload: bytes = b"") -> bytes:
    """One typed message."""
    return _HEADER.pack(tag, len(payload) + 4) + payload


def authentication_ok() -> bytes:
    """AuthenticationOk: no password is wanted."""
    return encode(b"R", _INT.pack(0))


def backend_key_data(pid: int, secret: bytes) -> bytes:
    """BackendKeyData: what a CancelRequest for this session has to repeat."""
    return encode(b"K", _INT.pack(pid) + secret)


def cancel_request(pid: int, secret: bytes) -> bytes:
    """CancelRequest, to be sent alone on a new connection."""
    return _INT.pack(len(secret) + 12) + _TWO_INTS.pack(_CANCEL, pid) + secret


def error_response(severity: str, sqlstate: str, message: str) -> bytes:
    """ErrorResponse; `severity` is ERROR, FATAL or PANIC, `sqlstate` five characters."""
    fields = (f"S{severity}", f"V{severity}", f"C{sqlstate}", f"M{message}")
    return encode(b"E", b"".join(map(_cstring, fields)) + b"\0")


def negotiate_protocol_version(minor: int, unknown: Sequence[str] = ()) -> bytes:
    """NegotiateProtocolVersion: the newest version spoken is 3.`minor`; these `_pq_.` options are unknown.

    The version is sent whole (major in the upper half), as PostgreSQL does and libpq expects.
    """
    version = _MAJOR << 16 | minor
    return encode(b"v", _TWO_INTS.pack(version, len(unknown)) + b"".join(map(_cstring, unknown)))


def parameter_status(name: str, value: str) -> bytes:
    """ParameterStatus: a setting that clients want to know (server_version, client_encoding, …)."""
    return encode(b"S", _cstring(name) + _cstring(value))


def query(sql: str) -> bytes:
    """Query: the simple protocol."""
    return encode(b"Q", _cstring(sql))


def ready_for_query(status: str) -> bytes:
    """ReadyForQuery; `status` is "I" (idle), "T" (in a transaction) or "E" (in a failed one)."""
    return encode(b"Z", status.encode())


def ssl_refusal() -> bytes:
    """The answer to SSLRequest and GSSENCRequest: no; go on in the clear."""
    return b"N"


def startup(parameters: Mapping[str, str], minor: int = 0) -> bytes:
    """Startup packet of protocol 3.`minor`."""
    pairs = b"".join(_cstring(text) for pair in parameters.items() for text in pair)
    return _INT.pack(len(pairs) + 9) + _INT.pack(_MAJOR << 16 | minor) + pairs + b"\0"


def _cstring(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape") + b"\0"
