"""The table that caches under test stand in front of, and the true order of its versions.

`records(key, value, version)` is the user's; a trigger notes every row version in `cacheproof.versions`.
What that table shows to another session is exactly what has been committed.  Within a key, the order of the
sequence is the order of commits, since writers of one row wait for each other; across keys it says nothing.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from cacheproof.chaos.wire.upstream import PgUpstream

__all__ = ["RecordsTable", "RowVersion"]

_SETUP = """
drop schema if exists cacheproof cascade;
drop table if exists public.records;
create table public.records (key text primary key, value text, version bigint not null default 0);
create schema cacheproof;
create table cacheproof.versions (seq bigserial primary key, key text not null, value text, gone boolean not null,
  session int not null default pg_backend_pid());
create function cacheproof.note() returns trigger language plpgsql as $$
begin
  if tg_op = 'DELETE' or (tg_op = 'UPDATE' and old.key <> new.key) then
    insert into cacheproof.versions (key, value, gone) values (old.key, null, true);
  end if;
  if tg_op <> 'DELETE' then
    insert into cacheproof.versions (key, value, gone) values (new.key, new.value, false);
  end if;
  return null;
end $$;
create trigger note after insert or update or delete on public.records
  for each row execute function cacheproof.note();
"""
_TAKE_AT_MOST = 40  # fewer rows than a result is cut at
# Planned once: of what these statements cost, planning is more than half.
_PREPARE = f"""
prepare take as
  delete from cacheproof.versions
  where seq in (select seq from cacheproof.versions order by seq limit {_TAKE_AT_MOST})
  returning seq, key, value, session;
prepare empty as delete from public.records;
prepare fill (text[], text[]) as insert into public.records (key, value) select * from unnest($1, $2);
prepare forget as delete from cacheproof.versions;
prepare rewind as select setval('cacheproof.versions_seq_seq', 1, false);
"""
_VACUUM_EVERY = 1000


@dataclass(frozen=True, slots=True)
class RowVersion:
    """A committed version of one record; `value` is None when the row was deleted.

    `session` is the process id of the server's session that wrote it.
    """

    key: str
    value: str | None
    session: int


class RecordsTable:
    """The director's own session at the database."""

    def __init__(self, session: PgUpstream) -> None:
        self._session = session
        self._resets = 0
        session.query("set client_min_messages = error")
        session.query(_SETUP)
        session.query("set session_replication_role = replica")  # what is put back here fires no trigger
        session.query(_PREPARE)

    def reset(self, initial: Mapping[str, str]) -> None:
        """Put the initial rows back and forget all versions, without firing the trigger."""
        keys, values = _array(initial.keys()), _array(initial.values())
        # Statements that are sent together are one transaction.
        self._session.query(f"execute empty; execute fill ({keys}, {values}); execute forget; execute rewind")
        self._resets += 1
        if self._resets % _VACUUM_EVERY == 0:
            self._session.query("vacuum public.records")
            self._session.query("vacuum cacheproof.versions")

    def new_versions(self) -> list[RowVersion]:
        """The versions that have become visible since the last call, in commit order of each key."""
        found: list[tuple[int, RowVersion]] = []
        while rows := self._session.query("execute take").rows:
            for seq, key, value, session in rows:
                version = RowVersion(str(key), None if value is None else str(value), int(str(session)))
                found.append((int(str(seq)), version))
            if len(rows) < _TAKE_AT_MOST:
                break
        return [version for _, version in sorted(found, key=lambda item: item[0])]

    def close(self) -> None:
        self._session.close()


def _array(items: Iterable[str]) -> str:
    return f"array[{', '.join(_quoted(item) for item in items)}]::text[]"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
