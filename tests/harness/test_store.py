"""Failures on disk: kept once, whole or not at all, read with suspicion."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cacheproof.harness.store import FailureStore, StoredFailure
from cacheproof.models.decision import (
    Advance,
    Crash,
    Deliver,
    Expire,
    Fate,
    InFlight,
    Invoke,
    Kill,
    Restart,
    ServerName,
    Start,
)
from cacheproof.models.errors import EnvironmentFault, UsageError
from cacheproof.models.schedule import Scenario, Schedule

FAILURE = StoredFailure(
    cache="shop.caches.UserCache",
    contract="cache-aside",
    guarantee="CA4",
    claim="after a write is acknowledged, the next read sees it",
    judged_by={"name": "bounded-staleness", "seconds": 300},
    condition="concurrent",
    anomaly="stale set",
    schedule=Schedule(
        Scenario(clients=2, workers=1, keys=("user:1", "größe"), probes_s=(0.0, 300.0), seed=7),
        (Invoke(1, "read", "user:1"), Deliver(1), Deliver(1), Invoke(0, "write", "user:1"), Deliver(0)),
    ),
    seed=1732308812,
    hash_seed="0",
)


@pytest.fixture
def store(tmp_path: Path) -> FailureStore:
    return FailureStore(tmp_path / "kept")


decisions = st.one_of(
    st.builds(Invoke, st.integers(0, 9), st.text(), st.none() | st.text()),
    st.builds(Deliver, st.integers(0, 9), st.integers(0, 9), st.sampled_from(Fate)),
    st.builds(Crash, st.integers(0, 9), st.sampled_from(InFlight)),
    st.builds(Restart, st.integers(0, 9)),
    st.builds(Kill, st.sampled_from(ServerName)),
    st.builds(Start, st.sampled_from(ServerName)),
    st.builds(Expire, st.text()),
    st.builds(Advance, st.floats(0, 1e9)),
)


@settings(max_examples=100, deadline=None)
@given(
    names=st.tuples(*[st.text(min_size=1)] * 6),
    taken=st.lists(decisions, max_size=5),
    seed=st.integers(),
    hash_seed=st.none() | st.text(),
)
def test_what_is_written_is_read_back(
    names: tuple[str, str, str, str, str, str], taken: list[Any], seed: int, hash_seed: str | None
) -> None:
    """Any failure survives the way to the disk and back, whatever its names contain, under an ASCII name."""
    cache, contract, guarantee, claim, condition, anomaly = names
    failure = StoredFailure(
        cache=cache,
        contract=contract,
        guarantee=guarantee,
        claim=claim,
        judged_by=None,
        condition=condition,
        anomaly=anomaly,
        schedule=Schedule(decisions=tuple(taken)),
        seed=seed,
        hash_seed=hash_seed,
    )
    assert StoredFailure.from_json(failure.to_json()) == failure
    assert failure.to_json().isascii()
    slug, _, digest = failure.file_name.removesuffix(".json").rpartition("-")
    assert slug and len(digest) == 8
    assert set(slug + digest) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")


def test_a_failure_is_saved_under_its_anomaly_and_loaded(store: FailureStore, tmp_path: Path) -> None:
    """The file is `<folder>/anomalies/stale-set-<8 hexadecimal digits>.json`, and nothing else is left."""
    path = store.save(FAILURE)
    assert path.parent == tmp_path / "kept" / "anomalies"
    assert path.name.startswith("stale-set-")
    assert store.load(path) == FAILURE
    assert list(path.parent.iterdir()) == [path]


def test_the_same_failure_is_kept_once(store: FailureStore) -> None:
    """The name follows from the content: equal content has one file, different content another."""
    path = store.save(FAILURE)
    assert store.save(replace(FAILURE)) == path
    assert store.save(replace(FAILURE, seed=1)) != path
    assert len(list(path.parent.iterdir())) == 2


def test_nothing_is_created_before_something_is_saved(store: FailureStore) -> None:
    """Looking into a store that does not exist finds nothing, and leaves nothing behind."""
    assert store.matching("a", "b") == ()
    assert store.warnings == ()
    assert not store.anomalies.parent.exists()


def test_matching_gives_those_of_the_cache_and_contract_by_name(store: FailureStore) -> None:
    """Other caches and other contracts are left out; the order is that of the file names."""
    wanted = [replace(FAILURE, anomaly=name) for name in ("zombie write", "avalanche", "lost write")]
    others = [replace(FAILURE, cache="shop.Other"), replace(FAILURE, contract="write-behind")]
    for failure in wanted + others:
        store.save(failure)
    found = store.matching(FAILURE.cache, FAILURE.contract)
    assert [item.anomaly for item in found] == ["avalanche", "lost write", "zombie write"]


def test_files_that_cannot_be_read_are_named_and_left_out(store: FailureStore) -> None:
    """One warning a file, with its reason; it is forgotten at the next look when the file is mended."""
    good = store.save(FAILURE)
    (good.parent / "a.json").write_text("{")
    (good.parent / "b.json").write_bytes(b"\xff")
    (good.parent / "c.json").mkdir()
    (good.parent / "notes.txt").write_text("not ours")
    assert store.matching(FAILURE.cache, FAILURE.contract) == (FAILURE,)
    assert [warning.split("/")[-1][:6] for warning in store.warnings] == ["a.json", "b.json", "c.json"]
    for name in ("a.json", "b.json"):
        (good.parent / name).unlink()
    (good.parent / "c.json").rmdir()
    store.matching(FAILURE.cache, FAILURE.contract)
    assert store.warnings == ()


def changed(**fields: Any) -> str:
    """The JSON of the failure with some fields replaced, or dropped where the value is `...`."""
    data = json.loads(FAILURE.to_json()) | fields
    return json.dumps({name: value for name, value in data.items() if value is not ...})


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not: Expecting value"),
        ("[" * 100_000, "is JSON, but this is not"),
        ("[]", "found 'list'"),
        (changed(format=2), "of format 1: found 2"),
        (changed(extra=1), r"unknown fields \['extra'\]"),
        (changed(cache=...), r"lacks the fields \['cache'\]"),
        (changed(hash_seed=...), r"lacks the fields \['hash_seed'\]"),
        (changed(cache=""), "cache is ''"),
        (changed(anomaly=["x"]), r"anomaly is \['x'\]"),
        (changed(seed="7"), "seed is '7'"),
        (changed(seed=True), "seed is True"),
        (changed(seed=float("nan")), "NaN is not a JSON value"),
        (changed(hash_seed=0), "hash_seed is 0"),
        (changed(schedule=None), "not a schedule"),
        (changed(schedule={"format": 1, "scenario": {}, "decisions": [{"do": "dance"}]}), "not a decision"),
        (changed(schedule={"format": 1, "scenario": {"clients": -1}, "decisions": []}), "clients is -1"),
    ],
)
def test_a_malformed_file_is_refused_with_its_reason(store: FailureStore, text: str, reason: str) -> None:
    """UsageError names the file and what is wrong with it."""
    store.anomalies.mkdir(parents=True)
    path = store.anomalies / "bad.json"
    path.write_text(text)
    with pytest.raises(UsageError, match=reason) as caught:
        store.load(path)
    assert str(path) in str(caught.value)


def test_a_value_of_an_unexpected_type_in_a_schedule_is_a_usage_error() -> None:
    """A list where a name belongs, which no table can look up, is refused like any other mistake."""
    schedule = {"format": 1, "scenario": {}, "decisions": [{"do": []}]}
    with pytest.raises(UsageError):
        StoredFailure.from_json(changed(schedule=schedule))


def test_a_file_that_is_not_there_is_a_usage_error(store: FailureStore) -> None:
    """The path is an argument, so a wrong one is the caller's to mend."""
    with pytest.raises(UsageError, match="No such file"):
        store.load(store.anomalies / "gone.json")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
