"""Operations and those who run them: a client is started when it is first needed, and started anew after its end."""

from cacheproof.harness.exchanges import Exchanges
from cacheproof.harness.passing_time import PassingTime
from cacheproof.harness.process import ClientProcess, OpenOperation
from cacheproof.harness.situation import Situation
from cacheproof.models.decision import Fate, InFlight, Invoke
from cacheproof.models.errors import CacheError
from cacheproof.models.event import Invoked
from cacheproof.models.operation import Outcome, Value
from cacheproof.models.workload import Takes, kind_of

__all__ = ["Operations"]


class Operations:
    """Invokes operations, and starts and restarts the clients of a run."""

    def __init__(self, situation: Situation, exchanges: Exchanges, time: PassingTime) -> None:
        self.final = False
        """Whether what is invoked now are the reads of the epilogue."""
        self._here = situation
        self._exchanges = exchanges
        self._time = time
        self._values = len(situation.scenario.keys)

    def invoke(self, decision: Invoke) -> None:
        here = self._here
        process = here.crew.get(decision.client) or self.start(decision.client)
        value = self._argument(decision.f)
        call = here.recorder(
            Invoked,
            process=decision.client,
            f=decision.f,
            key=decision.key,
            value=value,
            final=self.final,
        )
        process.operation = OpenOperation(decision.f, decision.key, value, call.index)
        if process.ended:
            self._here.returned(process, Outcome.FAIL, value, process.last_words)
            return
        args: list[Value] = [item for item in (decision.key, value) if item is not None]
        process.order(decision.f, args)
        here.settle(process)

    def _argument(self, f: str) -> Value:
        """What the operation is given besides a key: a new value, an amount, all the keys, or pairs of both."""
        match kind_of(f).takes:
            case Takes.VALUE:
                return self._new_value()
            case Takes.AMOUNT:
                self._values += 1
                return 1
            case Takes.KEYS:
                return self._here.scenario.keys
            case Takes.PAIRS:
                return tuple((key, self._new_value()) for key in self._here.scenario.keys)
        return None

    def _new_value(self) -> Value:
        self._values += 1
        return self._here.scenario.new_value(self._values)

    def start(self, client: int) -> ClientProcess:
        """Start a client; what it says to the servers while it starts is delivered at once."""
        here = self._here
        process = here.crew.start(client)
        here.settle(process)
        while not process.ready and not process.ended:
            if pending := here.pending(client):
                self._exchanges.release(pending[0], Fate.DELIVERED)
            elif process.next_deadline_ns is not None:
                self._time.advance(process.next_deadline_ns, None)
            else:
                raise CacheError(
                    f"the constructor of the cache does not return on {here.crew.name(client)}; "
                    f"it waits for something that is not on the wire\n{here.crew.stacks(process)}"
                )
        return process

    def replace(self, client: int) -> None:
        """End a client that no longer works and start it anew, as whoever runs it would."""
        here = self._here
        process = here.crew.get(client)
        if process is not None and process.operation is None and process.ready:
            for link in here.world.wire.links(client):
                here.world.wire.reset(link)
            here.settle(process)
        if process is not None and process.operation is None and not process.ended:
            here.crew.retire(process)
        elif process is not None:
            self._here.bury(process, InFlight.CANCELLED)
        self.restart(client)

    def restart(self, client: int) -> None:
        self._here.fault("restart", process=client)
        self._here.crew.down.discard(client)
        self._here.wounded.discard(client)
        self.start(client)
        if self._here.scenario.is_worker(client) and self._here.crew.get(client) is not None:
            self.invoke(Invoke(client, "work"))
