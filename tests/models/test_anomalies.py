"""Findings get the name of the anomaly that the history shows, and every name has a full entry."""

from collections.abc import Callable

import pytest

from cacheproof.models.anomalies import ANOMALIES, anomaly, classify
from cacheproof.models.convergence import Convergence
from cacheproof.models.durability import Durability
from cacheproof.models.errors import UsageError
from cacheproof.models.history import History
from cacheproof.models.integrity import Integrity
from cacheproof.models.read_after_write import ReadAfterWrite
from cacheproof.models.staleness import BoundedStaleness
from cacheproof.models.verdict import Finding, Property
from cacheproof.models.zones import Linearizable

Act = Callable[..., History]

STALE_READ = """
    C read
    C GET -> v1
    C ok v1
"""
FINAL_STALE_READ = "quiet\nfinal\n" + STALE_READ

SCRIPTS: dict[str, tuple[str, str]] = {
    "stale set": (
        "stale-set",
        """
        B read
        B GET -> nil
        B SELECT -> v1
        A write v2
        A UPDATE v2
        A commits v2
        A DEL -> 0
        A ok
        B SET v1
        B ok v1
        """,
    ),
    "stale set by a script, in a transaction": (
        "stale-set",
        """
        B read
        B EVAL lease -> nil
        B SELECT -> v1
        A write v2
        A BEGIN @none
        A UPDATE v2
        A COMMIT @none
        A commits v2
        A EVAL invalidate
        A ok
        B EVAL fill v1
        B ok v1
        """,
    ),
    "stale set over an invalidation by a worker": (
        "stale-set",
        """
        D work
        B read
        B GET -> nil
        B SELECT -> v1
        A write v2
        A UPDATE v2
        A commits v2
        A XADD @none
        A ok
        D XREADGROUP @none
        D DEL
        B SET v1
        B ok v1
        """,
    ),
    "delete before update": (
        "pre-delete-race",
        """
        A write v2
        A DEL
        B read
        B GET -> nil
        B SELECT -> v1
        B SET v1
        B ok v1
        A UPDATE v2
        A commits v2
        A ok
        """,
    ),
    "delete before update, filled afterwards": (
        "pre-delete-race",
        """
        A write v2
        B read
        B GET -> nil
        B SELECT -> v1
        A DEL
        A UPDATE v2
        A commits v2
        A ok
        B SET v1
        B ok v1
        """,
    ),
    "invalidation inside the transaction": (
        "invalidate-before-commit",
        """
        A write v2
        A UPDATE v2
        A DEL
        B read
        B GET -> nil
        B SELECT -> v1
        B SET v1
        B ok v1
        A COMMIT @none
        A commits v2
        A ok
        """,
    ),
    "fill over a newer write-through": (
        "fill-over-write-through",
        """
        B read
        B GET -> nil
        B SELECT -> v1
        A write v2
        A UPDATE v2
        A commits v2
        A SET v2
        A ok
        B SET v1
        B ok v1
        """,
    ),
    "no invalidation": (
        "no-invalidation",
        """
        A write v2
        A UPDATE v2
        A commits v2
        A ok
        """,
    ),
    "an invalidation whose error is swallowed": (
        "lost-invalidation",
        """
        A write v2
        A UPDATE v2
        A commits v2
        A DEL lost
        A ok
        """,
    ),
    "an invalidation that the cache refused": (
        "lost-invalidation",
        """
        A write v2
        A UPDATE v2
        A commits v2
        A DEL -> error-oom
        A ok
        """,
    ),
    "an event that no worker has taken yet": (
        "commit-window",
        """
        A write v2
        A UPDATE v2
        A commits v2
        A XADD @none
        A ok
        D work
        """,
    ),
    "a fill that was loaded after the invalidation, from an old snapshot": (
        "stale-read",
        """
        B read
        B GET -> nil
        A write v2
        A UPDATE v2
        A commits v2
        A DEL
        A ok
        B SELECT -> v1
        B SET v1
        B ok v1
        """,
    ),
    "a reason that no rule knows": (
        "stale-read",
        """
        A write v2
        A UPDATE v2
        A commits v2
        A DEL
        A ok
        """,
    ),
}


def only(findings: tuple[Finding, ...]) -> Finding:
    assert len(findings) == 1
    return findings[0]


def name(check: Property, history: History) -> str:
    return classify(only(check.check(history).findings), history).slug


