"""The other way to look for the same bug: threads, real time, and luck.

What most people write when they test a cache, and a good one of its kind.  Four clients with connections of their
own call the same class on the same real servers, workers beside them.  In each round they start together on a
record that no round has used before, do three operations each, and when they are done somebody reads once more.
Nothing is delayed, nobody dies, no message is lost: only the operating system decides who comes first.

    round   |--A: read write read--|                       then: a look at cache and database, again and
            |--B: write read read--|                       again for up to a second, for workers to finish
            |--C, D …--------------|

Of a guarantee that the page keeps only while one operation runs at a time, one client is asked.  Judged is what
such a test can see: what operations returned, and what the database holds in the end.  Where that
is enough for the property that the bug breaks, the same function judges it.  A property that needs more (how many
loads there were, what was committed when, what happens 300 seconds later) cannot be judged, and is told so.

Everything runs in a forked process, which is killed in the end: so its threads are gone, whatever they wait for.
"""

import json
import os
import random
import select
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import psycopg
import redis
from planting import Bug, contract_of, guarantee_of

from cacheproof.chaos.servers.postgres import DATABASE, USER
from cacheproof.chaos.servers.servers import Servers
from cacheproof.models.contract import Condition
from cacheproof.models.convergence import Convergence
from cacheproof.models.durability import Durability
from cacheproof.models.errors import HarnessError
from cacheproof.models.event import Committed, Entered, Event, Invoked, Phase, Returned
from cacheproof.models.history import History
from cacheproof.models.integrity import Integrity
from cacheproof.models.operation import Outcome
from cacheproof.models.read_after_write import ReadAfterWrite
from cacheproof.models.verdict import Property
from cacheproof.models.zones import Linearizable

__all__ = ["Stressed", "stress", "visible"]

_CLIENTS = 4
_OPERATIONS = 3
_REST_S = 1.0
_GRACE_S = 10.0
_PAUSE_S = 0.02
_SETUP = """
drop schema if exists stress cascade;
create schema stress;
create table stress.records (key text primary key, value text, version bigint not null default 0);
"""


@dataclass(frozen=True, slots=True)
class Stressed:
    """What a stress test came to: `caught_s` is when it saw the bug, in seconds, None if it did not."""

    rounds: int
    caught_s: float | None


def visible(bug: Bug) -> Property | None:
    """The property by which a stress test can notice the bug; None if it needs to see more than there is."""
    promised = guarantee_of(bug).property
    match promised:
        case ReadAfterWrite() | Linearizable() | Durability():
            return promised
        case Integrity():
            return Integrity(committed=False)
        case Convergence(within_s=within_s) if not within_s:
            return Convergence(within_s=0)
    return None


def stress(bug: Bug, cache: type[Any], servers: Servers, *, seed: int, seconds: float) -> Stressed:
    """Try for so many seconds to see the bug.  A test that hangs has seen it as well: that, nobody overlooks.

    Raises HarnessError if the test itself does not work.
    """
    judged_by = visible(bug)
    if judged_by is None:
        return Stressed(0, None)
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        _serve(theirs, lambda: _Test(bug, cache, servers, judged_by, random.Random(seed)).run(seconds))
    os.close(theirs)
    try:
        ready, _, _ = select.select([ours], [], [], seconds + _GRACE_S)
        said = json.loads(os.read(ours, 1 << 16) or "{}") if ready else None
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(ours)
    if said is None:
        return Stressed(0, seconds + _GRACE_S)
    if "rounds" not in said:
        raise HarnessError(f"the stress test of {bug.name!r} did not work: {said}")
    return Stressed(**said)


def _serve(line: int, test: Callable[[], dict[str, Any]]) -> None:
    """The life of the forked process: it is killed once it has said what it found."""
    try:
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, range(os.cpu_count() or 1))
        try:
            said = test()
        except Exception as error:
            said = {"error": repr(error)}
        os.write(line, json.dumps(said).encode())
        time.sleep(_GRACE_S)
    finally:
        os._exit(1)


