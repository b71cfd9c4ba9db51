"""Servers of the user's: refused if anybody would lose something, given back as they were, never killed."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cacheproof.chaos.servers.embedded import EmbeddedServers
from cacheproof.chaos.servers.external import CACHE_URL, DATABASE_URL, ExternalServers
from cacheproof.chaos.wire.upstream import PgUpstream, RedisUpstream
from cacheproof.models.errors import EnvironmentFault, HarnessError, UsageError

SESSION = {"user": "cacheproof", "database": "records"}


class User:
    """Both servers of a user, with URLs and lines to look at them; `told` is what was said at the end."""

    def __init__(self, servers: EmbeddedServers) -> None:
        self.servers = servers
        self.cache_url = f"unix://{servers.cache.address}"
        folder = Path(str(servers.database.address)).parent
        self.database_url = f"postgresql://cacheproof@localhost/records?host={folder}"
        self.cache = RedisUpstream(servers.cache.address, 2, import_source=False)
        self.database = PgUpstream(servers.database.address, SESSION)
        self.told: list[str] = []

    def external(self, *allowed: str) -> ExternalServers:
        return ExternalServers(
            cache_url=self.cache_url, database_url=self.database_url, allowed=allowed, tell=self.told.append
        )

    def belongings(self) -> list[str]:
        """What stands in the database, and keys."""
        rows = self.database.query(
            "select nspname from pg_namespace where nspname = 'cacheproof' union all"
            " select relname from pg_class where relnamespace = 'public'::regnamespace and relkind = 'r' order by 1"
        ).rows
        keys = self.cache.call("KEYS", "*").value
        assert isinstance(keys, tuple)
        return [str(row[0]) for row in rows] + [str(key) for key in keys]


@pytest.fixture(scope="module")
def running() -> Iterator[EmbeddedServers]:
    with EmbeddedServers() as servers:
        yield servers


@pytest.fixture
def user(running: EmbeddedServers) -> Iterator[User]:
    found = User(running)
    found.cache.call_many([("FLUSHALL",), ("CONFIG", "SET", "import-mode", "no")])
    yield found
    found.database.query("set client_min_messages = error; drop schema if exists cacheproof cascade")
    found.database.query("drop schema public cascade; create schema public")
    found.cache.close()
    found.database.close()


def test_they_serve_and_are_given_back(user: User) -> None:
    """While they are in use the database says so; afterwards everything is as it was, and it is told."""
    external = user.external()
    with external as servers:
        features = servers.features
        assert (features.control, features.again, features.import_mode) == (False, False, True)
        assert (features.superuser, features.deadlocks) == (True, True)
        assert (
            servers.cache.describe().startswith("Valkey ") and "never killed" in servers.database.describe()
        )
        assert user.belongings() == ["cacheproof"]
        assert servers.folder.is_dir() and len(servers.lifeline_fds) == 2
        servers.start()
        servers.mend()
        user.cache.call_many([("SET", "a", 1), ("CONFIG", "SET", "import-mode", "yes")])
        folder = servers.folder
    assert user.belongings() == [] and not folder.exists() and external.lifeline_fds == ()
    assert "1 keys removed" in user.told[0] and "(import-mode)" in user.told[0]
    assert "holds nothing of ours any more" in user.told[1]
    assert len(user.told) == 2
    external.stop()
    with pytest.raises(HarnessError, match="start them first"):
        _ = external.cache


def test_they_are_left_alone(user: User) -> None:
    """Nobody kills, pauses or restarts them, and there is no second pair."""
    with user.external() as servers:
        for server in (servers.cache, servers.database):
            assert (server.pid, server.running) == (None, True)
            server.start()
            server.stop()
            for act in (server.kill, server.pause, server.resume, server.restart):
                with pytest.raises(HarnessError, match="is the user's, and is left alone"):
                    act()
        with pytest.raises(HarnessError, match="no second pair"):
            servers.another()
    assert user.servers.cache.running and user.servers.database.running


def test_an_error_is_no_reason_to_leave_anything(user: User) -> None:
    """The same is removed, and told."""
    with pytest.raises(ZeroDivisionError), user.external():
        user.cache.call("SET", "a", 1)
        raise ZeroDivisionError
    assert user.belongings() == [] and len(user.told) == 2


def test_data_are_refused_before_anything_is_touched(user: User) -> None:
    """In the cache or in the database: neither is changed, and nothing is told since nothing was made."""
    user.cache.call("SET", "precious", 1)
    with pytest.raises(UsageError, match="the cache server holds data: 1 keys in"):
        user.external().start()
    assert user.belongings() == ["b'precious'"]
    user.cache.call("FLUSHALL")
    user.database.query("create table orders (i int)")
    with pytest.raises(UsageError, match="is not empty: it holds table public.orders"):
        user.external().start()
    assert user.belongings() == ["orders"] and user.told == []


def test_data_that_are_named_may_go(user: User) -> None:
    """All keys of the cache; in the database only what is in the way."""
    user.cache.call("SET", "precious", 1)
    user.database.query("create table orders (i int); create table records (i int)")
    names = (f"{user.servers.cache.address}/0", f"{user.servers.database.address}/records")
    with pytest.raises(UsageError, match="is not empty"):
        user.external(names[0]).start()
    with user.external(*names):
        assert user.belongings() == ["cacheproof", "orders", "b'precious'"]
    assert user.belongings() == ["orders"]


def test_what_a_killed_search_left_goes_at_the_next_start(user: User) -> None:
    """SIGKILL leaves keys, tables and settings; whoever comes next knows them as ours, and says so."""
    program = (
        "import sys, os, signal\n"
        "from cacheproof.chaos.servers.external import ExternalServers\n"
        "from cacheproof.chaos.wire.upstream import RedisUpstream\n"
        "with ExternalServers(cache_url=sys.argv[1], database_url=sys.argv[2]) as servers:\n"
        "    line = RedisUpstream(servers.cache.address, 2, import_source=False)\n"
        "    line.call_many([('SET', 'a', 1), ('CONFIG', 'SET', 'import-mode', 'yes')])\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, user.cache_url, user.database_url], check=False)
    assert done.returncode == -signal.SIGKILL
    assert user.belongings() == ["cacheproof", "b'a'"]
    with user.external():
        assert user.belongings() == ["cacheproof"]
    assert user.told[0].startswith("an earlier search was killed, and left something: ")
    assert user.cache.call("CONFIG", "GET", "import-mode").value == (b"import-mode", b"no")
    assert user.belongings() == []


def test_keys_of_another_server_are_nobody_s_leftovers(user: User) -> None:
    """A cache that was started anew since then holds its own user's keys."""
    user.database.query("create schema cacheproof")
    user.database.query(
        "comment on schema cacheproof is 'made by cacheproof, and removed by it; noted:"
        f' {{"cache": "{user.servers.cache.address}/0", "run_id": "another"}}\''
    )
    user.cache.call("SET", "precious", 1)
    with pytest.raises(UsageError, match="1 keys"):
        user.external().start()


