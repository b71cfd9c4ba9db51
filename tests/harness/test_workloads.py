"""Operations beyond reads and writes, through `verify` as a whole: what is sound is upheld, planted bugs are found."""

from typing import Any

import psycopg
import pytest
import redis

from cacheproof.chaos.servers.embedded import EmbeddedServers
from cacheproof.harness.profiles import Profile
from cacheproof.harness.verify import verify
from cacheproof.models.atomic_reads import AtomicReads
from cacheproof.models.contract import Condition, Contract, Guarantee
from cacheproof.models.convergence import Convergence
from cacheproof.models.counters import ExactlyOnce
from cacheproof.models.durability import Durability
from cacheproof.models.general import LinearizableAs
from cacheproof.models.integrity import Integrity
from cacheproof.models.mutual_exclusion import MutualExclusion
from cacheproof.models.quiet_warm_up import QuietWarmUp
from cacheproof.models.read_after_write import ReadAfterWrite
from cacheproof.models.report import Cell, Report
from cacheproof.models.verdict import Property, Verdict
from cacheproof.models.zones import Linearizable

PAIR = Profile("pair", ("1 reader × 1 writer",), scope_limit=40, random=0, confirmations=2)
ALONE = Profile("alone", ("1 writer",), scope_limit=40, random=0, confirmations=2)
TWINS = Profile("twins", ("2 writers",), scope_limit=40, random=0, confirmations=2)
SELECT = "select value from records where key = %s"


class Straight:
    """No cache: every operation is one statement, or one transaction."""

    def __init__(self, env: Any) -> None:
        self.url = env.database_url
        self.redis = redis.Redis.from_url(env.redis_url, decode_responses=True)
        self.db = psycopg.connect(env.database_url, autocommit=True)

    def read(self, key: str) -> Any:
        row = self.db.execute(SELECT, (key,)).fetchone()
        return row and row[0]

    def write(self, key: str, value: str) -> None:
        upsert = "insert into records (key, value) values (%s, %s) on conflict (key) do update set value = %s"
        self.db.execute(upsert, (key, value, value))

    def delete(self, key: str) -> None:
        self.db.execute("delete from records where key = %s", (key,))

    def increment(self, key: str, by: int) -> int:
        update = "update records set value = value::bigint + %s where key = %s returning value"
        row: Any = self.db.execute(update, (by, key)).fetchone()
        return int(row[0])

    def read_many(self, keys: list[str]) -> dict[str, str]:
        found = self.db.execute("select key, value from records where key = any(%s)", (keys,))
        return dict(found.fetchall())

    def write_many(self, pairs: list[tuple[str, str]]) -> None:
        with self.db.transaction():
            for key, value in pairs:
                self.write(key, value)


class Aside(Straight):
    """Cache-aside for all of it."""

    def read(self, key: str) -> Any:
        value: Any = self.redis.get(key)
        if value is None:
            value = super().read(key)
            if value is not None:
                self.redis.set(key, value, ex=300)
        return value

    def delete(self, key: str) -> None:
        super().delete(key)
        self.redis.delete(key)

    def read_many(self, keys: list[str]) -> dict[str, str]:
        return {key: self.read(key) for key in keys}

    def write_many(self, pairs: list[tuple[str, str]]) -> None:
        super().write_many(pairs)
        self.redis.delete(*dict(pairs))

    def warm_up(self) -> None:
        for key, value in self.db.execute("select key, value from records order by key").fetchall():
            self.redis.set(key, value, ex=300)


class TriesAgain(Straight):
    """Counts once more if nobody answered, although the count may have been taken."""

    def increment(self, key: str, by: int) -> int:
        try:
            return super().increment(key, by)
        except psycopg.OperationalError:
            self.db = psycopg.connect(self.url, autocommit=True)
            return super().increment(key, by)


class Stamping(Aside):
    """A warm-up that leaves a mark on what it has loaded."""

    def warm_up(self) -> None:
        super().warm_up()
        self.db.execute("update records set version = version + 1")


@pytest.fixture
def judge(chaos_servers: EmbeddedServers) -> Any:
    """The cells of a report on these operations, by property, under one condition."""

    def call(
        cache: Any,
        operations: tuple[str, ...],
        *properties: Property,
        under: Condition = Condition.CONCURRENT,
        profile: Profile = PAIR,
    ) -> dict[str, Cell]:
        claimed = frozenset({under})
        guarantees = tuple(Guarantee(item.name, item.name, item, claimed=claimed) for item in properties)
        contract = Contract("workload", guarantees, 300.0, conditions=(under,), operations=operations)
        report: Report = verify(cache, contract, servers=chaos_servers, profile=profile)
        assert report.warnings == ()
        return {cell.guarantee: cell for cell in report.cells}

    return call


