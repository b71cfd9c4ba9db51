"""A cache of the user's: what is refused, with which words, and how it is given back."""

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from cacheproof.chaos.servers import usercache
from cacheproof.chaos.servers.embedded import EmbeddedServers
from cacheproof.chaos.servers.urls import read_cache_url
from cacheproof.chaos.servers.usercache import UserCache
from cacheproof.chaos.wire.upstream import RedisUpstream
from cacheproof.models.errors import EnvironmentFault, UsageError


@pytest.fixture(scope="module")
def impostors() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "cacheproof_impostors", Path(__file__).with_name("impostors.py")
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def valkey() -> Iterator[str]:
    """The URL of a Valkey that nobody else uses."""
    with EmbeddedServers() as servers:
        yield f"unix://{servers.cache.address}"


@pytest.fixture
def own(valkey: str) -> Iterator[tuple[UserCache, RedisUpstream]]:
    """It, empty, and a line to it."""
    cache = UserCache(read_cache_url(valkey))
    line = RedisUpstream(cache.place.address, 2, import_source=False)
    line.call_many([("FLUSHALL",), ("FUNCTION", "FLUSH")])
    yield cache, line
    line.close()


def at(port: int) -> UserCache:
    return UserCache(read_cache_url(f"redis://127.0.0.1:{port}"))


def test_looking_changes_nothing(own: tuple[UserCache, RedisUpstream]) -> None:
    """It says what it is, how it is set, and that it holds nothing."""
    cache, line = own
    state = cache.look()
    assert (state.product.name, state.import_mode, state.held) == ("Valkey", True, {})
    assert state.settings["notify-keyspace-events"] and state.run_id
    assert cache.changes(state) == {"import-mode": "no", "notify-keyspace-events": "AKE"}
    assert line.call("DBSIZE").value == 0
    cache.check_empty(state, ())


def test_data_in_any_database_is_refused_unless_each_is_named(own: tuple[UserCache, RedisUpstream]) -> None:
    """Keys and functions; and the words say how to allow it."""
    cache, line = own
    name = cache.place.server
    line.call_many([("SET", "a", 1), ("SELECT", 3), ("MSET", "b", 1, "c", 1), ("SELECT", 0)])
    line.call("FUNCTION", "LOAD", "#!lua name=l\nserver.register_function('f', function() return 1 end)")
    state = cache.look()
    assert state.held == {f"{name}/0": "1 keys and 1 functions", f"{name}/3": "2 keys"}
    with pytest.raises(UsageError, match=r"1 keys and 1 functions in .*/0; all of it would be lost"):
        cache.check_empty(state, ())
    with pytest.raises(UsageError, match=r"2 keys in .*/3; .*--chaos-allow-flush .*/3"):
        cache.check_empty(state, {f"{name}/0"})
    cache.check_empty(state, {f"{name}/0", f"{name}/3"})
    line.call("FLUSHALL")
    assert cache.look().held == {f"{name}/0": "1 functions"}


def test_it_is_given_back_as_it_was(own: tuple[UserCache, RedisUpstream]) -> None:
    """Empty, and with the settings that it had; what went is said."""
    cache, line = own
    before = cache.look().settings
    line.call_many(
        [("SET", "a", 1), ("CONFIG", "SET", "import-mode", "yes", "maxmemory-policy", "allkeys-lru")]
    )
    told = cache.give_back(before)
    assert "is empty again (1 keys removed), its settings are what they were (" in told
    assert "import-mode" in told and "maxmemory-policy" in told
    assert line.call("DBSIZE").value == 0
    assert cache.look().settings == before
    assert cache.give_back(before).endswith("is empty again (0 keys removed)")


def test_a_setting_that_cannot_be_put_back_is_named(own: tuple[UserCache, RedisUpstream]) -> None:
    """By somebody who can."""
    cache, _ = own
    assert "could not be put back: port" in cache.give_back({"port": "7", "no such setting": "x"})


@pytest.mark.parametrize(
    ("facts", "complaint"),
    [
        ({"redis_version": "6.0.16"}, "it is Redis 6.0.16, and 6.2 is the oldest that can be used"),
        ({"redis_version": "-"}, "it does not say that it is Redis or Valkey; give the URL of a Redis"),
        ({"cluster_enabled": "1"}, "it is a node of a cluster, which is not supported"),
        ({"role": "slave"}, "it is a replica, which takes no writes"),
        ({"redis_mode": "sentinel"}, "it is a sentinel; give the URL of the server that it watches over"),
        ({"loading": "1"}, "it is still loading what it keeps on disk"),
    ],
)
def test_the_wrong_kind_of_server(impostors: Any, facts: dict[str, str], complaint: str) -> None:
    """Each with its own words, and with where it is."""
    with (
        impostors.impostor(impostors.redis(facts)) as port,
        pytest.raises(EnvironmentFault, match=complaint) as caught,
    ):
        at(port).look()
    assert str(caught.value).startswith(f"the cache server at 127.0.0.1:{port} cannot be used: ")


