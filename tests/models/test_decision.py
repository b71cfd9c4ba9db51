"""Decisions survive the way to JSON and back, and what is not a decision is refused with a reason."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cacheproof.models.decision import (
    Advance,
    Arrive,
    Crash,
    Decision,
    Deliver,
    Evict,
    Expire,
    Failover,
    Fate,
    Flush,
    Flushed,
    Freeze,
    Heal,
    InFlight,
    Invoke,
    Kill,
    Lag,
    Manner,
    Partition,
    Pause,
    Replicate,
    Restart,
    Resume,
    ServerName,
    Skew,
    Start,
    Survived,
    Thaw,
    decision_from_dict,
    decision_to_dict,
)
from cacheproof.models.errors import UsageError

CLIENTS = st.integers(0, 9)
DECISIONS: st.SearchStrategy[Decision] = st.one_of(
    st.builds(Invoke, CLIENTS, st.sampled_from(("read", "write")), st.none() | st.text()),
    st.builds(Deliver, CLIENTS, st.integers(0, 3), st.sampled_from(Fate), st.none() | st.just("loading")),
    st.builds(Arrive, CLIENTS, st.integers(0, 3)),
    st.builds(Crash, CLIENTS, st.sampled_from(InFlight)),
    st.builds(Restart, CLIENTS),
    st.builds(Kill, st.sampled_from(ServerName)),
    st.builds(Start, st.sampled_from(ServerName), st.none() | st.sampled_from(Survived)),
    st.builds(Pause, CLIENTS),
    st.builds(Resume, CLIENTS),
    st.builds(Skew, CLIENTS, st.floats(-1e6, 1e6)),
    st.builds(Freeze, st.sampled_from(ServerName)),
    st.builds(Thaw, st.sampled_from(ServerName)),
    st.builds(Partition, st.sampled_from(ServerName), st.none() | CLIENTS, st.sampled_from(Manner)),
    st.builds(Heal, st.sampled_from(ServerName), st.none() | CLIENTS),
    st.builds(Expire, st.text()),
    st.builds(Evict, st.text()),
    st.builds(Flush, st.sampled_from(Flushed)),
    st.builds(Failover, st.integers(0, 9)),
    st.builds(Lag),
    st.builds(Replicate, st.integers(0, 9)),
    st.builds(Advance, st.floats(0, 1e6)),
)


@settings(max_examples=200, deadline=None)
@given(decision=DECISIONS)
def test_json_and_back(decision: Decision) -> None:
    """Nothing is lost through JSON text."""
    assert decision_from_dict(json.loads(json.dumps(decision_to_dict(decision)))) == decision


def test_defaults_are_left_out() -> None:
    """The common decisions are short."""
    assert decision_to_dict(Deliver(1)) == {"do": "deliver", "client": 1}
    assert decision_to_dict(Deliver(1, 2, Fate.REPLY_LOST)) == {
        "do": "deliver",
        "client": 1,
        "pick": 2,
        "fate": "reply-lost",
    }


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ([], "not a decision"),
        ({}, "not a decision"),
        ({"do": "dance"}, "expected {'do': one of advance, arrive"),
        ({"do": []}, "not a decision"),
        ({"do": "crash", "client": 0, "speed": 3}, r"unknown fields \['speed'\]"),
        ({"do": "crash"}, "incomplete"),
        ({"do": "deliver", "client": 0, "fate": "eaten"}, "one of delivered, request-lost, reply-lost"),
        ({"do": "kill", "server": ["cache"]}, "one of cache, database"),
        ({"do": "deliver", "client": "0"}, "wrong type"),
        ({"do": "deliver", "client": True}, "wrong type"),
        ({"do": "deliver", "client": 0.5}, "wrong type"),
        ({"do": "deliver", "client": -1}, "0 or more"),
        ({"do": "advance", "seconds": float("inf")}, "finite"),
        ({"do": "advance", "seconds": float("nan")}, "finite"),
        ({"do": "expire", "key": 7}, "wrong type"),
        ({"do": "crash", "client": None}, "wrong type"),
        ({"do": "skew", "client": 0, "by_s": float("-inf")}, "a finite number$"),
        (
            {"do": "partition", "server": "cache", "manner": "rude"},
            "one of refuse, silent, requests, replies",
        ),
    ],
)
def test_anything_else_is_refused(data: object, reason: str) -> None:
    """Whatever is wrong with it is a UsageError that says what."""
    with pytest.raises(UsageError, match=reason):
        decision_from_dict(data)
