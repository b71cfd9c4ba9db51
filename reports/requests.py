"""Requests and replies in words, short enough for a lane of a diagram.

A Redis command is shown as it was sent, without the words that say nothing about the data (time-outs, groups,
script texts).  SQL is reduced to what it does to which key and value: `SELECT … user:1`, `UPDATE … := v2`.
Keys and values are recognised by looking for those that the run knows, so no SQL is parsed.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from cacheproof.models.decision import Fate, ServerName
from cacheproof.models.event import Committed, Exchanged, Invoked
from cacheproof.models.history import History
from cacheproof.models.trace import REPLICA_MARK, is_on_replica
from cacheproof.reports.words import plain, shorten, show

__all__ = ["Known", "brief_request_words", "known_of", "reply_words", "request_words"]

WORD_CELLS = 28
_PAYLOADS = frozenset({"", "list", "set", "stream", "zset", "hash"})
_CLOSING = {"[": "]", "{": "}"}
_TOKEN = re.compile(r"[^\s\"\\\[\]{},=]+")
_TABLE = "records"  # the harness's own table: the only one that goes without saying
_LITERAL = re.compile(r"'((?:[^']|'')*)'")
_TARGET = re.compile(r"\b(?:into|update|from)\s+([\w.\"]+)", re.IGNORECASE)
_LIFE_TIMES = frozenset({"EX", "PX", "EXAT", "PXAT"})
_FRAME = frozenset({"MULTI", "EXEC"})
_SQL_WRITES = frozenset({"INSERT", "UPDATE", "DELETE", "MERGE"})


@dataclass(frozen=True, slots=True)
class Known:
    """The keys and the values (as strings) that occur in a run."""

    keys: frozenset[str]
    values: frozenset[str]

    def gist(self, text: str) -> str:
        """A text in JSON, or with JSON in it, as the keys and values that it speaks of; any other as it is."""
        head, bracket, rest = text.partition("[") if "[" in text.partition("{")[0] else text.partition("{")
        if head.strip() not in _PAYLOADS or '"' not in rest:
            return text
        named = [word for word in _TOKEN.findall(rest) if word in self.keys or word in self.values]
        if not named:
            return text
        told = " ".join(dict.fromkeys(named))
        return f"{head}{bracket}{told}{_CLOSING[bracket]}" if head.strip() else told


def known_of(history: History) -> Known:
    """What can be recognised in the requests of this run."""
    named = [event for event in history.events if isinstance(event, (Invoked, Committed))]
    values = [*history.initial.values(), *(event.value for event in named)]
    keys = {*history.initial, *(event.key for event in named if event.key is not None)}
    return Known(frozenset(keys), frozenset(str(value) for value in values if value is not None))


def request_words(exchange: Exchanged, known: Known) -> str:
    """The request, without the server: "GET user:1", "UPDATE … := v2", "MULTI SET user:1 v2; XADD log v2"."""
    if exchange.server is ServerName.DATABASE:
        return _sql_words(exchange, known)
    commands = [command for command in _commands(exchange) if command and command[0].upper() not in _FRAME]
    words = "; ".join(_command_words(command, known) for command in commands)
    return f"MULTI {words}" if ";" in exchange.verb else words or plain(exchange.verb)


def brief_request_words(exchange: Exchanged, known: Known) -> str:
    """The same for a narrow lane: without life times, and without the key where there is only one."""
    only = known.keys if len(known.keys) == 1 else frozenset[str]()
    if exchange.server is ServerName.DATABASE:
        words = [word for word in _sql_words(exchange, known).split(" ") if word != "…" and word not in only]
        return " ".join(words)
    lasting = [
        word
        for at, word in enumerate(exchange.request)
        if word.upper() not in _LIFE_TIMES
        and (at == 0 or exchange.request[at - 1].upper() not in _LIFE_TIMES)
    ]
    return request_words(
        replace(exchange, request=tuple(word for word in lasting if word not in only)), known
    )


def _commands(exchange: Exchanged) -> Iterator[Sequence[str]]:
    """The commands of an exchange: its words, cut at each ";" behind which the next verb stands."""
    _, *verbs = [part.strip().upper() for part in exchange.verb.split(";")]
    words = exchange.request or (exchange.verb,)
    start = 0
    for verb in verbs:
        ends = [
            at for at in range(start, len(words) - 1) if words[at] == ";" and words[at + 1].upper() == verb
        ]
        if ends:
            yield words[start : ends[0]]
            start = ends[0] + 1
    yield words[start:]


def _command_words(command: Sequence[str], known: Known) -> str:
    verb, *args = command
    brief = _BRIEF.get(verb.upper())
    kept = brief(args, known) if brief else args
    return " ".join([plain(verb).upper(), *(show(known.gist(word), WORD_CELLS) for word in kept)])


def _known_only(words: Iterable[str], known: Known) -> list[str]:
    return [word for word in words if word in known.keys or word in known.values]


def _entry(args: Sequence[str], known: Known) -> Sequence[str]:
    """XADD: the stream, and what is known of the fields; all the fields if nothing is."""
    return [*args[:1], *(_known_only(args[1:], known) or args[2:])]


def _streams(args: Sequence[str], known: Known) -> Sequence[str]:
    """XREADGROUP: the streams, without group, consumer, options and ids."""
    upper = [word.upper() for word in args]
    after = args[upper.index("STREAMS") + 1 :] if "STREAMS" in upper else args
    return after[: max(1, len(after) // 2)]


def _script(args: Sequence[str], known: Known) -> Sequence[str]:
    """EVAL: the keys and arguments, without the script and the number of keys."""
    return ["…", *args[2:]]


def _first(number: int) -> Callable[[Sequence[str], Known], Sequence[str]]:
    return lambda args, known: args[:number]


def _but_last(args: Sequence[str], known: Known) -> Sequence[str]:
    return args[:-1] or args


_BRIEF: Mapping[str, Callable[[Sequence[str], Known], Sequence[str]]] = {
    "BLMOVE": _first(2),
    "BLPOP": _but_last,
    "BRPOP": _but_last,
    "BRPOPLPUSH": _first(2),
    "BZPOPMIN": _but_last,
    "EVAL": _script,
    "EVALSHA": _script,
    "FCALL": lambda args, known: [*args[:1], *args[2:]],
    "LMOVE": _first(2),
    "XACK": _first(1),
    "XADD": _entry,
    "XAUTOCLAIM": _first(1),
    "XREAD": _streams,
    "XREADGROUP": _streams,
}


def _sql_words(exchange: Exchanged, known: Known) -> str:
    """Verb, table if it is not the usual one, key unless it goes without saying, and the value if it writes."""
    if is_on_replica(exchange):
        asked = (exchange.request[0].removeprefix(REPLICA_MARK), *exchange.request[1:])
        return f"{_sql_words(replace(exchange, request=asked), known)} (replica)"
    verb = plain(exchange.verb)
    text = " ".join(exchange.request[:1]) or verb
    words = [*exchange.request[1:], *(item.replace("''", "'") for item in _LITERAL.findall(text))]
    writes = any(part.strip() in _SQL_WRITES for part in exchange.verb.split(";"))
    key = _sql_key(exchange, words, known, writes)
    values = [word for word in dict.fromkeys(words) if word in known.values and word not in exchange.keys]
    parts = [verb, *_sql_table(text, exchange.verb)]
    if text.lower() == verb.lower():
        return verb
    if not key and not values:
        return shorten(plain(" ".join(text.split())), 2 * WORD_CELLS)
    parts += [show(key, WORD_CELLS)] if key else []
    parts += [":=", *(show(value, WORD_CELLS) for value in values[:2])] if writes and values else []
    parts += ["…"] if writes and len(values) > 2 else []
    parts += ["FOR UPDATE"] if re.search(r"\bfor (no key )?update\b", text, re.IGNORECASE) else []
    return " ".join(parts)


def _sql_key(exchange: Exchanged, words: Sequence[str], known: Known, writes: bool) -> str:
    keys = [*exchange.keys, *(word for word in words if word in known.keys and word not in exchange.keys)]
    said = exchange.verb == "UPDATE" and len(known.keys) == 1  # the operation above has just named it
    return "" if writes and said else ", ".join(keys[:2])


def _sql_table(text: str, verb: str) -> list[str]:
    """The table in words: "…" for the usual one, nothing for what has no table."""
    found = _TARGET.search(text)
    if not found:
        return ["…"] if verb in _SQL_WRITES or verb == "SELECT" else []
    name = found.group(1).strip('"').rpartition(".")[2]
    return ["…"] if name.lower() == _TABLE else [plain(name)]


def reply_words(exchange: Exchanged, known: Known) -> str:
    """What came back: "miss", "v1", "nothing to delete", "1 row, uncommitted", "✗ WRONGTYPE …"; "" if nothing."""
    if exchange.waits:
        return "waits"
    reply = exchange.reply
    if isinstance(reply, dict) and "error" in reply:
        return f"✗ {shorten(plain(reply['error']), 2 * WORD_CELLS)}"
    if exchange.fate is not Fate.DELIVERED and reply is None:
        return ""
    if exchange.server is ServerName.DATABASE:
        return _rows_words(exchange, reply)
    if exchange.verb == "MGET" and isinstance(reply, list):
        return ", ".join("miss" if item is None else show(item, WORD_CELLS) for item in reply)
    special = _REPLIES.get(exchange.verb, {})
    if isinstance(reply, (str, int, type(None))) and reply in special:
        return special[reply]
    return _reply_value(reply, known)


_NOT_SET: Mapping[str | int | None, str] = {None: "refused: exists", "OK": "set"}
_DELETED: Mapping[str | int | None, str] = {0: "nothing to delete", 1: "deleted"}
_MISS: Mapping[str | int | None, str] = {None: "miss"}
_REPLIES: Mapping[str, Mapping[str | int | None, str]] = {
    "DEL": _DELETED,
    "EXPIRE": {0: "no such key", 1: "ttl set"},
    "GET": _MISS,
    "GETDEL": _MISS,
    "GETEX": _MISS,
    "HGET": _MISS,
    "PEXPIRE": {0: "no such key", 1: "ttl set"},
    "PTTL": {-2: "no such key", -1: "no ttl"},
    "SET": _NOT_SET,
    "SETNX": {0: "refused: exists", 1: "set"},
    "TTL": {-2: "no such key", -1: "no ttl"},
    "UNLINK": _DELETED,
    "XACK": {0: "nothing to acknowledge", 1: "acknowledged"},
}


def _rows_words(exchange: Exchanged, reply: Any) -> str:
    if not isinstance(reply, dict):
        return "" if reply is None else show(reply)
    rows = reply.get("rows") or []
    if rows:
        return ", ".join(_row_words(row) for row in rows) if len(rows) < 3 else f"{len(rows)} rows"
    tag = str(reply.get("tag") or "")
    verb, _, count = tag.rpartition(" ")
    if verb.split(" ")[0] == "SELECT" or count == "0":
        return "no row"
    if verb.split(" ")[0] in _SQL_WRITES:
        return f"{count} row{'' if count == '1' else 's'}, uncommitted"
    return {"COMMIT": "committed", "ROLLBACK": "rolled back"}.get(tag, plain(tag).lower())


def _row_words(row: Any) -> str:
    cells = row if isinstance(row, list) else [row]
    return " ".join("null" if cell is None else show(cell, WORD_CELLS) for cell in cells)


def _reply_value(reply: Any, known: Known) -> str:
    """A reply that has no words of its own: the known keys and values in it, or all of it as JSON."""
    if reply is None or reply == [] or reply == {}:
        return "nothing"
    if isinstance(reply, str):
        return show(known.gist(reply), WORD_CELLS)
    if not isinstance(reply, (list, dict)):
        return show(reply, WORD_CELLS)
    leaves = list(_leaves(reply))
    seen = [leaf for leaf in leaves if isinstance(leaf, str) and _speaks_of(leaf, known)]
    if seen:
        return shorten(
            " ".join(show(known.gist(leaf), WORD_CELLS) for leaf in dict.fromkeys(seen)), 2 * WORD_CELLS
        )
    if all(leaf is None for leaf in leaves):
        return "nothing"
    return shorten(plain(json.dumps(reply, ensure_ascii=False, default=str)), WORD_CELLS)


def _speaks_of(leaf: str, known: Known) -> bool:
    return leaf in known.keys or leaf in known.values or known.gist(leaf) != leaf


def _leaves(reply: Any) -> Iterator[Any]:
    if isinstance(reply, list):
        for item in reply:
            yield from _leaves(item)
    elif isinstance(reply, dict):
        for name, item in reply.items():
            yield name
            yield from _leaves(item)
    else:
        yield reply
