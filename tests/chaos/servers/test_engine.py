"""The Docker engine behind a small face: what it is asked, and what is said when it does not comply."""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import requests

from cacheproof.chaos.servers.engine import Blueprint, Engine, Kind, PortInUse, State, connect_engine
from cacheproof.models.errors import EnvironmentFault

HOST = "unix:///run/fake.sock"
PLAN = Blueprint(
    name="one",
    image="redis:7",
    command=("--save", ""),
    environment={"A": "1"},
    port=6379,
    host_port=20001,
    volume="its-volume",
    mount="/data",
    network="its-network",
    labels={"cacheproof.pair": "p"},
)


@pytest.fixture
def api(docker: ModuleType) -> Any:
    return docker.FakeApi()


@pytest.fixture
def fake(api: Any) -> Engine:
    return Engine(api, HOST)


def test_a_container_is_published_on_loopback_only(fake: Engine, api: Any) -> None:
    """At its host port, with its volume, on its network, and without a way to more privileges."""
    made = api.made["container"][fake.create_container(PLAN)]
    assert made["host_config"] == {
        "port_bindings": {6379: ("127.0.0.1", 20001)},
        "binds": {"its-volume": {"bind": "/data", "mode": "rw"}},
        "network_mode": "its-network",
        "security_opt": ["no-new-privileges"],
    }
    assert (made["command"], made["environment"], made["ports"]) == (["--save", ""], {"A": "1"}, [6379])


def test_what_containers_do(fake: Engine) -> None:
    """Created, started, paused, resumed, killed, started again, ended and restarted: the state tells."""
    one = fake.create_container(PLAN)
    assert fake.state(one) == State(running=False, paused=False, pid=0, exit_code=0)
    fake.start(one)
    fake.pause(one)
    assert fake.state(one).paused
    fake.unpause(one)
    assert fake.state(one) == State(running=True, paused=False, pid=0, exit_code=0)
    fake.kill(one)
    assert fake.state(one) == State(running=False, paused=False, pid=0, exit_code=137)
    fake.restart(one, patience_s=3)
    assert fake.state(one).running
    assert fake.last_lines(one, 2) == "line 40\nline 39"


def test_what_has_a_label_is_found_and_removed(fake: Engine, api: Any) -> None:
    """By name, or by name and value; removing what is gone already is no error."""
    one = fake.create_container(PLAN)
    fake.create_network("n", {"cacheproof.pair": "p"})
    fake.create_network("other", {"cacheproof.pair": "q"})
    fake.create_volume("v", {"cacheproof.pair": "p"})
    fake.create_volume("nobodys", {})
    assert fake.labelled(Kind.CONTAINER, "cacheproof.pair=p") == {one: "p"}
    assert fake.labelled(Kind.NETWORK, "cacheproof.pair") == {"n": "p", "other": "q"}
    assert fake.labelled(Kind.VOLUME, "cacheproof.pair=p") == {"v": "p"}
    assert fake.labelled(Kind.VOLUME, "cacheproof.pair=q") == {}
    for _ in range(2):
        fake.remove(Kind.CONTAINER, one)
        fake.remove(Kind.NETWORK, "n")
        fake.remove(Kind.VOLUME, "v")
    assert [sorted(things) for things in api.made.values()] == [[], ["other"], ["nobodys"]]


def test_the_environment_of_an_image(fake: Engine, api: Any) -> None:
    """None without the image, and empty where it sets nothing."""
    assert fake.image_environment("postgres:16") is None
    api.images_here["postgres:16"] = ["PG_MAJOR=16", "PATH=/a:/b=c"]
    api.images_here["bare:1"] = []
    assert fake.image_environment("postgres:16") == {"PG_MAJOR": "16", "PATH": "/a:/b=c"}
    assert fake.image_environment("bare:1") == {}


def test_images_of_a_repository(fake: Engine, api: Any) -> None:
    """The newest first; other repositories do not count."""
    api.images_here |= {"our/redis:1": [], "their/redis:3": [], "our/redis:2": []}
    assert fake.image_names("our/redis") == ["our/redis:2", "our/redis:1"]


@pytest.mark.parametrize(
    ("image", "here"),
    [
        ("redis:7", "redis:7"),
        ("redis", "redis:latest"),
        ("localhost:5000/redis", "localhost:5000/redis:latest"),
        ("localhost:5000/redis:7", "localhost:5000/redis:7"),
        ("redis@sha256:0123", "redis@sha256:0123"),
    ],
)
def test_a_name_without_a_tag_is_the_latest(fake: Engine, api: Any, image: str, here: str) -> None:
    """As everywhere with Docker: else every tag of the repository would be pulled.  A digest is as good."""
    api.pullable = True
    fake.pull(image)
    assert list(api.images_here) == [here]


def test_a_pull_that_fails_in_the_middle(fake: Engine) -> None:
    """The engine answers 200 and says later that it could not."""
    with pytest.raises(EnvironmentFault, match="cannot pull the image 'redis:7': no such host"):
        fake.pull("redis:7")


def test_an_import_that_fails_in_the_middle(fake: Engine, api: Any, tmp_path: Path) -> None:
    """The same; what is right is an image with these settings."""
    tar = tmp_path / "root.tar"
    tar.write_bytes(b"files")
    fake.import_image(tar, "our/redis:1", ["USER 999"])
    assert api.imported == {"our/redis:1": (b"files", ["USER 999"])}
    api.import_image = lambda *_, **__: '{"status": "begun"}\r\n{"error": "no space left on device"}\r\n'
    with pytest.raises(EnvironmentFault, match="cannot import the image 'our/redis:1': no space left"):
        fake.import_image(tar, "our/redis:1", [])
    fake.remove_image("our/redis:1")
    assert api.images_here == {}


