"""Reads a history from a dialogue: what clients, servers and chance did, a line a step.

    B read                 client B invokes a read of the default key "k"
    B GET -> nil           its exchange with the cache, and the reply (nil: none)
    B SELECT -> v1         its exchange with the database
    A write v2             A invokes a write of v2; `@b` anywhere in a line names another key than "k"
    A UPDATE v2 lost       the request was lost (`reply-lost`: the reply was; `delayed`: it is late; `refused`);
                           `waits`: it has to wait, `late`: it had to; `replica`: the database's read replica
    A commits v2           v2 became visible in the database, by an exchange of A (`?`: nobody knows by whose)
    A ok                   A's operation returned; for a read `ok v1`; or `fail`, `info`
    A crash                a fault; also `kill cache`, `start cache snapshot, 1 write behind`, `partition cache A
                           silent`, `flush cache keys`, `advance 10`, `quiet` (the run came to rest), `final`
                           (the reads after it are those of the epilogue)

Verbs in capitals are exchanges; several in one transaction are joined with "+": `SET+XADD v2`.  `#lock` in one
is the name in the cache of what it addresses, where that is not the key.  A reply is a word, a number, nil,
`error` and its text, or JSON without blanks; the database answers with the rows that it stands for.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from cacheproof.models.decision import Fate, ServerName
from cacheproof.models.event import Committed, Entered, Event, Exchanged, Faulted, Invoked, Phase, Returned
from cacheproof.models.history import History
from cacheproof.models.operation import Outcome, Value
from cacheproof.models.trace import REPLICA_MARK

__all__ = ["act"]

_SQL = {"BEGIN", "COMMIT", "DELETE", "INSERT", "ROLLBACK", "SELECT", "UPDATE"}
_FATES = {
    "lost": Fate.REQUEST_LOST,
    "reply-lost": Fate.REPLY_LOST,
    "delayed": Fate.DELAYED,
    "refused": Fate.REFUSED,
}
_MARKS = {"waits", "late", "replica"}
_OF_SERVERS = {
    "failover",
    "flush",
    "freeze",
    "heal",
    "kill",
    "lag",
    "partition",
    "replicate",
    "start",
    "thaw",
}


class _Stage:
    """What is known after so many lines."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.now_s = 0.0
        self.final = False
        self.versions: dict[str, int] = {}

    def perform(self, line: str) -> None:
        words = line.split()
        key = next((word[1:] for word in words if word.startswith("@")), "k")
        who, *rest = [word for word in words if not word.startswith("@")]
        stamp = (len(self.events), self.now_s)
        if who == "advance":
            self.now_s += float(rest[0])
            self.events.append(Faulted(*stamp, "advance", detail=float(rest[0])))
        elif who in _OF_SERVERS:
            cut_off = next((ord(word) - ord("A") for word in rest[1:] if word.isupper()), None)
            detail = " ".join(word for word in rest[1:] if not word.isupper())
            self.events.append(Faulted(*stamp, who, cut_off, ServerName(rest[0]), detail or None))
        elif who in ("expire", "evict"):
            self.events.append(Faulted(*stamp, who, detail=rest[0]))
        elif who == "quiet":
            self.events.append(Entered(*stamp, Phase.QUIESCE))
        elif who == "final":
            self.final = True
        else:
            self.events.append(self._event(stamp, ord(who) - ord("A"), key, rest))

    def _event(self, stamp: tuple[int, float], process: int, key: str, words: list[str]) -> Event:
        word, value = words[0], _value(words[1:])
        if word in ("crash", "restart"):
            return Faulted(*stamp, word, process)
        if word in ("ok", "fail", "info"):
            return Returned(*stamp, process, Outcome(word), value)
        if word == "commits":
            self.versions[key] = self.versions.get(key, 0) + 1
            return Committed(*stamp, key, value, self.versions[key], process if process >= 0 else None)
        if word.isupper():
            return _exchange(stamp, process, key, words)
        return Invoked(*stamp, process, word, None if word in ("warm_up", "work") else key, value, self.final)


def _value(words: list[str]) -> Value:
    return None if not words or words[0] == "nil" else words[0]


def _exchange(stamp: tuple[int, float], process: int, key: str, words: list[str]) -> Exchanged:
    fate = next((_FATES[word] for word in words if word in _FATES), Fate.DELIVERED)
    name = next((word[1:] for word in words if word.startswith("#")), key)
    plain = [word for word in words if word not in _FATES.keys() | _MARKS and not word.startswith("#")]
    asked, arrow, answer = " ".join(plain).partition("->")
    joined, *rest = asked.split()
    verbs = joined.split("+")
    server = ServerName.DATABASE if verbs[0] in _SQL else ServerName.CACHE
    waits, mark = "waits" in words, REPLICA_MARK if "replica" in words else ""
    # What the server answered is on record although nobody heard it.
    answered = not waits and fate is not Fate.REQUEST_LOST and (fate is not Fate.REPLY_LOST or bool(arrow))
    return Exchanged(
        *stamp,
        process,
        server,
        "; ".join(verbs),
        tuple(word for verb in verbs for word in (";", f"{mark}{verb}", name, *rest))[1:],
        () if key == "none" else (key,),
        _reply(server, verbs[0], answer.strip(), bool(arrow)) if answered else None,
        fate,
        waits=waits,
        waited="late" in words,
    )


def _reply(server: ServerName, verb: str, answer: str, told: bool) -> Any:
    if answer.startswith("error"):
        return {"error": answer.removeprefix("error").strip(" -")}
    if server is ServerName.DATABASE:
        rows = [[answer]] if told and answer != "nil" else []
        return {"tag": f"{verb} {len(rows)}", "rows": rows} if verb == "SELECT" else {"tag": f"{verb} 1"}
    if not told:
        return "OK"
    if re.fullmatch(r"[\[{].*|\d+", answer):
        return json.loads(answer)
    return None if answer == "nil" else answer


def act(script: str, initial: Mapping[str, Value] | None = None, workers: int = 0) -> History:
    """The history that a dialogue tells; the record "k" starts as v1."""
    stage = _Stage()
    for line in filter(str.strip, script.splitlines()):
        stage.perform(line)
    processes = 1 + max(getattr(event, "process", None) or 0 for event in stage.events)
    named = tuple(range(processes - workers, processes))
    return History(dict(initial or {"k": "v1"}), tuple(stage.events), processes, named)
