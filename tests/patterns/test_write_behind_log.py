"""The write-behind log on real servers: its reader, its writer, its worker, and the schedules that it survives."""

from concurrent.futures import Future
from typing import Any

import psycopg
import pytest
import redis

from cacheproof.models.convergence import Convergence
from cacheproof.models.decision import Evict
from cacheproof.models.durability import Durability
from cacheproof.models.flush_order import FlushOrder
from cacheproof.models.read_after_write import ReadAfterWrite
from cacheproof.models.schedule import Keeps
from cacheproof.patterns.write_behind_log import GROUP, LOG, REFUSED, WriteBehindLog

PATIENCE_S = 10
"""How long a worker may take to stop; it takes milliseconds, and longer only when it is broken."""

ENTRY, LEASE = "write-behind:entry:user:1", "write-behind:lease:user:1"


def work_off(env: Any, worker: Any, at_work: Any) -> None:
    """Let a worker do what there is to do; it stops at a change that it cannot read."""
    env.redis.xadd(LOG, {"the": "end"})
    with at_work(worker) as ended:
        assert isinstance(ended.exception(timeout=PATIENCE_S), KeyError)
    (end,) = env.redis.xrange(LOG)
    env.redis.xack(LOG, GROUP, end[0])
    env.redis.xdel(LOG, end[0])


def taken(env: Any, worker: WriteBehindLog) -> list[tuple[str, dict[str, str]]]:
    """What a worker is given, who has yet to store it."""
    worker._create_group()
    return worker._take(">")


def test_a_miss_loads_the_record_and_fills_the_cache_with_a_ttl(env: Any, opened: Any) -> None:
    """A read of a cold key returns the row, and leaves it for `ttl` seconds; a hit needs no database."""
    cache = opened(WriteBehindLog)
    assert cache.read("user:1") == "v1"
    assert 290 <= env.redis.ttl(ENTRY) <= 300
    assert env.redis.exists(LEASE) == 0
    cache.db.close()
    assert cache.read("user:1") == "v1"


def test_a_record_that_does_not_exist_is_not_cached(env: Any, opened: Any) -> None:
    """Reading a key without a row returns None and leaves no entry; the lease expires."""
    assert opened(WriteBehindLog).read("nobody") is None
    assert env.redis.keys() == ["write-behind:lease:nobody"]
    assert 0 < env.redis.ttl("write-behind:lease:nobody") <= 10


def test_a_write_touches_the_cache_alone(env: Any, opened: Any) -> None:
    """It is acknowledged without the database, visible at once, without a ttl, and in the log."""
    cache = opened(WriteBehindLog)
    cache.read("user:1")
    cache.db.close()
    env.redis.config_resetstat()
    cache.write("user:1", "v2")
    assert env.redis.info("commandstats")["cmdstat_exec"]["calls"] == 1
    assert (cache.read("user:1"), env.redis.ttl(ENTRY), env.stored("user:1")) == ("v2", -1, "v1")
    ((_, change),) = env.redis.xrange(LOG)
    assert change == {"key": "user:1", "value": "v2", "op": env.redis.hget(ENTRY, "op")}


@pytest.mark.parametrize("ttl", [300, None])
def test_what_is_stored_leaves_the_log_and_may_expire(
    env: Any, opened: Any, at_work: Any, ttl: int | None
) -> None:
    """After a flush the rows are new, the log is empty, and the entries are clean."""
    cache, worker = opened(WriteBehindLog), opened(WriteBehindLog, ttl=ttl)
    for value in ("v2", "v3", "v4"):
        cache.write("user:1", value)
        cache.write("user:3", value + " too")  # which has no row yet
    work_off(env, worker, at_work)
    assert (env.stored("user:1"), env.stored("user:3")) == ("v4", "v4 too")
    assert (env.redis.xlen(LOG), env.redis.xpending(LOG, GROUP)["pending"]) == (0, 0)
    assert env.redis.hgetall(ENTRY) == {"value": "v4"}
    assert env.redis.ttl(ENTRY) == -1 if ttl is None else 290 <= env.redis.ttl(ENTRY) <= 300


