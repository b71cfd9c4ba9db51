"""Too many loads, two holders, and locks that nobody gives back are named after what the locks tell."""

from collections.abc import Callable

import pytest

from cacheproof.models.anomalies import classify
from cacheproof.models.history import History
from cacheproof.models.verdict import Finding

Act = Callable[..., History]


def reads(*scripts: str) -> str:
    """Each read: it begins, asks and loads; `locks`, `refused`, `unlocks` stand for what it does to the lock."""
    words = {
        "locks": "SET #lock:k t NX EX",
        "refused": "SET #lock:k t NX EX -> nil",
        "unlocks": "DEL #lock:k -> 1",
    }
    lines = []
    for script in scripts:
        for step in script.split(", "):
            who, _, what = step.partition(" ")
            lines.append(f"{who} {words.get(what, what)}")
    return "\n".join(lines)


STAMPEDES: dict[str, tuple[str, str]] = {
    "everybody misses and loads": (
        "stampede",
        reads("A read, B read, A GET -> nil, B GET -> nil, A SELECT -> v1, B SELECT -> v1"),
    ),
    "there is no row": (
        "penetration",
        reads("A read, A GET -> nil, A SELECT -> nil, A ok, B read, B GET -> nil, B SELECT -> nil, B ok"),
    ),
    "there is a row for one of them": (
        "stampede",
        reads("A read, A GET -> nil, A SELECT -> nil, A ok, B read, B GET -> nil, B SELECT -> v1, B ok v1"),
    ),
    "the lock expired under the first": (
        "two-lock-holders",
        reads("A read, A locks, A SELECT -> v1, B read, B locks, B SELECT -> v1"),
    ),
    "a replica took over that did not know the lock": (
        "lock-lost-on-failover",
        reads("A read, A locks, A SELECT -> v1")
        + "\nfailover cache 1\n"
        + reads("B read, B locks, B SELECT -> v1"),
    ),
    "a replica took over, and the lock of the first had expired": (
        "two-lock-holders",
        "A read\nA SET #lock:k t NX PX 5000\nA SELECT -> v1\nadvance 5\nfailover cache 1\n"
        + reads("B read, B locks, B SELECT -> v1"),
    ),
    "a replica took over before the lock of the first could expire": (
        "lock-lost-on-failover",
        "A read\nA SET #lock:k t EX 5 NX\nA SELECT -> v1\nadvance 4\nfailover cache 1\n"
        + reads("B read, B locks, B SELECT -> v1"),
    ),
    "a replica took over, and somebody had the lock expire": (
        "two-lock-holders",
        reads("A read, A locks, A SELECT -> v1")
        + "\nfailover cache 1\nexpire lock:k\n"
        + reads("B read, B locks, B SELECT -> v1"),
    ),
    "a replica took over, and the second had the lock already": (
        "two-lock-holders",
        reads("A read, A locks, A SELECT -> v1, B read, B locks") + "\nfailover cache 1\nB SELECT -> v1",
    ),
    "a replica took over, and the first had released its lock": (
        "stampede",
        reads("A read, A locks, A SELECT -> v1, A unlocks")
        + "\nfailover cache 1\n"
        + reads("B read, B locks, B SELECT -> v1"),
    ),
    "the first released its lock": (
        "stampede",
        reads("A read, A locks, A SELECT -> v1, A unlocks, A ok v1, B read, B locks, B SELECT -> v1"),
    ),
    "the first crashed with the lock": (
        "stampede",
        reads("A read, A locks, A SELECT -> v1, A crash, B read, B locks, B SELECT -> v1"),
    ),
    "the first acquired it once more": (
        "stampede",
        reads("A read, A locks, A SELECT -> v1, A locks, A SELECT -> v1"),
    ),
    "the first released the lock of the second": (
        "foreign-release",
        reads("A read, A locks, A SELECT -> v1, B read, B locks, A unlocks, C read, C locks, C SELECT -> v1"),
    ),
    "the first released what was gone": (
        "two-lock-holders",
        reads("A read, A locks, A SELECT -> v1, B read, B locks, A DEL #lock:k -> 0, B SELECT -> v1"),
    ),
    "the release of the second was lost": (
        "stampede",
        reads("A read, A locks, A unlocks, B read, B DEL #lock:k lost, B SELECT -> v1, A SELECT -> v1"),
    ),
    "those who were refused gave up waiting": (
        "lock-convoy-collapse",
        reads("A read, A locks, B read, B refused, B SELECT -> v1, A SELECT -> v1"),
    ),
    "the one that was refused had the lock later": (
        "stampede",
        reads("A read, A locks, B read, B refused, A SELECT -> v1, A unlocks, B locks, B SELECT -> v1"),
    ),
    "the old entry refused the new one": (
        "refresh-never-lands",
        reads(
            "A read, A GET -> v1, A SELECT -> v2, A SET v2 x NX -> nil, B read, B GET -> v1, B SELECT -> v2"
        ),
    ),
    "the new entry refused another one": (
        "early-expiry-herd",
        reads("A read, A GET -> v1, A SELECT -> v2, A SET v2 x NX, B read, B GET -> v1, B SELECT -> v2"),
    ),
    "all had hit": (
        "early-expiry-herd",
        reads("A read, B read, A GET -> v1, B GET -> v1, A SELECT -> v1, B SELECT -> v1"),
    ),
    "one had missed": (
        "stampede",
        reads("A read, B read, A GET -> v1, B GET -> nil, A SELECT -> v1, B SELECT -> v1"),
    ),
}


