"""A value that was cached too late, or from an old place, is named after how it came there."""

from collections.abc import Callable

import pytest

from cacheproof.models.anomalies import classify
from cacheproof.models.anomaly_rules.case import Case
from cacheproof.models.anomaly_rules.fills import joined_stale_load, lost_tombstone, unfenced_late_write
from cacheproof.models.convergence import Convergence
from cacheproof.models.history import History
from cacheproof.models.read_after_write import ReadAfterWrite
from cacheproof.models.staleness import BoundedStaleness
from cacheproof.models.verdict import Finding

Act = Callable[..., History]

STALE_READ = "\nC read\nC GET -> v1\nC ok v1"
MISS = "\nB read\nB GET -> nil\nB SELECT -> v1\n"
FILL = "\nB SET v1\nB ok v1\n"
WRITE = "\nA write v2\nA UPDATE v2\nA commits v2\nA DEL\nA ok\n"

STALE: dict[str, tuple[str, str]] = {
    "a stale set": ("stale-set", MISS + WRITE + FILL),
    "a stale set after two deletes, one of which was repeated": (
        "stale-set",
        MISS + "A write v2\nA UPDATE v2\nA commits v2\nA DEL reply-lost\nA DEL\nA ok\n" + FILL,
    ),
    "a second delete that came too early": (
        "double-delete-too-early",
        MISS + "A write v2\nA DEL\nA UPDATE v2\nA commits v2\nadvance 1\nA DEL\nA ok\nB SET v1\nB ok v1",
    ),
    "an early refresh, after a hit": (
        "early-refresh-resurrection",
        'B read\nB GET+TTL -> ["v1",3]\nB SELECT -> v1\n' + WRITE + FILL,
    ),
    "a refresh in the background, after a hit": (
        "early-refresh-resurrection",
        "B read\nB GET -> v1\nB ok v1\nB GET -> v1\nB SELECT -> v1\n" + WRITE + "B SET v1",
    ),
    "a miss in a transaction is no hit": (
        "stale-set",
        "B read\nB GET+TTL -> [null,2]\nB SELECT -> v1\n" + WRITE + FILL,
    ),
    "a miss of a hash is no hit": ("stale-set", "B read\nB HGETALL -> {}\nB SELECT -> v1\n" + WRITE + FILL),
    "a miss of several fields is no hit": (
        "stale-set",
        "B read\nB HMGET -> [null,null]\nB SELECT -> v1\n" + WRITE + FILL,
    ),
    "a load in another operation than the hit": (
        "stale-set",
        "B read\nB GET -> v1\nB ok v1\nadvance 400" + MISS + WRITE + FILL,
    ),
    "an expired entry put back": (
        "stale-put-back",
        "B read\nB GET -> v1\n" + WRITE + FILL,
    ),
    "an entry put back that was read after the commit": (
        "stale-read",
        "B read\nA write v2\nA UPDATE v2\nA commits v2\nB GET -> v1\nA DEL\nA ok\n" + FILL,
    ),
    "a fill from an old snapshot": (
        "old-snapshot-fill",
        "B read\nB GET -> nil" + WRITE + "B SELECT -> v1" + FILL,
    ),
    "a load after the commit that returned the new row": (
        "stale-read",
        "B read\nB GET -> nil" + WRITE + "B SELECT -> v2\nB SET v1\nB ok v1\n",
    ),
    "a warm-up over an invalidation": (
        "warm-up-overwrite",
        "B warm_up\nB SELECT -> v1" + WRITE + "B SET v1\nB ok\n",
    ),
    "a warm-up over a newer value": (
        "warm-up-overwrite",
        "B warm_up\nB SELECT -> v1\nA write v2\nA UPDATE v2\nA commits v2\nA SET v2\nA ok\nB SET v1\nB ok\n",
    ),
    "a late write of a former holder of the lock": (
        "unfenced-late-write",
        "B read\nB GET -> nil\nB SET #lock:k a NX EX\nB SELECT -> v1" + WRITE + "D read\nD GET -> nil\n"
        "D SET #lock:k a NX EX\nD SELECT -> v2\nD SET v2\nD ok v2\nB SET v1\nB ok v1",
    ),
    "a holder of the lock who was late, with nobody after it": (
        "stale-set",
        "B read\nB GET -> nil\nB SET #lock:k a NX EX\nB SELECT -> v1" + WRITE + "D read\nD GET -> nil\n"
        "D SET #lock:k a NX EX -> nil\nB SET v1\nB DEL #lock:k\nB ok v1\n",
    ),
    "an event that was sent before the commit": (
        "event-before-data",
        (
            "D work\nA write v2\nA UPDATE v2\nA XADD\nD XREADGROUP\nD DEL\nB read\nB GET -> nil\nB SELECT -> v1\n"
            "B SET v1\nB ok v1\nA COMMIT @none\nA commits v2\nA ok\n"
        ),
    ),
    "an event that was sent before the commit, and consumed before the miss of a fill in between": (
        "event-before-data",
        (
            "D work\nB read\nB GET -> nil\nB SELECT -> v1\nA write v2\nA UPDATE v2\nA XADD\nD DEL\nB SET v1\nB ok v1\n"
            "A COMMIT @none\nA commits v2\nA ok\n"
        ),
    ),
    "a delete by somebody else, without an event": (
        "no-invalidation",
        "A write v2\nA UPDATE v2\nD work\nD DEL\n" + MISS + FILL + "A COMMIT @none\nA commits v2\nA ok\n",
    ),
    "an event that was consumed after the fill": (
        "no-invalidation",
        "D work\nA write v2\nA UPDATE v2\n" + MISS + FILL + "D XADD\nA COMMIT @none\nA commits v2\nA ok\n",
    ),
    "a tombstone that expired": (
        "lost-tombstone",
        MISS
        + "A write v2\nA UPDATE v2\nA commits v2\nA EVAL invalidate\nA ok\nexpire cache:k\nB EVAL fill v1\nB ok v1",
    ),
    "a lease that was lost with the cache": (
        "lost-tombstone",
        MISS
        + "A write v2\nA UPDATE v2\nA commits v2\nA EVAL void\nA ok\nkill cache\nstart cache\nB EVAL fill v1\nB ok v1",
    ),
    "a tombstone, set together with the delete, that was flushed": (
        "lost-tombstone",
        MISS + "A write v2\nA UPDATE v2\nA commits v2\nA SET+DEL\nA ok\nflush cache keys" + FILL,
    ),
    "a delete without a tombstone, and a flush": ("stale-set", MISS + WRITE + "flush cache keys" + FILL),
    "scripts that were flushed": (
        "stale-set",
        MISS + "A write v2\nA UPDATE v2\nA commits v2\nA SET+DEL\nA ok\nflush cache scripts" + FILL,
    ),
    "the database was killed": (
        "stale-set",
        MISS
        + "A write v2\nA UPDATE v2\nA commits v2\nA EVAL void\nA ok\nkill database\nB EVAL fill v1\nB ok v1",
    ),
    "a fill from a replica that lags": (
        "replica-lag-fill",
        "B read\nB GET -> nil" + WRITE + "B SELECT replica -> v1" + FILL,
    ),
    "a fill from a replica, before the commit": (
        "stale-set",
        "B read\nB GET -> nil\nB SELECT replica -> v1" + WRITE + FILL,
    ),
    "a replica that does not lag": (
        "stale-read",
        "B read\nB GET -> nil" + WRITE + "B SELECT replica -> v2\nB SET v1\nB ok v1",
    ),
    "the replica was asked, and then the database": (
        "old-snapshot-fill",
        "B read\nB GET -> nil" + WRITE + "B SELECT replica -> v1\nB SELECT -> v1" + FILL,
    ),
    "another key that expired": (
        "stale-set",
        MISS
        + "A write v2\nA UPDATE v2\nA commits v2\nA EVAL void\nA ok\nexpire b\nadvance 1\nB EVAL fill v1\nB ok v1",
    ),
}