def test_an_entry_that_is_missing_is_looked_for_in_the_log(env: Any, opened: Any) -> None:
    """A dirty entry that was evicted is read from the log, the newest change first, and not from the database."""
    cache = opened(WriteBehindLog)
    for key, value in (("user:1", "v2"), ("user:1", "v3"), ("user:2", "v4")):
        cache.write(key, value)
    env.redis.delete(ENTRY)
    cache.db.close()
    assert cache.read("user:1") == "v3"


def test_a_fill_is_refused_once_somebody_has_written(env: Any, opened: Any) -> None:
    """A reader that missed before a write leaves nothing behind, even if the new entry is gone again."""
    reader, writer = opened(WriteBehindLog), opened(WriteBehindLog)

    class WriteBehindTheRow:
        """The reader's connection, with a write between its SELECT and what the reader does next."""

        def execute(self, *statement: Any) -> Any:
            rows = env.db.execute(*statement)
            writer.write("user:1", "v2")
            env.redis.delete(ENTRY)
            return rows

        def close(self) -> None:
            """There is nothing to close: `env` owns the connection."""

    reader.db.close()
    reader.db = WriteBehindTheRow()
    assert reader.read("user:1") == "v1"
    assert env.redis.exists(ENTRY) == 0


def test_the_database_takes_a_change_only_over_an_older_one(env: Any, opened: Any) -> None:
    """A change that comes late is settled, and not stored."""
    cache, worker = opened(WriteBehindLog), opened(WriteBehindLog)
    cache.write("user:1", "v2")
    cache.write("user:1", "v3")
    older, newer = taken(env, worker)
    assert worker._store(*newer)
    assert worker._store(*older)
    assert (env.stored("user:1"), cache.read("user:1")) == ("v3", "v3")
    assert env.redis.xlen(LOG) == 0


def test_an_entry_that_was_written_since_stays_dirty(env: Any, opened: Any) -> None:
    """The op of the entry is another one, so it is neither made to expire nor dropped (57)."""
    cache, worker = opened(WriteBehindLog), opened(WriteBehindLog)
    cache.write("user:1", "v2")
    (change,) = taken(env, worker)
    cache.write("user:1", "v3")
    assert worker._store(*change)
    assert (env.redis.hget(ENTRY, "value"), env.redis.ttl(ENTRY)) == ("v3", -1)


def test_what_a_reader_loaded_before_a_change_was_stored_is_dropped(env: Any, opened: Any) -> None:
    """The cache has lost the entry and the log; the worker, who has a change in hand, clears up after itself."""
    cache, worker = opened(WriteBehindLog), opened(WriteBehindLog)
    cache.write("user:1", "v2")
    (change,) = taken(env, worker)
    env.redis.flushall()
    assert cache.read("user:1") == "v1"
    assert not worker._store(*change)
    assert cache.read("user:1") == "v2"


def test_an_id_that_was_given_twice_settles_nobody_elses_change(env: Any, opened: Any) -> None:
    """A cache that restarted empty, with a clock that is behind, gives an id again: the op tells them apart."""
    cache, worker = opened(WriteBehindLog), opened(WriteBehindLog)
    cache.write("user:1", "v2")
    ((number, change),) = taken(env, worker)
    env.redis.flushall()
    env.redis.xadd(LOG, {"key": "user:2", "value": "v3", "op": "another"}, id=number)
    assert not worker._store(number, change)
    assert env.redis.xlen(LOG) == 1


def test_a_change_that_the_database_refuses_is_put_aside(env: Any, opened: Any, at_work: Any) -> None:
    """Poison (59) goes to a stream of its own, the cache back to the row, and what is behind it is stored."""
    cache, worker = opened(WriteBehindLog), opened(WriteBehindLog)
    cache.write("user:1", "not\0a text")
    cache.write("user:2", "v2")
    work_off(env, worker, at_work)
    ((_, refused),) = env.redis.xrange(REFUSED)
    assert (refused["key"], "NUL" in refused["error"]) == ("user:1", True)
    assert (cache.read("user:1"), env.stored("user:2")) == ("v1", "v2")


def test_the_next_life_begins_with_what_is_pending(env: Any, opened: Any, at_work: Any) -> None:
    """A worker that fails before its commit has lost nothing, and stores in order later."""
    cache, broken, next_life = (opened(WriteBehindLog) for _ in range(3))
    cache.write("user:1", "v2")
    broken.db.close()
    with at_work(broken) as ended:
        assert isinstance(ended.exception(timeout=PATIENCE_S), psycopg.OperationalError)
    cache.write("user:1", "v3")
    work_off(env, next_life, at_work)
    assert env.stored("user:1") == "v3"


