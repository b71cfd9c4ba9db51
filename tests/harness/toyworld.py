"""A small faithful world for the minimiser: caches as generators, run by decisions, judged after.

A world has one table, one cache and some clients.  A cache is a set of generators that yield exchanges.
"""

import contextlib
import random
import re
from collections.abc import Callable, Generator
from dataclasses import dataclass, field

from cacheproof.harness.minimise import Attempt
from cacheproof.models.decision import (
    Advance,
    Crash,
    Decision,
    Deliver,
    Expire,
    Fate,
    InFlight,
    Invoke,
    Kill,
    Restart,
    ServerName,
    Start,
)

Exchange = tuple[str, Callable[["World"], object]]
Steps = Generator[Exchange, object, object]
Call = Callable[["World", str, str], Steps]


@dataclass(frozen=True)
class Pattern:
    """A cache under test: its operations, and the main loop of its worker if it has one."""

    calls: dict[str, Call]
    worker: Callable[["World"], Steps] | None = None


def on_cache(verb: str, effect: Callable[[dict[str, str]], object]) -> Exchange:
    def run(world: "World") -> object:
        if not world.cache_up:
            raise ConnectionError("cache is down")
        return effect(world.cache)

    return verb, run


def on_database(verb: str, effect: Callable[["World"], object]) -> Exchange:
    return verb, effect


def fill(world: "World", key: str, _: str) -> Steps:
    value = yield on_cache("GET", lambda cache: cache.get(key))
    if value is None:
        value = yield on_database("SELECT", lambda w: w.records[key])
        yield on_cache("SET", lambda cache: cache.__setitem__(key, str(value)))
    return value


def commit(key: str, value: str) -> Exchange:
    return on_database("UPDATE", lambda world: world.commit(key, value))


def delete(key: str) -> Exchange:
    return on_cache("DEL", lambda cache: cache.pop(key, None))


def write_aside(world: "World", key: str, value: str) -> Steps:
    yield commit(key, value)
    yield delete(key)
    return None


def write_after_delete(world: "World", key: str, value: str) -> Steps:
    yield delete(key)
    yield commit(key, value)
    return None


def write_through(world: "World", key: str, value: str) -> Steps:
    yield commit(key, value)
    yield on_cache("SET", lambda cache: cache.__setitem__(key, value))
    return None


def write_behind(world: "World", key: str, value: str) -> Steps:
    yield on_cache("SET", lambda cache: cache.__setitem__(key, value))
    yield on_cache("RPUSH", lambda cache: world.queue.append((key, value)))
    return None


def look(world: "World", key: str, _: str) -> Steps:
    value = yield on_cache("GET", lambda cache: cache.get(key))
    if value is None:
        value = yield on_database("SELECT", lambda w: w.records[key])
    return value


def write_and_shrug(world: "World", key: str, value: str) -> Steps:
    yield commit(key, value)
    with contextlib.suppress(ConnectionError):
        yield delete(key)
    return None


def flush(world: "World") -> Steps:
    while True:
        item = yield on_cache("LPOP", lambda cache: world.queue.pop(0))
        assert isinstance(item, tuple)
        yield commit(item[0], item[1])


CACHE_ASIDE = Pattern({"read": fill, "write": write_aside})
PRE_DELETE = Pattern({"read": fill, "write": write_after_delete})
SHRUGGING = Pattern({"read": fill, "write": write_and_shrug})
WRITE_THROUGH = Pattern({"read": look, "write": write_through})
WRITE_BEHIND = Pattern({"read": fill, "write": write_behind}, flush)


@dataclass
class Done:
    """An operation as observed; `returned` is None if it is pending or ended in an error."""

    client: int
    f: str
    key: str
    value: str | None
    invoked: int
    returned: int | None = None
    final: bool = False


@dataclass
class Client:
    steps: Steps | None = None
    pending: Exchange | None = None
    operation: Done | None = None
    up: bool = True


