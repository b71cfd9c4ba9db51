"""The records table: put back for each run, and the true order of what was committed."""

from collections.abc import Iterator

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
