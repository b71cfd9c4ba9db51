"""The clients of one run: who is alive, who is down, and when one has settled."""

import os
import time
from urllib.parse import urlsplit

from cacheproof.chaos.bypass import connections_around
from cacheproof.harness.client import client_main
from cacheproof.harness.environment import client_name
from cacheproof.harness.process import ClientProcess
from cacheproof.harness.world import World
from cacheproof.models.errors import CacheError
from cacheproof.models.schedule import Scenario

__all__ = ["Crew"]

_CLIENT = client_main.__code__.co_filename
_STACKS_S = 1.0
_STACKS_PAUSE_S = 0.02

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
            held_back = self._world.wire.is_held_back
            process = ClientProcess(client, environment, self._world.zygote, self._world.reactor, held_back)
            self._begin(process, seed)
        return process

    def _begin(self, process: ClientProcess, seed: int) -> bool:
        """Begin the run in a process.  False, and the process is gone, if it cannot serve another run."""
        self._processes[process.number] = process
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
            if process.paused:
                process.kill()
                continue
            if self._scenario.is_worker(process.number) and self._world.reuse_processes:
                self._interrupt(process)
            if process.operation is None and process.ready:
                self._world.keep_idle(self.name(process.number), process)
            else:
                process.kill()
        self._processes.clear()

    def kill(self) -> None:
        """End every client at once."""
        for process in self.alive():
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

        Raises CacheError with its stacks if it goes on computing for longer than the world's patience.
        """
        poll = self._world.reactor.poll
        spins = 0
        deadline = 0.0
        while not process.ended:
            if poll():
                spins = 0
                continue
            # Asleep all the while: it may have slept before what we sent came in, and again after it had answered.
            asleep = process.asleep()
            if asleep is not None and self._lines_quiet(process) and process.asleep() == asleep:
                if not poll():
                    self._world.sockets.all_heard(self._world.wire.heard)
                    return
                continue
            spins += 1
            if spins < _SPINS:
                os.sched_yield()
                continue
            deadline = deadline or time.monotonic() + self._world.patience_s
            poll(0.001)
            if time.monotonic() > deadline:
                raise CacheError(self._hangs(process))

    def _lines_quiet(self, process: ClientProcess) -> bool:
        sockets, wire = self._world.sockets, self._world.wire
        quiet = all(
            sockets.quiet(link.peer, link.here, sent=link.sent, received=link.received)
            for link in wire.links(process.number)
            if link.connected
        )
        return quiet and not sockets.connecting(wire.ports(), wire.heard)

    def _hangs(self, process: ClientProcess) -> str:
        self._world.hangs += 1
        what = f"{process.operation.f} {process.operation.key}" if process.operation else "its constructor"
        return (
            f"{what} on {self.name(process.number)} has not come back for {self._world.patience_s:g} real "
            "seconds and asks no server; it computes, or waits for something that the run does not control: "
            "see where it is, and let it end\n"
            f"{self.stacks(process)}"
        )

    def stacks(self, process: ClientProcess) -> str:
        """The stacks of all threads of a client, as faulthandler writes them, without what is ours below them."""
        self._world.take_output()
        process.dump_stacks()
        text = ""
        give_up = time.monotonic() + _STACKS_S
        while time.monotonic() < give_up:
            self._world.reactor.poll(_STACKS_PAUSE_S)
            more = self._world.take_output()
            text += more
            if "most recent call first" in text and not more:
                break
        return _theirs(text) or "(it did not answer with its stacks)"

    # -- its connections -----------------------------------------------------------------------------------

    def connections(self) -> dict[str, int]:
        """How many connections each client holds, by its name."""
        open_now = {
            process.number: sum(link.connected for link in self._world.wire.links(process.number))
            for process in self.alive()
        }
        return {self.name(number): count for number, count in open_now.items()}

    def connected_around(self, process: ClientProcess) -> list[str]:
        """Where the connections of a client lead to that are not on the wire."""
        urls = self._world.wire.addresses(process.number)
        ports = [port for url in urls if (port := urlsplit(url).port)]
        return connections_around(process.pid, ports) if process.pid else []


def _theirs(stacks: str) -> str:
    """The stacks down to where our own code called the cache's."""
    kept: list[str] = []
    ours = False
    for line in stacks.strip().splitlines():
        ours = f'"{_CLIENT}"' in line or (ours and line.startswith("  "))
        if not ours:
            kept.append(line)
    return "\n".join(kept)
