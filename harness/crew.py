"""The clients of one run: who is alive, who is down, and when one has settled."""

import os
import time

from cacheproof.harness.environment import client_name
from cacheproof.harness.process import ClientProcess
from cacheproof.harness.world import World
from cacheproof.models.errors import CacheError
from cacheproof.models.schedule import Scenario

__all__ = ["OPERATION_LIMIT_S", "Crew"]

OPERATION_LIMIT_S = 10.0
"""Real seconds that a client may compute between two exchanges before it counts as hanging."""

_SPINS = 200


class Crew:
    """Client processes by number; started when they are first needed."""

    def __init__(self, world: World, scenario: Scenario) -> None:
        self._world = world
        self._scenario = scenario
        self._processes: dict[int, ClientProcess] = {}
        self._starts: dict[int, int] = {}
        self.down: set[int] = set()

    def name(self, client: int) -> str:
        return client_name(client, self._scenario.clients)

    def get(self, client: int) -> ClientProcess | None:
        return self._processes.get(client)

    def alive(self) -> list[ClientProcess]:
        """Every running client, in order of number."""
        return [self._processes[number] for number in sorted(self._processes)]

    def start(self, client: int) -> ClientProcess:
        starts = self._starts.get(client, 0)
        self._starts[client] = starts + 1
        seed = (self._scenario.seed * 1009 + client) * 1009 + starts
        process = self._world.take_idle(client, self.name(client))
        if process is None or not self._begin(process, seed):
            environment = (*self._world.wire.addresses(client), self.name(client))
            process = ClientProcess(client, environment, self._world.zygote, self._world.reactor)
            self._begin(process, seed)
        self._processes[client] = process
        return process

    def _begin(self, process: ClientProcess, seed: int) -> bool:
        """Begin the run in a process.  False, and the process is gone, if it cannot serve another run."""
        process.begin(seed)
        self.settle(process)
        if process.is_tired():
            process.kill()
            return False
        return True

    def bury(self, process: ClientProcess) -> None:
        """Kill a client and take it out of the run until it is restarted."""
        process.kill()
        self._processes.pop(process.number, None)
        self.down.add(process.number)

    def retire(self, process: ClientProcess) -> None:
        """Take an idle client out of the run until it is restarted; its process may serve again."""
        self._world.keep_idle(self.name(process.number), process)
        self._processes.pop(process.number, None)
        self.down.add(process.number)

    def dismiss(self) -> None:
        """The run is over: clients that wait idly are kept, if processes may be kept; the others are killed.

        A worker's main loop never ends by itself, so its connections are broken: most then end with an error.
        """
        for process in self.alive():
            if self._scenario.is_worker(process.number) and self._world.reuse_processes:
                self._interrupt(process)
            if process.operation is None and process.ready:
                self._world.keep_idle(self.name(process.number), process)
            else:
                process.kill()
        self._processes.clear()

    def _interrupt(self, process: ClientProcess) -> None:
        for link in self._world.wire.links(process.number):
            self._world.wire.reset(link)
        try:
            self.settle(process)
        except CacheError:
            return
        while packet := process.take_packet():
            if "error" in packet or "value" in packet:
                process.operation = None

    def settle(self, process: ClientProcess) -> None:
        """Return when the client has settled: it can do nothing more until somebody acts on it.

        Raises CacheError with its stacks if it goes on computing for longer than OPERATION_LIMIT_S.
        """
        poll = self._world.reactor.poll
        spins = 0
        deadline = 0.0
        while not process.ended:
            if poll():
                spins = 0
                continue
            if process.blocked() and self._lines_quiet(process):
                if not poll():
                    return
                continue
            spins += 1
            if spins < _SPINS:
                os.sched_yield()
                continue
            deadline = deadline or time.monotonic() + OPERATION_LIMIT_S
            poll(0.001)
            if time.monotonic() > deadline:
                raise CacheError(self._hangs(process))

    def _lines_quiet(self, process: ClientProcess) -> bool:
        quiet = self._world.sockets.quiet
        return all(
            quiet(link.peer, link.here, sent=link.sent, received=link.received)
            for link in self._world.wire.links(process.number)
            if link.connected
        )

    def _hangs(self, process: ClientProcess) -> str:
        what = f"{process.operation.f} {process.operation.key}" if process.operation else "its constructor"
        return (
            f"{what} on {self.name(process.number)} has not come back for {OPERATION_LIMIT_S:g} real seconds "
            f"and asks no server; it computes, or waits for something that the run does not control\n"
            f"{self.stacks(process)}"
        )

    def stacks(self, process: ClientProcess) -> str:
        """The stacks of all threads of a client, as faulthandler writes them."""
        self._world.take_output()
        process.dump_stacks()
        text = ""
        give_up = time.monotonic() + 1.0
        while "most recent call first" not in text and time.monotonic() < give_up:
            os.sched_yield()
            text += self._world.take_output()
        return text.strip() or "(it did not answer with its stacks)"
