"""What ends an epoch of a key, what does not, and which loads count."""

from collections.abc import Callable
from pathlib import Path
from runpy import run_path

import pytest

from cacheproof.models.epochs import Ledger, ledgers
from cacheproof.models.history import History

tell: Callable[[str], History] = run_path(str(Path(__file__).with_name("flights.py")))["tell"]

LOADS = "A read k\nA GET k -> nil\nA SELECT k -> rows\n"
FILLS = "A SET k v1\nA ok v1\n"
SETTLED = LOADS + FILLS


def ends(history: History, key: str = "k", lifetime_s: float | None = None, **options: bool) -> list[int]:
    """Where the epochs of a key begin, without the first."""
    starts = ledgers(history, **options)[key].epochs(history.events, lifetime_s).starts
    return sorted({*starts} - {-1})


ENDING = {
    "its entry expires": (SETTLED, "expire k", ""),
    "under the name that the cache gave it": (SETTLED, "expire cache:k:v2", ""),
    "an entry expires whose name tells nothing": (SETTLED, "expire 5f4dcc3b", ""),
    "its entry is evicted": (SETTLED, "evict k", ""),
    "the cache dies": (SETTLED, "kill cache", ""),
    "the cache starts": (SETTLED, "start cache", ""),
    "any other harm": (SETTLED, "partition B", ""),
    "a version is committed": (SETTLED, "B commits k v2", ""),
    "a write of it begins": (SETTLED, "B write k v2", ""),
    "a write of what is not told begins": (SETTLED, "B write_many", ""),
    "a write of it ends": ("B write j v2\n" + SETTLED.replace("k", "j"), "B ok", "j"),
    "a writer deletes the entry": ("B write j v2\n" + SETTLED, "B DEL k -> 1", ""),
    "and perhaps did so": ("B write j v2\n" + SETTLED, "B DEL k !reply-lost", ""),
    "a writer runs a script": ("B write j v2\n" + SETTLED, "B EVAL script 1 k -> nil", ""),
    "a writer changes something unknown": ("B write j v2\n" + SETTLED, "B PUBLISH gone k -> 1", ""),
    "a writer changes what names no key": ("B write j v2\n" + SETTLED, "B INCR generation -> 1", ""),
    "a worker deletes the entry": ("B work\n" + SETTLED, "B DEL k -> 1", ""),
    "something in the background deletes it": (SETTLED, "B DEL k -> 1", ""),
    "or runs a script": (SETTLED, "B EVALSHA 1f 1 k -> nil", ""),
    "a load's operation fails": (LOADS, "A fail", ""),
    "or is in doubt": (LOADS, "A info", ""),
    "what was loaded cannot be stored": (LOADS, "A SET k v1 !lost", ""),
    "or perhaps not": (LOADS, "A SET k v1 !reply-lost", ""),
    "or is refused with an error": (LOADS, "A SET k v1 -> error OOM", ""),
    "the transaction of a load fails": (LOADS, "A COMMIT -> error 40001", ""),
    "its client crashes": (LOADS, "A crash", ""),
    "the client of a load in the background crashes": ("A SELECT k -> rows", "A crash", ""),
    "the expired name was set by a writer": ("B write j v1\nB SET k v1 NX\n" + SETTLED, "expire k", ""),
    "what was set before the load was no lock": (
        LOADS.replace("A SEL", "A SET k old\nA SEL"),
        "expire k",
        "",
    ),
    "what was set with NX was set after the load": (LOADS + "A SET k v1 NX\n", "expire k", ""),
    "the lock has been replaced by the entry": (
        "A read k\nA SET k token NX\nA SELECT k -> rows\nA SET k v1\n",
        "expire k",
        "",
    ),
    "its holder has returned": (
        "A read k\nA SET lock:k token NX\nA SELECT k -> rows\n" + FILLS,
        "expire lock:k",
        "",
    ),
    "its holder never loads": ("A read k\nA SET lock:k token NX\n", "expire lock:k", ""),
    "its holder loads something else": (
        "A read\nA SET k local NX\n",
        "expire k",
        "",
    ),
}