@pytest.mark.parametrize("title", STALE)
def test_stale_reads_are_named_after_the_fill(title: str, act: Act) -> None:
    """A planted schedule has its name; a near miss has another."""
    slug, script = STALE[title]
    history = act(script + STALE_READ)
    found = ReadAfterWrite().check(history).findings[-1]
    assert classify(found, history).slug == slug


def final(history: History) -> str:
    """The name of the one divergence at the end."""
    (found,) = Convergence(0).check(history).findings
    return classify(found, history).slug


def test_a_read_of_a_replica_that_lags(act: Act) -> None:
    """Also if it is not cached; not if the entry was stale, nor if the commit came later."""
    read = "\nC read\nC GET -> nil\nC SELECT replica -> {}\nC ok v1"
    for script, slug in (
        (WRITE + read.format("v1"), "replica-lag-fill"),
        (WRITE + read.format("v2"), "stale-read"),
        (WRITE + "C read\nC SELECT replica -> v1\nC GET -> v1\nC ok v1", "stale-read"),
    ):
        history = act(script)
        (found,) = ReadAfterWrite().check(history).findings
        assert classify(found, history).slug == slug


END = "\nquiet\nfinal\nC read\nC GET -> v1\nC ok v1"


@pytest.mark.parametrize(
    ("filler", "slug"), [("read", "resurrected-delete"), ("warm_up", "warm-up-zombie")], ids=str
)
def test_a_deleted_row_that_is_cached_again(filler: str, slug: str, act: Act) -> None:
    """By a reader, or by a warm-up."""
    script = f"B {filler}\nB GET -> nil\nB SELECT -> v1\nA delete\nA DELETE\nA commits nil\nA DEL\nA ok\nB SET v1\nB ok v1"
    assert final(act(script + END)) == slug


