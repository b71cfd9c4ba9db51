"""What a run in progress is made of: its situation, and the three things that can happen to it."""

from collections.abc import Callable

from cacheproof.harness.exchanges import Exchanges
from cacheproof.harness.operations import Operations
from cacheproof.harness.passing_time import PassingTime
from cacheproof.harness.situation import Situation
from cacheproof.harness.world import World
from cacheproof.models.event import Event
from cacheproof.models.schedule import Scenario

__all__ = ["Parts"]


class Parts:
    """The parts of one run, each knowing those before it."""

    def __init__(
        self, world: World, scenario: Scenario, observer: Callable[[Event], None] | None = None
    ) -> None:
        self.situation = Situation(world, scenario, observer)
        self.exchanges = Exchanges(self.situation)
        self.time = PassingTime(self.situation, self.exchanges)
        self.operations = Operations(self.situation, self.exchanges, self.time)
