"""Sets and invalidations by writers: in another order, late, in vain, or not at all."""

from collections.abc import Callable

import pytest

from cacheproof.models.anomalies import classify
from cacheproof.models.anomaly_rules.case import Case
from cacheproof.models.anomaly_rules.kinds import About
from cacheproof.models.anomaly_rules.table import RULES
from cacheproof.models.convergence import Convergence
from cacheproof.models.history import History
from cacheproof.models.integrity import Integrity
from cacheproof.models.staleness import BoundedStaleness
from cacheproof.models.verdict import Finding

Act = Callable[..., History]

UPDATE = "A write v2\nA UPDATE v2\nA commits v2\n"
END = "\nquiet\nfinal\nC read\nC GET -> v1\nC ok v1"
LISTENER = "D work\nD XREADGROUP GROUP g d > waits @none\n"

DIVERGES: dict[str, tuple[str, str]] = {
    "the reply to the update was lost": (
        "ambiguous-commit",
        "A write v2\nA UPDATE v2 reply-lost\nA commits v2\nA info" + END,
    ),
    "the reply to the commit was lost": (
        "ambiguous-commit",
        "A write v2\nA UPDATE v2\nA COMMIT @none reply-lost\nA commits v2\nA fail" + END,
    ),
    "the reply to the update was lost, and the writer invalidated all the same": (
        "divergence",
        "A write v2\nA UPDATE v2 reply-lost\nA commits v2\nA DEL\nA info" + END,
    ),
    "the writer crashed after its update": ("crash-before-invalidation", UPDATE + "A crash" + END),
    "nobody knows who committed": (
        "crash-before-invalidation",
        "A write v2\nA UPDATE v2\nA crash\n? commits v2" + END,
    ),
    "the writer crashed before its event": ("dual-write-gap", LISTENER + UPDATE + "A crash" + END),
    "the writer crashed after its event": (
        "crash-before-invalidation",
        LISTENER + UPDATE + "A XADD @none\nA crash" + END,
    ),
    "the writer crashed with its event under way": (
        "dual-write-gap",
        LISTENER + UPDATE + "A XADD @none lost\nA crash" + END,
    ),
    "nobody listened to what was published": ("missed-notification", UPDATE + "A PUBLISH -> 0\nA ok" + END),
    "somebody listened to what was published": ("divergence", UPDATE + "A PUBLISH -> 1\nA ok" + END),
    "nobody listened, and the writer deleted the entry itself": (
        "divergence",
        UPDATE + "A PUBLISH -> 0\nA DEL\nA ok" + END,
    ),
    "the writer could not reach the cache, like everybody": (
        "lost-invalidation",
        "partition cache\n" + UPDATE + "A ok\nheal cache" + END,
    ),
    "the writer could not reach the cache, and said so": (
        "crash-before-invalidation",
        "partition cache\n" + UPDATE + "A info\nheal cache" + END,
    ),
    "the cache worked on nothing when the delete was sent": (
        "lost-invalidation",
        "freeze cache\n" + UPDATE + "A DEL waits\nA ok\nkill cache\nstart cache everything" + END,
    ),
    "the cache was away before": (
        "no-invalidation",
        "partition cache\nheal cache\n" + UPDATE + "A ok" + END,
    ),
    "the delete was lost": ("lost-invalidation", UPDATE + "A DEL lost\nA ok" + END),
    "the keys of the group were listed before": (
        "group-clear-race",
        UPDATE + "A SCAN @none\nA UNLINK #other @none\nA ok" + END,
    ),
    "the keys of the group were listed with this one": (
        "divergence",
        UPDATE + "A SCAN @none\nA UNLINK\nA ok" + END,
    ),
    "somebody else listed keys": ("no-invalidation", UPDATE + "A ok\nB KEYS @none" + END),
    "a refreshed value was refused by NX": (
        "refresh-never-lands",
        UPDATE + "A DEL lost\nA ok\nB read\nB GET -> v1\nB SELECT -> v2\nB SET v2 x NX -> nil\nB ok v1" + END,
    ),
    "a refreshed value was refused as older, after a delete and an insert": (
        "version-reset",
        "A delete\nA DELETE\nA commits nil\nA EVAL -> 1\nA ok\nA write v3\nA INSERT v3\nA commits v3\n"
        "A EVAL v3 -> 0\nA ok" + END,
    ),
    "a newer value was refused as older": ("version-inversion", UPDATE + "A EVAL v2 -> 0\nA ok" + END),
    "a newer value was taken": ("divergence", UPDATE + "A EVAL v2 -> 1\nA ok" + END),
    "two writers' sets were in the other order": (
        "write-through-reorder",
        "B write v1\nB UPDATE v1\nB commits v1\n" + UPDATE + "A SET v2\nA ok\nB SET v1\nB ok" + END,
    ),
    "two writers' sets were in order": (
        "divergence",
        "B write v1\nB UPDATE v1\nB commits v1\nB SET v1\n" + UPDATE + "A SET v2\nA ok\nB ok" + END,
    ),
    "the cache was set first, and the writer crashed": (
        "dirty-write-through",
        "A write v1\nA SET v1\nA crash" + END,
    ),
    "the writer never told the cache": ("no-invalidation", UPDATE + "A ok" + END),
}


