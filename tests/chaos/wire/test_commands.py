"""What the harness knows of commands: each table, its edges, and what it leaves alone."""

from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cacheproof.chaos.wire.commands import (
    Lifetime,
    StreamIds,
    answered_by_clock,
    blocking_forever,
    blocking_timeout_s,
    changes_connection,
    given_stream_id,
    is_setup,
    keys_in,
    lifetime,
    options,
    subcommand,
    to_virtual,
    words,
)
from cacheproof.chaos.wire.resp import Command, CommandParser

NOW_MS = 1_700_000_000_000


def command(line: str) -> Command:
    """A command, written as one types it."""
    return Command.of(*line.split())


def typed(found: Command) -> str:
    """The reverse of `command`, after a check that the bytes say the same."""
    assert CommandParser().feed(found.raw) == [found]
    return b" ".join(found.args).decode()


# ── connections ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "line",
    ["HELLO 3", "auth user secret", "CLIENT SETINFO lib-name x", "CLIENT", "client tracking on", "SELECT 0"]
    + ["RESET", "QUIT", "READONLY", "READWRITE", "COMMAND DOCS", "CLIENT NO-EVICT ON"],
)
def test_connection_set_up_passes_without_a_decision(line: str) -> None:
    """Commands that prepare a connection, in any case of letters."""
    assert is_setup(command(line))


@pytest.mark.parametrize(
    "line",
    ["PING", "GET k", "INFO", "MULTI", "SUBSCRIBE c", "CONFIG GET maxmemory", "SELECTED"]
    + ["CLIENT KILL ID 5", "client unblock 5", "CLIENT PAUSE 100", "CLIENT UNPAUSE"],
)
def test_all_else_is_an_exchange(line: str) -> None:
    """Data, PING, and what reaches other connections waits for a decision."""
    assert not is_setup(command(line))


def test_in_a_transaction_only_what_is_never_queued_is_set_up() -> None:
    """Between MULTI and EXEC the server queues SELECT and HELLO, but not QUIT and RESET."""
    assert not is_setup(command("SELECT 0"), in_multi=True)
    assert not is_setup(command("CLIENT ID"), in_multi=True)
    assert is_setup(command("RESET"), in_multi=True)
    assert is_setup(command("QUIT"), in_multi=True)


@pytest.mark.parametrize(
    "line",
    ["AUTH x", "HELLO 3", "SELECT 1", "MULTI", "WATCH k", "SUBSCRIBE c", "PSUBSCRIBE c*", "SSUBSCRIBE c"]
    + ["MONITOR", "CLIENT TRACKING ON", "CLIENT REPLY OFF", "client no-evict on", "CLIENT", "QUIT", "RESET"]
    + ["READONLY", "ASKING", "SCRIPT DEBUG YES", "REPLCONF ACK 0", "CLIENT IMPORT-SOURCE ON"],
)
def test_what_lasts_on_a_connection_is_known(line: str) -> None:
    """After these a pooled connection is not what it was."""
    assert changes_connection(command(line))


@pytest.mark.parametrize(
    "line",
    ["GET k", "EXEC", "DISCARD", "UNWATCH", "PUBLISH c m", "SCRIPT LOAD x", "SCRIPT", "EVAL x 0", "PING"]
    + ["CLIENT SETINFO LIB-NAME x", "client setname x", "CLIENT ID", "CLIENT INFO", "CLIENT KILL ID 3"],
)
def test_what_does_not_last_leaves_a_connection_clean(line: str) -> None:
    """After these a pooled connection can be lent out again."""
    assert not changes_connection(command(line))


def test_second_word_of_a_container_command() -> None:
    """In capitals, and empty where there is none."""
    assert (subcommand(command("config get x")), subcommand(command("CONFIG"))) == ("GET", "")


