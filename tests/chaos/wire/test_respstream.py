"""Bytes that have arrived: read by lines and blocks, with the offset of whatever is wrong."""

import pytest

from cacheproof.chaos.wire.framing import FramingError
from cacheproof.chaos.wire.respstream import MAX_LINE, Stream, read_length


def stream_of(data: bytes) -> Stream:
    stream = Stream()
    stream.append(data)
    return stream


def test_lines_and_blocks_wait_for_their_end_and_move_nothing_until_then() -> None:
    """What is incomplete is None, and reading goes on where it stood once the rest is there."""
    stream = stream_of(b"$3\r")
    assert stream.line(MAX_LINE) is None
    stream.append(b"\nab")
    assert stream.line(MAX_LINE) == b"$3"
    assert stream.block(3) is None
    stream.append(b"c\r\n")
    assert stream.block(3) == b"abc"
    assert stream.at == len(stream.buffer)


def test_cutting_gives_the_bytes_of_each_message_once() -> None:
    """`cut` ends a message, `drop` frees what was cut and keeps the beginning of the next."""
    stream = stream_of(b"+a\r\n+b\r\n+c")
    stream.line(MAX_LINE)
    assert stream.cut() == b"+a\r\n"
    stream.line(MAX_LINE)
    assert stream.cut() == b"+b\r\n"
    stream.drop()
    assert (bytes(stream.buffer), stream.at) == (b"+c", 0)
    stream.append(b"\r\n")
    assert stream.line(MAX_LINE) == b"+c"


def test_an_error_names_the_place_in_the_whole_stream_and_stays() -> None:
    """Bytes that took the short cut or were dropped count; a broken stream takes no more."""
    stream = Stream()
    stream.passed(100)
    stream.append(b"+a\r\n+b\nx\r\n")
    stream.line(MAX_LINE)
    stream.cut()
    stream.drop()
    with pytest.raises(FramingError, match=r"byte 104 of the stream.*CR and LF only together"):
        stream.line(MAX_LINE)
    with pytest.raises(FramingError, match="byte 104"):
        stream.append(b"+more\r\n")


def test_a_line_has_a_limit_even_while_its_end_is_missing() -> None:
    """The limit itself is allowed, with or without the CR; one byte more is not."""
    assert stream_of(b"+" + b"a" * 9 + b"\r").line(10) is None
    assert stream_of(b"+" + b"a" * 9 + b"\r\n").line(10) == b"+" + b"a" * 9
    with pytest.raises(FramingError, match="a line of at most 10 bytes"):
        stream_of(b"+" + b"a" * 11).line(10)


@pytest.mark.parametrize("text", [b"", b"1_0", b" 1", b"+1", b"-2", b"--1", b"x"])
def test_a_length_is_digits_or_minus_one(text: bytes) -> None:
    """All else that Python would read as a number is none in the protocol."""
    assert (read_length(b"0"), read_length(b"12"), read_length(b"-1")) == (0, 12, -1)
    with pytest.raises(ValueError):
        read_length(text)
