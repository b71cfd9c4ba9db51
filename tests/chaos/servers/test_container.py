"""One server in a container: what it does when it is started, killed, paused and restarted, or fails."""

import os
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import ModuleType
from typing import Any

import psycopg
import pytest
import redis

from cacheproof.chaos.servers import container as module
from cacheproof.chaos.servers.container import Container
from cacheproof.chaos.servers.containers import ContainerServers
from cacheproof.chaos.servers.engine import Blueprint, Engine, State
from cacheproof.chaos.servers.images import Chosen
from cacheproof.chaos.servers.inquiry import Product
from cacheproof.chaos.servers.owner import started_at
from cacheproof.chaos.servers.server import Address, Server
from cacheproof.chaos.servers.services import SERVICES, Service
from cacheproof.models.decision import ServerName
from cacheproof.models.errors import EnvironmentFault, HarnessError

Make = Callable[..., Container]


@pytest.fixture
def api(docker: ModuleType) -> Any:
    return docker.FakeApi()


@pytest.fixture
def make(api: Any) -> Make:
    """`make()` is a container at an engine that is none, whose server answers at once, or as it is told."""

    def build(answers: Callable[[Address], bool] = lambda _: True, patience_s: float = 5.0) -> Container:
        engine = Engine(api, "fake")
        plan = Blueprint("one", "redis:7", (), {}, 6379, 20001, "v", "/data", "n")
        service: Service = replace(
            SERVICES[ServerName.CACHE], answers=answers, product=lambda _: Product("Redis", "7.4.2")
        )
        address = Address(("127.0.0.1", 20001))
        id = engine.create_container(plan)
        return Container(id, service, Chosen("redis:7"), engine, address, patience_s=patience_s)

    return build


# -- at an engine that is none -----------------------------------------------------------------------------


def test_start_kill_and_stop(make: Make, api: Any) -> None:
    """Each is idempotent, and after `stop` it does not come back; what it is, it says once it has answered."""
    one: Server = make()
    assert (one.name, str(one.address), one.running, one.pid) == (
        ServerName.CACHE,
        "127.0.0.1:20001",
        False,
        None,
    )
    assert one.describe() == "the cache, container of redis:7"
    one.kill()
    one.start()
    one.start()
    assert one.running and api.asked.count("start") == 1
    assert one.describe() == "Redis 7.4.2, container of redis:7, no persistence"
    one.kill()
    one.kill()
    assert not one.running and api.asked.count("kill") == 1
    one.start()
    one.stop()
    one.stop()
    assert not one.running
    with pytest.raises(HarnessError, match="the cache was stopped for good and does not start again"):
        one.start()


def test_pause_and_resume(make: Make, api: Any) -> None:
    """Idempotent, and nothing to do where nothing runs; a paused server is running and can be killed."""
    one = make()
    one.pause()
    one.resume()
    one.start()
    one.pause()
    one.pause()
    assert one.running
    one.resume()
    one.resume()
    assert (api.asked.count("pause"), api.asked.count("unpause")) == (1, 1)
    one.pause()
    one.kill()
    assert not one.running


def test_restart(make: Make, api: Any) -> None:
    """Asked to end and started, also from a pause, and also if it did not run."""
    one = make()
    one.restart()
    assert one.running
    one.pause()
    one.restart()
    assert one.running and api.asked.count("restart") == 2


def test_a_server_that_needs_a_while(make: Make) -> None:
    """The engine accepts connections before anybody answers them: neither is an error."""
    errors = iter([ConnectionResetError(), ConnectionRefusedError(), TimeoutError()])

    def answers(_: Address) -> bool:
        for error in errors:
            raise error
        return True

    one = make(answers)
    one.start()
    assert one.running


def test_a_container_that_dies_at_once(make: Make, api: Any) -> None:
    """The fault tells how it ended, of what it was made, and shows the end of its log."""
    api.dies = True
    with pytest.raises(EnvironmentFault) as caught:
        make(lambda _: False).start()
    first, *log = str(caught.value).splitlines()
    assert first == (
        "the cache (container of redis:7) ended with exit code 1 instead of answering; see the end of its log:"
    )
    assert len(log) == 12 and log[0] == "line 40"


def test_a_server_that_never_answers(make: Make, api: Any) -> None:
    """After its patience, with the usual reason; an empty log is said to be empty."""
    api.logs = lambda *_, **__: b""
    with pytest.raises(EnvironmentFault) as caught:
        make(lambda _: False, patience_s=0.01).start()
    said = str(caught.value)
    assert (
        "does not answer within 0.01 s at 127.0.0.1:20001 (which leads nowhere if this program runs in a"
        in said
    )
    assert said.endswith("(it wrote nothing)")