# ── blocking ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("line", "seconds", "forever"),
    [
        ("BLPOP a b 5", 5.0, "BLPOP a b 0"),
        ("brpop a 0.25", 0.25, "brpop a 0"),
        ("BLPOP a 0", 0.0, "BLPOP a 0"),
        ("BLPOP a +1e1", 10.0, "BLPOP a 0"),
        ("BRPOPLPUSH a b .5", 0.5, "BRPOPLPUSH a b 0"),
        ("BLMOVE a b LEFT RIGHT 3", 3.0, "BLMOVE a b LEFT RIGHT 0"),
        ("BLMPOP 2 1 a LEFT COUNT 3", 2.0, "BLMPOP 0 1 a LEFT COUNT 3"),
        ("BZMPOP 2.5 1 a MIN", 2.5, "BZMPOP 0 1 a MIN"),
        ("BZPOPMIN a 1", 1.0, "BZPOPMIN a 0"),
        ("BZPOPMAX a 1", 1.0, "BZPOPMAX a 0"),
        ("WAIT 1 100", 0.1, "WAIT 1 0"),
        ("WAITAOF 1 0 250", 0.25, "WAITAOF 1 0 0"),
        ("XREAD BLOCK 100 STREAMS s $", 0.1, "XREAD BLOCK 0 STREAMS s $"),
        ("XREAD COUNT 2 block 0 streams s $", 0.0, "XREAD COUNT 2 block 0 streams s $"),
        (
            "XREADGROUP GROUP BLOCK STREAMS NOACK BLOCK 5000 COUNT 1 STREAMS s >",
            5.0,
            "XREADGROUP GROUP BLOCK STREAMS NOACK BLOCK 0 COUNT 1 STREAMS s >",
        ),
    ],
)
def test_a_blocking_command_is_known_and_made_to_wait_for_ever(
    line: str, seconds: float, forever: str
) -> None:
    """The timeout in seconds wherever it stands and whatever its unit, and the command with 0 instead."""
    assert blocking_timeout_s(command(line)) == pytest.approx(seconds)
    assert typed(blocking_forever(command(line))) == forever


@pytest.mark.parametrize(
    "line",
    [
        "GET k",
        "LPOP k",
        "BLPOP 5",
        "BLPOP",
        "BLPOP a -1",
        "BLPOP a x",
        "BLPOP a inf",
        "BLPOP a 1e30",
        "BLMOVE a b 1",
    ]
    + [
        "WAIT 1",
        "WAIT 1 1.5",
        "WAIT 1 -1",
        "XREAD STREAMS BLOCK 0",
        "XREAD COUNT 5 STREAMS s 0",
        "XREAD BLOCK",
    ]
    + ["XREAD BLOCK 5", "XREAD NOACK BLOCK 5 STREAMS s 0", "XREAD BLOCK x STREAMS s 0", "BZMPOP x 1 a MIN"]
    + ["XREADGROUP GROUP g c STREAMS s >", "XREAD BLOCK 99999999999999999999 STREAMS s 0"],
)
def test_what_cannot_block_is_left_alone(line: str) -> None:
    """Commands that do not block, and those that the server refuses, stay the very same object."""
    found = command(line)
    assert blocking_timeout_s(found) is None
    assert blocking_forever(found) is found


# ── words and keys ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("GET user:1", ("user:1",)),
        ("GET cache:user:1", ("user:1",)),
        ("GET user:10", ()),
        ("GET user:10:user:1", ("user:1",)),
        ("GET xuser:1", ()),
        ("GET _user:1", ()),
        ("GET éuser:1", ()),
        ("SET lock {user:1}", ("user:1",)),
        ("MGET b/user:2 a/user:1", ("user:1", "user:2")),
        ("EVAL script 1 user:1 user:2.x", ("user:1", "user:2")),
        ('SET x {"of":"user:2","n":1}', ("user:2",)),
        ("user:1 x", ()),
        ("GET clé", ("clé",)),
        ("PING", ()),
    ],
)
def test_keys_are_found_whole_and_inside_names(line: str, expected: tuple[str, ...]) -> None:
    """As an argument or as a part of one between marks, in the order of the scenario; never in the verb."""
    assert keys_in(command(line), ["user:1", "user:2", "clé"]) == expected


