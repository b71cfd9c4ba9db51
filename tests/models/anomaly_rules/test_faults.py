"""What faults alone bring about is told from what would have gone wrong without them."""

from collections.abc import Callable
from pathlib import Path

import pytest

from cacheproof.models.anomalies import classify
from cacheproof.models.anomaly_rules.case import Case
from cacheproof.models.anomaly_rules.faults import (
    durability_rollback,
    failover_rollback,
    one_way_partition,
    zombie_write,
)
from cacheproof.models.durability import Durability
from cacheproof.models.history import History
from cacheproof.models.mutual_exclusion import MutualExclusion
from cacheproof.models.read_after_write import ReadAfterWrite
from cacheproof.models.staleness import BoundedStaleness
from cacheproof.models.verdict import Finding, Property

Act = Callable[..., History]

RECORDED: dict[str, tuple[Property, str]] = {
    "cut-off": (ReadAfterWrite(), "one-way-partition"),
    "cut-off-and-raised": (BoundedStaleness(0), "crash-before-invalidation"),
    "cut-off-one-way": (ReadAfterWrite(), "one-way-partition"),
    "cut-off-silently": (ReadAfterWrite(), "one-way-partition"),
    "cut-off-with-everybody": (ReadAfterWrite(), "lost-invalidation"),
    "failed-over": (ReadAfterWrite(), "failover-rollback"),
    "failed-over-with-lock": (MutualExclusion(), "lock-lost-on-failover"),
    "failed-over-with-queue": (Durability(), "failover-rollback"),
    "flushed-tombstone": (ReadAfterWrite(), "lost-tombstone"),
    "healed-for-readers": (ReadAfterWrite(), "one-way-partition"),
    "lagging-replica": (ReadAfterWrite(), "replica-lag-fill"),
    "late-but-sent-after": (ReadAfterWrite(), "stale-set"),
    "late-fill": (ReadAfterWrite(), "zombie-write"),
    "late-update": (Durability(), "zombie-write"),
    "late-write-through": (ReadAfterWrite(), "zombie-write"),
    "power-loss-with-queue": (Durability(), "lost-write-behind"),
    "restored-snapshot": (ReadAfterWrite(), "durability-rollback"),
    "restored-snapshot-of-older-value": (ReadAfterWrite(), "durability-rollback"),
}


@pytest.mark.parametrize("title", RECORDED)
def test_what_happened_on_real_servers_has_its_name(title: str) -> None:
    """Histories of small caches, each recorded on a cache and a database to which the fault was done."""
    check, slug = RECORDED[title]
    file = Path(__file__).with_name("recorded") / f"{title}.jsonl"
    history = History.from_jsonl(file.read_text(encoding="utf-8"))
    findings = check.check(history).findings
    assert findings and {classify(finding, history).slug for finding in findings} == {slug}


def test_every_recorded_history_is_judged() -> None:
    """None lies about unused."""
    assert {file.stem for file in Path(__file__).with_name("recorded").glob("*.jsonl")} == set(RECORDED)


STALE_READ = "\nC read\nC GET -> v1\nC ok v1"
MISS = "\nB read\nB GET -> nil\nB SELECT -> v1\n"
FILL = "\nB SET v1\nB ok v1\n"
WRITE = "\nA write v2\nA UPDATE v2\nA commits v2\nA DEL\nA ok\n"
UPDATE = "\nA write v2\nA UPDATE v2\nA commits v2\n"
DELAYED = "B SET v1 delayed waits\nB fail\n"
ARRIVES = "B SET v1 delayed late\n"

