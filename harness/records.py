"""The table that caches under test stand in front of, and the true order of its versions.

`records(key, value, version)` is the user's; a trigger notes every row version in `cacheproof.versions`.
What that table shows to another session is exactly what has been committed.  Within a key, the order of the
sequence is the order of commits, since writers of one row wait for each other; across keys it says nothing.
"""

from collections.abc import Mapping
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
_TAKE = (
    "delete from cacheproof.versions where seq in"
    f" (select seq from cacheproof.versions order by seq limit {_TAKE_AT_MOST}) returning seq, key, value, session"
)
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

    def reset(self, initial: Mapping[str, str]) -> None:
        """Put the initial rows back and forget all versions, without firing the trigger."""
        rows = ", ".join(f"({_quoted(key)}, {_quoted(value)})" for key, value in initial.items())
        self._session.query(
            "begin; set local session_replication_role = replica; delete from public.records;"
            f" insert into public.records (key, value) values {rows}; delete from cacheproof.versions;"
            " select setval('cacheproof.versions_seq_seq', 1, false); commit"
        )
        self._resets += 1
        if self._resets % _VACUUM_EVERY == 0:
            self._session.query("vacuum public.records")
            self._session.query("vacuum cacheproof.versions")

    def new_versions(self) -> list[RowVersion]:
        """The versions that have become visible since the last call, in commit order of each key."""
        found: list[tuple[int, RowVersion]] = []
        while rows := self._session.query(_TAKE).rows:
            for seq, key, value, session in rows:
                version = RowVersion(str(key), None if value is None else str(value), int(str(session)))
                found.append((int(str(seq)), version))
            if len(rows) < _TAKE_AT_MOST:
                break
        return [version for _, version in sorted(found, key=lambda item: item[0])]

    def close(self) -> None:
        self._session.close()


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