@settings(max_examples=100, deadline=None)
@given(st.lists(st.binary(max_size=900), min_size=1, max_size=3))
def test_words_are_short_and_readable_for_any_bytes(args: list[bytes]) -> None:
    """Nothing raises, and nothing is much longer than 200 characters."""
    found = words(Command.of(*args))
    assert len(found) == len(args)
    assert all(len(word) <= 240 for word in found)


def test_long_words_are_shortened_and_stay_different() -> None:
    """200 characters are shown in full; of more the beginning, the size and a checksum."""
    short, umlauts, long = "x" * 200, "ä" * 200, "x" * 201
    assert words(Command.of("set", short, umlauts, b"\xff")) == ("set", short, umlauts, "\\xff")
    assert words(Command.of("SET", long)) == ("SET", f"{short}… (201 bytes, crc32 b317db35)")
    assert words(Command.of("ä" * 5000 + "1"))[0].startswith("ä" * 200 + "… (10001 bytes")
    assert words(Command.of("ä" * 5000 + "1")) != words(Command.of("ä" * 5000 + "2"))


# ── time ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_only_time_is_answered_by_the_clock() -> None:
    """TIME without arguments; with some the server has to complain."""
    assert answered_by_clock(command("time"))
    assert not answered_by_clock(command("TIME x"))
    assert not answered_by_clock(command("TTL k"))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("SET k v EX 10", Lifetime(10_000, False, 3, 5)),
        ("SET k v NX px 10 GET", Lifetime(10, False, 4, 6)),
        ("SET k v IFEQ EX PXAT 7", Lifetime(7, True, 5, 7)),
        ("SET k EX EX 5", Lifetime(5000, False, 3, 5)),
        ("SET EX 5", None),
        ("SET k v", None),
        ("SET k v EX", None),
        ("SET k v EX 1.5", None),
        ("SET k v EX 05", None),
        ("SETEX k 3 v", Lifetime(3000, False, 2, 3)),
        ("PSETEX k 3 v", Lifetime(3, False, 2, 3)),
        ("GETEX k EXAT 3", Lifetime(3000, True, 2, 4)),
        ("GETEX k PERSIST", None),
        ("MSETEX 2 EX 1 b 2 EX 9", Lifetime(9000, False, 6, 8)),
        ("MSETEX x EX 1", None),
        ("MSETEX", None),
        ("EXPIRE k -1 NX", Lifetime(-1000, False, 2, 3)),
        ("PEXPIREAT k 9", Lifetime(9, True, 2, 3)),
        ("EXPIRE k", None),
        ("HGETEX k EX 5 FIELDS 1 PX", Lifetime(5000, False, 2, 4)),
        ("HGETEX k FIELDS 2 PX 5", None),
        ("GET k", None),
    ],
)
def test_the_lifetime_that_a_command_gives(line: str, expected: Lifetime | None) -> None:
    """Its amount in ms, whether it is a point in time, and which arguments say so; values are not options."""
    assert lifetime(command(line)) == expected


def test_a_deadline_comes_from_a_span_or_is_one() -> None:
    """A span counts from now, a point in time does not."""
    assert Lifetime(5, False, 0, 0).deadline_ms(100) == 105
    assert Lifetime(5, True, 0, 0).deadline_ms(100) == 5