@dataclass
class _Test:
    bug: Bug
    cache: type[Any]
    servers: Servers
    judged_by: Property
    chance: random.Random
    rounds: int = 0
    events: list[Event] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self, seconds: float) -> dict[str, Any]:
        began = time.monotonic()
        with psycopg.connect(self.address(""), autocommit=True) as db:
            db.execute(_SETUP)
        redis.Redis.from_url(self.redis_url()).flushall()
        busy = 1 if self.bug.condition is Condition.QUIET else _CLIENTS
        clients = [self.cache(self.environment(name)) for name in "ABCDE"[-busy - 1 :]]
        for number in range(contract_of(self.bug).workers):
            worker = self.cache(self.environment(f"worker {number + 1}"))
            threading.Thread(target=worker.work, daemon=True).start()
        self.db = psycopg.connect(self.address("stress"), autocommit=True)
        while time.monotonic() - began < seconds:
            self.rounds += 1
            self.round(clients[:-1])
            if (seen := self.broken(clients[-1])) is not None:
                return {"rounds": self.rounds, "caught_s": seen - began}
        return {"rounds": self.rounds, "caught_s": None}

    def environment(self, name: str) -> SimpleNamespace:
        return SimpleNamespace(
            redis_url=self.redis_url(), database_url=self.address("stress"), client=name, clock=time.time
        )

    def redis_url(self) -> str:
        return f"unix://{self.servers.cache.address}"

    def address(self, schema: str) -> str:
        folder, _, port = str(self.servers.database.address).rpartition("/.s.PGSQL.")
        options = quote(f"-csearch_path={schema}") if schema else ""
        return f"postgresql://{USER}@/{DATABASE}?host={folder}&port={port}&options={options}"

    # -- one round -----------------------------------------------------------------------------------------

    def round(self, clients: list[Any]) -> None:
        self.key, self.initial = f"user:{self.rounds}", f"v0 of {self.rounds}"
        self.events = []
        self.db.execute("insert into records (key, value) values (%s, %s)", (self.key, self.initial))
        start = threading.Barrier(len(clients))
        plans = [[self.chance.choice(("read", "read", "write")) for _ in range(_OPERATIONS)] for _ in clients]
        threads = [
            threading.Thread(target=self.play, args=(number, client, plan, start), daemon=True)
            for number, (client, plan) in enumerate(zip(clients, plans, strict=True))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def play(self, number: int, client: Any, plan: list[str], start: threading.Barrier) -> None:
        start.wait()
        for place, f in enumerate(plan):
            self.call(number, client, f, f"{self.rounds}.{number}.{place}" if f == "write" else None)

    def call(self, number: int, client: Any, f: str, value: str | None, final: bool = False) -> None:
        self.note(Invoked, process=number, f=f, key=self.key, value=value, final=final)
        try:
            found = client.read(self.key) if f == "read" else client.write(self.key, value)
        except Exception as error:
            self.note(Returned, process=number, outcome=Outcome.INFO, value=None, error=repr(error))
        else:
            self.note(Returned, process=number, outcome=Outcome.OK, value=found)

    def note(self, make: Callable[..., Event], **fields: Any) -> None:
        with self.lock:
            self.events.append(make(index=len(self.events), at_s=0.0, **fields))

    # -- judging it ----------------------------------------------------------------------------------------

    def broken(self, observer: Any) -> float | None:
        """When it was first seen that the property is broken, if it still is when everything has come to rest."""
        seen, before = time.monotonic(), list(self.events)
        while self.findings(observer):
            if time.monotonic() - seen > _REST_S:
                return seen
            time.sleep(_PAUSE_S)
            self.events = list(before)
        return None

    def findings(self, observer: Any) -> bool:
        row = self.db.execute("select value from records where key = %s", (self.key,)).fetchone()
        if row is not None and row[0] != self.initial:
            self.note(Committed, key=self.key, value=row[0], version=1)
        self.note(Entered, phase=Phase.QUIESCE)
        self.call(_CLIENTS, observer, "read", None, final=True)
        history = History({self.key: self.initial}, tuple(self.events), processes=_CLIENTS + 1)
        return bool(self.judged_by.check(history).findings)
