"""The Docker engine, as far as it is needed here: docker-py behind a small face, and its errors in words.

Rule 1  What fails is an EnvironmentFault that says what to do; nothing of docker-py or requests gets out.
Rule 2  What is to be removed and is not there any more has been removed.
Rule 3  The engine has to be one of this machine: ports are published on 127.0.0.1, which nobody reaches from
        elsewhere.
"""

import json
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from cacheproof.models.errors import EnvironmentFault

__all__ = ["Blueprint", "Engine", "Kind", "PortInUse", "State", "connect_engine"]

_DEFAULT_HOST: Final = "unix:///var/run/docker.sock"
_TIMEOUT_S: Final = 120
_LOOPBACK: Final = "127.0.0.1"
_OR_EMBEDDED: Final = "or use the embedded servers"
_UNIX: Final = ("unix", "http+unix")
_PORT_TAKEN: Final = ("address already in use", "port is already allocated")


class PortInUse(EnvironmentFault):
    """The port at which a container is published belongs to somebody else."""


class Kind(StrEnum):
    """What is made at the engine."""

    CONTAINER = "container"
    NETWORK = "network"
    VOLUME = "volume"


@dataclass(frozen=True, slots=True)
class Blueprint:
    """A container to make.  `port` is published at 127.0.0.1:`host_port`, `volume` is mounted at `mount`."""

    name: str
    image: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    port: int
    host_port: int
    volume: str
    mount: str
    network: str
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class State:
    """How a container is.  `pid` is its main process as the engine's machine numbers it, 0 if it does not run."""

    running: bool
    paused: bool
    pid: int
    exit_code: int


class Engine:
    """A connection to a Docker engine.  Every method raises EnvironmentFault when the engine does not comply.

    `api` is a `docker.APIClient`, or does as one.
    """

    def __init__(self, api: Any, host: str) -> None:
        self._api = api
        self.host = host

    def close(self) -> None:
        self._api.close()

    def version(self) -> str:
        with self._asked("tell its version"):
            return str(self._api.version()["Version"])

    # -- images --------------------------------------------------------------------------------------------

    def image_environment(self, image: str) -> Mapping[str, str] | None:
        """The environment that an image sets; None if there is no such image here."""
        from docker.errors import NotFound

        with self._asked(f"show the image {image!r}"):
            try:
                found = self._api.inspect_image(image)
            except NotFound:
                return None
        variables = (found.get("Config") or {}).get("Env") or ()
        return dict(line.split("=", 1) for line in variables if "=" in line)

    def image_names(self, repository: str) -> list[str]:
        """The names of all images of a repository, the newest first."""
        with self._asked(f"list the images of {repository!r}"):
            found = sorted(self._api.images(name=repository), key=lambda image: -image["Created"])
        return [name for image in found for name in image["RepoTags"] or ()]

    def pull(self, image: str) -> None:
        """Fetch an image from its registry."""
        repository, _, tag = image.rpartition(":") if ":" in image.rpartition("/")[2] else (image, "", "")
        with self._asked(f"pull the image {image!r}"):
            for line in self._api.pull(repository, tag=tag or "latest", stream=True, decode=True):
                if "error" in line:
                    raise EnvironmentFault(line["error"])

    def import_image(self, root: Path, image: str, changes: Sequence[str]) -> None:
        """Make an image of one layer from a tar file; `changes` are lines of a Dockerfile."""
        repository, _, tag = image.rpartition(":")
        with self._asked(f"import the image {image!r}"):
            said = self._api.import_image(str(root), repository=repository, tag=tag, changes=list(changes))
            for line in filter(None, map(str.strip, str(said).splitlines())):
                if "error" in (told := json.loads(line)):
                    raise EnvironmentFault(told["error"])

    def remove_image(self, image: str) -> None:
        """Remove an image, or only its name if it has others."""
        with self._asked(f"remove the image {image!r}"):
            self._api.remove_image(image)

    # -- what belongs to somebody --------------------------------------------------------------------------

    def create_network(self, name: str, labels: Mapping[str, str]) -> None:
        with self._asked(f"create the network {name!r}"):
            self._api.create_network(name, driver="bridge", labels=dict(labels))

    def create_volume(self, name: str, labels: Mapping[str, str]) -> None:
        with self._asked(f"create the volume {name!r}"):
            self._api.create_volume(name, labels=dict(labels))

    def create_container(self, plan: Blueprint) -> str:
        """Returns the id of a container that does not run yet."""
        with self._asked(f"create the container {plan.name!r} from the image {plan.image!r}"):
            host_config = self._api.create_host_config(
                port_bindings={plan.port: (_LOOPBACK, plan.host_port)},
                binds={plan.volume: {"bind": plan.mount, "mode": "rw"}},
                network_mode=plan.network,
                security_opt=["no-new-privileges"],
            )
            made = self._api.create_container(
                plan.image,
                command=list(plan.command),
                name=plan.name,
                environment=dict(plan.environment),
                ports=[plan.port],
                labels=dict(plan.labels),
                host_config=host_config,
            )
        return str(made["Id"])

    def labelled(self, kind: Kind, label: str) -> dict[str, str]:
        """Everything of a kind that has a label, as `name` or `name=value`: {id: value of the label}."""
        key = label.partition("=")[0]
        with self._asked(f"list every {kind} of ours"):
            filters = {"label": label}
            if kind == Kind.CONTAINER:
                found = self._api.containers(all=True, filters=filters)
            elif kind == Kind.NETWORK:
                found = self._api.networks(filters=filters)
            else:
                found = self._api.volumes(filters=filters)["Volumes"] or ()
        return {one["Name" if kind == Kind.VOLUME else "Id"]: one["Labels"][key] for one in found}

    def remove(self, kind: Kind, name: str) -> None:
        """Remove it; a container is killed first, and takes the volumes along that have no name."""
        from docker.errors import NotFound

        with self._asked(f"remove the {kind} {name!r}"):
            try:
                if kind == Kind.CONTAINER:
                    self._api.remove_container(name, v=True, force=True)
                elif kind == Kind.NETWORK:
                    self._api.remove_network(name)
                else:
                    self._api.remove_volume(name)
            except NotFound:
                return

    # -- containers ----------------------------------------------------------------------------------------

    def start(self, container: str) -> None:
        with self._asked(f"start the container {container[:12]!r}"):
            self._api.start(container)

    def kill(self, container: str) -> None:
        """SIGKILL; returns when the container has stopped and its port is free."""
        with self._asked(f"kill the container {container[:12]!r}"):
            self._api.kill(container)
            self._api.wait(container, condition="not-running")

    def pause(self, container: str) -> None:
        with self._asked(f"pause the container {container[:12]!r}"):
            self._api.pause(container)

    def unpause(self, container: str) -> None:
        with self._asked(f"unpause the container {container[:12]!r}"):
            self._api.unpause(container)

    def restart(self, container: str, *, patience_s: int) -> None:
        """Ask it to end, kill it if it has not after `patience_s`, start it."""
        with self._asked(f"restart the container {container[:12]!r}"):
            self._api.restart(container, timeout=patience_s)

    def state(self, container: str) -> State:
        with self._asked(f"show the container {container[:12]!r}"):
            found = self._api.inspect_container(container)["State"]
        return State(found["Running"], found["Paused"], found["Pid"], found["ExitCode"])

    def last_lines(self, container: str, count: int) -> str:
        """The end of what it has written."""
        with self._asked(f"show the log of the container {container[:12]!r}"):
            log: bytes = self._api.logs(container, stdout=True, stderr=True, tail=count)
        return log.decode(errors="replace").rstrip()

    # -- errors --------------------------------------------------------------------------------------------

    @contextmanager
    def _asked(self, what: str) -> Iterator[None]:
        from docker.errors import APIError, DockerException

        try:
            yield
        except EnvironmentFault as fault:
            raise EnvironmentFault(f"the Docker engine cannot {what}: {fault}") from None
        except APIError as error:
            raise _refused(what, str(error.explanation or error)) from None
        except (DockerException, OSError) as error:  # requests' errors are OSErrors
            raise _no_engine(self.host, error) from None