STALE: dict[str, tuple[str, str]] = {
    # requests that arrive late
    "a fill arrives after a write": ("zombie-write", MISS + DELAYED + WRITE + ARRIVES),
    "a fill is sent before the invalidation": (
        "zombie-write",
        MISS + UPDATE + DELAYED + "A DEL\nA ok\n" + ARRIVES,
    ),
    "a fill is sent after the invalidation, and arrives later": (
        "stale-set",
        MISS + WRITE + DELAYED + ARRIVES,
    ),
    "a fill arrives before the commit": (
        "no-invalidation",
        MISS + DELAYED + ARRIVES + UPDATE + "A ok\n",
    ),
    "a fill never arrives": ("stale-read", MISS + DELAYED + WRITE),
    "a fill that was kept back, and not given up": (
        "stale-set",
        MISS
        + "partition cache B silent\nB SET v1 waits\n"
        + WRITE
        + "heal cache B\nB SET v1 late\nB ok v1\n",
    ),
    "a value of another write arrives": (
        "zombie-write",
        "B write v1\nB UPDATE v1\nB commits v1\nB SET v1 delayed waits\nB info\n" + WRITE + ARRIVES,
    ),
    # a cache that is back in its past
    "a replica has what was deleted": ("failover-rollback", MISS + FILL + WRITE + "failover cache 1"),
    "a replica has what was replaced": (
        "failover-rollback",
        MISS + FILL + UPDATE + "A SET v2\nA ok\nfailover cache 1",
    ),
    "a script that only looked has seen nothing put back": (
        "failover-rollback",
        MISS + FILL + WRITE + "failover cache 1\nD read\nD EVAL get -> v1\nD ok v1",
    ),
    "filled again after the failover": (
        "stale-read",
        WRITE + "failover cache 1" + "\nB read\nB GET -> nil\nB SELECT -> v2\nB SET v1\nB ok v2\n",
    ),
    "a failover before the invalidation": (
        "stale-read",
        MISS + FILL + UPDATE + "failover cache 1\nA DEL\nA ok",
    ),
    "nothing was invalidated before the failover": (
        "no-invalidation",
        MISS + FILL + UPDATE + "A ok\nfailover cache 1",
    ),
    "a failover, and nothing had been touched": ("stale-read", UPDATE + "A GET\nA ok\nfailover cache 1"),
    "a voided lease is valid again": (
        "failover-rollback",
        MISS + WRITE + "failover cache 1\nB EVAL fill v1\nB ok v1",
    ),
    "a tombstone that the replica does not know": (
        "failover-rollback",
        MISS + UPDATE + "A SET+DEL\nA ok\nfailover cache 1" + FILL,
    ),
    "a fill without any condition": ("stale-set", MISS + WRITE + "failover cache 1" + FILL),
    "a lease that was voided after the failover": (
        "stale-set",
        MISS + UPDATE + "failover cache 1\nA DEL\nA ok\nB EVAL fill v1\nB ok v1",
    ),
    "a snapshot has what was deleted": (
        "durability-rollback",
        MISS + FILL + WRITE + "kill cache\nstart cache snapshot, 1 write behind",
    ),
    "a snapshot has a lease that was voided": (
        "durability-rollback",
        MISS + WRITE + "kill cache\nstart cache synced, 1 write behind\nB EVAL fill v1\nB ok v1",
    ),
    "a snapshot lacks a tombstone": (
        "lost-tombstone",
        MISS
        + UPDATE
        + "A EVAL bury\nA ok\nkill cache\nstart cache synced, 1 write behind\nB EVAL fill v1\nB ok v1",
    ),
    "a cache that was started empty": (
        "stale-read",
        MISS + FILL + WRITE + "kill cache\nstart cache",
    ),
    "the database was started": (
        "stale-read",
        MISS + FILL + WRITE + "kill database\nstart database everything",
    ),
    # writers that are cut off
    "the writer is cut off": ("one-way-partition", "partition cache A refuse" + UPDATE + "A ok\n"),
    "the writer is cut off as it has committed": (
        "one-way-partition",
        UPDATE + "partition cache A refuse\nA ok\n",
    ),
    "what the writer sends does not arrive": (
        "one-way-partition",
        "partition cache A requests" + UPDATE + "A DEL waits\nadvance 1\nA ok\n",
    ),
    "only the answers to the writer do not arrive": (
        "stale-read",
        "partition cache A replies" + UPDATE + "A DEL waits\nadvance 1\nA ok\n",
    ),
    "everybody is cut off, and a reader no more": (
        "one-way-partition",
        "partition cache\nheal cache C" + UPDATE + "A ok\nheal cache",
    ),
    "everybody is cut off": ("lost-invalidation", "partition cache" + UPDATE + "A ok\nheal cache"),
    "the cache works on nothing": (
        "lost-invalidation",
        "freeze cache" + UPDATE + "A DEL waits\nadvance 1\nA ok\nkill cache\nstart cache everything",
    ),
    "the writer is told": ("crash-before-invalidation", "partition cache A" + UPDATE + "A info\n"),
    "a reader is cut off": ("no-invalidation", "partition cache B" + UPDATE + "A ok\n"),
    "the network was healed in time": (
        "no-invalidation",
        "partition cache A\nheal cache A" + UPDATE + "A ok\n",
    ),
    "somebody else invalidated": (
        "no-invalidation",
        "partition cache A refuse" + UPDATE + "D work\nD DEL\nA ok\n",
    ),
}


