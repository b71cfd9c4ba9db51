"""Reads a history from the lines of what clients, servers and chance did, with names of entries and locks.

A read k                        client A invokes a read of key "k"; `A write k v2`, `A read` (no key) alike
A SET lock:k tok NX -> OK       an exchange: verb in capitals, its words, the reply (`nil`: none, 0 and 1
                                are numbers, `error …` an error, `rows` or `empty` a result of SQL)
A DEL k !reply-lost             its fate (`!lost`: the request was); `!waits`: it has to wait
A ok v1                         A's operation returned; or `fail`, `info`
A commits k v2                  v2 became visible in the database
A crash                         or `restart`; without a client: `expire lock:k`, `kill cache`, `start cache`,
                                `advance 10`, `partition A`
"""

import re
from typing import Any

from cacheproof.models.decision import Fate, ServerName
from cacheproof.models.event import Committed, Event, Exchanged, Faulted, Invoked, Returned
from cacheproof.models.history import History
from cacheproof.models.operation import Outcome

__all__ = ["tell"]

_KEYS = ("k", "j")
_SQL = {"COMMIT", "SELECT", "UPDATE"}
_FATES = {"!lost": Fate.REQUEST_LOST, "!reply-lost": Fate.REPLY_LOST}
_REPLIES: dict[str, Any] = {
    "nil": None,
    "0": 0,
    "1": 1,
    "rows": {"tag": "SELECT 1", "rows": [["v1"]]},
    "empty": {"tag": "SELECT 0"},
}


def tell(script: str) -> History:
    """The history that the lines tell, of the keys "k" and "j"."""
    events: list[Event] = []
    now_s = 0.0
    for line in filter(str.strip, script.splitlines()):
        words = line.split()
        stamp = (len(events), now_s)
        if words[0] == "advance":
            now_s += float(words[1])
        events.append(_event(stamp, words))
    return History(dict.fromkeys(_KEYS, "v1"), tuple(events), 4)


def _event(stamp: tuple[int, float], words: list[str]) -> Event:
    if words[0] in ("kill", "start"):
        return Faulted(*stamp, words[0], server=ServerName(words[1]))
    if words[0] == "advance":
        return Faulted(*stamp, "advance", detail=float(words[1]))
    if words[0] == "partition":
        return Faulted(*stamp, "partition", ord(words[1]) - ord("A"), ServerName.CACHE)
    if words[0] in ("expire", "evict"):
        return Faulted(*stamp, words[0], detail=words[1])
    process, word, rest = ord(words[0]) - ord("A"), words[1], words[2:]
    if word in ("crash", "restart"):
        return Faulted(*stamp, word, process)
    if word in ("ok", "fail", "info"):
        return Returned(*stamp, process, Outcome(word), rest[0] if rest else None)
    if word == "commits":
        return Committed(*stamp, rest[0], rest[1], 0, process)
    if word.isupper():
        return _exchange(stamp, process, words[1:])
    return Invoked(*stamp, process, word, rest[0] if rest else None, rest[1] if rest[1:] else None)


def _exchange(stamp: tuple[int, float], process: int, words: list[str]) -> Exchanged:
    fate = next((_FATES[word] for word in words if word in _FATES), Fate.DELIVERED)
    asked, _, answer = " ".join(word for word in words if word[0] != "!").partition(" -> ")
    request = tuple(asked.split())
    reply = (
        {"error": answer.removeprefix("error ")}
        if answer.startswith("error")
        else _REPLIES.get(answer, answer or "OK")
    )
    return Exchanged(
        *stamp,
        process,
        ServerName.DATABASE if request[0] in _SQL else ServerName.CACHE,
        request[0],
        request,
        tuple(key for key in _KEYS if any(re.search(rf"\b{key}\b", word) for word in request[1:])),
        None if "!waits" in words or fate is not Fate.DELIVERED else reply,
        fate,
        waits="!waits" in words,
    )
