"""The tables that caches under test make for themselves (an outbox, a watermark): emptied for each run.

    first run     create table if not exists outbox …     two rows stay in it
    next run      the table is there, and empty; its ids begin at 1 again

Rule 1. A table that was there before the first run belongs to somebody else (to us, perhaps) and is never touched,
        unless its comment says that an earlier search has found it in a cache's hands.
        Ours are known by their names as well: whoever opens the same servers once more makes them anew.
Rule 2. Tables stay: to empty them costs less than to make them anew, and every run finds the same columns.
Rule 3. Sequences begin anew, for a number that goes on from run to run would be seen in the histories.
"""

from contextlib import suppress
from dataclasses import dataclass

from cacheproof.chaos.wire.upstream import PgUpstream
from cacheproof.models.errors import EnvironmentFault

__all__ = ["CLIENT_MARK", "ClientTables"]

CLIENT_MARK = "made by a cache under test, and emptied by cacheproof"
"""The comment on a table or sequence that a cache has made."""

_FIRST_OF_USERS = 16384  # FirstNormalObjectId: what is below came with the server
_OURS = ("public.records", "cacheproof.versions", "cacheproof.versions_seq_seq", "cacheproof_replica.lag")
_PREPARE = f"""
prepare made as
  select c.oid::int8, c.relkind::text, format('%I.%I', n.nspname, c.relname),
    coalesce(obj_description(c.oid, 'pg_class') = '{CLIENT_MARK}', false)
  from pg_class c join pg_namespace n on n.oid = c.relnamespace
  where c.oid >= {_FIRST_OF_USERS} and c.relkind in ('r', 'S') and n.nspname !~ '^pg_'
    and format('%I.%I', n.nspname, c.relname) not in {_OURS}
  order by c.oid desc  -- a table that refers to another one was made after it
"""
_EMPTY = {
    "r": "delete from {name}",
    "S": "select setval(seqrelid, seqstart, false) from pg_sequence where seqrelid = {oid}",
}
_MARK = {
    "r": "comment on table {name} is '" + CLIENT_MARK + "'",
    "S": "comment on sequence {name} is '" + CLIENT_MARK + "'",
}


@dataclass(frozen=True, slots=True)
class _Relation:
    """A table (kind "r") or a sequence ("S") outside the system's own schemas."""

    oid: int
    kind: str
    name: str
    marked: bool


class ClientTables:
    """What caches have made in the database, seen by the director's session; to be made when our own tables are there."""

    def __init__(self, session: PgUpstream) -> None:
        self.use(session)
        self._theirs = {relation.oid for relation in self._relations() if not relation.marked}

    def use(self, session: PgUpstream) -> None:
        """Go on with this session."""
        self._session = session
        session.query(_PREPARE)

    def empty(self) -> None:
        """Empty every table that a cache has made, and let its sequences begin anew."""
        made = self._made()
        self._run([_EMPTY[item.kind].format(name=item.name, oid=item.oid) for item in made], made)

    def leave(self) -> None:
        """Mark what caches have made, for the next search here; a database that is gone is left as it is."""
        with suppress(ConnectionError, EnvironmentFault):
            self._run([], self._made())

    def _run(self, statements: list[str], made: list[_Relation]) -> None:
        statements += [_MARK[item.kind].format(name=item.name) for item in made if not item.marked]
        if statements:
            self._session.query("; ".join(statements))

    def _made(self) -> list[_Relation]:
        return [relation for relation in self._relations() if relation.oid not in self._theirs]

    def _relations(self) -> list[_Relation]:
        rows = self._session.query("execute made").rows
        return [
            _Relation(int(str(oid)), str(kind), str(name), mark is True) for oid, kind, name, mark in rows
        ]
