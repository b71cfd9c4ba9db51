"""What the harness must know of a Redis command, as tables: set-up, blocking, keys, time, connection state.

Rule 1  A command that is not in a table is an ordinary exchange that neither blocks, nor tells the time, nor
        leaves anything behind on its connection.
Rule 2  A malformed command is left alone, so that the server says what is wrong with it.
Rule 3  Whatever is rewritten comes back as a new Command, and what need not be is the very same one.

Time: a client lives in virtual time, the server in real time.  Spans of time mean the same to both.  Points in
time do not, so `to_virtual` makes spans of them before the server sees them, and `TIME` never reaches it.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from cacheproof.chaos.wire.resp import Command, to_text
from cacheproof.chaos.wire.respvalues import shortened

__all__ = [
    "Lifetime",
    "StreamIds",
    "answered_by_clock",
    "blocking_forever",
    "blocking_timeout_s",
    "changes_connection",
    "given_stream_id",
    "is_setup",
    "keys_in",
    "lifetime",
    "options",
    "subcommand",
    "to_virtual",
    "words",
]


# ── connections ─────────────────────────────────────────────────────────────────────────────────────────────

_SETUP = frozenset({"AUTH", "CLIENT", "COMMAND", "HELLO", "QUIT", "READONLY", "READWRITE", "RESET", "SELECT"})
_NEVER_QUEUED = frozenset({"QUIT", "RESET"})
_CLIENT_REACHING_OTHERS = frozenset({"KILL", "PAUSE", "UNBLOCK", "UNPAUSE"})
_CLIENT_HARMLESS = _CLIENT_REACHING_OTHERS | frozenset(
    {"GETNAME", "GETREDIR", "HELP", "ID", "INFO", "LIST", "SETINFO", "SETNAME", "TRACKINGINFO"}
)
_STATEFUL = frozenset(
    # Who and where; transactions; messages; replication; cluster.  QUIT leaves nothing, not even a connection,
    # and RESET takes away what the owner of a pooled connection had set.
    {"AUTH", "HELLO", "QUIT", "RESET", "SELECT"}
    | {"MULTI", "WATCH"}
    | {"MONITOR", "PSUBSCRIBE", "SSUBSCRIBE", "SUBSCRIBE"}
    | {"PSYNC", "REPLCONF", "SYNC"}
    | {"ASKING", "READONLY", "READWRITE"}
)


def subcommand(command: Command) -> str:
    """The second word of a container command in capitals ("SETINFO"), or "" if there is none."""
    return to_text(command.args[1].upper()) if len(command.args) > 1 else ""


def is_setup(command: Command, *, in_multi: bool = False) -> bool:
    """True for connection set-up, which passes without a decision; it neither reads nor writes data.

    PING is an ordinary exchange, and so are the forms of CLIENT that reach other connections (KILL, PAUSE,
    UNBLOCK, UNPAUSE).  Between MULTI and EXEC (`in_multi`) the server queues all but QUIT and RESET, so there
    they belong to the transaction.
    """
    name = command.name
    if name not in _SETUP or (in_multi and name not in _NEVER_QUEUED):
        return False
    return name != "CLIENT" or subcommand(command) not in _CLIENT_REACHING_OTHERS


def changes_connection(command: Command) -> bool:
    """True if the command leaves state on its connection, so that a pool cannot lend it out again as it is.

    Names of clients and libraries (CLIENT SETNAME, SETINFO) do not count: nothing depends on them.
    """
    name = command.name
    if name == "CLIENT":
        return subcommand(command) not in _CLIENT_HARMLESS
    return name in _STATEFUL or (name == "SCRIPT" and subcommand(command) == "DEBUG")


# ── blocking ────────────────────────────────────────────────────────────────────────────────────────────────

# Where the timeout stands (from the end if negative), its unit in seconds, how many arguments there are at
# least, the verb included.
_TIMEOUTS: Mapping[str, tuple[int, float, int]] = {
    "BLMOVE": (-1, 1.0, 6),
    "BLMPOP": (1, 1.0, 5),
    "BLPOP": (-1, 1.0, 3),
    "BRPOP": (-1, 1.0, 3),
    "BRPOPLPUSH": (-1, 1.0, 4),
    "BZMPOP": (1, 1.0, 5),
    "BZPOPMAX": (-1, 1.0, 3),
    "BZPOPMIN": (-1, 1.0, 3),
    "WAIT": (2, 0.001, 3),
    "WAITAOF": (3, 0.001, 4),
}
# Options in front of STREAMS, with the number of their arguments.
_STREAM_READS: Mapping[str, Mapping[bytes, int]] = {
    "XREAD": {b"BLOCK": 1, b"COUNT": 1},
    "XREADGROUP": {b"BLOCK": 1, b"COUNT": 1, b"GROUP": 2, b"NOACK": 0},
}
_SECONDS = re.compile(rb"\+?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_LONGEST_MS: Final = 2**63 - 1


def blocking_timeout_s(command: Command) -> float | None:
    """For how many seconds the command may block, 0 for ever; None if it cannot (or the server will refuse it).

    Between MULTI and EXEC and in scripts nothing blocks; the caller knows whether it is there.
    """
    found = _timeout(command)
    return None if found is None else found[1]


def blocking_forever(command: Command) -> Command:
    """The same command with a timeout of 0; the same object if it cannot block."""
    found = _timeout(command)
    if found is None:
        return command
    at = found[0]
    return Command.of(*command.args[:at], b"0", *command.args[at + 1 :])


def _timeout(command: Command) -> tuple[int, float] | None:
    """Where the timeout stands in the arguments, and its seconds."""
    name, args = command.name, command.args
    if name in _STREAM_READS:
        at, unit = _block_option(args, _STREAM_READS[name]), 0.001
    elif name in _TIMEOUTS:
        at, unit, least = _TIMEOUTS[name]
        at = None if len(args) < least else at % len(args)
    else:
        return None
    if at is None:
        return None
    number = _SECONDS if unit == 1.0 else _WHOLE
    if not number.fullmatch(args[at]) or not 0 <= float(args[at]) * unit * 1000 < _LONGEST_MS:
        return None
    return at, float(args[at]) * unit


def _block_option(args: tuple[bytes, ...], known: Mapping[bytes, int]) -> int | None:
    """Where the milliseconds of BLOCK stand; None without BLOCK or where the syntax is wrong."""
    at, found = 1, None
    while at < len(args):
        option = args[at].upper()
        if option == b"STREAMS":
            return found
        if option not in known:
            return None
        if option == b"BLOCK":
            found = at + 1
        at += 1 + known[option]
    return None


# ── words and keys ──────────────────────────────────────────────────────────────────────────────────────────

_WORD = frozenset(b"0123456789_abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") | set(range(128, 256))


def keys_in(command: Command, keys: Sequence[str]) -> tuple[str, ...]:
    """Which of `keys` occur in the arguments, in the order of `keys`.

    A key occurs as a whole argument or as a part of one, with no letter, digit or underscore next to it:
    "cache:user:1" holds user:1, "user:10" does not.  What is not ASCII counts as a letter.
    """
    return tuple(key for key in keys if _occurs(key.encode(), command.args))


def _occurs(key: bytes, args: tuple[bytes, ...]) -> bool:
    return any(argument == key or (key in argument and _stands_alone(key, argument)) for argument in args[1:])


def _stands_alone(key: bytes, argument: bytes) -> bool:
    at = argument.find(key)
    while at >= 0:
        around = argument[max(0, at - 1) : at] + argument[at + len(key) : at + len(key) + 1]
        if _WORD.isdisjoint(around):
            return True
        at = argument.find(key, at + 1)
    return False


def words(command: Command) -> tuple[str, ...]:
    """The verb and its arguments for people: UTF-8, other bytes as escapes.

    Of one longer than 200 characters the beginning is shown, with its size and checksum, so that different
    ones stay different: "aaa… (8388608 bytes, crc32 1f2e3d4c)".
    """
    return tuple(shortened(argument) for argument in command.args)


# ── time ────────────────────────────────────────────────────────────────────────────────────────────────────

_WHOLE = re.compile(rb"0|[1-9][0-9]{0,18}")
_SIGNED = re.compile(rb"0|-?[1-9][0-9]{0,18}")

# Unit in milliseconds, and whether it is a point in time.
_LIFETIME_OPTIONS: Mapping[str, tuple[int, bool]] = {
    "EX": (1000, False),
    "EXAT": (1000, True),
    "PX": (1, False),
    "PXAT": (1, True),
}
_LIFETIME_ARGUMENTS: Mapping[str, tuple[int, bool]] = {
    "EXPIRE": (1000, False),
    "EXPIREAT": (1000, True),
    "HEXPIRE": (1000, False),
    "HEXPIREAT": (1000, True),
    "HPEXPIRE": (1, False),
    "HPEXPIREAT": (1, True),
    "PEXPIRE": (1, False),
    "PEXPIREAT": (1, True),
    "PSETEX": (1, False),
    "SETEX": (1000, False),
}
_RELATIVE_VERBS: Mapping[str, bytes] = {
    "EXPIREAT": b"PEXPIRE",
    "HEXPIREAT": b"HPEXPIRE",
    "HPEXPIREAT": b"HPEXPIRE",
    "PEXPIREAT": b"PEXPIRE",
}
# Where the options begin.
_OPTIONS_AT: Mapping[str, Callable[[tuple[bytes, ...]], int]] = {
    "GETEX": lambda args: 2,
    "HGETEX": lambda args: 2,
    "HSETEX": lambda args: 2,
    "MSETEX": lambda args: 2 + 2 * int(args[1]) if _WHOLE.fullmatch(b"".join(args[1:2])) else len(args),
    "SET": lambda args: 3,
}
_WITH_VALUE = frozenset({"EX", "EXAT", "IFDEQ", "IFDNE", "IFEQ", "IFNE", "PX", "PXAT"})


@dataclass(frozen=True, slots=True)
class Lifetime:
    """How long a command lets a key live: a span in milliseconds, or the point in time when it ends.

    `begin` and `end` are the arguments that say so.
    """

    ms: int
    absolute: bool
    begin: int
    end: int

    def deadline_ms(self, now_ms: int) -> int:
        """The point in time on the clock of `now_ms`."""
        return self.ms if self.absolute else now_ms + self.ms


def options(command: Command) -> Mapping[str, int]:
    """The options of SET, GETEX, MSETEX, HSETEX and HGETEX, in capitals, and where each stands; else none."""
    begin = _OPTIONS_AT.get(command.name)
    if begin is None:
        return {}
    args, at, found = command.args, begin(command.args), {}
    while at < len(args):
        option = to_text(args[at].upper())
        if option == "FIELDS":
            break
        found[option] = at
        at += 2 if option in _WITH_VALUE else 1
    return found


def lifetime(command: Command) -> Lifetime | None:
    """The lifetime that a command gives, or None (none given, or malformed)."""
    name, args = command.name, command.args
    if name in _LIFETIME_ARGUMENTS:
        return _read_lifetime(args, 2, 3, _LIFETIME_ARGUMENTS[name])
    for option, at in options(command).items():
        if option in _LIFETIME_OPTIONS:
            return _read_lifetime(args, at, at + 2, _LIFETIME_OPTIONS[option])
    return None


def _read_lifetime(args: tuple[bytes, ...], begin: int, end: int, how: tuple[int, bool]) -> Lifetime | None:
    if end > len(args) or not _SIGNED.fullmatch(args[end - 1]):
        return None
    unit_ms, absolute = how
    return Lifetime(int(args[end - 1]) * unit_ms, absolute, begin, end)


def answered_by_clock(command: Command) -> bool:
    """True for TIME, which the wire answers from the virtual clock."""
    return command.name == "TIME" and len(command.args) == 1


class StreamIds:
    """Ids for XADD from the virtual clock, as the server would make them: always greater than the last."""

    def __init__(self) -> None:
        self._last: dict[bytes, tuple[int, int]] = {}

    def next(self, key: bytes, now_ms: int) -> bytes:
        """The id of the next entry of the stream `key`: "<ms>-<seq>"."""
        ms, sequence = self._last.get(key, (0, 0))
        self._last[key] = (now_ms, 0) if now_ms > ms else (ms, sequence + 1)
        return b"%d-%d" % self._last[key]

    def observe(self, key: bytes, entry: bytes) -> None:
        """The stream `key` got an entry whose id somebody else made (a client, a script)."""
        ms, _, sequence = entry.partition(b"-")
        if _WHOLE.fullmatch(ms) and _WHOLE.fullmatch(sequence):
            self._last[key] = max(self._last.get(key, (0, 0)), (int(ms), int(sequence)))


def to_virtual(
    command: Command, now_ms: int, next_stream_id: Callable[[bytes], bytes] | None = None
) -> Command:
    """The command for a server that runs on real time, where the client's clock says `now_ms` (unix, ms).

    EXAT and PXAT become PX (at least 1 ms: the key is due at once), EXPIREAT and PEXPIREAT become PEXPIRE with
    their flags (0 or less for a time that has passed: the server deletes the key, as it would have).  XADD *
    gets the id that `next_stream_id` makes for its key; without one it stays as it is.
    """
    name = command.name
    if name == "XADD":
        return command if next_stream_id is None else _with_stream_id(command, next_stream_id)
    given = lifetime(command)
    if given is None or not given.absolute:
        return command
    args, span_ms = command.args, given.ms - now_ms
    if name in _RELATIVE_VERBS:
        return Command.of(_RELATIVE_VERBS[name], args[1], span_ms, *args[given.end :])
    if given.ms <= 0:
        return command
    return Command.of(*args[: given.begin], b"PX", max(1, span_ms), *args[given.end :])


# Options of XADD between key and id; a threshold may have "=" or "~" in front.
_XADD_FLAGS = frozenset({b"ACKED", b"DELREF", b"KEEPREF", b"NOMKSTREAM"})
_XADD_WITH_VALUE = frozenset({b"LIMIT", b"MAXLEN", b"MINID"})


def _with_stream_id(command: Command, next_stream_id: Callable[[bytes], bytes]) -> Command:
    args, at = command.args, _stream_id_at(command.args)
    if args[at : at + 1] != (b"*",):
        return command
    return Command.of(*args[:at], next_stream_id(args[1]), *args[at + 1 :])


def _stream_id_at(args: tuple[bytes, ...]) -> int:
    at = 2
    while at < len(args):
        option = args[at].upper()
        if option in _XADD_WITH_VALUE:
            at += 3 if args[at + 1 : at + 2] in ((b"=",), (b"~",)) else 2
        elif option in _XADD_FLAGS:
            at += 1
        else:
            break
    return at


def given_stream_id(command: Command) -> bytes:
    """The id that XADD itself gives its entry: "5-1", "5-*", "*"; empty if the command is malformed."""
    return next(iter(command.args[_stream_id_at(command.args) :]), b"")
