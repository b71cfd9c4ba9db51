"""The read replica of the database, on a real server: it falls behind, and catches up.

Scripts and dialogues are those of script.py: A and B are clients, Q is a worker.
"""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import psycopg
import pytest

from cacheproof.models.decision import Decision, Lag, Replicate
from cacheproof.models.trace import is_on_replica

StageFor = Callable[[Any], Any]
READS = "select value, version from records where key = %s"


class TwoDatabases:
    """A read asks the replica, then the database; a write goes to the database."""

    def __init__(self, env: Any) -> None:
        self.db = psycopg.connect(env.database_url, autocommit=True)
        self.replica = psycopg.connect(env.replica_url, autocommit=True)

    def read(self, key: str) -> str:
        both = [db.execute(READS, (key,)).fetchone() for db in (self.replica, self.db)]
        return " ".join("none" if row is None else f"{row[0]}/{row[1]}" for row in both)

    def write(self, key: str, value: str) -> None:
        self.db.execute(
            "insert into records values (%s, %s, 1) on conflict (key) do update"
            " set value = excluded.value, version = records.version + 1",
            (key, value),
        )


class OneTransaction(TwoDatabases):
    """A write changes both rows at once."""

    def write(self, key: str, value: str) -> None:
        self.db.execute("update records set value = %s", (value,))


class Deleting(TwoDatabases):
    """A write deletes the row."""

    def write(self, key: str, value: str) -> None:
        self.db.execute("delete from records where key = %s", (key,))


class Confused(TwoDatabases):
    """A write goes to the replica."""

    def write(self, key: str, value: str) -> None:
        self.replica.execute("update records set value = %s where key = %s", (value, key))


def answers(lines: list[str]) -> list[str]:
    """What reads returned: the replica's answer, and the database's."""
    return [line.partition(" ok ")[2] for line in lines if " ok " in line and "/" in line or "none" in line]


def test_without_a_lag_both_are_the_same(stage_for: StageFor) -> None:
    """What is committed is there at once; what is not yet is at neither."""
    assert answers(stage_for(TwoDatabases).lines("A read, A .., B write, B ., A read, A ..")) == [
        "v1/0 v1/0",
        "v2/1 v2/1",
    ]


def test_a_replica_that_lags_shows_an_older_time(stage_for: StageFor) -> None:
    """From the moment on; it gets commit by commit, the oldest first."""
    lines = stage_for(TwoDatabases).lines(
        "B write, B ., lag, B write, B ., B write, B ., A read, A .., replicate 1, A read, A .., replicate 1,"
        " A read, A .., B write, B ., A read, A .."
    )
    assert answers(lines) == ["v2/1 v4/3", "v3/2 v4/3", "v4/3 v4/3", "v5/4 v5/4"]
    assert lines[4] == "lag database" and "replicate database 1" in lines


def test_once_it_has_caught_up_it_follows_again(stage_for: StageFor) -> None:
    """Several commits at once, or more than there are."""
    script = "lag, B write, B ., B write, B ., replicate 7, A read, A .., B write, B ., A read, A .."
    assert answers(stage_for(TwoDatabases).lines(script)) == ["v3/2 v3/2", "v4/3 v4/3"]


def test_what_was_committed_together_arrives_together(stage_for: StageFor) -> None:
    """A transaction is one commit, whatever it changed."""
    script = "lag, B write, B ., replicate 1, A read, A .., A read @user:2, A .."
    lines = stage_for(OneTransaction).lines(script, keys=("user:1", "user:2"))
    assert answers(lines) == ["v3/0 v3/0", "v3/0 v3/0"]


def test_deleted_rows_are_there_until_it_hears_of_it(stage_for: StageFor) -> None:
    """And then no more."""
    script = "lag, B write, B ., A read, A .., replicate 1, A read, A .."
    stage = stage_for(Deleting)
    assert answers(stage.lines(script)) == ["v1/0 none", "none none"]


def test_nobody_writes_to_a_replica(stage_for: StageFor) -> None:
    """The server says so, whether it lags or not."""
    for script in ("A write, A .", "lag, A write, A ."):
        assert "ReadOnlySqlTransaction" in stage_for(Confused).lines(script)[-1]


def test_in_the_end_it_has_everything(stage_for: StageFor) -> None:
    """Before the epilogue reads, and whatever else it brings to an end."""
    script = "A read, A .., lag, B write, B ., B write"
    lines = stage_for(TwoDatabases).lines(script, epilogue=True)
    assert lines[lines.index("-- heal --") + 1] == "replicate database 1"
    assert answers(lines)[-1] == "v3/2 v3/2"
    lines = stage_for(TwoDatabases).lines("lag", epilogue=True)
    assert lines[1:3] == ["-- heal --", "replicate database 1"]


def test_a_history_says_who_was_asked(stage_for: StageFor) -> None:
    """Both are the database; the words tell them apart."""
    run = stage_for(TwoDatabases).play("A read, A ..")
    assert [is_on_replica(exchange) for exchange in run.history.exchanges][:2] == [True, False]


def test_a_crash_of_the_database_is_one_of_the_replica(stage_for: StageFor) -> None:
    """It comes back with what it had, and lags on."""
    script = "lag, B write, B ., kill database, start database, A read, A .., replicate 1, A read, A .."
    assert answers(stage_for(TwoDatabases).lines(script)) == ["v1/0 v2/1", "v2/1 v2/1"]


@pytest.mark.parametrize(
    ("script", "possible", "impossible"),
    [
        ("", [Lag()], [Replicate()]),
        ("lag", [Replicate(), Replicate(3)], [Lag(), Replicate(0)]),
        ("lag, replicate 1", [Lag()], [Replicate()]),
        ("kill database", [], [Lag(), Replicate()]),
        ("lag, kill database", [], [Lag(), Replicate()]),
    ],
)
def test_when_it_can_lag(
    stage_for: StageFor, script: str, possible: list[Decision], impossible: list[Decision]
) -> None:
    """While its server is up, and once; what it can catch up with is what it lacks."""
    with stage_for(TwoDatabases).open(script) as execution:
        assert [item for item in possible if not execution.is_enabled(item)] == []
        assert [item for item in impossible if execution.is_enabled(item)] == []


def test_the_next_run_does_not_lag(stage_for: StageFor, caches: ModuleType) -> None:
    """Whatever the last one has left."""
    stage = stage_for(TwoDatabases)
    with stage.open("lag, B write, B ."):
        pass
    assert answers(stage.lines("A read, A ..")) == ["v1/0 v1/0"]