def verdicts(cells: dict[str, Cell]) -> set[Verdict]:
    return {cell.verdict for cell in cells.values()}


COUNTING = ("read", "increment")


def test_counters_that_count_are_upheld(judge: Any) -> None:
    """One at a time in the database: exactly once, converging, and linearizable as counters, also without answers."""
    properties = ExactlyOnce(), Convergence(0), LinearizableAs("counter")
    for profile, under in (
        (TWINS, Condition.CONCURRENT),
        (PAIR, Condition.CONCURRENT),
        (ALONE, Condition.LOST_MESSAGES),
    ):
        assert verdicts(judge(Straight, COUNTING, *properties, under=under, profile=profile)) == {
            Verdict.UPHELD
        }


def test_a_count_that_is_taken_twice_is_found(judge: Any) -> None:
    """The answer to the only statement is lost, and the retry counts again."""
    cell = judge(TriesAgain, COUNTING, ExactlyOnce(), under=Condition.LOST_MESSAGES, profile=ALONE)[
        "exactly-once"
    ]
    assert cell.verdict is Verdict.REFUTED and cell.counterexample is not None
    finding = cell.counterexample.finding
    assert (cell.counterexample.anomaly, finding.kind) == ("retry-double-apply", "double-applied")
    assert (finding.found, finding.allowed) == (2, (1, 1))
    assert [op.f for op in cell.counterexample.history.operations] == ["increment", "read"]


DELETING = ("read", "write", "delete")


def test_deletes_without_a_cache_are_upheld(judge: Any) -> None:
    """No record is a value like others, however often it comes back: nothing is in doubt."""
    properties = (Integrity(resurrected=True), ReadAfterWrite(), Durability(), Convergence(0), Linearizable())
    for profile in (PAIR, TWINS):
        assert verdicts(judge(Straight, DELETING, *properties, profile=profile)) == {Verdict.UPHELD}
    assert verdicts(judge(Straight, DELETING, *properties, under=Condition.QUIET)) == {Verdict.UPHELD}


def test_a_deleted_record_that_comes_back_is_found(judge: Any) -> None:
    """A reader that had loaded it before fills the cache after the deletion."""
    cells = judge(Aside, ("read", "delete"), Integrity(resurrected=True), Durability())
    cell = cells["integrity"]
    assert cell.verdict is Verdict.REFUTED and cell.counterexample is not None
    assert cell.counterexample.anomaly == "resurrected-delete"
    assert cells["durability"].verdict is Verdict.UPHELD


MANY = ("read", "read_many", "write_many")


def test_transactions_without_a_cache_are_upheld(judge: Any) -> None:
    """What a write of several keys has written is nobody else's, nor out of nowhere."""
    properties = AtomicReads(), Integrity(), Durability(), Linearizable()
    assert verdicts(judge(Straight, MANY, *properties)) == {Verdict.UPHELD}


def test_a_part_of_a_transaction_is_found(judge: Any) -> None:
    """Entries that are read one after the other do not belong together."""
    cells = judge(Aside, ("read_many", "write_many"), AtomicReads(), Integrity())
    found = cells["atomic-reads"].counterexample
    assert found is not None and found.finding.kind == "fractured-read"
    assert cells["integrity"].verdict in (Verdict.UPHELD, Verdict.NOT_EXERCISED)


@pytest.mark.parametrize(("cache", "verdict"), [(Aside, Verdict.UPHELD), (Stamping, Verdict.REFUTED)])
def test_a_warm_up_that_writes_is_found(judge: Any, cache: Any, verdict: Verdict) -> None:
    """And one that only reads the database is upheld."""
    cells = judge(cache, ("warm_up", "write"), QuietWarmUp())
    assert cells["quiet-warm-up"].verdict is verdict


LOCKING = ("acquire", "release")


@pytest.mark.parametrize(
    ("under", "verdict"), [(Condition.CONCURRENT, Verdict.UPHELD), (Condition.EXPIRY, Verdict.REFUTED)]
)
def test_a_lock_that_runs_out_has_two_holders(
    judge: Any, caches: Any, under: Condition, verdict: Verdict
) -> None:
    """As long as it does not, there is one, and whoever returned None holds nothing."""
    cells = judge(caches.Locked, LOCKING, MutualExclusion(), under=under, profile=TWINS)
    assert cells["mutual-exclusion"].verdict is verdict
