"""Tables that caches make for themselves: empty at the start of every run, and never somebody else's."""

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from cacheproof.chaos.servers.embedded import EmbeddedServers
from cacheproof.chaos.wire.upstream import PgUpstream
from cacheproof.harness.clienttables import CLIENT_MARK, ClientTables
from cacheproof.harness.records import RecordsTable

SESSION = {"user": "cacheproof", "database": "records"}
OUTBOX = "create table if not exists public.outbox (id bigserial primary key, key text)"


@pytest.fixture
def session(chaos_servers: EmbeddedServers) -> Iterator[PgUpstream]:
    """A session of a client; whatever it makes is gone after the test."""
    with closing(PgUpstream(chaos_servers.database.address, SESSION)) as found:
        yield found
        found.query("set client_min_messages = error; drop table if exists public.part, public.outbox")


@pytest.fixture
def director(chaos_servers: EmbeddedServers, session: PgUpstream) -> Iterator[PgUpstream]:
    with closing(PgUpstream(chaos_servers.database.address, SESSION)) as found:
        found.query("set client_min_messages = error")
        yield found


def rows(session: PgUpstream) -> list[tuple[Any, ...]]:
    return list(session.query("select id, key from public.outbox order by id").rows)


def comment(session: PgUpstream) -> object:
    return session.query("select obj_description('public.outbox'::regclass, 'pg_class')").rows[0][0]


def fill(session: PgUpstream, key: str) -> None:
    session.query(f"insert into public.outbox (key) values ('{key}')")


def test_what_a_cache_has_made_is_emptied_and_counts_from_1_again(
    session: PgUpstream, director: PgUpstream
) -> None:
    """Its rows go, the table stays, and the next row has the number of the first; as often as it is asked for."""
    tables = ClientTables(director)
    session.query(OUTBOX)
    for _ in range(3):
        fill(session, "a")
        fill(session, "b")
        assert rows(session) == [(1, "a"), (2, "b")]
        tables.empty()
        assert rows(session) == []
    assert comment(session) == CLIENT_MARK


def test_what_is_ours_is_not_touched_though_it_is_made_anew(
    chaos_servers: EmbeddedServers, session: PgUpstream, director: PgUpstream
) -> None:
    """A second user of the same servers makes our tables once more, under the eyes of the first one."""
    with (
        closing(PgUpstream(chaos_servers.database.address, SESSION)) as own,
        closing(RecordsTable(own)) as records,
    ):
        tables = ClientTables(director)
        with closing(PgUpstream(chaos_servers.database.address, SESSION)) as second:
            RecordsTable(second)
            records.reset({"user:1": "v1"})
            tables.empty()
            assert session.query("select key, value from public.records").rows == (("user:1", "v1"),)


def test_what_was_there_before_is_not_touched(session: PgUpstream, director: PgUpstream) -> None:
    """Neither its rows, nor its numbers, nor its comment."""
    session.query(OUTBOX)
    fill(session, "theirs")
    tables = ClientTables(director)
    tables.empty()
    tables.leave()
    fill(session, "more")
    assert rows(session) == [(1, "theirs"), (2, "more")]
    assert comment(session) is None


def test_what_an_earlier_search_has_left_is_known_by_its_mark(
    session: PgUpstream, director: PgUpstream
) -> None:
    """Even if that search ended before it had to empty anything."""
    earlier = ClientTables(director)
    session.query(OUTBOX)
    fill(session, "left")
    earlier.leave()
    director.query("deallocate made")
    ClientTables(director).empty()
    assert rows(session) == []


def test_tables_that_refer_to_others_are_emptied_first(session: PgUpstream, director: PgUpstream) -> None:
    """A foreign key stands in nobody's way, with triggers or without."""
    tables = ClientTables(director)
    session.query(OUTBOX)
    session.query("create table public.part (of bigint references public.outbox (id))")
    fill(session, "a")
    session.query("insert into public.part values (1)")
    tables.empty()
    assert rows(session) == [] and list(session.query("select * from public.part").rows) == []


def test_a_database_that_is_gone_is_left_as_it_is(session: PgUpstream, director: PgUpstream) -> None:
    """The end of a search is no time for an error about comments."""
    tables = ClientTables(director)
    session.query(OUTBOX)
    session.query(f"select pg_terminate_backend({director.pid})")
    tables.leave()
    assert comment(session) is None


def test_every_reset_of_the_records_empties_them_too(
    session: PgUpstream, chaos_servers: EmbeddedServers
) -> None:
    """Also with another session, after a restart of the database; our own tables are not among them."""
    with closing(RecordsTable(PgUpstream(chaos_servers.database.address, SESSION))) as records:
        session.query(OUTBOX)
        fill(session, "a")
        records.reset({"user:1": "v1"})
        assert rows(session) == []
        fill(session, "b")
        records.reopen(PgUpstream(chaos_servers.database.address, SESSION))
        records.reset({"user:1": "v1"})
        assert rows(session) == []
        assert session.query("select key from public.records").rows[0][0] == "user:1"