@dataclass
class World:
    """A run: decisions that are not enabled are skipped, the others are listed in `executed`."""

    pattern: Pattern
    keys: tuple[str, ...]
    clients: list[Client]
    records: dict[str, str] = field(default_factory=dict)
    versions: dict[str, list[str]] = field(default_factory=dict)
    cache: dict[str, str] = field(default_factory=dict)
    queue: list[tuple[str, str]] = field(default_factory=list)
    cache_up: bool = True
    unanswered: list[str] = field(default_factory=list)
    writes: int = 0
    clock: int = 0
    history: list[Done] = field(default_factory=list)
    executed: list[Decision] = field(default_factory=list)

    @classmethod
    def fresh(cls, pattern: Pattern, clients: int, keys: tuple[str, ...]) -> "World":
        processes = clients + (pattern.worker is not None)
        world = cls(pattern, keys, [Client() for _ in range(processes)], writes=len(keys))
        for number, key in enumerate(keys, start=1):
            world.commit(key, f"v{number}")
        world.start_worker()
        return world

    def start_worker(self) -> None:
        if self.pattern.worker is not None and self.clients[-1].steps is None and self.clients[-1].up:
            self.clients[-1].steps = self.pattern.worker(self)
            self.resume(self.clients[-1], None)

    def is_worker(self, number: int) -> bool:
        return self.pattern.worker is not None and number == len(self.clients) - 1

    def commit(self, key: str, value: str) -> None:
        self.records[key] = value
        self.versions.setdefault(key, []).append(value)

    def enabled(self, decision: Decision) -> bool:
        match decision:
            case Invoke(client, f, key):
                known = client < len(self.clients) and not self.is_worker(client)
                idle = known and self.clients[client].up and self.clients[client].pending is None
                return idle and f in self.pattern.calls and key in self.keys
            case Deliver(client, pick, _):
                return client < len(self.clients) and pick == 0 and self.has_pending(client)
            case Crash(client):
                return client < len(self.clients) and self.clients[client].up
            case Restart(client):
                return client < len(self.clients) and not self.clients[client].up
            case Kill(server):
                return server is ServerName.CACHE and self.cache_up
            case Start(server):
                return server is ServerName.CACHE and not self.cache_up
            case Expire(key):
                return self.cache_up and key in self.cache
            case Advance():
                return True

    def has_pending(self, number: int) -> bool:
        pending = self.clients[number].pending
        return pending is not None and (pending[0] != "LPOP" or bool(self.queue) or not self.cache_up)

    def run(self, decisions: tuple[Decision, ...]) -> tuple[Decision, ...]:
        for decision in decisions:
            if self.enabled(decision):
                self.do(decision)
                self.executed.append(decision)
        executed = tuple(self.executed)
        self.epilogue()
        return executed

    def do(self, decision: Decision) -> None:
        self.clock += 1
        match decision:
            case Invoke(client, f, key):
                self.invoke(client, f, str(key))
            case Deliver(client, _, fate):
                self.deliver(self.clients[client], fate)
            case Crash(client):
                self.clients[client] = Client(up=False)
            case Restart(client):
                self.clients[client] = Client()
                self.start_worker()
            case Kill():
                self.cache_up = False
                self.cache.clear()
                self.queue.clear()
            case Start():
                self.cache_up = True
            case Expire(key):
                del self.cache[key]
            case Advance(seconds):
                if seconds >= 300:
                    self.cache.clear()

    def invoke(self, number: int, f: str, key: str, final: bool = False) -> None:
        client, value = self.clients[number], None
        if f != "read":
            self.writes += 1
            value = f"v{self.writes}"
        client.operation = Done(number, f, key, value, self.clock, final=final)
        self.history.append(client.operation)
        client.steps = self.pattern.calls[f](self, key, str(value))
        self.resume(client, None)

    def deliver(self, client: Client, fate: Fate) -> None:
        assert client.pending is not None
        reply: object = ConnectionError(f"{fate} exchange")
        try:
            result = client.pending[1](self) if fate is not Fate.REQUEST_LOST else None
            reply = result if fate is Fate.DELIVERED else reply
        except ConnectionError as error:
            reply = error
        self.unanswered += [client.pending[0]] if isinstance(reply, ConnectionError) else []
        self.resume(client, reply)

    def resume(self, client: Client, reply: object) -> None:
        """Give a client its reply; it then waits for another, returns, or fails with an unknown outcome."""
        steps, operation = client.steps, client.operation
        assert steps is not None
        client.steps, client.operation = None, None
        try:
            started = client.pending is not None
            client.pending = None
            if isinstance(reply, ConnectionError):
                client.pending = steps.throw(reply)
            else:
                client.pending = steps.send(reply) if started else next(steps)
            client.steps, client.operation = steps, operation
        except StopIteration as stop:
            assert operation is not None
            self.clock += 1
            operation.returned = self.clock
            operation.value = stop.value if operation.f == "read" else operation.value
        except ConnectionError:
            self.start_worker()

    def epilogue(self) -> None:
        self.cache_up = True
        for number, client in enumerate(self.clients):
            if not client.up:
                self.do(Restart(number))
        self.drain()
        for key in self.keys:
            self.clock += 1
            self.invoke(0, "read", key, final=True)
            self.drain()

    def drain(self) -> None:
        while ready := [number for number in range(len(self.clients)) if self.has_pending(number)]:
            self.do(Deliver(ready[0]))

    # What is wrong with a run

    def findings(self) -> set[str]:
        """What is wrong: a "stale" read after an acknowledged write, which a lost DEL makes "swallowed"; an
        entry "left" old by a write that was never acknowledged; an acknowledged write "lost"."""
        found = {"stale" for read in self.history if self.is_stale(read)}
        diverged = any(read.final and read.value != self.records[read.key] for read in self.history)
        found |= {"swallowed"} if found and "DEL" in self.unanswered else set()
        found |= {"left"} if diverged and not found else set()
        acknowledged = [item for item in self.history if item.f != "read" and item.returned is not None]
        found |= {"lost" for item in acknowledged if item.value not in self.versions[item.key]}
        return found

    def is_stale(self, read: Done) -> bool:
        """True if a newer version than the one read was acknowledged before the read began."""
        if read.f != "read" or read.returned is None:
            return False
        versions = self.versions[read.key]
        before = [w for w in self.history if w.f != "read" and w.key == read.key and w.value in versions]
        acknowledged = [w for w in before if w.returned is not None and w.returned < read.invoked]
        rank = versions.index(str(read.value)) if read.value in versions else -1
        return any(versions.index(str(w.value)) > rank for w in acknowledged)