def test_a_waiting_worker_survives_a_cache_that_is_flushed(env: Any, opened: Any, at_work: Any) -> None:
    """A blocked read ends when the log vanishes; the worker makes the group anew and goes on."""
    cache, worker = opened(WriteBehindLog), opened(WriteBehindLog)
    with at_work(worker) as ended:
        wait_until_it_waits(env, ended)
        env.redis.flushall()
        cache.write("user:1", "v2")
        env.redis.xadd(LOG, {"the": "end"})
        assert isinstance(ended.exception(timeout=PATIENCE_S), KeyError)
    assert env.stored("user:1") == "v2"


def wait_until_it_waits(env: Any, worker: Future[Any]) -> None:
    """Returns when a blocking read has reached the cache."""
    while not any("b" in client["flags"] for client in env.redis.client_list()):
        assert not worker.done()


@pytest.mark.parametrize("command", ["xgroup_create", "xreadgroup"])
def test_an_error_that_is_not_about_the_group_ends_the_worker(
    opened: Any, at_work: Any, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only a group that exists already, or is not there, is a case of its own."""
    worker = opened(WriteBehindLog)

    def fail(*_: Any, **__: Any) -> None:
        raise redis.ResponseError("OOM command not allowed")

    monkeypatch.setattr(worker.redis, command, fail)
    with at_work(worker) as ended:
        assert str(ended.exception(timeout=PATIENCE_S)).startswith("OOM")


def test_two_workers_keep_the_order(stage_for: Any) -> None:
    """The first is given v2, the second v3 and is faster: v2 comes too late (52), and is not stored."""
    run = stage_for(WriteBehindLog).play(
        """
        A write, A .
        C ...    # no group yet: makes one, and is given v2
        A write, A .
        D ....   # nothing is pending: is given v3, stores it, settles it
        C ..
        """,
        workers=2,
    )
    assert [commit.value for commit in run.history.commits["user:1"]] == ["v3"]
    for judge in (Durability(), FlushOrder(), Convergence(within_s=0), ReadAfterWrite()):
        assert judge.check(run.history).findings == ()


def test_a_request_that_arrives_late_changes_nothing(stage_for: Any) -> None:
    """That of the worker's first life is under way while the second one stores v3 (41): it is refused."""
    run = stage_for(WriteBehindLog).play(
        "A write, A .; Q ..., Q delayed, Q crash, Q restart; A write, A .; Q .......; Q arrive", workers=1
    )
    assert "arrive" in [fault.fault for fault in run.history.faults]
    assert [commit.value for commit in run.history.commits["user:1"]] == ["v2", "v3"]
    assert Durability().check(run.history).findings == ()


POWER_LOSS = "A write, A .; kill cache; start cache synced {behind}"


@pytest.mark.parametrize(
    ("keeps", "behind", "lost"), [(Keeps.ALWAYS, 0, []), (Keeps.EVERYSEC, 1, ["lost-write"])]
)
def test_a_loss_of_power_takes_what_was_not_forced_to_the_disk(
    stage_for: Any, keeps: Keeps, behind: int, lost: list[str]
) -> None:
    """With `appendfsync always` an acknowledged write survives (51); with `everysec` it may not."""
    run = stage_for(WriteBehindLog).play(POWER_LOSS.format(behind=behind), workers=1, keeps=keeps)
    assert [finding.kind for finding in Durability().check(run.history).findings] == lost


def test_a_dirty_entry_is_not_evicted_by_a_volatile_policy(stage_for: Any) -> None:
    """It has no ttl until it is stored (56); with `allkeys-lru` it goes, and the log answers."""
    stage = stage_for(WriteBehindLog)
    for policy, goes in (("volatile-lru", False), ("allkeys-lru", True)):
        with stage.open("A write, A .", workers=1, policy=policy) as run:
            assert run.is_enabled(Evict(ENTRY)) is goes
    run = stage.play(f"A write, A .; evict {ENTRY}; B read, B ..", workers=1)
    assert stage.dialogue(run.history)[-1] == "B ok v2"
    assert ReadAfterWrite().check(run.history).findings == ()
