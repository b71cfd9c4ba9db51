"""Writes the history of one run: every event gets the next index and the virtual time."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

from cacheproof.chaos.clock import RunClock
from cacheproof.models.event import Event, Faulted
from cacheproof.models.history import History
from cacheproof.models.schedule import Scenario

__all__ = ["Recorder"]

E = TypeVar("E", bound=Event)


class Recorder:
    """Appends events; indices and times are its own."""

    def __init__(self, scenario: Scenario, clock: RunClock) -> None:
        self._scenario = scenario
        self._clock = clock
        self.events: list[Event] = []
        self.observer: Callable[[Event], None] | None = None

    def __call__(self, make: Callable[..., E], /, **fields: Any) -> E:
        """Record `make(index=…, at_s=…, **fields)` and return it."""
        event = make(index=len(self.events), at_s=self._clock.now_ns / 1e9, **fields)
        self.events.append(event)
        if self.observer is not None:
            self.observer(event)
        return event

    def amend(self, event: Faulted, **fields: Any) -> None:
        """Change what is recorded of an event that has turned out otherwise; whoever observes is not told again."""
        self.events[event.index] = replace(event, **fields)

    def history(self) -> History:
        scenario = self._scenario
        return History(
            initial=dict(scenario.initial_values()),
            events=tuple(self.events),
            processes=scenario.processes,
            workers=tuple(range(scenario.clients, scenario.processes)),
        )
