"""Small words: total, one line, and as wide as they say."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from cacheproof.models.decision import Fate, ServerName
from cacheproof.models.event import Faulted, Invoked, Phase, Returned
from cacheproof.models.fault import FAULTS
from cacheproof.models.operation import Outcome
from cacheproof.reports.words import (
    PHASE_NOTES,
    Names,
    call_words,
    counted,
    fault_words,
    listing,
    outcome_words,
    plain,
    seconds_words,
    shorten,
    show,
    wrap,
)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("user:1", "user:1"),
        ("[red]", "[red]"),
        ("a\nb\tc", "a\\nb\\tc"),
        ("\x1b[31m", "\\x1b[31m"),
        ("\u202e", "\\u202e"),
        ("a\xa0b c", "a\\xa0b c"),
        ("\u2028", "\\u2028"),
        ("\U000e0001", "\\U000e0001"),
        ("\ud800", "\\ud800"),
        ("é漢🦊", "é漢🦊"),
    ],
)
def test_what_disturbs_a_terminal_is_escaped(text: str, shown: str) -> None:
    """Control, format and line-separating characters become escapes; letters of any script stay."""
    assert plain(text) == shown


@settings(max_examples=200, deadline=None)
@given(st.text(), st.integers(min_value=0, max_value=30))
def test_shortened_text_fits(text: str, cells: int) -> None:
    """Shortened text is never wider than asked for, and text that fits is untouched."""
    text = plain(text)
    short = shorten(text, cells)
    assert cell_len(short) <= cells
    assert short == text if cell_len(text) <= cells else short != text


@settings(max_examples=200, deadline=None)
@given(st.text(), st.integers(min_value=4, max_value=30))
def test_wrapped_text_fits_and_loses_nothing(text: str, width: int) -> None:
    """Every wrapped line fits, and together they hold every character but blanks."""
    text = plain(text)
    lines = list(wrap(text, width))
    assert all(cell_len(line) <= width for line in lines)
    assert "".join("".join(lines).split()) == "".join(text.split())


def test_values_are_shown_unambiguously() -> None:
    """None, an empty string and one with blanks around it can be told from a plain string."""
    assert [show(value) for value in (None, "", " a", "a", 1, 1.5, True, ["x"])] == [
        "no record", "''", "' a'", "a", "1", "1.5", "true", '["x"]',
    ]  # fmt: skip


def test_processes_have_names() -> None:
    """Clients are letters as far as the alphabet goes, workers are numbered from 1."""
    names = Names(workers=(2, 3))
    assert [names.client(process) for process in (0, 1, 2, 3, 26)] == [
        "A", "B", "worker 1", "worker 2", "client 26",
    ]  # fmt: skip
    assert [names.lane(process) for process in (0, 2, 26)] == ["client A", "worker 1", "client 26"]


def test_counts_and_lists_read_as_english() -> None:
    """One thing is singular, thousands have commas, the last of several is joined by "and"."""
    assert [counted(1, "schedule"), counted(2000, "schedule")] == ["1 schedule", "2,000 schedules"]
    assert [listing([]), listing("A"), listing("AB"), listing("ABC")] == ["", "A", "A and B", "A, B and C"]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (300.0, "300 s"),
        (0.05, "0.05 s"),
        (86_400.0, "24 h"),
        (1234.5678, "1,235 s"),
        (300.001, "300 s"),
        (0, "0 s"),
        (None, "None"),
        (float("inf"), "inf s"),
    ],
)
def test_seconds_are_readable(seconds: object, words: str) -> None:
    """Whole seconds have no fraction, whole hours are hours, and nothing raises."""
    assert seconds_words(seconds) == words


def test_calls_and_outcomes() -> None:
    """A call names method, key and value; an outcome what came back or what went wrong."""
    write = Invoked(0, 0.0, 0, "write", "user:1", "v2")
    read = Invoked(0, 0.0, 0, "read", "user:1", None)
    assert call_words(write) == "write user:1 := v2"
    assert call_words(Invoked(0, 0.0, 2, "work", None, None)) == "work"
    assert outcome_words(Returned(1, 0.0, 0, Outcome.OK, "v1"), read) == "ok v1"
    assert outcome_words(Returned(1, 0.0, 0, Outcome.OK, None), read) == "ok: no record"
    assert outcome_words(Returned(1, 0.0, 0, Outcome.OK, None), write) == "ok"
    assert outcome_words(Returned(1, 0.0, 0, Outcome.OK, "v2"), write) == "ok"
    assert outcome_words(Returned(1, 0.0, 0, Outcome.FAIL, None, "no\nway"), write) == "failed: no\\nway"
    assert outcome_words(Returned(1, 0.0, 0, Outcome.INFO, None), write) == "outcome unknown"


@pytest.mark.parametrize(
    ("f", "key", "value", "words"),
    [
        ("delete", "user:1", None, "delete user:1"),
        ("increment", "user:1", 1, "increment user:1 by 1"),
        ("read_many", None, ("a", "b"), "read_many a, b"),
        ("write_many", None, (("a", "v1"), ("b", None)), "write_many a := v1, b := no record"),
        ("write_many", None, "odd", "write_many := odd"),
        ("acquire", "user:1", None, "acquire user:1"),
        ("warm_up", None, None, "warm_up"),
    ],
)
def test_calls_of_other_operations(f: str, key: str | None, value: Any, words: str) -> None:
    """Amounts, keys and pairs read as what they are."""
    assert call_words(Invoked(0, 0.0, 0, f, key, value)) == words


def test_many_keys_are_cut() -> None:
    """A call fits in its lane."""
    call = Invoked(0, 0.0, 0, "write_many", None, tuple((f"user:{n}", "v" * 20) for n in range(9)))
    assert cell_len(call_words(call)) <= len("write_many ") + 48


@pytest.mark.parametrize(
    ("f", "value", "words"),
    [
        ("increment", 1, "ok 1"),
        ("increment", None, "ok"),
        ("read_many", (("a", "v1"), ("b", None)), "ok a = v1, b = no record"),
        ("read_many", (), "ok: no record"),
        ("acquire", True, "ok: acquired"),
        ("acquire", None, "ok: acquired"),
        ("acquire", False, "ok: not acquired"),
        ("acquire", 7, "ok: acquired, 7"),
        ("release", None, "ok"),
        ("release", True, "ok"),
        ("release", False, "ok: nothing to release"),
        ("delete", None, "ok"),
        ("warm_up", None, "ok"),
    ],
)
def test_results_of_other_operations(f: str, value: Any, words: str) -> None:
    """A count is told although it equals the amount; whether a lock was acquired is said in words."""
    call = Invoked(0, 0.0, 0, f, "a", 1 if f == "increment" else None)
    assert outcome_words(Returned(1, 0.0, 0, Outcome.OK, value), call) == words


def started(detail: str) -> Faulted:
    return Faulted(0, 0.0, "start", server=ServerName.CACHE, detail=detail)


def cut(manner: str, process: int | None = None) -> Faulted:
    return Faulted(0, 0.0, "partition", process, ServerName.CACHE, manner)


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (Faulted(0, 0.0, "crash", 0), "✕ crashes"),
        (Faulted(0, 0.0, "crash", 0, detail="runs"), "✕ crashes; its statement still runs"),
        (Faulted(0, 0.0, "restart", 0), "↻ starts anew"),
        (Faulted(0, 0.0, "kill", server=ServerName.CACHE), "✕ is killed"),
        (Faulted(0, 0.0, "start", server=ServerName.CACHE), "↻ starts, empty"),
        (Faulted(0, 0.0, "start", server=ServerName.DATABASE), "↻ starts, and recovers"),
        (started("everything"), "↻ starts, with all it held"),
        (started("synced"), "↻ starts, with what was on the disk"),
        (started("synced, 1 write behind"), "↻ starts, with what was on the disk but for the last write"),
        (started("snapshot, 2 writes behind"), "↻ starts, from its snapshot but for the last 2 writes"),
        (started("odd"), "↻ starts, odd"),
        (Faulted(0, 0.0, "failover", server=ServerName.CACHE, detail=0), "✕ fails over to its replica"),
        (Faulted(0, 0.0, "failover", detail=1), "✕ fails over to its replica, without the last write"),
        (Faulted(0, 0.0, "failover", detail=2), "✕ fails over to its replica, without the last 2 writes"),
        (Faulted(0, 0.0, "freeze", server=ServerName.CACHE), "✕ freezes"),
        (Faulted(0, 0.0, "thaw", server=ServerName.CACHE), "↻ goes on"),
        (Faulted(0, 0.0, "pause", 0), "✕ pauses"),
        (Faulted(0, 0.0, "resume", 0), "↻ goes on"),
        (Faulted(0, 0.0, "skew", 0, detail=3600.0), "⏱ its wall clock jumps 1 h ahead"),
        (Faulted(0, 0.0, "skew", 0, detail=-5.0), "⏱ its wall clock jumps 5 s back"),
        (Faulted(0, 0.0, "skew", 0), "⏱ its wall clock jumps 0 s back"),
        (cut("refuse"), "✕ refuses connections"),
        (cut("silent", 0), "✕ the cache is out of reach"),
        (cut("requests"), "✕ receives nothing"),
        (cut("replies", 1), "✕ the cache is not heard any more"),
        (cut("odd"), "✕ odd"),
        (Faulted(0, 0.0, "heal", server=ServerName.CACHE), "↻ can be reached again"),
        (Faulted(0, 0.0, "heal", 0, ServerName.CACHE), "↻ the cache is back"),
        (Faulted(0, 0.0, "arrive", 0, ServerName.CACHE, detail="SET"), "⇠ its delayed SET arrives"),
        (Faulted(0, 0.0, "evict", detail="user:1"), "✕ user:1 is evicted"),
        (Faulted(0, 0.0, "flush", server=ServerName.CACHE, detail="keys"), "✕ is flushed"),
        (Faulted(0, 0.0, "flush", server=ServerName.CACHE, detail="scripts"), "✕ forgets its scripts"),
        (Faulted(0, 0.0, "lag", server=ServerName.DATABASE), "✕ its replica falls behind"),
        (Faulted(0, 0.0, "replicate", server=ServerName.DATABASE), "↻ its replica catches up"),
        (Faulted(0, 0.0, "expire", detail="user:1"), "⏱ user:1 expires"),
        (Faulted(0, 0.0, "advance", detail=300.0), "⏱ 300 s pass"),
        (Faulted(0, 0.0, "gremlin"), "✕ gremlin"),
        (Faulted(0, 0.0, "gremlin", detail=3), "✕ gremlin 3"),
    ],
)
def test_faults_have_words(event: Faulted, words: str) -> None:
    """Every fault that is known has its words, and one that is not has generic ones."""
    assert fault_words(event) == words


def test_every_fault_of_the_catalogue_has_words_of_its_own() -> None:
    """Generic ones are for what is not in it; a fate of a message is no fault of its own."""
    fates = {fate.value for fate in Fate}
    told = {name: fault_words(Faulted(0, 0.0, name, detail=1.0)) for name in FAULTS if name not in fates}
    assert [name for name, words in told.items() if words == f"✕ {name} 1"] == []


def test_every_phase_has_a_note() -> None:
    """No phase of the epilogue is without words."""
    assert set(PHASE_NOTES) == set(Phase)