@pytest.mark.parametrize("title", STALE)
def test_stale_reads_are_named_after_the_fault(title: str, act: Act) -> None:
    """A planted schedule has its name; a near miss has another."""
    slug, script = STALE[title]
    history = act(script + STALE_READ)
    findings = [item for item in BoundedStaleness(0).check(history).findings if item.culprit]
    (found,) = [item for item in findings if item.culprit and item.culprit.process == ord("C") - ord("A")]
    general = {"staleness-beyond-bound": "stale-read"}
    found_slug = classify(found, history).slug
    assert general.get(found_slug, found_slug) == slug


def test_a_hit_in_a_tier_of_its_own_shows_nothing_of_the_cache(act: Act) -> None:
    """The culprit asked nobody, so neither a failover nor a partition explains what it returned."""
    read = "\nC read\nC ok v1"
    for script in (MISS + FILL + WRITE + "failover cache 1", "partition cache A" + UPDATE + "A ok"):
        history = act(script + read)
        found = BoundedStaleness(0).check(history).findings[-1]
        assert not failover_rollback(Case(found, history)) and not one_way_partition(Case(found, history))


SEND = "A write v2\nA UPDATE v2 delayed waits\n"
AGAIN = "A UPDATE v2\nA commits v2\nA ok\n"
OVER = "B write v3\nB UPDATE v3\nB commits v3\nB ok\n"

LOST: dict[str, tuple[str, str]] = {
    "an update arrives late": (
        "zombie-write",
        SEND + AGAIN + OVER + "A UPDATE v2 delayed late\nA commits v2",
    ),
    "an update that somebody repeats": (
        "lost-write",
        "A write v2\n" + AGAIN + OVER + "A UPDATE v2\nA commits v2",
    ),
    "an update was sent after the write": (
        "lost-write",
        "A write v2\n" + AGAIN + OVER + "A UPDATE v2 delayed waits\nA UPDATE v2 delayed late\nA commits v2",
    ),
    "an update arrives late, and changes nothing": (
        "lost-write",
        SEND + AGAIN + OVER + "A UPDATE v2 delayed late\nC UPDATE v2\nC commits v2",
    ),
    "a queue in the cache": ("failover-rollback", "B write v3\nB SET+LPUSH v3\nB ok\nfailover cache 1"),
    "a queue in a cache that failed over before": (
        "lost-write",
        "failover cache 1\nB write v3\nB SET+LPUSH v3\nB ok",
    ),
    "a write that told the database": (
        "lost-write",
        "B write v3\nB UPDATE v3\nB SET v3\nB ok\nfailover cache 1",
    ),
    "a write that told nobody": ("lost-write", "B write v3\nB ok\nfailover cache 1"),
}


@pytest.mark.parametrize("title", LOST)
def test_lost_writes_are_named_after_the_fault(title: str, act: Act) -> None:
    """The finding is about B's write of v3, which the database does not hold at the end."""
    slug, script = LOST[title]
    history = act(script)
    write = next(op for op in history.operations if op.value == "v3")
    assert classify(Finding("durability", "lost-write", "k", culprit=write), history).slug == slug


@pytest.mark.parametrize(
    "rule", [durability_rollback, failover_rollback, one_way_partition, zombie_write], ids=str
)
def test_without_a_culprit_there_is_nothing_to_tell(rule: Callable[[Case], bool], act: Act) -> None:
    """Whatever faults there were; and a read of what was never committed was superseded by nothing."""
    faults = "failover cache 1\nkill cache\nstart cache snapshot\npartition cache A\n"
    assert not rule(Case(Finding("custom", "custom", None), act(faults)))
    history = act(faults + "A write v2\nA UPDATE v2 delayed waits\nA fail\nC read\nC GET -> v9\nC ok v9")
    for culprit in history.operations:
        assert not rule(Case(Finding("custom", "custom", "k", culprit=culprit), history))