def test_a_process_of_another_machine_is_none_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine may run in a machine of its own, whose process ids mean something else here."""
    me = os.getpid()
    assert module._life_of("0" * 64, State(True, False, me, 0)) is None
    assert module._life_of("0" * 64, State(True, False, 0, 0)) is None
    monkeypatch.setattr("pathlib.Path.read_text", lambda _: f"0::/docker/{'0' * 64} (x) S " + "5 " * 30)
    life = module._life_of("0" * 64, State(True, False, me, 0))
    assert life is not None and (life.pid, life.started, life.over) == (me, 5, False)


# -- at a real one -----------------------------------------------------------------------------------------


@pytest.fixture(params=list(ServerName))
def server(request: pytest.FixtureRequest, containers: ContainerServers) -> Iterator[Container]:
    chosen = {server.name: server for server in (containers.cache, containers.database)}[request.param]
    chosen.start()
    yield chosen
    chosen.resume()


def test_killed_and_back_at_the_same_address(server: Container) -> None:
    """Another process serves at the port of the first; between them nobody does."""
    pid, address = server.pid, server.address
    server.kill()
    assert not server.running and server.pid is None
    with pytest.raises(ConnectionRefusedError), socket.create_connection(address.sockaddr):
        pass
    server.start()
    assert server.running and server.address == address
    assert server.pid != pid or pid is None
    assert server.pid is None or started_at(server.pid)


def test_a_paused_server_answers_when_it_is_resumed(server: Container) -> None:
    """Connections stay open, and what was asked meanwhile is answered afterwards."""
    with socket.create_connection(server.address.sockaddr, timeout=10) as line:
        server.pause()
        assert server.running
        asks = (
            b"PING\r\n" if server.name is ServerName.CACHE else bytes((0, 0, 0, 8, 4, 210, 22, 47))
        )  # SSLRequest
        line.sendall(asks)
        line.settimeout(0.1)
        with pytest.raises(TimeoutError):
            line.recv(1)
        server.resume()
        line.settimeout(10)
        assert line.recv(1) in (b"+", b"N")


def test_a_paused_server_can_be_killed(server: Container) -> None:
    """And comes back unpaused."""
    server.pause()
    server.kill()
    assert not server.running
    server.start()
    assert server.running


def test_restart_is_another_process_at_the_same_address(server: Container) -> None:
    """It answers when `restart` returns."""
    pid = server.pid
    server.restart()
    assert server.running and (pid is None or server.pid != pid)


def connect(servers: ContainerServers) -> psycopg.Connection:
    host, port = servers.database.address.sockaddr
    return psycopg.connect(host=str(host), port=port, user="cacheproof", dbname="records", autocommit=True)


def test_acknowledged_rows_survive_kills(containers: ContainerServers) -> None:
    """Every row that was acknowledged before a kill is there after it."""
    containers.database.start()
    with connect(containers) as session:
        session.execute("create table kept (number int)")
    for number in range(3):
        with connect(containers) as session:
            session.execute("insert into kept values (%s)", (number,))
            containers.database.kill()
        containers.database.start()
    with connect(containers) as session:
        assert session.execute("select number from kept order by 1").fetchall() == [(0,), (1,), (2,)]
        session.execute("drop table kept")


def test_a_killed_cache_comes_back_empty(containers: ContainerServers) -> None:
    """Nothing of it is on a disk."""
    containers.cache.start()
    host, port = containers.cache.address.sockaddr
    with redis.Redis(str(host), int(port), decode_responses=True) as line:
        line.set("key", "value")
        settings = line.config_get("*")
        assert (settings["save"], settings["appendonly"]) == ("", "no")
    containers.cache.kill()
    containers.cache.start()
    with redis.Redis(str(host), int(port)) as line:
        assert line.keys("*") == []


def test_a_port_that_was_taken_meanwhile(containers: ContainerServers) -> None:
    """Told with the port; when it is free again, the server comes back."""
    cache = containers.cache
    cache.start()
    cache.kill()
    host, port = cache.address.sockaddr
    in_use = pytest.raises(EnvironmentFault, match=f"its port is in use .*{port}")
    with socket.create_server((str(host), int(port))), in_use:
        cache.start()
    cache.start()
    assert cache.running


def test_what_it_says_of_itself(containers: ContainerServers) -> None:
    """Product and version as the server tells them, the image, and what survives."""
    assert "container of " in containers.cache.describe() and "no persistence" in containers.cache.describe()
    assert containers.database.describe().startswith("PostgreSQL ")
    assert containers.database.describe().endswith("a kill loses nothing, power loss would")
