"""A database that a user runs: looked at, used for a while, and given back as it was.

Rules
1.  It is refused, with a word for each reason, if it is not what a search needs: PostgreSQL 12 or newer itself
    (no pooler in front of it, no standby), in which we may create, and that belongs to nobody else.
2.  Belonging to nobody means: no tables, sequences, types or functions outside the system's own schemas.  What
    stands in the way of ours (`public.records`, the schema `cacheproof`) is removed only if it is ours, or is
    allowed by name; whatever else there is stays untouched in any case.
3.  Ours is what says so: a comment on it.  So what a search left that was killed is known at the next start,
    and a lock that the server drops with its session tells whether that search still lives.
4.  Given back means: our table and our schema are gone.
"""

import json
from collections.abc import Collection, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any, Final, NoReturn

from cacheproof.chaos.servers.inquiry import Product
from cacheproof.chaos.servers.login import CLIENT_DATABASE, CLIENT_USER
from cacheproof.chaos.servers.server import Address
from cacheproof.chaos.servers.urls import Place, permission
from cacheproof.chaos.wire.framing import FramingError
from cacheproof.chaos.wire.upstream import PgUpstream
from cacheproof.models.errors import EnvironmentFault, UsageError

__all__ = ["RECORDS_MARK", "DatabaseState", "UserDatabase"]

RECORDS_MARK: Final = "made by cacheproof, and removed by it"
"""The comment on `public.records`."""

PATIENCE_S = 5.0
_OLDEST = 12
_WANTED = "give the URL of PostgreSQL 12 or newer"
_SESSION = {"user": CLIENT_USER, "database": CLIENT_DATABASE}
_LOCK = 0x6361636865  # "cache"
_LOCK_TIMEOUT = "set lock_timeout = '5s'"

_HELD = """
select 'table' , format('%I.%I', n.nspname, c.relname) from pg_class c join pg_namespace n on n.oid = c.relnamespace
 where c.relkind in ('r', 'p', 'v', 'm', 'S', 'f') and {theirs} and not exists (
  select from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype in ('e', 'i', 'a'))
union all
select 'function', format('%I.%I', n.nspname, p.proname) from pg_proc p join pg_namespace n on n.oid = p.pronamespace
 where {theirs} and not exists (
  select from pg_depend d where d.classid = 'pg_proc'::regclass and d.objid = p.oid and d.deptype = 'e')
union all
select 'type', format('%I.%I', n.nspname, t.typname) from pg_type t join pg_namespace n on n.oid = t.typnamespace
 where t.typtype in ('e', 'd') and {theirs} and not exists (
  select from pg_depend d where d.classid = 'pg_type'::regclass and d.objid = t.oid and d.deptype = 'e')
order by 1, 2 limit 40
""".replace("{theirs}", "n.nspname !~ '^pg_' and n.nspname not in ('information_schema', 'cacheproof')")
_MARKS = """
select obj_description(to_regnamespace('cacheproof'), 'pg_namespace'),
       obj_description(to_regclass('public.records'), 'pg_class'), to_regnamespace('cacheproof') is not null
"""
_ABOUT = """
select current_setting('server_version'), current_setting('server_version_num')::int, pg_backend_pid(),
       pg_is_in_recovery(), has_database_privilege(current_database(), 'CREATE'),
       coalesce(has_schema_privilege(to_regnamespace('public')::oid, 'CREATE'), false), (select rolsuper from pg_roles where rolname = current_user)
"""

_CALM: Final[Mapping[str, str]] = {
    # Real time must end nothing while a client waits for the director's next decision.
    "client_connection_check_interval": "0",
    "idle_in_transaction_session_timeout": "0",
    "idle_session_timeout": "0",
    "lock_timeout": "0",
    "statement_timeout": "0",
    "transaction_timeout": "0",
    # Where clients look for `records`.
    "search_path": '"$user", public',
    # What is committed is seen at once in any case; nobody here cuts the power.
    "synchronous_commit": "off",
}
"""What sessions are asked to be, as far as the server knows these settings."""
_DEADLOCKS = ("deadlock_timeout", "1ms")