@pytest.mark.parametrize("title", SCRIPTS)
def test_stale_reads_are_named_after_their_cause(title: str, act: Act) -> None:
    """A stale read is named by how it came about, whichever property saw it."""
    slug, script = SCRIPTS[title]
    later = "D DEL\n" if slug == "commit-window" else ""
    history = act(script + STALE_READ + later)
    generic = {"stale-read": "staleness-beyond-bound"}
    assert name(ReadAfterWrite(), history) == slug
    assert name(BoundedStaleness(0), history) == generic.get(slug, slug)
    assert name(Linearizable(), history) == slug
    if not later:
        diverged = act(script + FINAL_STALE_READ)
        assert name(Convergence(0), diverged) == {"stale-read": "divergence"}.get(slug, slug)


def test_commit_window(act: Act) -> None:
    """A read that hits between the commit and the invalidation, after another read saw the new value."""
    history = act("""
        A write v2
        A UPDATE v2
        A commits v2
        C read
        C GET -> v1
        C ok v1
        A DEL
        A ok
    """)
    assert name(BoundedStaleness(0), history) == "commit-window"


def test_commit_window_seen_by_two_reads(act: Act) -> None:
    """New and then old while the write is open: not linearizable, by the window."""
    history = act("""
        A write v2
        A UPDATE v2
        A commits v2
        B read
        B SELECT -> v2
        B ok v2
        C read
        C GET -> v1
        C ok v1
        A DEL
        A ok
    """)
    assert name(Linearizable(), history) == "commit-window"


def test_write_through_in_another_order(act: Act) -> None:
    """Two writers' SETs in the other order than their commits."""
    history = act("""
        A write v2
        B write v3
        A UPDATE v2
        A commits v2
        B UPDATE v3
        B commits v3
        B SET v3
        B ok
        A SET v2
        A ok
        quiet
        final
        C read
        C GET -> v2
        C ok v2
    """)
    assert name(Convergence(0), history) == "write-through-reorder"
    assert name(ReadAfterWrite(), history) == "write-through-reorder"


def test_staleness_beyond_the_ttl(act: Act) -> None:
    """A pause between SELECT and SET adds to the ttl; without the pause the same schedule is a stale set."""
    script = """
        B read
        B GET -> nil
        B SELECT -> v1
        A write v2
        A UPDATE v2
        A commits v2
        A DEL
        A ok
        {pause}
        B SET v1 EX 10
        B ok v1
        advance 9
        C read
        C GET -> v1
        C ok v1
    """
    paused = act(script.format(pause="advance 5"))
    assert name(BoundedStaleness(10), paused) == "staleness-beyond-ttl"
    assert name(ReadAfterWrite(), paused) == "stale-set"
    assert not BoundedStaleness(10).check(act(script.format(pause=""))).findings
    assert name(BoundedStaleness(5), act(script.format(pause=""))) == "stale-set"


@pytest.mark.parametrize(
    "end",
    ["A crash\nA info", "A info", "A fail", "A SET lost\nA info", "A DEL reply-lost\nA info"],
)
def test_crash_before_the_invalidation(end: str, act: Act) -> None:
    """After a commit the write ended without touching the entry; a lost request has its own name."""
    history = act(f"""
        A write v2
        A UPDATE v2
        A commits v2
        {end.replace(chr(10), chr(10) + "        ")}
        {FINAL_STALE_READ}
    """)
    expected = "lost-invalidation" if "SET lost" in end else "crash-before-invalidation"
    expected = "divergence" if "reply-lost" in end else expected
    assert name(Convergence(0), history) == expected


WRITE_BEHIND = """
    A write v2
    A SET+LPUSH v2
    A ok
"""


@pytest.mark.parametrize(
    ("middle", "slug"),
    [
        ("kill cache", "lost-write-behind"),
        ("D work\nD BRPOP @none -> v2\nD crash\nD info", "pop-then-crash"),
        ("D work\nD BRPOP @none -> pickled\nD crash\nD info", "pop-then-crash"),
        ("D work\nD BRPOP @none reply-lost\nD info", "pop-then-crash"),
        ("D work\nD BRPOP @none -> v2\nD UPDATE v2 lost\nD info", "pop-then-crash"),
        ("D work\nD XREADGROUP @none -> pickled\nD XACK @none\nD crash\nD info", "pop-then-crash"),
        ("D work\nD BRPOP @none waits\nD crash\nD info\nkill cache", "lost-write-behind"),
        ("D work\nD BRPOP @none lost\nD info\nkill cache", "lost-write-behind"),
        ("D work\nD XREADGROUP @none\nD UPDATE @b\nD XACK @none\nD crash\nkill cache", "lost-write-behind"),
        ("D work\nD BRPOP @none -> other\nD UPDATE v0\nD crash\nkill cache", "lost-write-behind"),
        ("D work\nD UPDATE v2 -> error-type\nD info", "lost-write"),
    ],
)
def test_lost_write_behind(middle: str, slug: str, act: Act) -> None:
    """An acknowledged write is lost with the cache, or in the hands of a worker that died."""
    history = act(WRITE_BEHIND + middle + "\nquiet", workers=1)
    assert name(Durability(), history) == slug