def test_absence_that_is_cached_too_late(act: Act) -> None:
    """The row was inserted, and the negative entry came afterwards."""
    script = "B read\nB GET -> nil\nB SELECT -> nil\nA write v2\nA INSERT v2\nA commits v2\nA DEL -> 0\nA ok\nB SET null\nB ok"
    history = act(script + "\nquiet\nfinal\nC read\nC GET -> null\nC ok", initial={"k": None})
    assert final(history) == "stale-negative-entry"


JOINED = """
    B read
    B GET -> nil
    B SELECT -> v1
    A write v2
    A UPDATE v2
    A commits v2
    A DEL
    A ok
    C read
    {look}
    C ok v1
    {end}
"""


@pytest.mark.parametrize(
    ("look", "slug"),
    [
        ("advance 0", "joined-stale-load"),
        ("C GET -> nil", "joined-stale-load"),
        ("C GET -> v1", "stale-read"),
        ("C EVAL get", "stale-read"),
    ],
)
def test_a_read_that_joined_a_load(look: str, slug: str, act: Act) -> None:
    """It found nothing itself, and another's load from before the commit was open; an entry that it found counts."""
    history = act(JOINED.format(look=look, end="B SET v1\nB ok v1"))
    (found,) = [f for f in ReadAfterWrite().check(history).findings if f.culprit and f.culprit.process == 2]
    assert classify(found, history).slug == slug


@pytest.mark.parametrize(
    "script",
    [
        JOINED.format(look="advance 0", end="").replace("A write", "B ok v1\nA write"),
        JOINED.format(look="advance 0", end="").replace("SELECT -> v1", "SELECT -> v9"),
        JOINED.format(look="advance 0", end="").replace("B read", "A read\nA ok v1"),
    ],
    ids=["the load had ended", "the load brought something else", "the load belongs to no operation"],
)
def test_a_read_that_joined_nothing(script: str, act: Act) -> None:
    """A local tier served it: the load that brought it there is over, or was another."""
    history = act(script)
    (found,) = [f for f in ReadAfterWrite().check(history).findings if f.culprit and f.culprit.process == 2]
    assert classify(found, history).slug == "stale-read"


def test_a_pause_makes_it_staleness_beyond_the_ttl(act: Act) -> None:
    """Only for the property that has a bound."""
    history = act(MISS + WRITE + "advance 5" + FILL + "advance 9" + STALE_READ)
    (found,) = BoundedStaleness(10).check(history).findings
    assert classify(found, history).slug == "staleness-beyond-ttl"


@pytest.mark.parametrize("rule", [joined_stale_load, lost_tombstone, unfenced_late_write])
def test_without_a_fill_there_is_nothing_to_tell(rule: Callable[[Case], bool], act: Act) -> None:
    """A finding about a write, or one without a culprit, is none of these."""
    assert not rule(Case(Finding("custom", "custom", None), act("A crash")))


def test_a_change_past_the_application_has_no_writer(act: Act) -> None:
    """The row was changed by nobody's operation: there is no event of a writer to look for."""
    assert final(act(MISS + FILL + "A UPDATE v2\nA commits v2" + END)) == "divergence"