@pytest.mark.parametrize(
    "words",
    [
        "Error starting userland proxy: listen tcp4 127.0.0.1:20001: bind: address already in use",
        "Bind for 127.0.0.1:20001 failed: port is already allocated",
    ],
)
def test_a_port_in_use(fake: Engine, api: Any, docker: ModuleType, words: str) -> None:
    """A fault of its own kind, since another port may do."""
    api.errors["start"] = [docker.refused(words)]
    with pytest.raises(
        PortInUse, match="cannot start the container .*: its port is in use .*20001.*; end the"
    ):
        fake.start(fake.create_container(PLAN))


def test_a_request_that_is_refused(fake: Engine, api: Any, docker: ModuleType) -> None:
    """With what was asked, and the reason of the engine."""
    api.errors["create_network"] = [docker.refused("all predefined address pools have been fully subnetted")]
    with pytest.raises(EnvironmentFault, match="cannot create the network 'n': all predefined address pools"):
        fake.create_network("n", {})


@pytest.mark.parametrize(
    "error", [requests.ConnectionError("gone"), requests.ReadTimeout("no answer"), OSError(104, "reset")]
)
def test_an_engine_that_goes_away(fake: Engine, api: Any, error: BaseException) -> None:
    """Whatever the library raises then, it is told where the engine was expected."""
    api.errors["version"] = [error]
    with pytest.raises(EnvironmentFault, match=f"no Docker engine answers at '{HOST}' .*; start one"):
        fake.version()
    assert fake.version() == "99.1"


# -- connecting --------------------------------------------------------------------------------------------


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str | None], None]:
    """Sets DOCKER_HOST, and nothing else that would tell where an engine is."""

    def choose(value: str | None) -> None:
        for name in ("DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH", "DOCKER_CONTEXT"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
        if value is None:
            monkeypatch.delenv("DOCKER_HOST", raising=False)
        else:
            monkeypatch.setenv("DOCKER_HOST", value)

    return choose


def test_no_daemon(host: Callable[[str], None], tmp_path: Path) -> None:
    """Where it was looked for, why that was in vain, and the three ways out."""
    host(f"unix://{tmp_path}/none.sock")
    with pytest.raises(EnvironmentFault) as caught:
        connect_engine()
    said = str(caught.value)
    assert said.startswith(f"no Docker engine answers at 'unix://{tmp_path}/none.sock' (")
    assert "No such file or directory" in said
    assert said.endswith("start one, set DOCKER_HOST to where one runs, or use the embedded servers")


def test_no_permission(host: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """The socket is there, and not for us: as root nothing is forbidden, so the kernel's answer is planted."""

    def forbid(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied")

    host("unix:///run/theirs.sock")
    monkeypatch.setattr("socket.socket.connect", forbid)
    with pytest.raises(
        EnvironmentFault, match="no permission on the socket .* 'unix:///run/theirs.sock'; join"
    ):
        connect_engine()


@pytest.mark.parametrize("elsewhere", ["tcp://10.0.0.7:2375", "ssh://me@far", "https://docker.example:2376"])
def test_an_engine_on_another_machine(host: Callable[[str], None], elsewhere: str) -> None:
    """Its ports would be published on 127.0.0.1 over there."""
    host(elsewhere)
    with pytest.raises(EnvironmentFault, match=f"at '{elsewhere}' is on another machine"):
        connect_engine()


def test_nonsense_as_host(host: Callable[[str], None]) -> None:
    """Told as it is."""
    host("tcp://127.0.0.1:port")
    with pytest.raises(EnvironmentFault, match="no Docker engine answers at 'tcp://127.0.0.1:port'"):
        connect_engine()


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """docker-py is needed for containers alone."""
    monkeypatch.setitem(__import__("sys").modules, "docker", None)
    with pytest.raises(EnvironmentFault, match="package 'docker'.* is not installed; pip install docker"):
        connect_engine()


@pytest.mark.parametrize(
    ("context", "expected"),
    [
        (lambda: type("Context", (), {"Host": "unix:///run/chosen.sock"}), "unix:///run/chosen.sock"),
        (lambda: None, "unix:///var/run/docker.sock"),
        (lambda: 1 // 0, "unix:///var/run/docker.sock"),
    ],
)
def test_where_no_host_is_named(
    host: Callable[[None], None],
    monkeypatch: pytest.MonkeyPatch,
    api: Any,
    context: Callable[[], Any],
    expected: str,
) -> None:
    """The context of the command-line tool says where; if it says nothing, or cannot be read, the usual place."""
    host(None)
    monkeypatch.setattr("docker.context.ContextAPI.get_current_context", lambda: context())
    monkeypatch.setattr("socket.socket.connect", lambda *_: None)
    seen: list[str] = []
    monkeypatch.setattr("docker.APIClient", lambda *, base_url, **_: (seen.append(base_url), api)[1])
    with closing(connect_engine()) as found:
        assert (found.host, seen) == (expected, [expected])
    assert api.closed


def test_a_real_engine_tells_its_version(engine: Engine) -> None:
    """Where one answers."""
    assert engine.version()[0].isdigit()
    assert engine.image_environment("cacheproof/none:0") is None


def test_a_real_engine_refuses(engine: Engine) -> None:
    """Its errors are ours, and removing what is not there is none."""
    with pytest.raises(EnvironmentFault, match="cannot start the container 'none': No such container"):
        engine.start("none")
    for kind in Kind:
        engine.remove(kind, "cacheproof-none")