def test_a_lost_write_behind_shows_as_a_stale_read_too(act: Act) -> None:
    """Reads and the database agree on the old value: the read-after-write finding has the same name."""
    history = act(WRITE_BEHIND + "kill cache\nB read\nB GET -> nil\nB SELECT -> v1\nB ok v1")
    assert name(ReadAfterWrite(), history) == "lost-write-behind"


def test_a_popped_change_shows_as_divergence_too(act: Act) -> None:
    """The cache serves the new value for ever, the database never gets it."""
    lost = "D work\nD BRPOP @none -> v2\nD crash\nD info\nquiet\nfinal\nB read\nB GET -> v2\nB ok v2"
    history = act(WRITE_BEHIND + lost)
    assert name(Convergence(0), history) == "pop-then-crash"


@pytest.mark.parametrize("check", [Durability(), Convergence(0)], ids=lambda item: item.name)
def test_flush_in_another_order(check: Property, act: Act) -> None:
    """Two workers flush two writes of a key in the other order."""
    history = act("""
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
        D UPDATE v3
        D commits v3
        C UPDATE v2
        C commits v2
        quiet
        final
        E read
        E GET -> v3
        E ok v3
    """)
    assert name(check, history) == "flush-reorder"


@pytest.mark.parametrize(
    ("end", "check"),
    [
        ("A ROLLBACK @none\nA fail", Integrity()),
        ("A COMMIT @none\nA commits v2\nA ok", Integrity(committed=True)),
        ("A crash\nA info", Integrity(committed=True)),
    ],
)
def test_dirty_write_through(end: str, check: Property, act: Act) -> None:
    """The entry was set before the commit, whether or not the commit came later."""
    history = act("A write v2\nA UPDATE v2\nA SET v2\nC read\nC GET -> v2\nC ok v2\n" + end)
    assert name(check, history) == "dirty-write-through"


def test_cache_first_write_through_diverges_under_the_same_name(act: Act) -> None:
    """A crash between SET and UPDATE leaves the cache with a value that the database never gets."""
    history = act("A write v2\nA SET v2\nA crash\nA info\nquiet\nfinal\nC read\nC GET -> v2\nC ok v2")
    assert name(Convergence(0), history) == "dirty-write-through"


@pytest.mark.parametrize(
    ("script", "check", "slug"),
    [
        ("C read\nC GET -> v7\nC ok v7", Integrity(), "fabricated-value"),
        ("C read\nC GET -> v9\nC ok v9", Integrity(), "fabricated-value"),
        ("C read\nC ok v2\nA write v2\nA ok", Integrity(), "fabricated-value"),
        ("A write v2\nC read\nC ok v2\nA fail", Integrity(), "dirty-read"),
        ("A write v2\nC read\nC ok v2\nA ok", Integrity(committed=True), "dirty-read"),
        ("A write v2\nB read\nB ok v2\nC read\nC ok v1\nA ok", Linearizable(), "non-linearizable"),
    ],
)
def test_findings_without_a_known_cause_get_a_general_name(
    script: str, check: Property, slug: str, act: Act
) -> None:
    """No exchange tells how it came about, so the name says what was seen."""
    assert name(check, act(script, initial={"k": "v1", "b": "v9"})) == slug


def test_a_finding_of_another_property_is_named_in_general(act: Act) -> None:
    """A kind that this module has never heard of is at least not in order; no key and no culprit are needed."""
    assert classify(Finding("custom", "custom", None), act("A crash")).slug == "non-linearizable"


def test_every_entry_is_complete() -> None:
    """Each entry has steps, somebody who suffers, a fix and a source, and is reachable by its slug."""
    for slug, entry in ANOMALIES.items():
        assert anomaly(slug) is entry and entry.slug == slug
        assert entry.title and entry.summary.endswith(".") and entry.source
        assert len(entry.steps) >= 2 and entry.suffers and entry.fixes
    numbers = [entry.number for entry in ANOMALIES.values() if entry.number is not None]
    assert len(set(numbers)) == len(numbers)


def test_an_unknown_name_is_answered_with_the_closest() -> None:
    """A typo is answered with what was probably meant, nonsense with the whole list."""
    with pytest.raises(UsageError, match="unknown anomaly 'stale-sett'; did you mean stale-set"):
        anomaly("stale-sett")
    with pytest.raises(UsageError, match=r"'xyzzy'; choose from commit-window.*write-through-reorder"):
        anomaly("xyzzy")
