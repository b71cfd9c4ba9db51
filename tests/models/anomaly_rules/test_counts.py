"""A counter that is wrong is named after what happened to its increments."""

from collections.abc import Callable

import pytest

from cacheproof.models.anomalies import classify
from cacheproof.models.history import History
from cacheproof.models.verdict import Finding

Act = Callable[..., History]

ADD = "A increment\nA INCRBY 1\nA LPUSH\nA ok\n"
WORKER = "D work\n"

TOO_MANY: dict[str, tuple[str, str]] = {
    "the client sent it again": ("retry-double-apply", "A increment\nA INCR reply-lost\nA INCR\nA ok"),
    "the client sent the update again": (
        "retry-double-apply",
        "A increment\nA UPDATE n+1 reply-lost\nA commits 2\nA UPDATE n+1\nA commits 3\nA ok",
    ),
    "the reply was lost, and nothing was sent again": (
        "double-applied",
        "A increment\nA INCR reply-lost\nA info",
    ),
    "the request was lost": ("double-applied", "A increment\nA INCR lost\nA INCR\nA ok"),
    "the update had to wait, and its reply was lost": (
        "double-applied",
        "A increment\nA UPDATE n+1 waits reply-lost\nA UPDATE n+1 reply-lost\nA commits 2\nA info",
    ),
    "another operation sent the same": (
        "double-applied",
        "A increment\nA INCR reply-lost\nA info\nA increment\nA INCR\nA ok",
    ),
    "a read was repeated": ("double-applied", "A increment\nA GET reply-lost\nA GET\nA ok"),
    "the worker crashed before it had acknowledged": (
        "double-apply",
        ADD
        + WORKER
        + "D XREADGROUP @none\nD UPDATE n+1\nD commits 2\nD crash\nD work\nD UPDATE n+1\nD commits 3",
    ),
    "the worker crashed after it had acknowledged": (
        "double-applied",
        ADD + WORKER + "D UPDATE n+1\nD commits 2\nD XACK @none\nD crash\nD work\nD UPDATE n+1\nD commits 3",
    ),
    "the worker crashed, and nobody changed anything after it": (
        "double-applied",
        ADD + WORKER + "D UPDATE n+1\nD commits 2\nD crash",
    ),
    "the worker never crashed": ("double-applied", ADD + WORKER + "D UPDATE n+1\nD UPDATE n+1"),
}

TOO_FEW: dict[str, tuple[str, str]] = {
    "the worker popped it and crashed": ("pop-then-crash", ADD + WORKER + "D RPOP -> 1\nD crash"),
    "the worker never heard what it popped": ("pop-then-crash", ADD + WORKER + "D RPOP reply-lost\nD info"),
    "the worker popped it and changed the record": (
        "lost-increment",
        ADD + WORKER + "D RPOP -> 1\nD UPDATE n+1\nD crash",
    ),
    "the cache was killed": ("lost-write-behind", ADD + "kill cache"),
    "the cache was killed before": ("lost-increment", "kill cache\nstart cache\n" + ADD),
    "a replica took over": ("failover-rollback", ADD + "failover cache 2"),
    "a replica had taken over before": ("lost-increment", "failover cache 2\n" + ADD),
    "two clients wrote what they had computed from the cache": (
        "lost-update",
        "A increment\nB increment\nA GET -> 1\nB GET -> 1\nA UPDATE 2\nA commits 2\nA ok\nB UPDATE 2\nB commits 2\nB ok",
    ),
    "the entry was old already": (
        "lost-update",
        "A increment\nA UPDATE 2\nA commits 2\nA ok\nB increment\nB GET -> 1\nB UPDATE 2\nB commits 2\nB ok",
    ),
    "the entry was new": (
        "lost-increment",
        "A increment\nA UPDATE 2\nA commits 2\nA ok\nB increment\nB GET -> 2\nB UPDATE 3\nB commits 3\nB ok",
    ),
    "they had computed it from the database": (
        "lost-increment",
        "A increment\nB increment\nA SELECT -> 1\nB SELECT -> 1\nA UPDATE 2\nA commits 2\nA ok\nB UPDATE 2\nB ok",
    ),
    "they had looked at nothing": (
        "lost-increment",
        "A increment\nA UPDATE 2\nA ok\nB increment\nB UPDATE 2\nB ok",
    ),
    "nobody else had committed": ("lost-increment", "B increment\nB GET -> 1\nB UPDATE 2\nB ok"),
    "it was flushed by a worker": ("lost-increment", ADD + WORKER + "D GET -> 2\nD UPDATE 2\nD commits 2"),
}

CASES = [("double-applied", title, *TOO_MANY[title]) for title in TOO_MANY]
CASES += [("lost-increment", title, *TOO_FEW[title]) for title in TOO_FEW]


@pytest.mark.parametrize(("kind", "title", "slug", "script"), CASES, ids=[case[1] for case in CASES])
def test_wrong_sums_are_named_after_their_cause(
    kind: str, title: str, slug: str, script: str, act: Act
) -> None:
    """A planted schedule has its name; a near miss has the general one."""
    history = act(script, initial={"k": 1})
    assert classify(Finding("exactly-once", kind, "k"), history).slug == slug


def test_an_impossible_sum_may_be_either(act: Act) -> None:
    """Too much of one and too little of another: both are looked for."""
    for slug, script in (TOO_MANY["the client sent it again"], TOO_FEW["the cache was killed"]):
        history = act(script, initial={"k": 1})
        assert classify(Finding("exactly-once", "impossible-sum", "k"), history).slug == slug


@pytest.mark.parametrize(
    ("kind", "script"),
    [
        ("lost-increment", TOO_MANY["the client sent it again"][1]),
        ("lost-increment", TOO_MANY["the worker crashed before it had acknowledged"][1]),
        ("double-applied", TOO_FEW["the worker popped it and crashed"][1]),
        ("double-applied", TOO_FEW["the cache was killed"][1]),
        ("double-applied", TOO_FEW["a replica took over"][1]),
        ("double-applied", TOO_FEW["the entry was old already"][1]),
    ],
)
def test_the_causes_of_one_are_none_of_the_other(kind: str, script: str, act: Act) -> None:
    """What adds too much does not explain what is missing, nor the other way round."""
    assert classify(Finding("exactly-once", kind, "k"), act(script, initial={"k": 1})).slug == kind