def test_an_ordinary_old_server(impostors: Any) -> None:
    """Redis 6.2, which has no functions and no import mode."""
    with impostors.impostor(impostors.redis({"redis_version": "6.2.0"})) as port:
        state = at(port).look()
    assert (str(state.product), state.import_mode, state.held) == ("Redis 6.2.0", False, {})
    assert UserCache.changes(state) == {}


@pytest.mark.parametrize(
    ("refused", "complaint"),
    [
        ("INFO", "it does not answer INFO"),
        ("CONFIG GET timeout", r"it does not allow CONFIG GET \(.*NOPERM"),
        ("KEYS", "it does not allow KEYS cacheproof"),
        ("CLIENT UNBLOCK", "it does not allow CLIENT UNBLOCK"),
        ("CLIENT ID", "the cache refused a connection: .*NOPERM"),
    ],
)
def test_what_the_harness_may_not_ask(impostors: Any, refused: str, complaint: str) -> None:
    """It is named."""
    with (
        impostors.impostor(impostors.redis(refuses=(refused,))) as port,
        pytest.raises(EnvironmentFault, match=complaint),
    ):
        at(port).look()


def test_a_server_that_may_not_be_flushed_is_not_given_back(impostors: Any) -> None:
    """It is said, not passed over."""
    with (
        impostors.impostor(impostors.redis(refuses=("FLUSHALL",))) as port,
        pytest.raises(EnvironmentFault, match="it does not allow FLUSHALL"),
    ):
        at(port).give_back({})


def test_a_server_that_closes_idle_connections(impostors: Any) -> None:
    """It would close those that wait for a decision."""
    with (
        impostors.impostor(impostors.redis(settings={"timeout": "300"})) as port,
        pytest.raises(
            EnvironmentFault, match="it closes connections that are idle for 300 s; set its `timeout`"
        ),
    ):
        at(port).look()


@pytest.mark.parametrize("text", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"", b"\0\0\0\x08E"])
def test_something_else_that_listens(impostors: Any, text: bytes) -> None:
    """Or that hangs up at once."""
    with (
        impostors.impostor(impostors.says(text)) as port,
        pytest.raises(
            EnvironmentFault, match=rf"what listens at 127.0.0.1:{port} does not speak Redis' protocol"
        ),
    ):
        at(port).look()


def test_somebody_who_never_answers(impostors: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Is waited for, and not for long."""
    monkeypatch.setattr(usercache, "PATIENCE_S", 1.0)
    with (
        impostors.impostor(lambda line: line.recv(1 << 16) and line.recv(1)) as port,
        pytest.raises(
            EnvironmentFault, match=rf"at 127.0.0.1:{port} cannot be used: .*did not answer for 1 s"
        ),
    ):
        at(port).look()


def test_nobody_at_all() -> None:
    """The address is told."""
    with pytest.raises(EnvironmentFault, match="at 127.0.0.1:1 cannot be used: no answer .*is it running"):
        at(1).look()


def test_a_password(own: tuple[UserCache, RedisUpstream], valkey: str) -> None:
    """Given in the URL it opens the server; without it, or with another, the server's words are told."""
    cache, line = own
    line.call("CONFIG", "SET", "requirepass", "s3cret")
    try:
        right = valkey.replace("unix://", "unix://:s3cret@")
        assert UserCache(read_cache_url(right)).look().held == {}
        with pytest.raises(EnvironmentFault, match="refused a connection: .*NOAUTH"):
            cache.look()
        with pytest.raises(EnvironmentFault, match="refused a connection: .*WRONGPASS") as caught:
            UserCache(read_cache_url(right.replace("s3cret", "wr0ng"))).look()
        assert "wr0ng" not in str(caught.value)
        line.call_many([("ACL", "SETUSER", "app", "on", ">pw", "~*", "&*", "+@all")])
        assert UserCache(read_cache_url(valkey.replace("unix://", "unix://app:pw@"))).look().held == {}
    finally:
        line.call_many([("CONFIG", "SET", "requirepass", ""), ("ACL", "DELUSER", "app")])
