"""The recorder numbers and times what happens, and shows it to whoever looks on."""

from cacheproof.chaos.clock import RunClock
from cacheproof.harness.recorder import Recorder
from cacheproof.models.event import Entered, Faulted, Invoked, Phase
from cacheproof.models.schedule import Scenario


def test_events_get_the_next_index_and_the_virtual_time() -> None:
    """Indices without a gap, seconds since the start of the run."""
    clock = RunClock.create()
    try:
        record = Recorder(Scenario(clients=1, workers=2, keys=("a", "b")), clock)
        record(Invoked, process=0, f="read", key="a", value=None)
        clock.set_ns(1_500_000_000)
        event = record(Faulted, fault="crash", process=0)
        assert (event.index, event.at_s) == (1, 1.5)
        history = record.history()
    finally:
        clock.close()
    assert [event.index for event in history.events] == [0, 1]
    assert (history.initial, history.processes, history.workers) == ({"a": "v1", "b": "v2"}, 3, (1, 2))


def test_an_observer_sees_every_event_after_it_was_recorded() -> None:
    """In order, and none twice."""
    clock = RunClock.create()
    try:
        record = Recorder(Scenario(), clock)
        seen = []
        record.observer = lambda event: seen.append((event, len(record.events)))
        events = [record(Entered, phase=phase) for phase in Phase]
    finally:
        clock.close()
    assert seen == [(event, number) for number, event in enumerate(events, start=1)]


def test_what_has_turned_out_otherwise_is_amended() -> None:
    """The event keeps its place and time, and nobody who observes is told again."""
    clock = RunClock.create()
    try:
        record = Recorder(Scenario(), clock)
        seen = []
        record.observer = seen.append
        event = record(Faulted, fault="advance", detail=5.0)
        record(Entered, phase=Phase.HEAL)
        record.amend(event, detail=2.0)
    finally:
        clock.close()
    assert record.history().events[0] == Faulted(index=0, at_s=0.0, fault="advance", detail=2.0)
    assert [item.index for item in seen] == [0, 1]