@pytest.mark.parametrize("title", ENDING)
def test_an_epoch_ends_when(title: str) -> None:
    """Rule 2: the line ends an epoch of "k" (or of the key named), and nothing else does."""
    before, line, key = ENDING[title]
    after = "A SELECT j -> rows" if title == "its holder loads something else" else ""
    known = ends(tell(before), key or "k")
    index = len(tell(before).events)
    assert [at for at in ends(tell(f"{before}\n{line}\n{after}"), key or "k") if at not in known] == [index]


LASTING = {
    "time passes": "advance 1000",
    "another entry expires": "expire j",
    "another key is committed": "B commits j v2",
    "another key is written": "B write j v2",
    "a key that nobody knows is written": "B write other v2",
    "a reader deletes the entry": "B read k\nB DEL k -> 1",
    "a reader runs a script": "B read k\nB EVAL script 1 k -> nil",
    "a writer looks": "B write j v2\nB GET k -> v1",
    "a writer's request is lost": "B write j v2\nB DEL k !lost",
    "a worker waits for work": "B work\nB BLPOP queue 0 !waits",
    "a worker finds no work": "B work\nB BLPOP queue 1 -> nil",
    "a worker takes work": "B work\nB LPOP queue -> k",
    "a worker is handed work": "B work\nB XREADGROUP group -> k",
    "a worker has done its work": "B work\nB XACK group 1 -> 1",
    "something in the background stores": "B SET k v1",
    "something in the background looks": "B GET k -> v1",
    "an operation fails that had loaded nothing": "B read k\nB GET k -> nil\nB fail",
    "a client crashes that had loaded nothing": "B read k\nB GET k -> nil\nB crash\nB info",
    "a script has to be sent again": "A read k\nA SELECT k -> rows\nA EVALSHA 1f 1 k -> error NOSCRIPT No matching script",
    "what returns was never invoked": "A info",
}


@pytest.mark.parametrize("title", LASTING)
def test_an_epoch_does_not_end_when(title: str) -> None:
    """What voids nothing, or only what readers do themselves, ends no epoch."""
    assert ends(tell(SETTLED + LASTING[title])) == []


def test_the_expiry_of_a_lock_ends_nothing() -> None:
    """Rule 3: its holder is still loading, or storing what it loaded."""
    taken = "A read k\nA GET k -> nil\nA SET lock:k token NX -> OK\n"
    late = "A SELECT k -> rows\nA SET k v1\nA ok v1"
    for script in (
        f"{taken}expire lock:k\n{late}",
        f"{taken}A EXPIRE lock:k 5\nexpire lock:k\n{late}",
        f"{taken}A GET k -> nil\nexpire lock:k\n{late}",
        f"{taken}B read k\nB SET lock:k other NX -> nil\nexpire lock:k\n{late}",
        f"{taken}B read k\nB SET lock:k other !lost\nexpire lock:k\n{late}",
        f"{taken.replace('SET', 'SETNX').replace(' NX', '')}expire lock:k\n{late}",
        f"{taken}B read k\nB SETNX lock:k other -> 0\nexpire lock:k\n{late}",
    ):
        assert ends(tell(script)) == [], script


def test_a_script_makes_a_lock_unknown() -> None:
    """Rule 3: what a script did to the name cannot be told, so its expiry counts."""
    taken = "A read k\nA SET lock:k token NX -> OK\nA EVAL renew 1 lock:k -> 1\n"
    assert ends(tell(taken + "expire lock:k\nA SELECT k -> rows")) == [3]


def loads_of(script: str, **options: bool) -> list[int]:
    """The indices of the loads of "k"."""
    return [load.index for load in ledgers(tell(script), **options)["k"].loads]


