"""Properties as data: whatever is written down is read back, and nothing else is."""

import json
from dataclasses import dataclass, fields
from typing import Any, get_args

import pytest

from cacheproof.models.atomic_reads import AtomicReads
from cacheproof.models.availability import Availability
from cacheproof.models.causal import Causal, CausalConvergence, CausalMemory
from cacheproof.models.convergence import Convergence
from cacheproof.models.counters import ExactlyOnce
from cacheproof.models.decision import ServerName
from cacheproof.models.delta_atomicity import DeltaAtomicity
from cacheproof.models.durability import Durability
from cacheproof.models.errors import UsageError
from cacheproof.models.flush_order import FlushOrder
from cacheproof.models.general import LinearizableAs
from cacheproof.models.history import History
from cacheproof.models.integrity import Integrity
from cacheproof.models.invalidation import Invalidation
from cacheproof.models.liveness import Liveness
from cacheproof.models.mutual_exclusion import MutualExclusion
from cacheproof.models.properties import PROPERTIES, property_from_dict, property_to_dict
from cacheproof.models.quiet_warm_up import QuietWarmUp
from cacheproof.models.reaches_cache import ReachesCache
from cacheproof.models.read_after_write import ReadAfterWrite
from cacheproof.models.round_trips import RoundTrips
from cacheproof.models.sequential import Sequential
from cacheproof.models.sessions import MonotonicReads, MonotonicWrites, ReadYourWrites, WritesFollowReads
from cacheproof.models.single_flight import SingleFlight
from cacheproof.models.staleness import BoundedStaleness
from cacheproof.models.verdict import Judgement, Property, Verdict
from cacheproof.models.version_staleness import StalenessInVersions
from cacheproof.models.zones import Linearizable

OURS: list[Property] = [
    AtomicReads(),
    Availability(0.5),
    BoundedStaleness(300),
    Causal(),
    CausalConvergence(),
    CausalMemory(),
    Convergence(within_s=300),
    Convergence(within_s=None),
    DeltaAtomicity(2.5),
    Durability(),
    ExactlyOnce(),
    FlushOrder(),
    Integrity(committed=True),
    Integrity(resurrected=True),
    Invalidation(10),
    Linearizable(),
    LinearizableAs("cas-register"),
    LinearizableAs("mutex", budget_steps=7),
    Liveness(30),
    MonotonicReads(),
    MonotonicWrites(),
    MutualExclusion(),
    MutualExclusion(fenced=True),
    ReachesCache(after="acknowledgement"),
    ReachesCache(after="event"),
    QuietWarmUp(),
    ReadAfterWrite(),
    ReadYourWrites(),
    RoundTrips(2, "read"),
    RoundTrips(1, "write", ServerName.DATABASE),
    Sequential(),
    Sequential(budget_steps=1000),
    SingleFlight(),
    SingleFlight(loads=2, per_process=True, absent=False, lifetime_s=60),
    StalenessInVersions(3),
    WritesFollowReads(),
]


@dataclass(frozen=True)
class Mine:
    """A property of somebody else's making that took one of our names."""

    name: str = "durability"
    probes_s: tuple[float, ...] = ()

    def check(self, history: History) -> Judgement:
        return Judgement()


@pytest.mark.parametrize("item", OURS, ids=repr)
def test_every_property_survives_being_written_down(item: Property) -> None:
    """With its parameters, and as JSON."""
    data = property_to_dict(item)
    assert data is not None and data["name"] == item.name
    assert property_from_dict(json.loads(json.dumps(data))) == item == property_from_dict(data)


def test_the_table_has_every_property() -> None:
    """Each under its own name, in order; one that is added has to be written down as well."""
    assert {item.name for item in OURS} == set(PROPERTIES)
    assert {type(item) for item in OURS} == set(PROPERTIES.values())
    assert list(PROPERTIES) == sorted(PROPERTIES)


@pytest.mark.parametrize("item", OURS, ids=repr)
def test_every_property_judges_a_history_without_events(item: Property) -> None:
    """Nothing was put to the test, and nobody passes for it."""
    assert item.check(History({})).verdict in (Verdict.NOT_EXERCISED, Verdict.UNKNOWN)


@pytest.mark.parametrize("kind", PROPERTIES.values(), ids=list(PROPERTIES))
def test_parameters_are_of_types_that_json_has(kind: Any) -> None:
    """Numbers, true, false, texts and null: what is declared as anything else could not be read back."""
    for field in fields(kind):
        assert set(get_args(field.type) or (field.type,)) <= {bool, float, int, str, type(None)}


def test_a_property_of_somebody_elses_is_not_written_down() -> None:
    """Even if it has a name that is in the table: nobody could read it back."""
    assert property_to_dict(Mine()) is None


def test_what_is_as_by_default_may_be_left_out() -> None:
    """What was stored before a property learned to ask for more can still be read."""
    assert property_from_dict({"name": "integrity", "committed": True}) == Integrity(committed=True)
    assert property_from_dict({"name": "single-flight"}) == SingleFlight()
    assert property_from_dict({"name": "round-trips", "f": "read", "at_most": 2}) == RoundTrips(2, "read")


def test_a_whole_number_is_a_number() -> None:
    """But true is none, although Python thinks so."""
    assert property_from_dict({"name": "bounded-staleness", "seconds": 3}) == BoundedStaleness(3.0)
    with pytest.raises(UsageError, match="'seconds' is True; write a number"):
        property_from_dict({"name": "bounded-staleness", "seconds": True})


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (None, "not a property: None; expected"),
        ({"name": "rain"}, "expected {'name': one of atomic-reads, availability"),
        ({"name": ["durability"]}, "not a property: "),
        ({"name": "durability", "extra": 1}, "'durability' takes no parameters"),
        ({"name": "convergence"}, "'convergence' takes 'within_s'"),
        ({"name": "round-trips", "f": "read"}, r"takes 'at_most', 'f', 'server' \(if not None\)"),
        ({"name": "convergence", "within_s": "300"}, "'within_s' is '300'; write a number or null"),
        ({"name": "convergence", "within_s": [300]}, "write a number or null"),
        ({"name": "integrity", "committed": 1}, "'committed' is 1; write true or false"),
        ({"name": "sequential", "budget_steps": True}, "'budget_steps' is True; write a whole number"),
        ({"name": "staleness-in-versions", "versions": 1.0}, "'versions' is 1.0; write a whole number"),
        ({"name": "round-trips", "at_most": 1, "f": None}, "'f' is None; write a text"),
        ({"name": "mutual-exclusion", "fenced": "no"}, "write true or false or null"),
        ({"name": "linearizable-as", "model": "piano"}, "'piano'"),
        ({"name": "bounded-staleness", "seconds": -1}, "-1"),
    ],
)
def test_anything_else_is_refused(data: Any, message: str) -> None:
    """UsageError, with what it takes."""
    with pytest.raises(UsageError, match=message):
        property_from_dict(data)
