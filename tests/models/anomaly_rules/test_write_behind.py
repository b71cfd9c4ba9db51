"""A change that went astray between the cache and the database is named after where it did."""

from collections.abc import Callable

import pytest

from cacheproof.models.anomalies import classify
from cacheproof.models.convergence import Convergence
from cacheproof.models.durability import Durability
from cacheproof.models.history import History
from cacheproof.models.read_after_write import ReadAfterWrite
from cacheproof.models.verdict import Property

Act = Callable[..., History]

WRITE = "A write v2\nA SET+LPUSH v2\nA ok\n"
WORKER = "D work\n"

LOST: dict[str, tuple[str, str]] = {
    "the cache was killed": ("lost-write-behind", "kill cache"),
    "the worker popped it and crashed": ("pop-then-crash", WORKER + "D BRPOP @none -> v2\nD crash\nD info"),
    "the worker popped what cannot be read": (
        "pop-then-crash",
        WORKER + "D BRPOP @none -> pickled\nD crash\nD info",
    ),
    "the worker never heard what it popped": ("pop-then-crash", WORKER + "D BRPOP @none reply-lost\nD info"),
    "the worker popped it, and its update was lost": (
        "pop-then-crash",
        WORKER + "D BRPOP @none -> v2\nD UPDATE v2 lost\nD info",
    ),
    "the worker acknowledged before it had changed anything": (
        "pop-then-crash",
        WORKER + "D XREADGROUP @none -> pickled\nD XACK @none\nD crash\nD info",
    ),
    "the worker still waited for something to pop": (
        "lost-write-behind",
        WORKER + "D BRPOP @none waits\nD crash\nD info\nkill cache",
    ),
    "the request to pop was lost": ("lost-write-behind", WORKER + "D BRPOP @none lost\nD info\nkill cache"),
    "the worker had changed another record": (
        "lost-write-behind",
        WORKER + "D XREADGROUP @none\nD UPDATE @b\nD XACK @none\nD crash\nkill cache",
    ),
    "the worker had popped another change": (
        "lost-write-behind",
        WORKER + "D BRPOP @none -> other\nD UPDATE v0\nD crash\nkill cache",
    ),
    "the database refused it": (
        "poison-write",
        WORKER + "D BRPOP @none -> v2\nD UPDATE v2 -> error 23514 violates check constraint\nD info",
    ),
    "the database was going down": (
        "pop-then-crash",
        WORKER + "D BRPOP @none -> v2\nD UPDATE v2 -> error 57P01 terminating connection\nD info",
    ),
    "the database refused another change": (
        "lost-write",
        WORKER + "D UPDATE v0 -> error 23514 violates check constraint\nD info",
    ),
    "the worker restarted and asked for new entries only": (
        "pending-list-black-hole",
        WORKER + "D XREADGROUP > -> v2\nD crash\nD restart\nD work\nD XREADGROUP @none > waits",
    ),
    "the worker restarted and asked for what was pending": (
        "lost-write",
        WORKER
        + "D XREADGROUP > -> v2\nD crash\nD restart\nD work\nD XREADGROUP @none 0\nD XREADGROUP @none > waits",
    ),
    "the worker restarted and claimed what was pending": (
        "lost-write",
        WORKER
        + "D XREADGROUP > -> v2\nD crash\nD work\nD XREADGROUP @none > waits\nE work\nE XAUTOCLAIM @none",
    ),
    "the worker never restarted": ("lost-write", WORKER + "D XREADGROUP > -> v2\nD crash"),
    "the worker never crashed": ("lost-write", WORKER + "D XREADGROUP > -> v2\nD XREADGROUP > waits @none"),
    "the worker crashed after it had changed the record": (
        "lost-write",
        WORKER + "D XREADGROUP > -> v2\nD UPDATE v0\nD crash\nD work\nD XREADGROUP @none > waits",
    ),
    "the entry expired before the flush": ("dirty-eviction", "expire cache:k"),
    "the entry was evicted before the flush": ("dirty-eviction", "evict k"),
    "another entry expired": ("lost-write", "expire cache:kk"),
}


@pytest.mark.parametrize("title", LOST)
def test_lost_writes_are_named_after_where_they_went(title: str, act: Act) -> None:
    """A planted schedule has its name; a near miss has another."""
    slug, script = LOST[title]
    history = act(WRITE + script + "\nquiet", workers=1)
    (found,) = Durability().check(history).findings
    assert classify(found, history).slug == slug


