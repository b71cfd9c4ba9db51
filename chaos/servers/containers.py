"""Both servers of a run in containers: a network of their own, ports on 127.0.0.1, gone with the harness.

    with ContainerServers() as servers:
        servers.cache.address, servers.database.address

Rules
1.  Ports are published on 127.0.0.1 alone.  Nobody is asked for a password: whoever may use this machine can
    connect for as long as the servers run.
2.  A port is chosen when the container is made and belongs to it until it goes (ports.py).
3.  Everything made at the engine is labelled with its owner.  It goes with `stop`, or when the harness is gone
    (watcher.py), or when the next one starts (reaper.py).
4.  Data lies in volumes, one a server: a kill costs what the server had not written yet, and nothing else.
"""

import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from cacheproof.chaos.servers.container import Container
from cacheproof.chaos.servers.engine import Blueprint, Engine, Kind, PortInUse, connect_engine
from cacheproof.chaos.servers.folder import Folder, make_folder, remove_folder, sweep
from cacheproof.chaos.servers.images import Chosen, choose_image, wanted_image
from cacheproof.chaos.servers.inquiry import has_import_mode
from cacheproof.chaos.servers.owner import this_process
from cacheproof.chaos.servers.ports import free_ports
from cacheproof.chaos.servers.reaper import OWNER, PAIR, reap, remove_pair
from cacheproof.chaos.servers.server import Address
from cacheproof.chaos.servers.servers import Features
from cacheproof.chaos.servers.services import SERVICES, Service
from cacheproof.chaos.servers.watcher import Watcher
from cacheproof.models.decision import ServerName
from cacheproof.models.errors import EnvironmentFault, HarnessError

__all__ = ["ContainerServers"]

_SPARE_PORTS: Final = 2


@dataclass(frozen=True, slots=True)
class _Pair:
    """What runs: everything that `stop` has to end."""

    cache: Container
    database: Container
    features: Features


class ContainerServers:
    """Implements `Servers`.

    Images are those of the environment, or else the default ones, unless given (images.py).  `within` is where
    the temporary folder is made.  A server that does not answer within `patience_s` is an EnvironmentFault.
    """

    def __init__(
        self,
        *,
        cache_image: str | None = None,
        database_image: str | None = None,
        within: Path | None = None,
        patience_s: float = 60.0,
    ) -> None:
        self._images = {ServerName.CACHE: cache_image, ServerName.DATABASE: database_image}
        self._within = within
        self._patience_s = patience_s
        self._engine: Engine | None = None
        self._watcher: Watcher | None = None
        self._folder: Folder | None = None
        self._running: _Pair | None = None
        self._name = ""
        self._harness = os.getpid()

    @property
    def cache(self) -> Container:
        return self._started.cache

    @property
    def database(self) -> Container:
        return self._started.database

    @property
    def features(self) -> Features:
        return self._started.features

    @property
    def folder(self) -> Path:
        assert self._started and self._folder is not None
        return self._folder.path

    @property
    def lifeline_fds(self) -> tuple[int, ...]:
        """Descriptors that a forked child of the harness has to close; empty while nothing runs."""
        return () if self._watcher is None else (self._watcher.fd,)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.stop()
        except EnvironmentFault as fault:
            if error is None:
                raise
            error.add_note(str(fault))

    def another(self) -> "ContainerServers":
        return ContainerServers(
            cache_image=self._images[ServerName.CACHE],
            database_image=self._images[ServerName.DATABASE],
            within=self._within,
            patience_s=self._patience_s,
        )

    def start(self) -> None:
        """Start both servers; returns when both answer.  Raises EnvironmentFault, and then leaves nothing."""
        if self._engine is not None:
            return
        self._engine = connect_engine()
        self._harness = os.getpid()
        self._name = f"cacheproof-{secrets.token_hex(4)}"
        try:
            reap(self._engine, this_process())
            self._running = self._bring_up(self._engine)
        except BaseException:
            with suppress(EnvironmentFault):  # the error that led here says more
                self.stop()
            raise

    def stop(self) -> None:
        """End both servers and remove what was made for them.  Idempotent.

        Raises EnvironmentFault if the engine keeps something; the next start removes it then.
        """
        engine, watcher, folder = self._engine, self._watcher, self._folder
        self._engine = self._watcher = self._folder = self._running = None
        if engine is None:
            return
        if os.getpid() != self._harness:
            if watcher is not None:
                watcher.abandon()
            engine.close()
            return
        try:
            remove_pair(engine, self._name)
        finally:
            if watcher is not None:
                watcher.end()
            if folder is not None:
                remove_folder(folder.path)  # there may have been no watcher to do it
            engine.close()

    def mend(self) -> None:
        """Start again what has ended by itself; without its container, everything anew.

        Raises EnvironmentFault as `start` does.
        """
        try:
            for server in (self.cache, self.database):
                server.start()
        except EnvironmentFault:
            self.stop()
            self.start()

    @property
    def _started(self) -> _Pair:
        if self._running is None:
            raise HarnessError("containers are not running; start them first, or use `with`")
        return self._running

    def _bring_up(self, engine: Engine) -> _Pair:
        images = {
            server: choose_image(engine, server, wanted_image(server, option))
            for server, option in self._images.items()
        }
        sweep(self._within)
        self._folder = make_folder(self._within)
        self._watcher = Watcher(self._name, self._folder)
        labels = {OWNER: str(this_process()), PAIR: self._name}
        engine.create_network(self._name, labels)
        cache = self._launch(engine, SERVICES[ServerName.CACHE], images[ServerName.CACHE], labels)
        database = self._launch(engine, SERVICES[ServerName.DATABASE], images[ServerName.DATABASE], labels)
        cache.wait_until_it_answers()
        database.wait_until_it_answers()
        import_mode = has_import_mode(cache.address)
        features = Features(control=True, superuser=True, import_mode=import_mode, again=True)
        return _Pair(cache, database, features)

    def _launch(
        self, engine: Engine, service: Service, image: Chosen, labels: Mapping[str, str]
    ) -> Container:
        """A container that has been started, and may not answer yet."""
        engine.create_volume(f"{self._name}-{service.name}", labels)
        for _ in range(_SPARE_PORTS):
            with suppress(
                PortInUse
            ):  # somebody was faster; nobody knows the address yet, so another one will do
                return self._launch_somewhere(engine, service, image, labels)
        return self._launch_somewhere(engine, service, image, labels)

    def _launch_somewhere(
        self, engine: Engine, service: Service, image: Chosen, labels: Mapping[str, str]
    ) -> Container:
        """The same, at a port that was free a moment ago; if it is not any more, the container is removed."""
        name = f"{self._name}-{service.name}"
        (port,) = free_ports(1)
        plan = Blueprint(
            name=name,
            image=image.name,
            command=service.command(engine.image_environment(image.name) or {}),
            environment=service.variables,
            port=service.port,
            host_port=port,
            volume=name,
            mount=service.mount,
            network=self._name,
            labels=labels,
        )
        made, address = engine.create_container(plan), Address(("127.0.0.1", port))
        container = Container(made, service, image, engine, address, patience_s=self._patience_s)
        try:
            container.launch()
        except PortInUse:
            engine.remove(Kind.CONTAINER, made)
            raise
        return container
