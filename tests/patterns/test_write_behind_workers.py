"""Write-behind with two workers of one group: what each is given, and the order that nobody keeps."""

from concurrent.futures import Future
from typing import Any

import pytest
import redis

from cacheproof.models.durability import Durability
from cacheproof.models.flush_order import FlushOrder
from cacheproof.models.history import History
from cacheproof.patterns.write_behind_workers import GROUP, STREAM, WriteBehindWorkers

PATIENCE_S = 10
"""How long a worker may take to stop; it takes milliseconds, and longer only when it is broken."""


def flush(env: Any, ended: Future[Any]) -> None:
    """Returns when a worker has stored everything that is queued now, and has stopped."""
    env.redis.xadd(STREAM, {"the": "end"})
    assert isinstance(ended.exception(timeout=PATIENCE_S), KeyError)


def test_a_miss_fills_with_a_ttl_and_a_write_takes_it_away(env: Any, opened: Any) -> None:
    """A loaded value lives `ttl` seconds; a written one does not expire, and is not stored yet."""
    cache = opened(WriteBehindWorkers)
    assert cache.read("user:1") == cache.read("user:1") == "v1"
    assert 290 <= env.redis.ttl("user:1") <= 300
    cache.write("user:1", "v2")
    assert (env.cached("user:1"), env.redis.ttl("user:1"), env.stored("user:1")) == ("v2", -1, "v1")
    assert cache.read("nobody") is None


def test_one_worker_alone_stores_changes_in_order(env: Any, opened: Any, at_work: Any) -> None:
    """It is given what is pending first, and then one new change after the other."""
    cache, worker = opened(WriteBehindWorkers), opened(WriteBehindWorkers)
    for value in ("v2", "v3", "v4"):
        cache.write("user:1", value)
    env.redis.xgroup_create(STREAM, GROUP, id="0")
    env.redis.xreadgroup(GROUP, "A", {STREAM: ">"}, count=1)  # what an earlier life did not finish
    with at_work(worker) as ended:
        flush(env, ended)
    assert env.stored("user:1") == "v4"
    assert env.redis.xpending(STREAM, GROUP)["pending"] == 1  # the end


@pytest.mark.parametrize("command", ["xgroup_create", "xreadgroup"])
def test_an_error_that_is_not_about_the_group_ends_the_worker(
    opened: Any, at_work: Any, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only a group that exists already, or is not there, is a case of its own."""
    worker = opened(WriteBehindWorkers)

    def fail(*_: Any, **__: Any) -> None:
        raise redis.ResponseError("OOM command not allowed")

    monkeypatch.setattr(worker.redis, command, fail)
    with at_work(worker) as ended:
        assert str(ended.exception(timeout=PATIENCE_S)).startswith("OOM")


def test_a_group_that_exists_already_will_do(env: Any, opened: Any) -> None:
    """The second worker to come finds the group of the first."""
    first, second = opened(WriteBehindWorkers), opened(WriteBehindWorkers)
    first._create_group()
    second._create_group()
    assert len(env.redis.xinfo_groups(STREAM)) == 1


def test_two_workers_store_two_changes_in_either_order(stage_for: Any) -> None:
    """The first is given v2, the second v3 and is faster: the database ends with v2 (52)."""
    run = stage_for(WriteBehindWorkers).play(
        """
        A write, A .; A write, A .
        C ...    # no group yet: makes one, and is given v2
        D ..     # nothing is pending: is given v3
        D ..     # UPDATE, XACK
        C ..
        """,
        workers=2,
    )
    history: History = run.history
    assert [commit.value for commit in history.commits["user:1"]] == ["v3", "v2"]
    assert [finding.kind for finding in FlushOrder().check(history).findings] == ["flush-reorder"]
    assert [finding.kind for finding in Durability().check(history).findings] == ["lost-write"]
