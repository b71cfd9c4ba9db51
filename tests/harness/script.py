"""Reads decisions from a script, and writes a history down as a dialogue, a line a step.

A script says what the director does.  A capital letter is a client (A is client 0), `Q` the first worker:

    A read              invoke a read of "user:1"; `@user:2` anywhere in a line names another key, `@-` none
    A .                 deliver A's pending exchange; `...` delivers three, one after the other
    A .2                deliver the third of several pending exchanges (counted from 0)
    A lost              A's request is lost; `reply-lost`: the reply is; `delayed`: it arrives later
    A refused oom       the server answers with this error, and does nothing
    A arrive            a delayed request of A arrives
    A crash             kill the client; `crash runs`: a statement at the server goes on without it
    A restart           start it anew
    A pause, A resume   it stops, and goes on; `A skew -5`: its wall clock is set back
    kill, start         the cache server; `kill database`; `start cache snapshot 2`: what survived, and
                        how many writes it lacks
    freeze cache        it takes requests and works on none; `thaw cache`
    partition cache     refused, for all clients; `partition cache A silent`: for one, in another manner
    heal cache          the opposite; `heal cache A`
    expire user:1       the cache drops a key; `evict user:1`; `flush`, `flush scripts`
    failover 2          to a replica that lacks the last 2 writes
    lag, replicate 1    the database's read replica falls behind; it catches up by a commit
    advance 5           virtual seconds pass

Several decisions may stand in one line, separated by commas or semicolons; `#` begins a remark.

A dialogue says what came of it:

    A read              it was invoked; `A write v2`: with the value
    A GET -> nil        an exchange and its reply; `waits`: none yet; `at last`: it had waited; `lost`, `reply-lost`,
                        `delayed`, `refused`
    A commits v2        a row version became visible; `somebody commits …` where it is not known by whom
    A ok v1             it returned; `fail`, `info` with the error
    A crash             a fault; also `kill cache`, `expire user:1`, `advance 5`
    -- drain --         a phase of the epilogue
"""

import re
from collections.abc import Iterator
from typing import Any

from cacheproof.models.decision import (
    Advance,
    Arrive,
    Crash,
    Decision,
    Deliver,
    Evict,
    Expire,
    Failover,
    Fate,
    Flush,
    Flushed,
    Freeze,
    Heal,
    InFlight,
    Invoke,
    Kill,
    Lag,
    Manner,
    Partition,
    Pause,
    Replicate,
    Restart,
    Resume,
    ServerName,
    Skew,
    Start,
    Survived,
    Thaw,
)
from cacheproof.models.event import Committed, Entered, Event, Exchanged, Faulted, Invoked, Returned
from cacheproof.models.history import History

__all__ = ["DEFAULT_KEY", "decisions", "dialogue"]

DEFAULT_KEY = "user:1"
_FATES = {"lost": Fate.REQUEST_LOST, "reply-lost": Fate.REPLY_LOST, "delayed": Fate.DELAYED}


def decisions(script: str, clients: int = 2) -> tuple[Decision, ...]:
    """The decisions of a script; `clients` says which number the worker `Q` has."""
    lines = (line.partition("#")[0] for line in script.splitlines())
    steps = (step.split() for line in lines for step in re.split("[,;]", line))
    return tuple(decision for words in steps if words for decision in _read(words, clients))