inside = st.sampled_from(
    [("cache",), ("seed",), ("hash_seed",), ("schedule",), ("schedule", "format"), ("schedule", "decisions")]
    + [("schedule", "scenario", name) for name in ("clients", "workers", "keys", "probes_s", "seed")]
    + [("schedule", "decisions", 0), ("schedule", "decisions", 0, "do"), ("schedule", "decisions", 1, "fate")]
)


@settings(max_examples=300, deadline=None)
@given(where=inside, value=json_values)
def test_any_damage_is_a_failure_or_a_usage_error(where: tuple[Any, ...], value: Any) -> None:
    """Whatever JSON stands in place of any part: no other exception comes out."""
    data = json.loads(FAILURE.to_json())
    part = data
    for step in where[:-1]:
        part = part[step]
    part[where[-1]] = value
    try:
        failure = StoredFailure.from_json(json.dumps(data))
    except UsageError:
        return
    assert StoredFailure.from_json(failure.to_json()) == failure


def test_a_disk_that_refuses_is_an_environment_fault(store: FailureStore, tmp_path: Path) -> None:
    """A file stands where the folder should be: the error says what and why, with its cause."""
    (tmp_path / "kept").write_text("in the way")
    with pytest.raises(EnvironmentFault, match="cannot keep the failure") as caught:
        store.save(FAILURE)
    assert isinstance(caught.value.__cause__, OSError)


def test_a_disk_that_fills_up_leaves_what_was_there(
    store: FailureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the last step fails, the old file is whole and no temporary file remains."""
    path = store.save(FAILURE)
    before = path.read_bytes()

    def full(source: object, target: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(EnvironmentFault, match="No space left"):
        store.save(FAILURE)
    with pytest.raises(EnvironmentFault, match="No space left"):
        store.save(replace(FAILURE, seed=2))
    assert [item.name for item in path.parent.iterdir()] == [path.name]
    assert path.read_bytes() == before


def test_a_failure_is_discarded_once_and_for_all(store: FailureStore) -> None:
    """Discarding what is gone already is no error; what cannot go is an environment fault."""
    path = store.save(FAILURE)
    store.discard(path)
    store.discard(path)
    assert store.matching(FAILURE.cache, FAILURE.contract) == ()
    with pytest.raises(EnvironmentFault, match="cannot discard"):
        store.discard(path.parent)
