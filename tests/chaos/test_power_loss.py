"""Kill is not power loss: a real Valkey with an append-only file, and what runs make of it.

    acknowledged     ──1──2──3──|──4──5──6──✕          | the file was forced to the disk here for the last time
    after a kill       1  2  3     4  5  6             all that was written to the file is the kernel's
    after power loss   1  2  3                         what was not forced to the disk is nobody's

Power loss is made as in reality, only faster: the server is killed, and its file cut to the size that it had
when it was synced last.  Then the outcomes that a run can have (`Start` with `synced` and so many writes behind)
are compared with those of the real server, whose file is cut anywhere.
"""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import redis

from cacheproof.chaos.servers.binaries import find_binaries
from cacheproof.chaos.servers.embedded import EmbeddedServers
from cacheproof.chaos.servers.server import Address
from cacheproof.chaos.wire.upstream import RedisUpstream
from cacheproof.harness.execution import Execution
from cacheproof.harness.world import World
from cacheproof.models.decision import Deliver, Invoke, Kill, ServerName, Start, Survived
from cacheproof.models.errors import EnvironmentFault
from cacheproof.models.schedule import Keeps, Scenario

SYNCED, UNSYNCED = 500, 300
PATIENCE_S = 10.0
SETTINGS = {
    "port": "0",
    "save": "",
    "appendonly": "yes",
    "enable-debug-command": "local",
    "auto-aof-rewrite-percentage": "0",
    "appendfilename": "file",
    "appenddirname": "aof",
}


class Durable:
    """A real server of our own, with an append-only file in a folder of its own."""

    def __init__(self, folder: Path, appendfsync: str) -> None:
        self.folder = folder
        self.address = Address(str(folder / "s"))
        self.settings = {
            **SETTINGS,
            "appendfsync": appendfsync,
            "dir": str(folder),
            "unixsocket": str(folder / "s"),
        }
        self.start()

    @property
    def file(self) -> Path:
        """What has been appended since the first start."""
        return self.folder / "aof" / "file.1.incr.aof"

    def start(self) -> None:
        """Returns when it has read its file and answers."""
        options = [word for name, value in self.settings.items() for word in (f"--{name}", value)]
        command = [str(find_binaries().valkey), *options]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        give_up = time.monotonic() + PATIENCE_S
        while True:
            assert self.process.poll() is None and time.monotonic() < give_up, "the server does not start"
            try:
                self.line = RedisUpstream(self.address, 2, import_source=False)
            except EnvironmentFault:
                os.sched_yield()
                continue
            if not self.line.call("PING").is_error:
                return
            self.line.close()

    def call(self, *words: str | int) -> Any:
        reply = self.line.call(*words)
        assert not reply.is_error, (words, reply.value)
        return reply.value

    def write(self, count: int) -> int:
        """Write so many entries, one after the other; returns how many were acknowledged."""
        first = self.call("DBSIZE")
        return sum(self.call("SET", f"key:{first + number}", "v") == b"OK" for number in range(count))

    def written(self) -> int:
        """The size of the file, once all that was acknowledged has been handed to the kernel.

        While a sync is under way the server holds new bytes back, for two seconds at most.
        """
        while b"aof_buffer_length:0\r" not in self.call("INFO", "persistence"):
            os.sched_yield()
        return self.file.stat().st_size

    def synced(self) -> int:
        """The size of the file, once all of it has been forced to the disk."""
        self.call("WAITAOF", 1, 0, 0)
        return self.written()

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.line.close()

    def lose_power(self, synced: int) -> None:
        """Whatever was appended behind the last sync is gone."""
        self.kill()
        os.truncate(self.file, synced)


@pytest.fixture
def durable() -> Iterator[Callable[[str], Durable]]:
    """`durable("everysec")`: a server with this `appendfsync`, ended with the test."""
    servers: list[Durable] = []
    folder = Path(tempfile.mkdtemp(prefix="cacheproof-"))

    def make(appendfsync: str) -> Durable:
        servers.append(Durable(folder, appendfsync))
        return servers[-1]

    yield make
    for server in servers:
        if server.process.poll() is None:
            server.kill()
    shutil.rmtree(folder)


# ── what is lost ────────────────────────────────────────────────────────────────────────────────────────────


def tell(record_property: Callable[[str, object], None], acknowledged: int, lost: int) -> None:
    """Put the counts on record, and on the page of whoever looks."""
    record_property("acknowledged", acknowledged)
    record_property("lost", lost)
    print(f"{lost} of {acknowledged} acknowledged writes were lost")


@pytest.mark.parametrize("appendfsync", ["everysec", "always"])
def test_a_kill_loses_nothing(
    durable: Callable[[str], Durable], appendfsync: str, record_property: Callable[[str, object], None]
) -> None:
    """Whatever was written to the file: the server dies, the kernel does not."""
    server = durable(appendfsync)
    acknowledged = server.write(SYNCED + UNSYNCED)
    server.written()
    server.kill()
    server.start()
    tell(record_property, acknowledged, acknowledged - server.call("DBSIZE"))
    assert acknowledged == server.call("DBSIZE") == SYNCED + UNSYNCED