@pytest.mark.parametrize("title", DIVERGES)
def test_divergence_is_named_after_what_the_writer_did(title: str, act: Act) -> None:
    """A planted schedule has its name; a near miss has another."""
    slug, script = DIVERGES[title]
    initial = {"k": "v0"} if "first" in title or "writers" in title else {"k": "v1"}
    history = act(script, initial=initial)
    (found,) = Convergence(0).check(history).findings
    assert classify(found, history).slug == slug


def test_the_window_after_the_commit(act: Act) -> None:
    """The invalidation comes after the read."""
    history = act(UPDATE + "C read\nC GET -> v1\nC ok v1\nA DEL\nA ok")
    (found,) = BoundedStaleness(0).check(history).findings
    assert classify(found, history).slug == "commit-window"


def test_the_entry_was_set_inside_a_transaction_that_rolled_back(act: Act) -> None:
    """A read of it is dirty; one that was set by nobody who had not committed is not."""
    history = act("A write v2\nA UPDATE v2\nA SET v2\nC read\nC GET -> v2\nC ok v2\nA ROLLBACK @none\nA fail")
    (found,) = Integrity().check(history).findings
    assert classify(found, history).slug == "dirty-write-through"


def test_a_mark_that_says_nothing_of_the_value_is_no_early_set(act: Act) -> None:
    """A writer that puts the key under quarantine before it writes has set no entry."""
    script = "A write v2\nA EVAL script 1 k {0} -> 1\nC read\nC GET -> v2\nC ok v2\nA ROLLBACK @none\nA fail"
    named = []
    for told in ("quarantine", "v2"):
        history = act(script.format(told))
        (found,) = Integrity().check(history).findings
        named.append(classify(found, history).slug)
    assert named == ["dirty-read", "dirty-write-through"]


COMPETING = """
    B read
    B XREADGROUP GROUP {group} b > @none waits
    B ok v1
    C read
    C XREADGROUP GROUP g c > @none waits
    C ok v1
    A write v2
    A UPDATE v2
    A commits v2
    A XADD
    A ok
    {given} XREADGROUP GROUP g b > -> v2
    quiet
    final
    C read
    {look}
    C ok v1
"""


@pytest.mark.parametrize(
    ("change", "slug"),
    [
        ({}, "competing-consumers"),
        ({"group": "h", "given": "D"}, "competing-consumers"),
        ({"given": "C"}, "divergence"),
        ({"look": "C GET -> v1"}, "divergence"),
    ],
    ids=["shared out", "to a third", "to the reader itself", "an entry in the shared cache"],
)
def test_consumers_that_compete(change: dict[str, str], slug: str, act: Act) -> None:
    """The reader has a copy of its own, and the event went to somebody else of its group."""
    parts = {"group": "g", "given": "B", "look": "advance 0"} | change
    history = act(COMPETING.format(**parts))
    (found,) = Convergence(0).check(history).findings
    assert classify(found, history).slug == slug


def test_a_group_of_its_own_for_each_copy(act: Act) -> None:
    """The event went to another group, so it was not shared out; what is asked for in no group counts for none."""
    script = COMPETING.format(group="h", given="B", look="advance 0")
    given = "B XREADGROUP GROUP g b > -> v2"
    history = act(script.replace(given, given.replace("GROUP g", "GROUP h") + "\nB XREADGROUP @none"))
    (found,) = Convergence(0).check(history).findings
    assert classify(found, history).slug == "divergence"


DESYNC = """
    C read @b
    C GET @b {reply}
    C {end}
    C read
    C GET {own}
    C ok v9
"""


@pytest.mark.parametrize(
    ("reply", "end", "own", "slug"),
    [
        ("-> v9", "info", "-> v9", "response-desync"),
        ("-> v9", "ok v9", "-> v9", "fabricated-value"),
        ("-> nil", "info", "-> v9", "fabricated-value"),
    ],
    ids=["a reply that was given up", "a reply that was heard", "a reply that held nothing"],
)
def test_somebody_elses_reply(reply: str, end: str, own: str, slug: str, act: Act) -> None:
    """The value of another key, which the same client had asked for and given up."""
    history = act(DESYNC.format(reply=reply, end=end, own=own), initial={"k": "v1", "b": "v9"})
    (found,) = Integrity().check(history).findings
    assert classify(found, history).slug == slug


def test_a_foreign_value_that_was_never_asked_for(act: Act) -> None:
    """No exchange of the client but its own."""
    history = act("C read\nC GET -> v9\nC ok v9", initial={"k": "v1", "b": "v9"})
    (found,) = Integrity().check(history).findings
    assert classify(found, history).slug == "fabricated-value"


@pytest.mark.parametrize("slug", [slug for slug, _ in RULES[About.VALUE]])
def test_no_rule_fits_a_finding_without_evidence(slug: str, act: Act) -> None:
    """No culprit, no key, no exchanges: no rule may guess."""
    shows = dict(RULES[About.VALUE])[slug]
    assert not shows(Case(Finding("custom", "custom", None), act("A crash")))