@pytest.mark.parametrize("title", STAMPEDES)
def test_stampedes_are_named_after_their_cause(title: str, act: Act) -> None:
    """A planted schedule has its name; a near miss has another."""
    slug, script = STAMPEDES[title]
    assert classify(Finding("single-flight", "stampede", "k"), act(script)).slug == slug


def test_only_the_loads_of_the_finding_count(act: Act) -> None:
    """There was a row before, but none of the loads that were too many found one."""
    history = act("A read\nA SELECT -> v1\nA ok v1\nA read\nA SELECT -> nil\nB read\nB SELECT -> nil")
    assert classify(Finding("single-flight", "stampede", "k", at=(4, 6)), history).slug == "penetration"
    assert classify(Finding("single-flight", "stampede", "k"), history).slug == "stampede"


def test_two_holders_without_a_word_of_how(act: Act) -> None:
    """Two holders are two holders, whatever the exchanges tell; loads do not matter."""
    history = act("A acquire\nA ok\nB acquire\nB ok\nA SELECT -> nil\nB SELECT -> nil")
    assert classify(Finding("mutual-exclusion", "two-holders", "k"), history).slug == "two-lock-holders"


def test_two_holders_after_a_failover(act: Act) -> None:
    """The lock was granted again; that its first holder then deletes it, is what comes of it."""
    script = reads("A acquire, A locks, A ok") + "\nfailover cache 1\n" + reads("B acquire, B locks, B ok")
    history = act(script + "\n" + reads("A release, A unlocks, A ok"))
    assert classify(Finding("mutual-exclusion", "two-holders", "k"), history).slug == "lock-lost-on-failover"


def test_a_holder_released_somebody_elses_lock(act: Act) -> None:
    """Across operations: who released had acquired long before."""
    history = act(reads("A acquire, A locks, A ok, B acquire, B locks, B ok, A release, A unlocks, A ok"))
    assert classify(Finding("mutual-exclusion", "two-holders", "k"), history).slug == "foreign-release"


WAITS: dict[str, tuple[str, str]] = {
    "the holder crashed": ("orphan-lock", reads("A read, A locks, A crash, B read, B refused")),
    "the holder left by an error": ("orphan-lock", reads("A read, A locks, A fail, B read, B refused")),
    "the holder is at work": ("hangs", reads("A read, A locks, B read, B refused")),
    "the holder left, and nobody wants the lock": (
        "hangs",
        reads("A read, A locks, B read, B refused, A fail"),
    ),
    "the holder released the lock": (
        "hangs",
        reads("A read, A locks, A unlocks, A ok v1, B read, B refused"),
    ),
    "it was acquired outside of operations, and is still held": (
        "hangs",
        reads("A locks, B read, B refused"),
    ),
    "nobody got the lock": ("hangs", reads("B read, B refused")),
}


@pytest.mark.parametrize("title", WAITS)
def test_waits_are_named_after_the_lock(title: str, act: Act) -> None:
    """A lock that was left behind explains a wait only for who was refused it afterwards."""
    slug, script = WAITS[title]
    assert classify(Finding("liveness", "hangs", "k"), act(script)).slug == slug