@dataclass(frozen=True)
class Setting:
    """A pattern, what is wrong with it, and which faults a search for it uses."""

    pattern: Pattern
    finding: str
    faults: tuple[Decision, ...] = ()
    crashes: bool = False

    def attempt(self, clients: int, keys: tuple[str, ...]) -> Attempt:
        def run(decisions: tuple[Decision, ...]) -> tuple[Decision, ...] | None:
            world = World.fresh(self.pattern, clients, keys)
            executed = world.run(decisions)
            return executed if self.finding in world.findings() else None

        return run

    def find(self, seed: int) -> tuple[tuple[Decision, ...], Attempt]:
        """A failing schedule of 10 to 60 decisions by a random walk, and the attempt that shows it."""
        chance = random.Random(seed)
        while True:
            clients, keys = chance.randint(2, 4), tuple(f"k{n}" for n in range(chance.randint(1, 3)))
            decisions = self.walk(chance, clients, keys)
            attempt = self.attempt(clients, keys)
            if attempt(decisions) is not None:
                return decisions, attempt

    def walk(self, chance: random.Random, clients: int, keys: tuple[str, ...]) -> tuple[Decision, ...]:
        world = World.fresh(self.pattern, clients, keys)
        names = sorted(self.pattern.calls)
        wanted = chance.randint(10, 60)
        while len(world.executed) < wanted:
            client = chance.randrange(len(world.clients))
            choices: list[Decision] = [Invoke(client, chance.choice(names), chance.choice(keys))]
            choices += [Deliver(client)] * 2
            crashes: list[Decision] = [Crash(client), Restart(client)] if self.crashes else []
            if (self.faults or crashes) and chance.random() < 0.15:
                choices = [*self.faults, *crashes]
            decision = chance.choice(choices)
            if world.enabled(decision):
                world.do(decision)
                world.executed.append(decision)
        return tuple(world.executed)


def spell(decisions: tuple[Decision, ...]) -> str:
    """One short word a decision: `A.read(k0) A A B.write(k0) B B A`; what is special is written out."""
    words = []
    for decision in decisions:
        match decision:
            case Invoke(client, f, key):
                words.append(f"{chr(65 + client)}.{f}({key})")
            case Deliver(client, pick, fate):
                special = f"[{pick}]" * (pick > 0) + f"!{fate}" * (fate is not Fate.DELIVERED)
                words.append(chr(65 + client) + special)
            case Crash(client, in_flight):
                words.append(f"crash({chr(65 + client)})" + f"!{in_flight}" * (in_flight is InFlight.RUNS))
            case Restart(client):
                words.append(f"restart({chr(65 + client)})")
            case Kill(server) | Start(server):
                words.append(f"{type(decision).__name__.lower()}({server})")
            case Expire(key):
                words.append(f"expire({key})")
            case Advance(seconds):
                words.append(f"advance({seconds:g})")
    return " ".join(words)


CACHE_FAULTS: tuple[Decision, ...] = (Kill(ServerName.CACHE), Start(ServerName.CACHE))
LOSSES: tuple[Decision, ...] = tuple(
    Deliver(client, fate=fate) for client in range(4) for fate in (Fate.REQUEST_LOST, Fate.REPLY_LOST)
)
ALL_FAULTS = (*CACHE_FAULTS, *LOSSES, Expire("k0"), Expire("k1"), Advance(1.0), Advance(450.0))

STALE_SET = "A.read(k) A A B.write(k) B B A"
SETTINGS = {
    "stale set": (Setting(CACHE_ASIDE, "stale"), STALE_SET),
    "pre-delete race": (Setting(PRE_DELETE, "stale"), STALE_SET),
    "write-through reorder": (Setting(WRITE_THROUGH, "stale"), "A.write(k) A B.write(k) B B A"),
    "crash before invalidation": (
        Setting(CACHE_ASIDE, "left", crashes=True),
        "A.read(k) A A A A.write(k) A crash(A)",
    ),
    "swallowed invalidation": (
        Setting(SHRUGGING, "swallowed", LOSSES),
        "A.read(k) A A A A.write(k) A A!request-lost",
    ),
    "lost write-behind": (Setting(WRITE_BEHIND, "lost", CACHE_FAULTS), "A.write(k) A A kill(cache)"),
    "pop then crash": (Setting(WRITE_BEHIND, "lost", crashes=True), "A.write(k) A A W crash(W)"),
}


def generic(decisions: tuple[Decision, ...]) -> str:
    """`spell` with any key called k and any worker called W, as random walks differ in both."""
    text = re.sub(r"\(k\d\)", "(k)", spell(decisions))
    invoked = {chr(65 + decision.client) for decision in decisions if isinstance(decision, Invoke)}
    return re.sub(r"\b[A-E]\b(?!\.)", lambda match: match[0] if match[0] in invoked else "W", text)