def _read(words: list[str], clients: int) -> Iterator[Decision]:
    named = next((word[1:] for word in words if word.startswith("@")), DEFAULT_KEY)
    key = None if named == "-" else named
    who, *rest = [word for word in words if not word.startswith("@")]
    match who:
        case "kill":
            yield Kill(ServerName(*rest or ["cache"]))
        case "start":
            yield Start(
                ServerName(*rest[:1] or ["cache"]),
                *(Survived(word) for word in rest[1:2]),
                *(int(word) for word in rest[2:]),
            )
        case "freeze":
            yield Freeze(ServerName(rest[0]))
        case "thaw":
            yield Thaw(ServerName(rest[0]))
        case "partition":
            clients_named = [ord(word) - ord("A") for word in rest[1:] if word.isupper()]
            manners = [Manner(word) for word in rest[1:] if not word.isupper()]
            yield Partition(ServerName(rest[0]), *(clients_named or [None]), *manners)
        case "heal":
            yield Heal(ServerName(rest[0]), *(ord(word) - ord("A") for word in rest[1:]))
        case "expire":
            yield Expire(rest[0])
        case "evict":
            yield Evict(rest[0])
        case "flush":
            yield Flush(*(Flushed(word) for word in rest))
        case "failover":
            yield Failover(int(rest[0]))
        case "lag":
            yield Lag()
        case "replicate":
            yield Replicate(int(rest[0]))
        case "advance":
            yield Advance(float(rest[0]))
        case _:
            client = clients if who == "Q" else ord(who) - ord("A")
            yield from _of_client(client, key, rest)


def _of_client(client: int, key: str | None, words: list[str]) -> Iterator[Decision]:
    match words:
        case ["crash", *how]:
            yield Crash(client, InFlight.RUNS if how == ["runs"] else InFlight.CANCELLED)
        case ["restart"]:
            yield Restart(client)
        case ["pause"]:
            yield Pause(client)
        case ["resume"]:
            yield Resume(client)
        case ["skew", seconds]:
            yield Skew(client, float(seconds))
        case ["arrive"]:
            yield Arrive(client)
        case ["refused", error]:
            yield Deliver(client, 0, Fate.REFUSED, error)
        case [fate] if fate in _FATES:
            yield Deliver(client, 0, _FATES[fate])
        case [dots] if set(dots) == {"."}:
            yield from (Deliver(client) for _ in dots)
        case [pick] if pick.startswith("."):
            yield Deliver(client, int(pick[1:]))
        case [f]:
            yield Invoke(client, f, key)
        case _:
            raise ValueError(f"not a step: {words!r}")


def dialogue(history: History, *, epilogue: bool = False) -> list[str]:
    """What happened, a line a step; without the epilogue unless it is asked for."""
    lines = []
    for event in history.events:
        if isinstance(event, Entered) and not epilogue:
            break
        lines.append(_line(event, history))
    return lines


def _line(event: Event, history: History) -> str:
    who = "somebody" if getattr(event, "process", None) is None else _name(event.process, history)  # type: ignore[union-attr]
    match event:
        case Invoked():
            words = [who, event.f, event.value, _at(event.key)]
        case Returned():
            words = [who, event.outcome.value, event.value, event.error and f"({event.error})"]
        case Exchanged():
            words = [who, event.verb, *_fate(event)]
        case Committed():
            words = [who, "commits", event.value, _at(event.key)]
        case Faulted():
            words = [
                who if event.process is not None else "",
                event.fault,
                event.server,
                _short(event.detail),
            ]
        case Entered():
            words = [f"-- {event.phase.value} --"]
    return " ".join(str(word) for word in words if word not in (None, ""))


def _name(process: int, history: History) -> str:
    return "Q" if process in history.workers else chr(ord("A") + process)


def _at(key: str | None) -> str | None:
    return None if key in (None, DEFAULT_KEY) else f"@{key}"


def _short(detail: Any) -> Any:
    return int(detail) if isinstance(detail, float) and detail == int(detail) else detail


def _fate(event: Exchanged) -> list[str]:
    if event.fate is Fate.REQUEST_LOST:
        return ["lost"]
    lost = [event.fate.value] if event.fate is not Fate.DELIVERED else []
    if event.waits:
        return ["waits", *lost]
    return ["->", _reply(event.reply), *(["at last"] if event.waited else []), *lost]


def _reply(reply: Any) -> str:
    if isinstance(reply, dict) and "rows" in reply and reply["rows"]:
        return " ".join(str(value) for row in reply["rows"] for value in row)
    if isinstance(reply, dict):
        return str(reply.get("tag", f"error {reply.get('error')}"))
    if isinstance(reply, list):
        return "[" + " ".join(_reply(item) for item in reply) + "]"
    return "nil" if reply is None else str(reply)
