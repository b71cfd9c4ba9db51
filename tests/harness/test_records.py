"""The records table: put back for each run, and the true order of what was committed."""

from collections.abc import Iterator
from contextlib import closing

import pytest

from cacheproof.chaos.servers.embedded import EmbeddedServers
from cacheproof.chaos.wire.upstream import PgUpstream
from cacheproof.harness.records import RecordsTable

SESSION = {"user": "cacheproof", "database": "records"}


@pytest.fixture
def writer(chaos_servers: EmbeddedServers) -> Iterator[PgUpstream]:
    session = PgUpstream(chaos_servers.database.address, SESSION)
    yield session
    session.close()


@pytest.fixture
def table(chaos_servers: EmbeddedServers) -> Iterator[RecordsTable]:
    table = RecordsTable(PgUpstream(chaos_servers.database.address, SESSION))
    yield table
    table.close()


def rows_of(session: PgUpstream) -> list[tuple[object, ...]]:
    return list(session.query("select key, value, version from records order by key").rows)


def test_reset_puts_back_exactly_these_rows_and_leaves_no_versions(
    table: RecordsTable, writer: PgUpstream
) -> None:
    """Whatever a run has left, quotes and backslashes included; and no trigger notes the reset itself."""
    table.reset({"old": "v1"})
    writer.query("update records set value = 'x', version = 7; insert into records values ('more', 'y')")
    table.reset({"it's": "a\\b'c", "user:1": "v2"})
    assert [row[:2] for row in rows_of(writer)] == [("it's", "a\\b'c"), ("user:1", "v2")]
    assert table.new_versions() == []


def test_versions_come_once_in_order_with_their_session(table: RecordsTable, writer: PgUpstream) -> None:
    """More of them than one query takes; a deletion is a version without a value; a rollback is none."""
    table.reset({"user:1": "v1"})
    for number in range(45):
        writer.query(f"update records set value = 'n{number}'")
    writer.query("begin; update records set value = 'never'; rollback")
    writer.query("delete from records")
    versions = table.new_versions()
    assert [version.value for version in versions] == [*(f"n{number}" for number in range(45)), None]
    assert {(version.key, version.session) for version in versions} == {("user:1", writer.pid)}
    assert table.new_versions() == []


def test_a_version_is_seen_only_once_it_is_committed(table: RecordsTable, writer: PgUpstream) -> None:
    """Until then it does not exist for anybody else."""
    table.reset({"user:1": "v1"})
    writer.query("begin; update records set value = 'v2'")
    assert table.new_versions() == []
    writer.query("commit")
    assert [version.value for version in table.new_versions()] == ["v2"]


def test_inserts_and_renamed_keys_are_versions(table: RecordsTable, writer: PgUpstream) -> None:
    """A changed key is a record that goes, and one that comes."""
    table.reset({"user:1": "v1"})
    writer.query("insert into records values ('user:2', 'new')")
    writer.query("update records set key = 'user:3' where key = 'user:1'")
    versions = [(version.key, version.value) for version in table.new_versions()]
    assert versions == [("user:2", "new"), ("user:1", None), ("user:3", "v1")]


def test_without_superuser_rights_the_same_trigger_is_kept_quiet(chaos_servers: EmbeddedServers) -> None:
    """The reset leaves no versions, and what others write is noted as ever."""
    database = chaos_servers.database
    with closing(PgUpstream(database.address, SESSION)) as admin:
        admin.query(
            "set client_min_messages = error; drop schema if exists cacheproof, cacheproof_replica cascade"
        )
        admin.query("drop table if exists public.records; create role app login")
        admin.query("grant create on database records to app; grant create on schema public to app")
        try:
            plain = PgUpstream(database.address, SESSION | {"user": "app"})
            writer = PgUpstream(database.address, SESSION | {"user": "app"})
            with closing(RecordsTable(plain)) as table, closing(writer):
                table.reset({"a": "v1", "b": "v2"})
                assert table.new_versions() == []
                writer.query("update public.records set value = 'v3' where key = 'a'")
                assert [(row.key, row.value) for row in table.new_versions()] == [("a", "v3")]
                table.reset({"a": "v1"})
                assert table.new_versions() == []
                assert rows_of(writer) == [("a", "v1", 0)]
        finally:
            admin.query("drop owned by app cascade; drop role app")


def test_a_table_goes_on_with_another_session(
    table: RecordsTable, writer: PgUpstream, chaos_servers: EmbeddedServers
) -> None:
    """What was written before and not yet told is told then; the old session is closed."""
    table.reset({"user:1": "v1"})
    writer.query("update records set value = 'v2'")
    old = table._session
    table.reopen(PgUpstream(chaos_servers.database.address, SESSION))
    writer.query("update records set value = 'v3'")
    assert [version.value for version in table.new_versions()] == ["v2", "v3"]
    assert old.fileno() == -1
    table.reset({"user:1": "v9"})
    assert table.new_versions() == [] and rows_of(writer)[0][:2] == ("user:1", "v9")


def test_versions_of_one_transaction_belong_together(table: RecordsTable, writer: PgUpstream) -> None:
    """And are told from those of another; each says what the user's own column says."""
    table.reset({"user:1": "v1", "user:2": "v2"})
    writer.query("update records set value = 'both', version = version + 1")
    writer.query("delete from records where key = 'user:1'")
    one, two, gone = table.new_versions()
    assert one.transaction == two.transaction != gone.transaction
    assert [item.version for item in (one, two, gone)] == [1, 1, None]


def on_replica(session: PgUpstream) -> list[tuple[object, ...]]:
    return list(session.query("select key, value, version from cacheproof_replica.records order by key").rows)


def test_a_replica_shows_the_table_until_it_lags(table: RecordsTable, writer: PgUpstream) -> None:
    """Then what it held, and what it is given since, commit by commit; a null is a value like others."""
    table.reset({"user:1": "it's", "user:2": "v2"})
    writer.query("update records set value = 'new', version = 1 where key = 'user:1'")
    table.new_versions()
    assert on_replica(writer) == rows_of(writer)
    table.lag()
    assert table.behind == []
    writer.query("update records set value = 'it''s', version = 2 where key = 'user:1'")
    writer.query("update records set value = null where key = 'user:2'")
    writer.query(
        "begin; delete from records where key = 'user:1'; insert into records values ('c', 'd', 5); commit"
    )
    table.new_versions()
    assert table.behind is not None and [len(commit) for commit in table.behind] == [1, 1, 2]
    assert on_replica(writer) == [("user:1", "new", 1), ("user:2", "v2", 0)]
    table.replicate(2)
    assert on_replica(writer) == [("user:1", "it's", 2), ("user:2", None, 0)]
    table.replicate(1)
    assert table.behind is None and on_replica(writer) == rows_of(writer)
    assert [row[0] for row in rows_of(writer)] == ["c", "user:2"]


def test_a_reset_ends_a_lag(table: RecordsTable, writer: PgUpstream) -> None:
    """The next run begins without one."""
    table.reset({"user:1": "v1"})
    table.lag()
    table.reset({"user:1": "v5"})
    assert table.behind is None and on_replica(writer) == [("user:1", "v5", 0)]
