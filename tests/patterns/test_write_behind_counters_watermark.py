"""Counters with a watermark: sums and watermark are stored together, and so each increment counts once."""

from concurrent.futures import Future
from typing import Any

import pytest

from cacheproof.models.counters import ExactlyOnce
from cacheproof.patterns.write_behind_counters_watermark import LOG, WriteBehindCountersWatermark

COUNTING = {"workers": 1, "operations": ("increment",), "numbers": True}
PATIENCE_S = 10
"""How long a worker may take to stop; it takes milliseconds, and longer only when it is broken."""


@pytest.fixture(autouse=True)
def zero(env: Any) -> None:
    """The records are counters, and nothing has been counted."""
    env.db.execute("update records set value = '0'")
    env.db.execute("drop table if exists watermarks")


def flush(env: Any, ended: Future[Any]) -> None:
    """Returns when a worker has counted everything that came before, and has stopped."""
    while (rows := watermark(env)) is None or rows != env.redis.xinfo_stream(LOG)["last-generated-id"]:
        assert not ended.done()
    env.redis.xadd(LOG, {"the": "end"})
    assert isinstance(ended.exception(timeout=PATIENCE_S), KeyError)


def watermark(env: Any) -> Any:
    if env.db.execute("select to_regclass('watermarks')").fetchone()[0] is None:
        return None
    row = env.db.execute("select counted_to from watermarks").fetchone()
    return row and row[0]


def kinds(run: Any) -> list[str]:
    return [finding.kind for finding in ExactlyOnce().check(run.history).findings]


def test_an_increment_touches_the_cache_alone(env: Any, opened: Any) -> None:
    """It is one entry of the log, and the record is as it was."""
    cache = opened(WriteBehindCountersWatermark)
    cache.increment("user:1", 2)
    assert [entry for _, entry in env.redis.xrange(LOG)] == [{"key": "user:1", "by": "2"}]
    assert (cache.read("user:1"), cache.read("nobody")) == (0, None)


def test_the_worker_adds_up_and_trims(env: Any, opened: Any, at_work: Any) -> None:
    """Many increments are one UPDATE for each key; what was counted leaves the log, up to its last entry."""
    cache, worker = opened(WriteBehindCountersWatermark), opened(WriteBehindCountersWatermark)
    for by in (1, 2, 3):
        cache.increment("user:1", by)
        cache.increment("user:2", 10 * by)
    with at_work(worker) as ended:
        flush(env, ended)
    assert (cache.read("user:1"), cache.read("user:2")) == (6, 60)
    assert env.redis.xlen(LOG) == 2  # the last that was counted, and the end


def test_who_comes_too_late_counts_nothing(env: Any, opened: Any, at_work: Any) -> None:
    """A worker whose watermark has been moved by another one adds nothing."""
    cache, worker, slow = (opened(WriteBehindCountersWatermark) for _ in range(3))
    cache.increment("user:1", 1)
    entries = env.redis.xrange(LOG)
    with at_work(worker) as ended:
        flush(env, ended)
    assert slow._count(entries, "0-0", entries[-1][0]) is False
    assert cache.read("user:1") == 1


def test_a_worker_that_was_overtaken_does_not_trim(env: Any, opened: Any, monkeypatch: Any) -> None:
    """It looks for the watermark again, and goes on from there."""
    worker = opened(WriteBehindCountersWatermark)
    worker.increment("user:1", 1)
    trimmed: list[str] = []

    def overtaken(*_: Any) -> bool:
        monkeypatch.setattr(worker, "_watermark", stop)
        return False

    def stop() -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(worker, "_count", overtaken)
    monkeypatch.setattr(worker.redis, "xtrim", lambda *_, **__: trimmed.append("trimmed"))
    with pytest.raises(KeyboardInterrupt):
        worker.work()
    assert trimmed == []


# Before it counts, the worker makes its table, its watermark, and reads it: three exchanges, and XREAD.


def test_a_worker_that_dies_before_its_commit_counts_once(stage_for: Any) -> None:
    """UPDATE and watermark are undone together, and its next life does both."""
    run = stage_for(WriteBehindCountersWatermark).play("A increment, A .; Q ......, Q crash", **COUNTING)
    assert [commit.value for commit in run.history.commits["user:1"]] == [1]
    assert kinds(run) == []


def test_a_worker_that_dies_after_its_commit_counts_once(stage_for: Any) -> None:
    """Its next life finds the watermark moved (53)."""
    run = stage_for(WriteBehindCountersWatermark).play("A increment, A .; Q ......., Q crash", **COUNTING)
    assert [commit.value for commit in run.history.commits["user:1"]] == [1]
    assert kinds(run) == []


def test_a_commit_whose_reply_is_lost_counts_once(stage_for: Any) -> None:
    """The worker does not know, starts anew, and asks the database."""
    run = stage_for(WriteBehindCountersWatermark).play(
        "A increment, A .; Q ......, Q reply-lost; A increment, A .", **COUNTING
    )
    assert [commit.value for commit in run.history.commits["user:1"]] == [1, 2]
    assert kinds(run) == []
