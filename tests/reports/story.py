"""Reads a counterexample from a story: one line an event, with a small cache and database behind it.

    B: read user:1                  B begins a read; `read!` is one of the epilogue
    B: GET user:1                   a command; the small cache answers.  Another reply: `GET user:1 -> "v9"`
    B: select user:1                SQL, in words; `update user:1 v2` commits, `update? user:1 v2` does not yet
    A: DEL user:1 !request-lost     a fate; `!waits` and `!waited` for a reply that comes later
    A: ok v1 · fail why · info why  how an operation ended
    A: crash · restart              faults of a client; `cache: kill · start` of a server
    *: expire user:1 · advance 300  faults of everybody
    --: heal                        a phase of the epilogue

Clients are letters, workers W1, W2, ….  After every event there is a snapshot of what the two servers hold.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from cacheproof.models.decision import Deliver, Fate, ServerName
from cacheproof.models.event import Committed, Entered, Event, Exchanged, Faulted, Invoked, Phase, Returned
from cacheproof.models.history import History
from cacheproof.models.operation import Outcome, Value
from cacheproof.models.report import Counterexample, Snapshot
from cacheproof.models.schedule import Scenario, Schedule
from cacheproof.models.verdict import Finding, Property

__all__ = ["Teller", "counterexample", "find", "tell"]

SQL = {
    "select": "select value from records where key = $1",
    "update": "update records set value = $1 where key = $2",
    "delete": "delete from records where key = $1",
}
OUTCOMES = {"ok": Outcome.OK, "fail": Outcome.FAIL, "info": Outcome.INFO}
FAULTS = (
    *(
        "crash",
        "restart",
        "kill",
        "start",
        "expire",
        "advance",
        "heal",
        "arrive",
        "evict",
        "failover",
        "flush",
    ),
    *("freeze", "lag", "partition", "pause", "replicate", "resume", "skew", "thaw"),
)
CALLS = ("read", "read!", "write", "delete!", "work")


class Teller:
    """Collects the events and snapshots of a story, and plays cache and database."""

    def __init__(self, initial: Mapping[str, Value], clients: int) -> None:
        self.initial = dict(initial)
        self.clients = clients
        self.cache: dict[str, tuple[Any, float | None]] = {}
        self.rows = dict(initial)
        self.uncommitted: list[tuple[str, Value]] = []
        self.events: list[Event] = []
        self.snapshots: list[Snapshot] = []
        self.versions: dict[str, int] = {}
        self.now_s = 0.0

    def add(self, event: Event) -> None:
        self.events.append(event)
        cache = {key: (_words(held), ttl) for key, (held, ttl) in self.cache.items()}
        self.snapshots.append(Snapshot(event.index, cache, dict(self.rows)))

    @property
    def stamp(self) -> tuple[int, float]:
        return len(self.events), self.now_s

    def line(self, who: str, words: Sequence[str]) -> None:
        process = self.process(who)
        verb = words[0]
        if who == "--":
            self.add(Entered(*self.stamp, Phase(verb)))
        elif verb in FAULTS:
            self.fault(who, verb, words[1:])
        elif verb in OUTCOMES and verb not in CALLS:
            self.returned(process, OUTCOMES[verb], " ".join(words[1:]))
        elif verb in CALLS:
            key, value = [*words[1:], None, None][:2]
            self.add(Invoked(*self.stamp, process, verb.rstrip("!"), key, value, verb == "read!"))
        elif verb.rstrip("?") in (*SQL, "commit", "rollback"):
            self.sql(process, words)
        else:
            self.command(process, list(words))

    def process(self, who: str) -> int:
        if who[0] == "W" and who[1:].isdigit():
            return self.clients + int(who[1:]) - 1
        return ord(who) - ord("A") if len(who) == 1 and who.isupper() else -1

    def returned(self, process: int, outcome: Outcome, text: str) -> None:
        ok = outcome is Outcome.OK
        self.add(Returned(*self.stamp, process, outcome, text or None if ok else None, None if ok else text))

    def fault(self, who: str, name: str, rest: Sequence[str]) -> None:
        process = self.process(who) if who not in ("*", "cache", "database") else None
        server = ServerName(who) if who in ("cache", "database") else None
        detail: str | float | None = rest[0] if rest else None
        number = name in ("advance", "skew")
        event = Faulted(*self.stamp, name, process, server, float(rest[0]) if number else detail)
        if name == "kill" and server is ServerName.CACHE:
            self.cache.clear()
        elif name == "expire":
            self.cache.pop(str(detail), None)
        elif name == "advance":
            self.pass_time(float(rest[0]))
        self.add(event)

    def pass_time(self, seconds: float) -> None:
        self.now_s += seconds
        left = {key: (held, ttl - seconds if ttl else None) for key, (held, ttl) in self.cache.items()}
        self.cache = {key: (held, ttl) for key, (held, ttl) in left.items() if ttl is None or ttl > 0}

    def sql(self, process: int, words: Sequence[str]) -> None:
        verb, keys = words[0].rstrip("?"), tuple(words[1:2])
        reply: dict[str, Any] = {"tag": f"{verb.upper()} 1"}
        if verb == "select":
            row = self.rows.get(words[1])
            reply = {"tag": "SELECT 1", "rows": [[row]]} if row is not None else {"tag": "SELECT 0"}
        elif verb in ("update", "delete"):
            self.uncommitted.append((words[1], words[2] if verb == "update" else None))
        elif verb == "rollback":
            self.uncommitted.clear()
        if verb in ("commit", "rollback"):
            reply = {"tag": verb.upper()}
        request = (SQL.get(verb, verb), *reversed(words[1:]))
        commits = [] if words[0].endswith("?") or verb == "select" else list(self.uncommitted)
        self.rows.update(dict(commits))
        event = Exchanged(*self.stamp, process, ServerName.DATABASE, verb.upper(), request, keys, reply)
        self.add(event)
        for key, value in commits:
            self.versions[key] = self.versions.get(key, 0) + 1
            self.add(Committed(*self.stamp, key, value, self.versions[key], process))
        if commits:
            self.uncommitted.clear()

    def command(self, process: int, words: list[str]) -> None:
        marks = [word[1:] for word in words if word.startswith("!")]
        words = [word for word in words if not word.startswith("!")]
        told = json.loads(" ".join(words[words.index("->") + 1 :])) if "->" in words else None
        words = words[: words.index("->")] if "->" in words else words
        fates = [Fate(mark) for mark in marks if mark in set(Fate)]
        fate = fates[0] if fates else Fate.DELIVERED
        quiet = fate in (Fate.REQUEST_LOST, Fate.REFUSED) or "waits" in marks
        reply = None if quiet else self.answer(words)
        reply = None if fate is Fate.REPLY_LOST else reply if told is None else told
        keys = tuple(key for key in self.initial if key in words)
        verb = (
            words[0].rstrip(";")
            if ";" not in words
            else "; ".join(word for at, word in enumerate(words) if at == 0 or words[at - 1] == ";")
        )
        self.add(
            Exchanged(
                *self.stamp, process, ServerName.CACHE, verb, tuple(words), keys, reply, fate,
                waits="waits" in marks, waited="waited" in marks,
            )
        )  # fmt: skip

    def answer(self, words: Sequence[str]) -> Any:
        if ";" in words:
            at = list(words).index(";")
            rest = self.answer(words[at + 1 :])
            return [self.answer(words[:at]), *(rest if ";" in words[at + 1 :] else [rest])]
        verb, key = words[0], words[1]
        if verb == "SET":
            self.cache[key] = (words[2], float(words[4]) if len(words) > 4 else None)
            return "OK"
        if verb == "DEL":
            return 1 if self.cache.pop(key, None) else 0
        if verb == "LPUSH":
            self.cache[key] = ([words[2], *self.cache.get(key, ([], None))[0]], None)
            return len(self.cache[key][0])
        if verb in ("RPOP", "BRPOP"):
            held = self.cache.pop(key, ([], None))[0]
            if held[:-1]:
                self.cache[key] = (held[:-1], None)
            return (held[-1] if verb == "RPOP" else [key, held[-1]]) if held else None
        found = self.cache.get(key)
        return found[0] if found else None


def _words(held: Any) -> str:
    return f"list [{', '.join(held)}]" if isinstance(held, list) else str(held)


def tell(
    text: str, initial: Mapping[str, Value] | None = None, clients: int = 2, workers: int = 0
) -> tuple[History, tuple[Snapshot, ...]]:
    """The history of a story, and the snapshots after each of its events."""
    teller = Teller(initial or {"user:1": "v1"}, clients)
    for line in filter(str.strip, text.splitlines()):
        who, _, words = line.partition(": ")
        teller.line(who.strip(), words.split())
    numbers = tuple(range(clients, clients + workers))
    history = History(teller.initial, tuple(teller.events), clients + workers, numbers)
    return history, tuple(teller.snapshots)


def find(judge: Property, history: History) -> Finding:
    """The first finding of a property in a history.  Raises IndexError if it has none."""
    return judge.check(history).findings[0]


def counterexample(
    history: History,
    snapshots: tuple[Snapshot, ...],
    finding: Finding,
    anomaly: str = "stale-set",
    **more: Any,
) -> Counterexample:
    """A counterexample with plausible figures around these observations."""
    decisions = sum(
        isinstance(event, (Invoked, Exchanged)) and not _is_final(event) for event in history.events
    )
    scenario = Scenario(clients=history.processes - len(history.workers), workers=len(history.workers))
    figures: dict[str, Any] = {
        "found_by": "exhaustive 1 reader × 1 writer",
        "found_after": 5,
        "shrunk_from": 23,
        "shrink_replays": 30,
        "minimal": True,
        "replayed": 10,
        "replays": 10,
        "replay_command": f"cacheproof replay .cacheproof/anomalies/{anomaly}-7f3a.json",
    }
    schedule = Schedule(scenario, (Deliver(0),) * decisions)
    return Counterexample(anomaly, finding, schedule, history, snapshots, **(figures | more))


def _is_final(event: Event) -> bool:
    return isinstance(event, Invoked) and event.final
