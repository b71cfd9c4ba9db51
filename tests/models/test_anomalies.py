"""Findings get the name of the anomaly that the history shows, and every name has a full entry."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from cacheproof.models.anomalies import ANOMALIES, anomaly, classify
from cacheproof.models.convergence import Convergence
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
        "old-snapshot-fill",
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


def test_every_entry_is_reachable_by_its_slug() -> None:
    """And by nothing else."""
    assert all(anomaly(slug) is entry for slug, entry in ANOMALIES.items())


@pytest.mark.parametrize(
    ("kind", "slug"),
    [("too-many-round-trips", "too-many-round-trips"), ("slow", "slow"), ("stampede", "stampede")],
)
def test_what_a_finding_is_about_selects_the_rules(kind: str, slug: str, act: Act) -> None:
    """A read that was slow, or cost too much, is not called a stale set because it happened to be stale as well."""
    history = act(SCRIPTS["stale set"][1] + STALE_READ)
    finding = Finding("custom", kind, "k", culprit=history.operations[-1])
    assert classify(finding, history).slug == slug
    assert classify(replace(finding, kind="stale-read"), history).slug == "stale-set"


def test_an_unknown_name_is_answered_with_the_closest() -> None:
    """A typo is answered with what was probably meant, nonsense with the whole list."""
    with pytest.raises(UsageError, match="unknown anomaly 'stale-sett'; did you mean stale-set"):
        anomaly("stale-sett")
    with pytest.raises(UsageError, match=r"'xyzzy'; choose from ambiguous-commit, .*, zombie-write$"):
        anomaly("xyzzy")