def test_an_entry_that_expired_before_its_write_reached_the_cache(act: Act) -> None:
    """That took nothing away; and a write that changed the database itself left nothing dirty."""
    early = act("A write v2\nexpire k\nA SET v2\nA ok\nquiet")
    through = act("A write v2\nA UPDATE v2 lost\nA SET v2\nexpire k\nA ok\nquiet")
    for history, slug in ((early, "lost-write"), (through, "dirty-eviction")):
        (found,) = Durability().check(history).findings
        assert classify(found, history).slug == slug


def test_a_dirty_entry_that_expired_shows_as_a_stale_read(act: Act) -> None:
    """The reader misses, and loads the old row; the worker flushes later."""
    history = act(
        WRITE + "expire k\nB read\nB GET -> nil\nB SELECT -> v1\nB ok v1\nD work\nD UPDATE v2\nD commits v2"
    )
    (found,) = ReadAfterWrite().check(history).findings
    assert classify(found, history).slug == "dirty-eviction"


RACE = """
    D work
    D SPOP-OTHER @none
    D GET -> v1
    A write v2
    A SET+SADD v2
    A ok
    {before}
    D UPDATE v1
    D {clear}
    quiet
"""


@pytest.mark.parametrize(
    ("before", "clear", "slug"),
    [
        ("advance 0", "SREM #dirty", "dirty-flag-race"),
        ("D GET -> v2", "SREM #dirty", "lost-write"),
        ("advance 0", "SADD #dirty", "lost-write"),
    ],
    ids=["cleared after the write", "looked once more", "not cleared"],
)
def test_a_dirty_flag_that_was_cleared_too_late(before: str, clear: str, slug: str, act: Act) -> None:
    """The worker read the entry before the write, and cleared its mark after it."""
    history = act(RACE.format(before=before, clear=clear), workers=1)
    (found,) = Durability().check(history).findings
    assert classify(found, history).slug == slug


FLUSHES = """
    A write v2
    A SET+XADD v2
    A ok
    B write v3
    B SET+XADD v3
    B ok
    C work
    D work
    C XREADGROUP @none -> v2
    D XREADGROUP @none -> v3
    {first}
    {second}
    quiet
    final
    E read
    E GET -> v3
    E ok v3
"""


@pytest.mark.parametrize("check", [Durability(), Convergence(0)], ids=lambda item: item.name)
def test_flush_in_another_order(check: Property, act: Act) -> None:
    """Two workers flush two writes of a key in the other order."""
    history = act(FLUSHES.format(first="D UPDATE v3\nD commits v3", second="C UPDATE v2\nC commits v2"))
    (found,) = check.check(history).findings
    assert classify(found, history).slug == "flush-reorder"


CLOBBERED = """
    A write v2
    A SET+XADD v2
    A ok
    B write v3
    {own}
    B commits v3
    B ok
    D work
    D XREADGROUP @none -> v2
    D UPDATE v2
    D commits v2
    quiet
"""


@pytest.mark.parametrize(
    ("script", "slug"),
    [
        (CLOBBERED.format(own="B UPDATE v3"), "clobbered-write"),
        (CLOBBERED.format(own="B UPDATE v3").replace("A SET+XADD", "A XADD"), "lost-write"),
        (CLOBBERED.format(own="B UPDATE v3").replace("A SET+XADD v2", "A UPDATE v2 waits"), "lost-write"),
    ],
    ids=["by a flush", "by what was not in the cache", "by a statement of the write itself"],
)
def test_a_flush_over_a_write_by_another_path(script: str, slug: str, act: Act) -> None:
    """What was cached before goes over what was written to the database since."""
    history = act(script, workers=1)
    (found,) = Durability().check(history).findings
    assert classify(found, history).slug == slug


def test_an_event_that_was_pending_when_its_worker_crashed(act: Act) -> None:
    """The invalidation, too, waits for ever; one that was carried out before the crash does not."""
    script = """
        D work
        A write v2
        A UPDATE v2
        A commits v2
        A XADD
        A ok
        D XREADGROUP > -> event
        {done}
        D crash
        D work
        D XREADGROUP @none > waits
        quiet
        final
        C read
        C GET -> v1
        C ok v1
    """
    for done, slug in (("advance 0", "pending-list-black-hole"), ("D DEL", "divergence")):
        history = act(script.format(done=done), workers=1)
        (found,) = Convergence(0).check(history).findings
        assert classify(found, history).slug == slug
