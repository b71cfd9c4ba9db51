"""Small random histories: clients that read, write and delete one or two keys, and a database that commits.

Nothing connects what is read with what was written or committed, so every way of being wrong occurs; values
are few, so some repeat.
"""

import random

from cacheproof.models.event import Committed, Entered, Event, Invoked, Phase, Returned
from cacheproof.models.history import History
from cacheproof.models.operation import Outcome, Value

__all__ = ["happenings"]

_CLIENTS = 3


def happenings(seed: int, keys: int = 1) -> History:
    """A history of up to 16 events on `keys` keys; it may come to rest at some point, and values start at v0."""
    chance = random.Random(seed)
    names = tuple("kab"[:keys])
    rest = chance.randint(0, 16)
    writer = _Writer(chance, names)
    for step in range(chance.randint(1, 16)):
        if step == rest:
            writer.add(Entered(len(writer.events), writer.now_s, Phase.QUIESCE))
            writer.final = True
        writer.step()
    return History(dict.fromkeys(names, "v0"), tuple(writer.events), _CLIENTS)


class _Writer:
    def __init__(self, chance: random.Random, names: tuple[str, ...]) -> None:
        self.chance, self.names = chance, names
        self.events: list[Event] = []
        self.open: dict[int, Invoked] = {}
        self.now_s, self.written, self.final = 0.0, 0, False
        self.versions = dict.fromkeys(names, 0)

    def add(self, event: Event) -> None:
        self.events.append(event)

    def step(self) -> None:
        self.now_s += self.chance.choice((0.0, 0.0, 1.0, 4.0))
        client = self.chance.randint(0, _CLIENTS)
        if client == _CLIENTS:
            self._commit(self.chance.choice(self.names))
        elif client in self.open:
            self._return(client)
        else:
            self._invoke(client)

    def _some_value(self) -> Value:
        number = self.chance.randint(-1, self.written)
        return None if number < 0 else f"v{number}"

    def _commit(self, key: str) -> None:
        self.versions[key] += 1
        stamp = (len(self.events), self.now_s)
        self.add(Committed(*stamp, key, self._some_value(), self.versions[key]))

    def _invoke(self, client: int) -> None:
        f = self.chance.choice(("read", "read", "write", "write", "delete"))
        key, value = self.chance.choice(self.names), None
        if f == "write":
            self.written += self.chance.choice((0, 1, 1, 1)) or not self.written
            value = f"v{self.written}"
        final = self.final and f == "read"
        self.open[client] = Invoked(len(self.events), self.now_s, client, f, key, value, final)
        self.add(self.open[client])

    def _return(self, client: int) -> None:
        call = self.open.pop(client)
        outcome = self.chance.choice((Outcome.OK,) * 6 + (Outcome.FAIL, Outcome.INFO))
        value = self._some_value() if call.f == "read" and outcome is Outcome.OK else call.value
        self.add(Returned(len(self.events), self.now_s, client, outcome, value))