def test_power_loss_takes_what_was_not_synced(
    durable: Callable[[str], Durable], record_property: Callable[[str, object], None]
) -> None:
    """With a sync every second: all that was acknowledged behind the last one, and nothing before it."""
    server = durable("everysec")
    safe = server.write(SYNCED)
    size = server.synced()
    unsafe = server.write(UNSYNCED)
    assert server.written() > size
    server.lose_power(size)
    server.start()
    tell(record_property, safe + unsafe, safe + unsafe - server.call("DBSIZE"))
    assert (safe, unsafe) == (SYNCED, UNSYNCED)
    assert server.call("DBSIZE") == SYNCED
    assert server.call("EXISTS", f"key:{SYNCED - 1}", f"key:{SYNCED}") == 1


def test_power_loss_takes_nothing_that_is_synced_before_it_is_acknowledged(
    durable: Callable[[str], Durable], record_property: Callable[[str, object], None]
) -> None:
    """With a sync before each reply: the file as it was at the last reply is on the disk."""
    server = durable("always")
    acknowledged = server.write(SYNCED)
    server.lose_power(server.file.stat().st_size)
    server.start()
    tell(record_property, acknowledged, acknowledged - server.call("DBSIZE"))
    assert acknowledged == server.call("DBSIZE") == SYNCED


# ── what a run can make of it ───────────────────────────────────────────────────────────────────────────────

LIBRARY = "#!lua name=mine\nserver.register_function('one', function() return 1 end)"
SCRIPT = "redis.call('SET', 'e', '1') return redis.call('INCR', 'n')"
COMMANDS: list[list[tuple[str | int, ...]]] = [
    [("SET", "a", "1")],
    [("SET", "b", "2", "EX", 1000)],
    [("HSET", "h", "f", "1", "g", "2")],
    [("MULTI",), ("SET", "a", "2"), ("RPUSH", "l", "x", "y"), ("EXEC",)],
    [("GET", "a")],
    [("EVAL", SCRIPT, 0)],
    [("XADD", "s", "1-1", "k", "v")],
    [("XGROUP", "CREATE", "s", "g", "0")],
    [("XREADGROUP", "GROUP", "g", "c", "STREAMS", "s", ">")],
    [("XACK", "s", "g", "1-1")],
    [("LPOP", "l")],
    [("DEL", "a", "h")],
    [("PERSIST", "b")],
    [("FUNCTION", "LOAD", LIBRARY)],
    [("FLUSHALL",)],
    [("SET", "z", "1")],
]
"""Each entry is one exchange, and one write or none."""

State = tuple[object, ...]


class Acting:
    """Each read carries out the next of the commands."""

    def __init__(self, env: Any) -> None:
        self.redis = redis.Redis.from_url(env.redis_url)
        self.done = 0

    def read(self, key: str) -> None:
        commands, self.done = COMMANDS[self.done], self.done + 1
        with self.redis.pipeline(transaction=len(commands) > 1) as batch:
            for command in commands[1:-1] if len(commands) > 1 else commands:
                batch.execute_command(*command)
            batch.execute()

    def write(self, key: str, value: str) -> None: ...


def state_of(line: RedisUpstream) -> State:
    """What a server holds: values by their digests, who has a time to live, groups of streams, functions."""
    keys = sorted(line.call("KEYS", "*").value)  # type: ignore[arg-type]  # an array of names
    return (
        tuple((key, line.call("DEBUG", "DIGEST-VALUE", key).value) for key in keys),
        tuple(key for key in keys if line.call("PTTL", key).value != -1),
        tuple(line.call("XINFO", "GROUPS", key).value for key in keys if key == b"s"),
        line.call("FUNCTION", "LIST").value,
    )


def distinct(states: list[State]) -> list[State]:
    """Without what is the same as the one before."""
    return [state for at, state in enumerate(states) if at == 0 or state != states[at - 1]]


def real_states(server: Durable) -> list[State]:
    """What the server comes back with when its file is cut: between any two writes, and in the middle of each."""
    sizes = [0]
    for commands in COMMANDS:
        for command in commands:
            server.call(*command)
        sizes.append(server.written())
    whole = server.file.read_bytes()
    middles = [(one + other) // 2 for one, other in pairwise(sizes)]
    found = []
    for size in sorted({*sizes, *middles}):
        server.kill()
        server.file.write_bytes(whole[:size])
        server.start()
        found.append(state_of(server.line))
    return distinct(found)


def outcome(world: World, behind: int) -> State | None:
    """What a run's cache comes back with, so many writes behind; None if that cannot be."""
    execution = Execution(world, Scenario(clients=1, keeps=Keeps.EVERYSEC))
    try:
        for _ in COMMANDS:
            execution.take(Invoke(0, "read", "user:1"))
            execution.take(Deliver(0))
        execution.take(Kill(ServerName.CACHE))
        start = Start(ServerName.CACHE, Survived.SYNCED, behind)
        if not execution.is_enabled(start):
            return None
        execution.take(start)
        return state_of(world.cache_clock.admin)
    finally:
        execution.end()
        world.wire.end()


def test_a_run_has_exactly_the_outcomes_of_a_real_server(
    durable: Callable[[str], Durable], chaos_servers: EmbeddedServers
) -> None:
    """Every state that the real one can come back with, in the same order, and not one that it cannot."""
    real = real_states(durable("always"))
    with World(Acting, chaos_servers) as world:
        ours = []
        while (state := outcome(world, len(ours))) is not None:
            ours.append(state)
    assert len(real) == sum(commands != [("GET", "a")] for commands in COMMANDS) + 1
    assert ours == real[::-1]