COUNTED = {
    "a read that found a row": ("A read k\nA SELECT k -> rows", [1]),
    "a read that found none": ("A read k\nA SELECT k -> empty", [1]),
    "a read of several keys": ("A read_many\nA SELECT k j -> rows", [1]),
    "a warm-up": ("A warm_up\nA SELECT k -> rows", [1]),
    "in the background": ("A SELECT k -> rows", [0]),
    "one that had to wait, once": ("A read k\nA SELECT k !waits\nA SELECT k -> rows", [2]),
    "after the cache answered again": ("A read k\nA GET k !lost\nA GET k -> nil\nA SELECT k -> rows", [3]),
    "after a restart": ("A GET k !lost\nA restart\nA read k\nA SELECT k -> rows", [3]),
}
NOT_COUNTED = {
    "a writer's": "A write k v2\nA SELECT k -> rows",
    "a worker's": "A work\nA SELECT k -> rows",
    "of another key": "A read j\nA SELECT j -> rows",
    "that only mentions the key": "A read j\nA SELECT j k -> rows",
    "whose request was lost": "A read k\nA SELECT k !lost",
    "whose reply was lost": "A read k\nA SELECT k !reply-lost",
    "that failed": "A read k\nA SELECT k -> error 57014",
    "that takes an advisory lock": "A read k\nA SELECT pg_advisory_lock(k)",
    "by who cannot reach the cache": "A read k\nA GET k !lost\nA SELECT k -> rows",
    "by who got an error from it": "A read k\nA GET k -> error READONLY\nA SELECT k -> rows",
    "by who is cut off": "partition A\nA read k\nA SELECT k -> rows",
    "by anybody after a kill": "kill cache\nA read k\nA SELECT k -> rows",
}


@pytest.mark.parametrize("title", COUNTED)
def test_a_load_counts(title: str) -> None:
    """Rule 1: whatever reads the row into the cache, once."""
    script, expected = COUNTED[title]
    assert loads_of(script) == expected


@pytest.mark.parametrize("title", NOT_COUNTED)
def test_a_load_does_not_count(title: str) -> None:
    """Rules 1 and 4: it is none, it came to nothing, or the cache was out of reach."""
    assert loads_of(NOT_COUNTED[title]) == []


def test_loads_of_absent_rows_can_be_left_out() -> None:
    """They are those whose reply has no rows."""
    script = "A read k\nA SELECT k -> rows\nA ok v1\nA read k\nA SELECT k -> empty\nA ok\nA SELECT k -> nil"
    assert loads_of(script) == [1, 4, 6]
    assert loads_of(script, absent=False) == [1]


def test_a_decision_is_as_old_as_the_first_exchange_of_its_operation() -> None:
    """Rule 5; waiting counts from when it began, and the background is as old as its process."""
    book = ledgers(tell("A GET j\nA read k\nA GET k !waits\nA GET k -> nil\nA SELECT k -> rows\nA ok\n"
                        "B GET k\nB restart\nB GET k\nB SELECT k -> rows"))["k"]  # fmt: skip
    assert [(load.since, load.index) for load in book.loads] == [(2, 4), (7, 9)]
    assert [load.operation and load.operation.f for load in book.loads] == ["read", None]


def free(book: Ledger, history: History) -> list[int]:
    epochs = book.epochs(history.events, None)
    return [index for index in range(len(history.events)) if epochs.any_free(*[epochs.at(index)] * 2)]


def test_loads_are_free_while_nothing_can_be_kept() -> None:
    """Rule 4: while the cache is down, and while a write is open, until it returns or its client dies."""
    history = tell("A GET k\nkill cache\nA GET j\nstart cache\nA GET k\nB write k v2\nA GET k\nB ok\nA GET k\n"
                   "B write k v3\nA GET k\nB crash\nA GET k\nB info\nA GET k")  # fmt: skip
    assert free(ledgers(history)["k"], history) == [1, 2, 5, 6, 9, 10]
    assert free(ledgers(history)["j"], history) == [1, 2]


def test_an_epoch_can_be_over_by_age() -> None:
    """With a lifetime, an epoch ends at the first event at which it has lasted for that long."""
    history = tell(
        "advance 4\nA GET k\nadvance 6\nA GET k\nadvance 9\nexpire k\nadvance 9\nA GET k\nadvance 1\nA GET k"
    )
    assert ends(history, lifetime_s=10.0) == [3, 5, 9]
    assert ends(history, lifetime_s=1e-300)[:2] == [1, 2] and ends(history) == [5]
    assert ends(tell(""), lifetime_s=1.0) == []


def test_processes_can_end_epochs() -> None:
    """Where copies live in processes, a crash and a start give each a reason to load again."""
    history = tell(SETTLED + "B crash\nB restart")
    assert ends(history) == [] and ends(history, processes_end=True) == [5, 6]