def _refused(what: str, why: str) -> EnvironmentFault:
    if any(words in why for words in _PORT_TAKEN):
        return PortInUse(
            f"the Docker engine cannot {what}: its port is in use ({why}); end the program that has taken it"
        )
    return EnvironmentFault(f"the Docker engine cannot {what}: {why}")


def connect_engine() -> Engine:
    """The engine that DOCKER_HOST names, else that of the command-line tool's context, else the usual one.

    Raises EnvironmentFault if docker-py is missing, nobody answers, or the engine is on another machine.
    """
    try:
        import docker
        from docker.errors import DockerException
        from docker.utils import kwargs_from_env
    except ImportError:
        raise EnvironmentFault(
            f"package 'docker', which talks to a Docker engine, is not installed; pip install docker, {_OR_EMBEDDED}"
        ) from None
    host = os.environ.get("DOCKER_HOST") or _host_of_context() or _DEFAULT_HOST
    _expect_near(host)
    try:
        _knock(host)
        options: dict[str, Any] = {**kwargs_from_env(), "base_url": host}
        return Engine(docker.APIClient(version="auto", timeout=_TIMEOUT_S, **options), host)
    except (DockerException, OSError, ValueError) as error:
        raise _no_engine(host, error) from None


def _host_of_context() -> str | None:
    """Where the context that was chosen with `docker context use` leads to."""
    from docker.context import ContextAPI

    try:
        context = ContextAPI.get_current_context()
    except Exception:  # whatever is wrong with the files of another program
        return None
    host = context.Host if context is not None else None
    return str(host) if host else None


def _expect_near(host: str) -> None:
    where = urlsplit(host)
    if where.scheme in _UNIX or where.hostname in ("localhost", "127.0.0.1", "::1"):
        return
    raise EnvironmentFault(
        f"the Docker engine at {host!r} is on another machine, and publishes the servers' ports there on 127.0.0.1; "
        f"set DOCKER_HOST to an engine of this machine, {_OR_EMBEDDED}"
    )


def _knock(host: str) -> None:
    """Raise what the system says of a unix socket where nobody listens; docker-py would leave its own one open."""
    where = urlsplit(host)
    if where.scheme in _UNIX:
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(_TIMEOUT_S)
            line.connect(where.path)


def _no_engine(host: str, error: BaseException) -> EnvironmentFault:
    """Why nobody answers, by the first thing that the operating system has said about it."""
    cause = _cause(error)
    if isinstance(cause, PermissionError):
        return EnvironmentFault(
            f"no permission on the socket of the Docker engine at {host!r}; join the group that owns the socket "
            f"(sudo usermod -aG docker USER, then log in anew), run as a user who may, {_OR_EMBEDDED}"
        )
    why = str(cause or error)
    return EnvironmentFault(
        f"no Docker engine answers at {host!r} ({why}); start one, set DOCKER_HOST to where one runs, "
        f"{_OR_EMBEDDED}"
    )


def _cause(error: BaseException) -> OSError | None:
    """The error of the operating system inside those of several libraries."""
    if isinstance(error, OSError) and error.errno is not None:
        return error
    inside = [part for part in (*error.args, error.__cause__) if isinstance(part, BaseException)]
    return next((found for part in inside if (found := _cause(part)) is not None), None)
