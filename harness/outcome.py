"""How an operation ended, from what its client said: the one place where exceptions become outcomes.

ok    it returned
fail  it certainly changed nothing: it only looks, and raised, or nothing of it ever reached a server
info  it raised after something had been delivered: it may or may not have happened

What servers and interpreters make up differs from run to run, so in the text of an error the numbers of
processes and transactions are those of their first appearance (#1, #2, …), and places in memory and in
tables are left out.
"""

import re
import signal
from typing import Any

from cacheproof.harness.process import OpenOperation
from cacheproof.models.operation import Outcome, Value
from cacheproof.models.workload import as_number, frozen, kind_of

__all__ = ["canonical", "death_words", "outcome_of"]


def outcome_of(
    packet: dict[str, Any], operation: OpenOperation, *, numbers: bool = False
) -> tuple[Outcome, Value, str | None]:
    """(outcome, value, error) of an operation, from the packet in which its client reported its end.

    The value of one that ended ok is what it returned, or its argument where nothing of that is recorded.
    With `numbers`, the text of a whole number is that number.
    """
    kind = kind_of(operation.f)
    if "value" in packet:
        returned = frozen(packet["value"]) if kind.record else operation.value
        return Outcome.OK, as_number(returned) if numbers else returned, None
    certain = not kind.changes or not operation.touched
    return (Outcome.FAIL if certain else Outcome.INFO), operation.value, canonical(packet["error"])


def death_words(code: int | None) -> str:
    """How a client ended that nobody had ended, from its exit code (−n: by signal n, None: not known)."""
    if code is None or code == -signal.SIGKILL:
        return "the process was killed, or closed the line to the harness"
    if code >= 0:
        return f"the process ended itself, with exit code {code}"
    return f"the process died by {signal.strsignal(-code) or 'a signal'} (signal {-code})"


_MADE_UP = re.compile(r"\b(process|transaction|pid)(\s+|=)(\d+)\b", re.IGNORECASE)
_PLACES = re.compile(r"(?<=\btuple )\(\d+,\d+\)|\b0x[0-9a-f]{6,}\b", re.IGNORECASE)
_LONGEST = 500


def canonical(error: str) -> str:
    """The text of an error, 500 characters of it at most, without what is different in every run."""
    numbers: dict[tuple[str, str], int] = {}

    def by_appearance(found: re.Match[str]) -> str:
        word, between, number = found.groups()
        place = numbers.setdefault((word.lower(), number), len(numbers) + 1)
        return f"{word}{between}#{place}"

    return _PLACES.sub("…", _MADE_UP.sub(by_appearance, error))[:_LONGEST]
