"""A century of grace: which times to live get it, how it is told, and what cannot be given it."""

import pytest

from cacheproof.chaos.reprieve import REPRIEVE_MS, asks_for_lifetimes, is_bare, lengthened, net_ms
from cacheproof.chaos.wire.resp import Command

CENTURY_S = REPRIEVE_MS // 1000


def command(words: str) -> Command:
    return Command.of(*words.split())


@pytest.mark.parametrize(
    ("said", "sent"),
    [
        ("SET a v EX 60", f"SET a v EX {CENTURY_S + 60}"),
        ("set a v NX px 60 GET", f"set a v NX px {REPRIEVE_MS + 60} GET"),
        ("GETEX a EX 1", f"GETEX a EX {CENTURY_S + 1}"),
        ("SETEX a 60 v", f"SETEX a {CENTURY_S + 60} v"),
        ("PSETEX a 60 v", f"PSETEX a {REPRIEVE_MS + 60} v"),
        ("EXPIRE a 60 GT", f"EXPIRE a {CENTURY_S + 60} GT"),
        ("PEXPIRE a 60", f"PEXPIRE a {REPRIEVE_MS + 60}"),
        ("RESTORE a 60 data REPLACE", f"RESTORE a {REPRIEVE_MS + 60} data REPLACE"),
    ],
)
def test_every_time_to_live_gets_a_century(said: str, sent: str) -> None:
    """In the unit of the command, everything else as it was."""
    assert lengthened(command(said)).args == command(sent).args


@pytest.mark.parametrize(
    "said",
    [
        "SET a v",
        "SET a v KEEPTTL",
        "SET a v EX 0",
        "SET a v PX -5",
        "SET a v EX many",
        "EXPIRE a -1",
        "PEXPIRE a 0",
        "SETEX a 0 v",
        "GETEX a PERSIST",
        "PERSIST a",
        "HPEXPIRE a 60 FIELDS 1 f",
        "HSETEX a EX 60 FIELDS 1 f v",
        "RESTORE a 0 data",
        "RESTORE a -1 data",
        "RESTORE a 60 data ABSTTL",
        "RESTORE a 60",
        "SET a v PXAT 60",
    ],
)
def test_what_has_none_or_is_refused_stays(said: str) -> None:
    """The very same command: what the server refuses it goes on to refuse, what is over is over."""
    given = command(said)
    assert lengthened(given) is given


@pytest.mark.parametrize(
    ("pttl_ms", "bare", "net"),
    [
        (-2, False, -2),
        (-1, False, -1),
        (0, True, 0),
        (60_000, True, 60_000),
        (REPRIEVE_MS + 60_000, False, 60_000),
        (REPRIEVE_MS - 5, False, 0),
    ],
)
def test_whether_it_is_contained_can_be_seen(pttl_ms: int, bare: bool, net: int) -> None:
    """No cache asks for half a century; real time may have taken a little of it."""
    assert (is_bare(pttl_ms), net_ms(pttl_ms)) == (bare, net)


@pytest.mark.parametrize(
    ("args", "asks"),
    [
        (("EVAL", "return redis.call('TTL', KEYS[1])", 1, "a"), True),
        (("EVAL", 'return redis.call("pttl", KEYS[1])', 1, "a"), True),
        (("EVAL", "return redis.call([[PEXPIRETIME]], KEYS[1])", 1, "a"), True),
        (("EVAL", "return redis.call(ARGV[1], KEYS[1])", 1, "a", "ttl"), True),
        (("SCRIPT", "LOAD", "return redis.call('PTTL', KEYS[1])"), True),
        (("FUNCTION", "LOAD", "#!lua name=l\nredis.call('expiretime', 'a')"), True),
        (("EVAL", "local ttl = ARGV[1]; return redis.call('SET', 'a', 'v', 'EX', ttl)", 0, "60"), False),
        (("EVAL", "return redis.call('EXPIRE', KEYS[1], 5)", 1, "a"), False),
        (("SET", "a", "ttl"), False),
    ],
)
def test_scripts_that_ask_for_times_to_live_are_known(args: tuple[str | int, ...], asks: bool) -> None:
    """By the name of the command in quotes; a variable of that name means nothing."""
    assert asks_for_lifetimes(Command.of(*args)) is asks
