"""The table that caches under test stand in front of, and the true order of its versions.

`records(key, value, version)` is the user's; a trigger notes every row version in `cacheproof.versions`.
What that table shows to another session is exactly what has been committed.  Within a key, the order of the
sequence is the order of commits, since writers of one row wait for each other; across keys it says nothing.

The read replica is a view of the same name in a schema of its own, for sessions that look there first.  It shows
the table itself, or, while it lags, what the table held then and the commits that it has been given since.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from cacheproof.chaos.servers.userdatabase import RECORDS_MARK
from cacheproof.chaos.wire.upstream import PgUpstream
from cacheproof.harness.clienttables import ClientTables
from cacheproof.models.operation import Value

__all__ = ["RecordsTable", "RowVersion"]

# The schema is made here unless it is there: on servers of the user's it stands for who uses them.
_SETUP = f"""
create schema if not exists cacheproof;
drop schema if exists cacheproof_replica cascade;
drop table if exists public.records;
drop table if exists cacheproof.versions;
drop function if exists cacheproof.note;
create table public.records (key text primary key, value text, version bigint not null default 0)
  with (autovacuum_enabled = off);
comment on table public.records is '{RECORDS_MARK}';
create table cacheproof.versions (seq bigserial primary key, key text not null, value text, gone boolean not null,
  version bigint, session int not null default pg_backend_pid(), xact bigint not null default txid_current())
  with (autovacuum_enabled = off);
create schema cacheproof_replica;
create table cacheproof_replica.lag (lagging boolean not null, key text, value text, version bigint)
  with (autovacuum_enabled = off);
create view cacheproof_replica.records as
  select key, value, version from public.records where not exists (select from cacheproof_replica.lag where lagging)
  union all select key, value, version from cacheproof_replica.lag where not lagging;
create function cacheproof.note() returns trigger language plpgsql as $$
begin
  if tg_op = 'DELETE' or (tg_op = 'UPDATE' and old.key <> new.key) then
    insert into cacheproof.versions (key, value, gone) values (old.key, null, true);
  end if;
  if tg_op <> 'DELETE' then
    insert into cacheproof.versions (key, value, gone, version) values (new.key, new.value, false, new.version);
  end if;
  return null;
end $$;
create trigger note after insert or update or delete on public.records
  for each row when (current_setting('cacheproof.reset', true) is distinct from 'on')
  execute function cacheproof.note();
create trigger refuse instead of insert or update or delete on cacheproof_replica.records
  for each row execute function cacheproof.note();  -- never called: whoever looks there may not write
"""
_NO_TRIGGERS = "set session_replication_role = replica"
_TAKE_AT_MOST = 40  # fewer rows than a result is cut at
# Planned once: of what these statements cost, planning is more than half.
_PREPARE = f"""
prepare take as
  delete from cacheproof.versions
  where seq in (select seq from cacheproof.versions order by seq limit {_TAKE_AT_MOST})
  returning seq, key, value, session, gone, version, xact;
prepare empty as delete from public.records;
prepare fill (text[], text[]) as insert into public.records (key, value) select * from unnest($1, $2);
prepare forget as delete from cacheproof.versions;
prepare rewind as select setval('cacheproof.versions_seq_seq', 1, false);
"""
_LAG = """
insert into cacheproof_replica.lag select false, key, value, version from public.records;
insert into cacheproof_replica.lag values (true)
"""
_VACUUM_EVERY = 1000


@dataclass(frozen=True, slots=True)
class RowVersion:
    """A committed version of one record; `value` is None when the row was deleted.

    `session` is the process id of the server's session that wrote it, `version` what its column of that name
    says (None: no row), and `transaction` tells which versions became visible together.
    """

    key: str
    value: str | None
    session: int
    version: int | None = None
    transaction: int = 0


class RecordsTable:
    """The director's own session at the database."""

    def __init__(self, session: PgUpstream) -> None:
        self._resets = 0
        self.behind: list[tuple[RowVersion, ...]] | None = None
        """The commits that the read replica lacks, the oldest first; None while it lags not."""
        session.query("set client_min_messages = error")
        session.query(_SETUP)
        self._use(session)
        self._others = ClientTables(session)

    def _use(self, session: PgUpstream) -> None:
        self._session = session
        if session.finish(session.begin(_NO_TRIGGERS)).error is not None:  # it takes a superuser
            session.query("set cacheproof.reset = on")  # with which our own trigger does not fire
        session.query(_PREPARE)

    def reopen(self, session: PgUpstream) -> None:
        """Go on with another session: the database has been restarted, and the tables are as they were."""
        self._session.close()
        self._use(session)
        self._others.use(session)

    def reset(self, initial: Mapping[str, str]) -> None:
        """Put the initial rows back and forget all versions, without firing the trigger."""
        keys, values = _array(initial.keys()), _array(initial.values())
        if self.behind is not None:
            self._follow()
        # Statements that are sent together are one transaction.
        self._session.query(f"execute empty; execute fill ({keys}, {values}); execute forget; execute rewind")
        self._others.empty()
        self._resets += 1
        if self._resets % _VACUUM_EVERY == 0:
            self._session.query("vacuum public.records")
            self._session.query("vacuum cacheproof.versions")

    def new_versions(self) -> list[RowVersion]:
        """The versions that have become visible since the last call, in commit order of each key."""
        found: list[tuple[int, RowVersion]] = []
        while rows := self._session.query("execute take").rows:
            found += (_version(row) for row in rows)
            if len(rows) < _TAKE_AT_MOST:
                break
        versions = [version for _, version in sorted(found, key=lambda item: item[0])]
        if self.behind is not None:
            self.behind += _by_transaction(versions)
        return versions

    # -- the read replica ----------------------------------------------------------------------------------

    def lag(self) -> None:
        """From now on the replica shows what is there now.  To be called when no version is new."""
        self._session.query(_LAG)
        self.behind = []

    def replicate(self, commits: int) -> None:
        """Give the replica the oldest `commits` that it lacks; once it lacks none, it follows again."""
        assert self.behind is not None
        given, self.behind = self.behind[:commits], self.behind[commits:]
        if self.behind:
            changes = (_change(version) for commit in given for version in commit)
            self._session.query("; ".join(changes))
        else:
            self._follow()

    def _follow(self) -> None:
        self._session.query("delete from cacheproof_replica.lag")
        self.behind = None

    def close(self) -> None:
        self._others.leave()
        self._session.close()


def _version(row: Sequence[Value]) -> tuple[int, RowVersion]:
    """(its place in the order, the version) from a row of what `take` returns."""
    seq, key, value, session, gone, version, transaction = row
    number = int(str(version)) if gone is False else None
    text = None if value is None else str(value)
    return int(str(seq)), RowVersion(str(key), text, int(str(session)), number, int(str(transaction)))


def _by_transaction(versions: Iterable[RowVersion]) -> list[tuple[RowVersion, ...]]:
    """The versions of each transaction, in the order in which transactions first appear."""
    found: dict[int, list[RowVersion]] = {}
    for version in versions:
        found.setdefault(version.transaction, []).append(version)
    return [tuple(commit) for commit in found.values()]


def _change(version: RowVersion) -> str:
    """The statements that bring a version to the replica."""
    key = _quoted(version.key)
    gone = f"delete from cacheproof_replica.lag where not lagging and key = {key}"
    if version.version is None:
        return gone
    value = "null" if version.value is None else _quoted(version.value)
    return f"{gone}; insert into cacheproof_replica.lag values (false, {key}, {value}, {version.version})"


def _array(items: Iterable[str]) -> str:
    return f"array[{', '.join(_quoted(item) for item in items)}]::text[]"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
