"""Schedules survive the way to JSON and back, and scenarios name their processes and values."""

import json

import pytest

from cacheproof.models.decision import Advance, Deliver, Fate, Invoke, Kill, ServerName
from cacheproof.models.errors import UsageError
from cacheproof.models.schedule import Keeps, Scenario, Schedule

SCHEDULE = Schedule(
    Scenario(clients=3, workers=1, keys=("user:1", "ü"), probes_s=(0.0, 299.0), seed=7),
    (Invoke(0, "read", "user:1"), Deliver(0, fate=Fate.REQUEST_LOST), Advance(1.5)),
)


KEEPING = Schedule(Scenario(keeps=Keeps.EVERYSEC, policy="volatile-ttl"), (Kill(ServerName.CACHE),))


COUNTING = Schedule(Scenario(keys=("a", "b"), operations=("read", "increment"), numbers=True))


@pytest.mark.parametrize("schedule", [SCHEDULE, KEEPING, COUNTING, Schedule()])
def test_json_and_back(schedule: Schedule) -> None:
    """Nothing is lost, and the same schedule has the same text."""
    assert Schedule.from_json(schedule.to_json()) == schedule
    assert Schedule.from_json(schedule.to_json()).to_json() == schedule.to_json()


def test_decisions_can_be_replaced() -> None:
    """A minimiser keeps the scenario and tries fewer decisions."""
    fewer = SCHEDULE.with_decisions(item for item in SCHEDULE.decisions[:1])
    assert fewer.decisions == (Invoke(0, "read", "user:1"),) and fewer.scenario == SCHEDULE.scenario


def test_workers_follow_clients() -> None:
    """Three clients and a worker are the processes 0, 1, 2 and 3."""
    scenario = SCHEDULE.scenario
    assert scenario.processes == 4
    assert [scenario.is_worker(process) for process in range(4)] == [False, False, False, True]


def test_records_start_with_values_of_their_own() -> None:
    """v1, v2, … in the order of the keys."""
    assert SCHEDULE.scenario.initial_values() == {"user:1": "v1", "ü": "v2"}


def test_in_a_run_of_numbers_records_start_at_nothing() -> None:
    """With 0, and writes go on with numbers of their own, all different."""
    scenario = COUNTING.scenario
    assert scenario.initial_values() == {"a": 0, "b": 0}
    assert [scenario.new_value(number) for number in (3, 4)] == [3, 4]
    assert [SCHEDULE.scenario.new_value(number) for number in (3, 4)] == ["v3", "v4"]


def scenario_json(**fields: object) -> str:
    return json.dumps({"format": 1, "scenario": fields, "decisions": []})


def test_what_is_rarely_different_is_written_down_only_then() -> None:
    """What a cache keeps, and its policy; a schedule from before either could be said still reads."""
    written = [set(schedule.to_dict()["scenario"]) for schedule in (KEEPING, SCHEDULE)]
    assert written[0] - written[1] == {"keeps", "policy"}
    assert Schedule.from_json(KEEPING.to_json()).scenario.keeps is Keeps.EVERYSEC
    assert set(COUNTING.to_dict()["scenario"]) - written[1] == {"operations", "numbers"}
    assert Schedule.from_json(COUNTING.to_json()).scenario.operations == ("read", "increment")


def test_fields_of_a_scenario_have_defaults() -> None:
    """An empty scenario is the default one."""
    assert Schedule.from_json(scenario_json()) == Schedule()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "not: "),
        ("[]", "found 'list'"),
        ('{"format": 99}', "found 99"),
        ('{"format": 1, "scenario": {}}', "a list 'decisions'"),
        ('{"format": 1, "decisions": []}', "an object 'scenario'"),
        ('{"format": 1, "scenario": {}, "decisions": [{}]}', "not a decision"),
        (scenario_json(colour=1), r"unknown fields \['colour'\]"),
        (scenario_json(clients=-1), "clients is -1"),
        (
            scenario_json(keeps="all"),
            "keeps is 'all'; expected one of nothing, snapshots, everysec, always, replica",
        ),
        (scenario_json(policy="lru"), "policy is 'lru'; expected one of allkeys-lru, .*, volatile-ttl$"),
        (scenario_json(workers=True), "workers is True"),
        (scenario_json(numbers=1), "numbers is 1; expected true or false"),
        (scenario_json(operations="read"), "operations is 'read'; expected a list of names"),
        (scenario_json(operations=[["read"]]), "expected a list of names"),
        (scenario_json(operations=["reed"]), "scenario has operation 'reed'"),
        (scenario_json(seed="x"), "seed is 'x'"),
        (scenario_json(keys=[]), r"keys is \[\]"),
        (scenario_json(keys="abc"), "keys is 'abc'"),
        (scenario_json(keys=[1]), r"keys is \[1\]"),
        (scenario_json(keys=["a", "a"]), "repeat"),
        (scenario_json(probes_s=3), "probes_s is 3"),
        (scenario_json(probes_s=[True]), "probes_s"),
        (scenario_json(probes_s=[-1]), "probes_s"),
        (scenario_json(probes_s=[float("inf")]), "probes_s"),
    ],
)
def test_anything_else_is_refused(text: str, reason: str) -> None:
    """Whatever is wrong with a file is a UsageError that says what."""
    with pytest.raises(UsageError, match=reason):
        Schedule.from_json(text)
