"""One server in a container: started, killed and paused by the Docker engine, at a port that never changes.

Rule 1  A kill is `docker kill`: SIGKILL to the main process, with which the kernel ends all others.  The container
        stays, and its volume: what the server has written is there when it starts again.
Rule 2  Whether a server runs is seen in /proc where its main process is one of this machine, and certainly that
        container's; elsewhere the engine is asked, which takes a hundred times as long.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cacheproof.chaos.servers.engine import Engine, State
from cacheproof.chaos.servers.images import Chosen
from cacheproof.chaos.servers.owner import started_at
from cacheproof.chaos.servers.server import Address
from cacheproof.chaos.servers.services import Service
from cacheproof.models.decision import ServerName
from cacheproof.models.errors import EnvironmentFault, HarnessError

__all__ = ["Container"]

_PAUSE_S: Final = 0.002
_LAST_LINES: Final = 12
_FAREWELL_S: Final = 10


@dataclass(frozen=True, slots=True)
class _Life:
    """The main process of the container, from one start to the next."""

    pid: int
    started: int

    @property
    def over(self) -> bool:
        return started_at(self.pid) != self.started


class Container:
    """Implements `Server`, for the container `id`, which was made of `image` and does not run yet."""

    def __init__(
        self,
        id: str,
        service: Service,
        image: Chosen,
        engine: Engine,
        address: Address,
        *,
        patience_s: float,
    ) -> None:
        self.id = id
        self.address = address
        self._service = service
        self._image = image
        self._engine = engine
        self._patience_s = patience_s
        self._life: _Life | None = None
        self._line: str | None = None
        self._stopped = False

    @property
    def name(self) -> ServerName:
        return self._service.name

    @property
    def pid(self) -> int | None:
        return self._life.pid if self._life is not None and self.running else None

    @property
    def running(self) -> bool:
        if self._stopped:
            return False
        return not self._life.over if self._life is not None else self._engine.state(self.id).running

    def start(self) -> None:
        """Raises EnvironmentFault, with the end of its log, if it ends or does not answer in time."""
        if not self.running:
            self.launch()
            self.wait_until_it_answers()

    def launch(self) -> None:
        """Start the container without waiting for the server to answer."""
        if self._stopped:
            raise HarnessError(f"{self._service.title} was stopped for good and does not start again")
        self._life = None
        self._engine.start(self.id)

    def wait_until_it_answers(self) -> None:
        """Return when the server is at work.  Raises EnvironmentFault as `start` does."""
        deadline = time.monotonic() + self._patience_s
        while not self._answers_now():
            state = self._engine.state(self.id)
            if not state.running:
                raise self._blame(f"ended with exit code {state.exit_code} instead of answering")
            if time.monotonic() > deadline:
                raise self._blame(
                    f"does not answer within {self._patience_s:g} s at {self.address} (which leads nowhere if this "
                    "program runs in a container itself: give that one the network of the host)"
                )
            time.sleep(_PAUSE_S)
        self._life = _life_of(self.id, self._engine.state(self.id))
        if self._line is None:
            product = self._service.product(self.address)
            self._line = f"{product}, container of {self._image}, {self._service.keeps}"

    def _answers_now(self) -> bool:
        try:
            return self._service.answers(self.address)
        except (ConnectionError, TimeoutError):
            return False  # not there yet: the engine accepts connections before anybody answers them

    def kill(self) -> None:
        if self.running:
            self._engine.kill(self.id)
        self._life = None

    def pause(self) -> None:
        if (state := self._engine.state(self.id)).running and not state.paused:
            self._engine.pause(self.id)

    def resume(self) -> None:
        if self._engine.state(self.id).paused:
            self._engine.unpause(self.id)

    def restart(self) -> None:
        self.resume()
        self._life = None
        self._engine.restart(self.id, patience_s=_FAREWELL_S)
        self.wait_until_it_answers()

    def stop(self) -> None:
        """The container stays until the pair goes; nothing starts it again."""
        self.kill()
        self._stopped = True

    def describe(self) -> str:
        return self._line or f"{self._service.title}, container of {self._image}"

    def _blame(self, what: str) -> EnvironmentFault:
        log = self._engine.last_lines(self.id, _LAST_LINES)
        who = f"{self._service.title} (container of {self._image})"
        return EnvironmentFault(f"{who} {what}; see the end of its log:\n{log or '(it wrote nothing)'}")


def _life_of(container: str, state: State) -> _Life | None:
    """The main process, if it is one of this machine: process ids of another one mean nothing here."""
    try:
        groups = Path(f"/proc/{state.pid}/cgroup").read_text()
    except OSError:
        return None
    started = started_at(state.pid)
    return _Life(state.pid, started) if container in groups and started else None
