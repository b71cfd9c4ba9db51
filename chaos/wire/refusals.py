"""Commands that the wire refuses, because a run could not be controlled any more after them.

Rule 1  What is refused never reaches the server; the client is told by an error, and the connection goes on.
Rule 2  Between MULTI and EXEC the server has to hear of it, so that it discards the transaction: it is sent
        a command that does not exist, whose name is the reason.
"""

from collections.abc import Mapping
from typing import Final

from cacheproof.chaos.wire.respcommands import Command
from cacheproof.chaos.wire.respvalues import to_text

__all__ = ["REFUSED_VERBS", "in_its_place", "refusal"]

# The verb, and its second words where only some are refused.  Why, line by line: the server falls silent, or
# says what nobody asked; it is not the run's any more; real time rules again.
_REFUSED: Mapping[str, Mapping[tuple[str, ...], str]] = {
    "CLIENT": {
        ("REPLY", "OFF"): "the end of an exchange is its reply",
        ("REPLY", "SKIP"): "the end of an exchange is its reply",
        ("PAUSE",): "it pauses in real time",
        ("IMPORT-SOURCE",): "expiry follows the clock of the run",
    },
    "MONITOR": {(): "it shows the harness as well"},
    "PSYNC": {(): "a run has no replicas"},
    "REPLICAOF": {(): "a run has no replicas"},
    "SHUTDOWN": {(): "the cache ends by a decision only"},
    "SLAVEOF": {(): "a run has no replicas"},
    "SYNC": {(): "a run has no replicas"},
}

REFUSED_VERBS: Final = frozenset(_REFUSED)
"""The first words of all of them: whatever begins otherwise need not be asked about."""

# The server's own framing breaks when these are executed by EXEC: one command, several answers.
_NOT_IN_MULTI = frozenset(
    {"PSUBSCRIBE", "PUNSUBSCRIBE", "SSUBSCRIBE", "SUBSCRIBE", "SUNSUBSCRIBE", "UNSUBSCRIBE"}
)


def refusal(command: Command, *, in_multi: bool = False) -> str | None:
    """The text of the error for a command that is refused; None for all others."""
    name = command.name
    if in_multi and name in _NOT_IN_MULTI:
        return f"ERR {name} between MULTI and EXEC is not supported under cacheproof"
    rows = _REFUSED.get(name)
    if rows is None:
        return None
    said = tuple(to_text(argument.upper()) for argument in command.args[1:3])
    for rest, why in rows.items():
        if said[: len(rest)] == rest:
            return f"ERR {' '.join((name, *rest))} is not supported under cacheproof: {why}"
    return None


def in_its_place(text: str) -> Command:
    """What the server is sent between MULTI and EXEC: it refuses the transaction, and quotes the reason."""
    return Command.of("CLIENT", text.removeprefix("ERR "))
