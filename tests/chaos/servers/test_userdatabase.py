"""A database of the user's: what is refused, with which words, and how it is given back."""

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from cacheproof.chaos.servers import userdatabase
from cacheproof.chaos.servers.embedded import EmbeddedServers
from cacheproof.chaos.servers.urls import read_database_url
from cacheproof.chaos.servers.userdatabase import RECORDS_MARK, UserDatabase
from cacheproof.chaos.wire.upstream import PgUpstream
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
def folder() -> Iterator[Path]:
    """That of the socket of a PostgreSQL that nobody else uses."""
    with EmbeddedServers() as servers:
        yield Path(str(servers.database.address)).parent


@pytest.fixture
def own(folder: Path) -> Iterator[tuple[UserDatabase, PgUpstream]]:
    """An empty database of it, and a session there."""
    url = f"postgresql://cacheproof@/records?host={folder}"
    database = UserDatabase(read_database_url(url.replace("@/", "@localhost/")))
    session = PgUpstream(database.place.address, {"user": "cacheproof", "database": "records"})
    yield database, session
    database.abandon()
    session.query(
        "set client_min_messages = error; drop schema if exists cacheproof, cacheproof_replica cascade;"
        " drop schema public cascade; create schema public"
    )
    session.close()


def at(port: int) -> UserDatabase:
    return UserDatabase(read_database_url(f"postgresql://app@127.0.0.1:{port}/test"))


def schemas(session: PgUpstream) -> list[str]:
    rows = session.query("select nspname from pg_namespace where nspname !~ '^pg_' order by 1").rows
    return [str(row[0]) for row in rows]


def test_looking_changes_nothing(own: tuple[UserDatabase, PgUpstream]) -> None:
    """It says what it is and what its sessions have to be asked; and that it belongs to nobody."""
    database, session = own
    state = database.look()
    assert (state.product.name, state.superuser, state.deadlocks) == ("PostgreSQL", True, True)
    assert (state.held, state.in_the_way, state.left) == ((), (), None)
    assert dict(state.settings) == {
        "synchronous_commit": "off"
    }  # the embedded one is otherwise as it should be
    assert schemas(session) == ["information_schema", "public"]
    database.check_free(state, ())


def test_what_would_end_something_by_real_time_is_switched_off(own: tuple[UserDatabase, PgUpstream]) -> None:
    """For our sessions only, and only what the server knows."""
    database, session = own
    session.query("alter role cacheproof set statement_timeout = '1min'")
    session.query("alter role cacheproof set deadlock_timeout = '1s'")
    try:
        state = database.look()
        asked = PgUpstream(database.address(state), {"user": "cacheproof", "database": "records"})
        shown = [asked.query(f"show {name}").rows[0][0] for name in ("statement_timeout", "deadlock_timeout")]
        asked.close()
    finally:
        session.query("alter role cacheproof reset all")
    assert shown == ["0", "1ms"]


def test_what_belongs_to_others_is_refused_unless_named(own: tuple[UserDatabase, PgUpstream]) -> None:
    """Tables, types, functions, in any schema; and the words say how to allow it."""
    database, session = own
    session.query(
        "create schema app; create table app.orders (id serial primary key); create view things as select 1;"
        " create type mood as enum ('dry'); create function f() returns int language sql as 'select 1'"
    )
    try:
        state = database.look()
        theirs = ("function public.f", "table app.orders", "table public.things", "type public.mood")
        assert (state.held, state.in_the_way) == (theirs, ())
        with pytest.raises(UsageError) as caught:
            database.check_free(state, ("another",))
        assert "it holds function public.f, table app.orders, table public.things and 1 more. " in str(
            caught.value
        )
        assert f"--chaos-allow-flush {database.place.name}" in str(caught.value)
        database.check_free(state, (database.place.name,))
    finally:
        session.query("drop schema app cascade")


@pytest.mark.parametrize(
    ("made", "in_the_way"),
    [
        ("create table records (key int)", ("table public.records",)),
        ("create schema cacheproof", ("schema cacheproof",)),
        ("create schema cacheproof; comment on schema cacheproof is 'mine'", ("schema cacheproof",)),
        (
            "create schema cacheproof_replica; create table cacheproof_replica.mine (i int)",
            ("table cacheproof_replica.mine",),
        ),
    ],
)
def test_what_has_our_names_and_is_not_ours(
    own: tuple[UserDatabase, PgUpstream], made: str, in_the_way: tuple[str, ...]
) -> None:
    """It would be lost, and that is said."""
    database, session = own
    session.query(made)
    state = database.look()
    assert (state.in_the_way, state.left) == (in_the_way, None)
    with pytest.raises(UsageError, match=f"{in_the_way[0]} would be lost"):
        database.check_free(state, ())


def test_extensions_are_the_system_s(own: tuple[UserDatabase, PgUpstream]) -> None:
    """What they have made is nobody's."""
    database, session = own
    session.query("create extension pg_stat_statements schema public; create extension hstore schema public")
    assert session.query("select count(*) from pg_proc where pronamespace = 'public'::regnamespace").rows[0][
        0
    ]
    assert database.look().held == ()
    session.query("drop extension pg_stat_statements; drop extension hstore")