def test_two_searches_do_not_share_servers(user: User) -> None:
    """The second is refused, and takes nothing away from the first."""
    with user.external():
        with pytest.raises(EnvironmentFault, match="another search uses it now"):
            user.external().start()
        assert user.belongings() == ["cacheproof"]


def test_a_forked_child_only_lets_go(user: User) -> None:
    """What it stops is still there for its parent."""
    with user.external() as servers:
        child = os.fork()
        if child == 0:
            servers.stop()
            os._exit(0 if servers.lifeline_fds == () else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert user.belongings() == ["cacheproof"]


def test_letting_go_removes_nothing(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    """As seen from inside the child: no word to the servers, its copies of descriptors are closed.

    Here nobody is left who holds them: so the next start finds leftovers, and removes them.
    """
    external = user.external()
    external.start()
    folder = external.folder
    with monkeypatch.context() as forked:
        forked.setattr("os.getpid", lambda: -1)
        external.stop()
    assert user.belongings() == ["cacheproof"] and user.told == [] and external.lifeline_fds == ()
    assert folder.is_dir()
    with user.external():
        assert not folder.exists()


def test_what_cannot_be_cleaned_up_is_told(user: User) -> None:
    """And keeps nothing else from being cleaned up."""
    with user.external():
        user.cache.call_many([("SET", "a", 1), ("ACL", "SETUSER", "default", "-flushall")])
    user.cache.call("ACL", "SETUSER", "default", "+flushall")
    assert user.told[0].startswith("could not clean up: ") and user.told[0].endswith("; do it by hand")
    assert user.belongings() == ["b'a'"]


def test_a_server_that_does_not_answer_any_more(user: User) -> None:
    """To start it is up to the user."""
    with user.external() as servers:
        user.servers.cache.kill()
        try:
            assert not servers.cache.running
            with pytest.raises(EnvironmentFault, match="does not answer any more; start it, and run again"):
                servers.mend()
        finally:
            user.servers.cache.start()
            user.cache.close()
            user.cache = RedisUpstream(user.servers.cache.address, 2, import_source=False)


def test_urls_come_from_the_environment(
    user: User, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Unless they are given; without any, it is said which variable to set.  What went is told on stderr."""
    for variable in (CACHE_URL, DATABASE_URL):
        monkeypatch.delenv(variable, raising=False)
    with pytest.raises(UsageError, match="set CACHEPROOF_REDIS_URL to redis://HOST:PORT"):
        ExternalServers().start()
    monkeypatch.setenv(CACHE_URL, user.cache_url)
    with pytest.raises(UsageError, match="set CACHEPROOF_DATABASE_URL to postgresql://"):
        ExternalServers().start()
    monkeypatch.setenv(DATABASE_URL, user.database_url)
    with ExternalServers():
        assert user.belongings() == ["cacheproof"]
    assert capsys.readouterr().err.count("cacheproof: ") == 2
