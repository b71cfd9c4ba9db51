"""Encoding of the Redis protocol: requests as clients send them, and the answers that the wire itself gives."""

__all__ = ["encode_bulk", "encode_command", "encode_error", "encode_integer", "encode_simple"]


def encode_command(*args: bytes | str | int) -> bytes:
    """A request, as clients send it."""
    out = [b"*%d\r\n" % len(args)]
    for argument in args:
        data = argument if isinstance(argument, bytes) else str(argument).encode()
        out.append(b"$%d\r\n%b\r\n" % (len(data), data))
    return b"".join(out)


def encode_simple(text: str) -> bytes:
    """A simple string such as OK.  Line breaks in it become blanks, as the server does it."""
    return b"+%b\r\n" % _one_line(text)


def encode_error(text: str) -> bytes:
    """An error; `text` begins with its code ("ERR …").  Line breaks in it become blanks."""
    return b"-%b\r\n" % _one_line(text)


def encode_integer(n: int) -> bytes:
    """An integer."""
    return b":%d\r\n" % n


def encode_bulk(data: bytes | None, resp3: bool) -> bytes:
    """A bulk string, or the null of the protocol's version."""
    if data is None:
        return b"_\r\n" if resp3 else b"$-1\r\n"
    return b"$%d\r\n%b\r\n" % (len(data), data)


def _one_line(text: str) -> bytes:
    return text.encode().translate(bytes.maketrans(b"\r\n", b"  "))