def test_options_stand_behind_the_value() -> None:
    """Names in capitals with their places; a value that looks like an option is none."""
    assert options(command("SET nx xx get IFEQ keepttl")) == {"GET": 3, "IFEQ": 4}
    assert options(command("DEL k NX")) == {}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (f"SET k v EXAT {NOW_MS // 1000 + 9} NX", "SET k v PX 9000 NX"),
        (f"set k v get pxat {NOW_MS + 9}", "set k v get PX 9"),
        (f"SET k v PXAT {NOW_MS}", "SET k v PX 1"),
        ("SET k v PXAT 5", "SET k v PX 1"),
        (f"GETEX k PXAT {NOW_MS + 9}", "GETEX k PX 9"),
        (f"MSETEX 1 a 1 EXAT {NOW_MS // 1000 + 1}", "MSETEX 1 a 1 PX 1000"),
        (f"HSETEX h PXAT {NOW_MS + 9} FIELDS 1 f v", "HSETEX h PX 9 FIELDS 1 f v"),
        (f"EXPIREAT k {NOW_MS // 1000 + 9} XX GT", "PEXPIRE k 9000 XX GT"),
        (f"pexpireat k {NOW_MS + 9}", "PEXPIRE k 9"),
        (f"PEXPIREAT k {NOW_MS - 9} LT", "PEXPIRE k -9 LT"),
        (f"HEXPIREAT h {NOW_MS // 1000 + 9} FIELDS 1 f", "HPEXPIRE h 9000 FIELDS 1 f"),
        (f"HPEXPIREAT h {NOW_MS + 9} NX FIELDS 1 f", "HPEXPIRE h 9 NX FIELDS 1 f"),
    ],
)
def test_points_in_time_become_spans(line: str, expected: str) -> None:
    """As the client's clock would have it, with all flags kept; what is past is due at once."""
    assert typed(to_virtual(command(line), NOW_MS)) == expected


@pytest.mark.parametrize(
    "line",
    ["GET k", "SET k v EX 5", "SET k v", "SET k v EXAT x", "SET k v EXAT 0", "SET k v PXAT -5", "EXPIREAT k"]
    + [
        "EXPIREAT k x",
        "EXPIRE k 5",
        "XADD s 5-1 f v",
        "XADD s",
        "XADD",
        "XADD s MAXLEN * f *",
        "XADD s MAXLEN",
    ],
)
def test_what_tells_no_virtual_time_is_left_alone(line: str) -> None:
    """Spans, malformed commands and explicit ids stay the very same object."""
    found = command(line)
    assert to_virtual(found, NOW_MS, lambda key: b"never") is found


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("XADD s * f *", "XADD s 7-0:s f *"),
        ("xadd s nomkstream * f v", "xadd s nomkstream 7-0:s f v"),
        ("XADD s MAXLEN 5 * f v", "XADD s MAXLEN 5 7-0:s f v"),
        ("XADD s KEEPREF MINID ~ 5-0 LIMIT 9 * f v", "XADD s KEEPREF MINID ~ 5-0 LIMIT 9 7-0:s f v"),
        ("XADD s MAXLEN = 5 * f v", "XADD s MAXLEN = 5 7-0:s f v"),
    ],
)
def test_stream_entries_get_their_id_from_the_caller(line: str, expected: str) -> None:
    """The `*` in the place of the id, past all options, and no other; without a maker of ids none."""
    assert typed(to_virtual(command(line), NOW_MS, lambda key: b"7-0:" + key)) == expected
    assert to_virtual(command(line), NOW_MS) == command(line)


def test_stream_ids_grow_with_and_without_the_clock() -> None:
    """As the server makes them: the clock's ms and 0, or one more than the last, for each stream by itself."""
    ids = StreamIds()
    assert [ids.next(b"s", at) for at in (5, 5, 7, 6)] == [b"5-0", b"5-1", b"7-0", b"7-1"]
    assert ids.next(b"t", 5) == b"5-0"
    for seen in (b"9-3", b"8-0", b"nonsense", b"10-x"):
        ids.observe(b"s", seen)
    assert ids.next(b"s", 8) == b"9-4"
    assert typed(to_virtual(command("XADD s * f v"), 11, partial(ids.next, now_ms=11))) == "XADD s 11-0 f v"


@pytest.mark.parametrize(
    ("line", "given"),
    [
        *(
            ("XADD s 5-1 f v", b"5-1"),
            ("xadd s * f v", b"*"),
            ("XADD s NOMKSTREAM MAXLEN ~ 9 5-* f v", b"5-*"),
        ),
        *(("XADD", b""), ("XADD s", b""), ("XADD s MAXLEN 5", b"")),
    ],
)
def test_the_id_that_a_command_gives_is_found_behind_its_options(line: str, given: bytes) -> None:
    """Whatever it is; empty where there is none."""
    assert given_stream_id(command(line)) == given
