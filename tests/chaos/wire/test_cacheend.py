"""What links to one cache share: answers to set-up, the numbers of links, what commands are like."""

from typing import Any

import pytest

from cacheproof.chaos.wire.cacheend import FIRST_NUMBER
from cacheproof.chaos.wire.resp import Command


def test_set_up_is_asked_once_for_each_wording_and_protocol(network: Any) -> None:
    """What the server says to HELLO depends on both."""
    end, hello = network.cache, Command.of("HELLO", 3)
    first = end.setup_answer(hello, 2, 1)
    assert first.startswith(b"%")
    assert end.setup_answer(hello, 2, 1) == first
    assert list(end.said) == [(2, (b"HELLO", b"3"))]
    assert end.setup_answer(Command.of("HELLO"), 2, 1).startswith(b"*")


def test_links_are_told_their_own_number(network: Any) -> None:
    """By HELLO and by CLIENT ID; the rest of HELLO is the server's."""
    end = network.cache
    one, two = (
        end.setup_answer(Command.of("HELLO", 2), 2, number) for number in (FIRST_NUMBER, FIRST_NUMBER + 1)
    )
    assert one.replace(b":1000000\r\n", b":1000001\r\n") == two != one
    assert end.setup_answer(Command.of("CLIENT", "ID"), 2, 7) == b":7\r\n"


def test_numbers_of_links_become_those_of_the_server(network: Any) -> None:
    """Where a connection is named, and nowhere else; unknown numbers stay."""
    end = network.cache
    end.numbers[FIRST_NUMBER] = lambda: 5
    for words, expected in (
        ("CLIENT KILL ID 1000000 SKIPME NO", "CLIENT KILL ID 5 SKIPME NO"),
        ("client unblock 1000000 error", "client unblock 5 error"),
        ("CLIENT TRACKING ON REDIRECT 1000000 BCAST", "CLIENT TRACKING ON REDIRECT 5 BCAST"),
    ):
        assert end.with_server_numbers(Command.of(*words.split())).args == Command.of(*expected.split()).args
    for words in (
        "CLIENT KILL ID 1000001",
        "CLIENT SETNAME 1000000",
        "CLIENT UNBLOCK",
        "CLIENT KILL ID",
        "CLIENT",
    ):
        command = Command.of(*words.split())
        assert end.with_server_numbers(command) is command


@pytest.mark.parametrize(
    ("name", "flags"),
    [
        ("GET", {"readonly", "fast", "keys"}),
        ("SET", {"write", "denyoom", "keys"}),
        ("FLUSHALL", {"write"}),
        ("EVAL", {"noscript", "stale", "skip_monitor", "no_mandatory_keys", "movablekeys", "keys"}),
        ("NOSUCH", set()),
    ],
)
def test_what_a_command_is_like(network: Any, name: str, flags: set[str]) -> None:
    """In the server's own words, asked once."""
    assert network.cache.flags(name) == flags
    network.cache.pool.clear()
    assert network.cache.flags(name) is network.cache.known[name]
