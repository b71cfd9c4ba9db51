"""A century of grace: real times to live on servers whose clock cannot be kept from expiring keys.

Valkey's import mode holds real expiry back.  Elsewhere every time to live gets REPRIEVE_MS on its way to the
server, so that no key can expire in real time; clients are told what is left in virtual time anyway.

    client   SET a v EX 60   ──►   SET a v EX 3153600060   ──►   server
             TTL a → 60      ◄──   (virtual deadline)      ◄──   3153600059

A century is more than caches ask for, so whether it is contained in a time to live can be seen (`is_bare`).  A
time to live that is not more than 0 stays: the server refuses it, or deletes the key.

Known limits, each of which makes the verdict of a run unknown where it matters: fields of hashes get none,
since clients are told their times by the server; a script that asks for a time to live sees it with the
century; what a script sets lacks it until the script has ended.
"""

import re
from typing import Final

from cacheproof.chaos.wire.commands import lifetime
from cacheproof.chaos.wire.resp import Command

__all__ = ["REPRIEVE_MS", "asks_for_lifetimes", "is_bare", "lengthened", "net_ms"]

REPRIEVE_MS: Final = 100 * 365 * 86_400 * 1000

_RUNS_SCRIPTS = frozenset(
    {"EVAL", "EVALSHA", "EVALSHA_RO", "EVAL_RO", "FCALL", "FCALL_RO", "FUNCTION", "SCRIPT"}
)
_ASKING = re.compile(rb"""(?:["']|\A|\[=*\[)p?(?:ttl|expiretime)(?:["']|\Z|\]=*\])""", re.IGNORECASE)


def lengthened(command: Command) -> Command:
    """The command with a reprieve in the time to live that it gives a key; the same one if it gives none.

    Points in time must have been made spans before (`commands.to_virtual`).
    """
    if command.name == "RESTORE":
        return _restored(command)
    given = lifetime(command)
    if given is None or given.absolute or given.ms <= 0 or command.name.startswith("H"):
        return command
    at = given.end - 1
    amount = int(command.args[at])
    unit_ms = given.ms // amount
    return _with(command, at, amount + REPRIEVE_MS // unit_ms)


def _restored(command: Command) -> Command:
    """RESTORE key ttl value …: 0 is for ever, and ABSTTL makes a point in time of it."""
    args = command.args
    if len(args) < 4 or not args[2].isdigit() or int(args[2]) == 0:
        return command
    if b"ABSTTL" in map(bytes.upper, args[4:]):
        return command
    return _with(command, 2, int(args[2]) + REPRIEVE_MS)


def _with(command: Command, at: int, number: int) -> Command:
    args = command.args
    return Command.of(*args[:at], number, *args[at + 1 :])


def is_bare(pttl_ms: int) -> bool:
    """Whether a key has a time to live at the server, and no reprieve in it."""
    return 0 <= pttl_ms < REPRIEVE_MS // 2


def net_ms(pttl_ms: int) -> int:
    """What the server answers to PTTL, without the reprieve; -1 and -2 mean what they meant."""
    return pttl_ms if pttl_ms < REPRIEVE_MS // 2 else max(0, pttl_ms - REPRIEVE_MS)


def asks_for_lifetimes(command: Command) -> bool:
    """Whether a script that is run or loaded here names a command that tells a time to live.

    The name has to stand in the text as one: "TTL" in quotes, or an argument that is nothing else.
    """
    return command.name in _RUNS_SCRIPTS and any(map(_ASKING.search, command.args[1:]))