def test_a_claim_is_given_back(own: tuple[UserDatabase, PgUpstream]) -> None:
    """Our table and our schema go, other people's stay, and what was added by others is told."""
    database, session = own
    session.query("create table public.theirs (i int)")
    state = database.look()
    database.claim(state, {"cache": "h:1/0", "run_id": "it's"})
    assert database.claimed and len(database.fds) == 1
    session.query(f"create table public.records (i int); comment on table public.records is '{RECORDS_MARK}'")
    session.query("create schema cacheproof_replica; create view cacheproof_replica.records as select 1")
    session.query("create table public.added (i int)")
    assert database.look().left == {"cache": "h:1/0", "run_id": "it's"}
    assert {"table public.records", "table cacheproof_replica.records"}.isdisjoint(database.look().held)
    told = database.give_back(state.held)
    assert told == (
        f"{database.place.name} holds nothing of ours any more (table public.records, schema cacheproof); what came "
        "to be there meanwhile stays: table public.added"
    )
    assert schemas(session) == ["information_schema", "public"]
    assert database.look().held == ("table public.added", "table public.theirs")
    assert (database.claimed, database.fds, database.give_back(())) == (False, (), "")


def test_two_searches_do_not_share_a_database(own: tuple[UserDatabase, PgUpstream]) -> None:
    """The second is told so, while the first lives; afterwards what it left is known as ours."""
    database, _ = own
    other = UserDatabase(database.place)
    database.claim(database.look(), {"cache": "x"})
    state = other.look()
    other.check_free(state, ())
    with pytest.raises(EnvironmentFault, match="another search uses it now"):
        other.claim(state, {})
    assert not other.claimed
    database.abandon()  # as the kernel does when a search is killed
    other.claim(state, {"cache": "y"})
    assert other.look().left == {"cache": "y"}
    other.abandon()


@pytest.mark.parametrize("note", ["", "no json", "[1]"])
def test_a_mark_that_notes_nothing(own: tuple[UserDatabase, PgUpstream], note: str) -> None:
    """It is ours all the same."""
    database, session = own
    session.query("create schema cacheproof")
    session.query(f"comment on schema cacheproof is 'made by cacheproof, and removed by it; noted: {note}'")
    assert database.look().left == {}


@pytest.mark.parametrize("database_is_theirs", [True, False])
def test_a_user_with_few_rights(own: tuple[UserDatabase, PgUpstream], database_is_theirs: bool) -> None:
    """May use a database of its own, in which deadlocks are uncertain, and no other."""
    database, session = own
    session.query("create role app login")
    session.query("set client_min_messages = error")
    session.query("alter role app set deadlock_timeout = '1s'")
    session.query("create database app" + (" owner app" if database_is_theirs else ""))
    place = read_database_url(f"postgresql://app@localhost/app?host={Path(database.place.server).parent}")
    try:
        if database_is_theirs:
            state = UserDatabase(place).look()
            assert (state.superuser, state.deadlocks) == (False, False)
        else:
            with pytest.raises(
                EnvironmentFault, match="user 'app' may create neither schemas nor tables there"
            ):
                UserDatabase(place).look()
    finally:
        session.query("drop database app with (force)")
        session.query("drop role app")


LOOK = ("t170000",)
ABOUT = ("t17.0", "i170000", "i7", "bf", "bt", "bt", "bt")


@pytest.mark.parametrize(
    ("rows", "complaint"),
    [
        ((("t110022",),), "it is PostgreSQL 11, and 12 is the oldest that can be used"),
        ((LOOK, ("t17.0", "i170000", "i8", "bf", "bt", "bt", "bt")), "a pooler stands in front of it"),
        (
            (LOOK, ("t17.0", "i170000", "i7", "bt", "bt", "bt", "bt")),
            "it is a standby, which takes no writes",
        ),
        ((LOOK, ("t17.0", "i170000", "i7", "bf", "bt", "bf", "bt")), "user 'app' may create neither"),
    ],
)
def test_the_wrong_kind_of_server(impostors: Any, rows: tuple[tuple[str, ...], ...], complaint: str) -> None:
    """Each with its own words, and with its name."""
    with (
        impostors.impostor(impostors.postgres(*rows)) as port,
        pytest.raises(EnvironmentFault, match=complaint) as caught,
    ):
        at(port).look()
    assert str(caught.value).startswith(f"the database 127.0.0.1:{port}/test cannot be used: ")


@pytest.mark.parametrize("text", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"-ERR unknown command\r\n", b""])
def test_something_else_that_listens(impostors: Any, text: bytes) -> None:
    """Or that hangs up at once."""
    with (
        impostors.impostor(impostors.says(text)) as port,
        pytest.raises(EnvironmentFault, match=rf"127.0.0.1:{port} (does not speak|cannot be used)"),
    ):
        at(port).look()


def test_somebody_who_never_answers(impostors: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Is waited for, and not for long."""
    monkeypatch.setattr(userdatabase, "PATIENCE_S", 1.0)
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


def test_a_database_or_user_that_there_is_not(own: tuple[UserDatabase, PgUpstream], folder: Path) -> None:
    """The server's own words."""
    for url, words in (
        (f"postgresql://cacheproof@localhost/nothing?host={folder}", 'database "nothing" does not exist'),
        (f"postgresql://nobody@localhost/records?host={folder}", 'role "nobody" does not exist'),
    ):
        with pytest.raises(EnvironmentFault, match=words):
            UserDatabase(read_database_url(url)).look()