@dataclass(frozen=True, slots=True)
class DatabaseState:
    """What a database was like before it was used.

    `held` are tables and the like that are not ours.  `left` is what an earlier search that was killed has noted
    in the schema that it left; None if there is none of ours.  `in_the_way` is what has our names and is not ours.
    """

    product: Product
    superuser: bool
    deadlocks: bool
    settings: tuple[tuple[str, str], ...]
    held: tuple[str, ...]
    in_the_way: tuple[str, ...]
    left: Mapping[str, Any] | None = field(default=None)


class UserDatabase:
    """One database of the user's.  Raises EnvironmentFault when it cannot be used."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self._claim: PgUpstream | None = None

    # -- looking -------------------------------------------------------------------------------------------

    def look(self) -> DatabaseState:
        """What it is and what it holds; changes nothing.  Raises EnvironmentFault if it is of the wrong kind."""
        with closing(self._session(self.place.address)) as session:
            return self._look(session)

    def _session(self, address: Address) -> PgUpstream:
        try:
            return PgUpstream(address, _SESSION, patience_s=PATIENCE_S)
        except (ConnectionError, FramingError) as error:
            raise EnvironmentFault(
                f"what listens at {self.place.server} does not speak PostgreSQL's protocol ({error}); {_WANTED}"
            ) from None
        except EnvironmentFault as error:
            raise EnvironmentFault(
                f"the database server at {self.place.server} cannot be used: {error}"
            ) from None

    def _refuse(self, why: str) -> NoReturn:
        raise EnvironmentFault(f"the database {self.place.name} cannot be used: {why}")

    def _look(self, session: PgUpstream) -> DatabaseState:
        version = str(session.query("show server_version_num").rows[0][0])
        if int(version) < _OLDEST * 10_000:
            self._refuse(
                f"it is PostgreSQL {int(version) // 10_000}, and {_OLDEST} is the oldest that can be used"
            )
        words, _, pid, standby, may_create, may_fill, superuser = session.query(_ABOUT).rows[0]
        if pid != session.pid:
            self._refuse("a pooler stands in front of it; give the URL of PostgreSQL itself")
        if standby:
            self._refuse("it is a standby, which takes no writes; give the URL of the primary")
        if not may_create or not may_fill:
            self._refuse(
                f"user {self.place.address.login.user!r} may create neither schemas nor tables there; "
                "grant create on the database and on schema public, or use a database that belongs to the user"
            )
        held, in_the_way, left = self._belongings(session)
        settings, deadlocks = self._calm(session, superuser=bool(superuser))
        product = Product("PostgreSQL", str(words).split()[0])
        return DatabaseState(product, bool(superuser), deadlocks, settings, held, in_the_way, left)

    @staticmethod
    def _belongings(session: PgUpstream) -> tuple[tuple[str, ...], tuple[str, ...], Mapping[str, Any] | None]:
        """(what is not ours, what of it is in the way, what an earlier search has noted)."""
        rows = session.query(_HELD).rows
        schema_mark, table_mark, schema = session.query(_MARKS).rows[0]
        left = _read_mark(schema_mark)
        ours = {"public.records"} if table_mark == RECORDS_MARK else set()
        replica = [name for _, name in rows if str(name).startswith(_REPLICA)]
        held = tuple(
            f"{kind} {name}"
            for kind, name in rows
            if name not in ours and (left is None or name not in replica)
        )
        in_the_way = [
            item for item in held if item == "table public.records" or item.partition(" ")[2] in replica
        ]
        if schema and left is None:
            in_the_way.append("schema cacheproof")
        return held, tuple(in_the_way), left

    def _calm(self, session: PgUpstream, *, superuser: bool) -> tuple[tuple[tuple[str, str], ...], bool]:
        """What to ask of sessions, and whether the victims of deadlocks are certain."""
        names = ", ".join(f"'{name}'" for name in (*_CALM, _DEADLOCKS[0]))
        rows = session.query(f"select name, setting from pg_settings where name in ({names})").rows
        now = {str(name): str(setting) for name, setting in rows}
        wanted = [(name, value) for name, value in _CALM.items() if now.get(name, value) != value]
        quick = now.get(_DEADLOCKS[0]) == "1"
        if superuser and not quick:
            wanted.append(_DEADLOCKS)
        return tuple(wanted), quick or superuser

    def check_free(self, state: DatabaseState, allowed: Collection[str]) -> None:
        """Raises UsageError if it belongs to somebody else, and nobody has allowed to use it all the same."""
        theirs = [*state.held, *(item for item in state.in_the_way if item not in state.held)]
        if theirs and self.place.name not in allowed:
            shown = ", ".join(map(str, theirs[:3])) + (
                f" and {len(theirs) - 3} more" if len(theirs) > 3 else ""
            )
            lost = f"; {', '.join(state.in_the_way)} would be lost" if state.in_the_way else ""
            raise UsageError(
                f"the database {self.place.name} is not empty: it holds {shown}{lost}. Give an empty database, or "
                f"allow it by name: {permission(self.place.name)}"
            )

    # -- using ---------------------------------------------------------------------------------------------

    def address(self, state: DatabaseState) -> Address:
        """Where to connect, with what sessions are asked to be."""
        address = self.place.address
        return replace(address, login=replace(address.login, settings=state.settings))

    def claim(self, state: DatabaseState, note: Mapping[str, Any]) -> None:
        """Make it ours: nobody else gets it, and whoever comes after us if we are killed finds `note`.

        Raises EnvironmentFault if another search uses it now.
        """
        session = self._session(self.address(state))
        try:
            if session.query(f"select pg_try_advisory_lock({_LOCK})").rows[0][0] is not True:
                self._refuse(
                    "another search uses it now; wait for its end, or give each a database of its own"
                )
            words = json.dumps(dict(note), sort_keys=True).replace("'", "''")
            session.query(
                f"set client_min_messages = error; {_LOCK_TIMEOUT}; {_REMOVE}; create schema cacheproof;"
                f" comment on schema cacheproof is '{_SCHEMA_MARK}{words}'"
            )
        except BaseException:
            session.close()
            raise
        self._claim = session

    @property
    def claimed(self) -> bool:
        return self._claim is not None

    @property
    def fds(self) -> tuple[int, ...]:
        """The descriptor of the session that holds the claim."""
        return () if self._claim is None else (self._claim.fileno(),)

    def abandon(self) -> None:
        """Let go of the claim's descriptor; for a forked child, whose parent keeps the claim."""
        if self._claim is not None:
            self._claim.close()
            self._claim = None

    def give_back(self, before: Collection[str]) -> str:
        """Remove what is ours; returns what was done, in words.  `before` is what the database held before."""
        session = self._claim
        if session is None:
            return ""
        try:
            session.query(f"set client_min_messages = error; {_LOCK_TIMEOUT}; {_REMOVE}")
            held, _, _ = self._belongings(session)
        finally:
            self.abandon()
        told = f"{self.place.name} holds nothing of ours any more (table public.records, schema cacheproof)"
        more = [item for item in held if item not in before]
        return f"{told}; what came to be there meanwhile stays: {', '.join(more)}" if more else told


_SCHEMA_MARK: Final = "made by cacheproof, and removed by it; noted: "
_REPLICA: Final = "cacheproof_replica."
"""How the names in the schema begin that stands for a read replica; it comes and goes with our own."""
_REMOVE: Final = (
    "drop schema if exists cacheproof_replica, cacheproof cascade; drop table if exists public.records"
)


def _read_mark(comment: object) -> Mapping[str, Any] | None:
    """What the comment on the schema notes; None if the schema is not ours."""
    if not isinstance(comment, str) or not comment.startswith(_SCHEMA_MARK):
        return None
    try:
        noted = json.loads(comment.removeprefix(_SCHEMA_MARK))
    except ValueError:
        return {}
    return noted if isinstance(noted, dict) else {}
