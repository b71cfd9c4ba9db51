"""A Docker engine that is none: docker.APIClient as far as it is used, with everything in dictionaries."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from docker.errors import APIError, NotFound


class FakeApi:
    """What was made lies in `made`, by kind; what was asked in `asked`; `errors` are raised in turn, by method.

    None among them is one call that goes well.
    """

    def __init__(self) -> None:
        self.images_here: dict[str, list[str]] = {}
        self.made: dict[str, dict[str, dict[str, Any]]] = {"container": {}, "network": {}, "volume": {}}
        self.errors: dict[str, list[BaseException | None]] = {}
        self.asked: list[str] = []
        self.imported: dict[str, Any] = {}
        self.pullable = False
        self.dies = False
        self.closed = False

    def _ask(self, what: str) -> None:
        self.asked.append(what)
        error = self.errors[what].pop(0) if self.errors.get(what) else None
        if error is not None:
            raise error

    def _of(self, kind: str, name: str) -> dict[str, Any]:
        if name not in self.made[kind]:
            raise NotFound(f"no such {kind}: {name}")
        return self.made[kind][name]

    def close(self) -> None:
        self.closed = True

    def version(self) -> dict[str, str]:
        self._ask("version")
        return {"Version": "99.1"}

    # -- images --------------------------------------------------------------------------------------------

    def inspect_image(self, name: str) -> dict[str, Any]:
        self._ask("inspect_image")
        if name not in self.images_here:
            raise NotFound(f"no such image: {name}")
        return {"Config": {"Env": self.images_here[name] or None}}

    def images(self, name: str) -> list[dict[str, Any]]:
        self._ask("images")
        found = [image for image in self.images_here if image.partition(":")[0] == name]
        return [{"Created": number, "RepoTags": [image]} for number, image in enumerate(found)]

    def pull(self, repository: str, *, tag: str, stream: bool, decode: bool) -> Iterator[dict[str, str]]:
        self._ask("pull")
        assert stream and decode
        yield {"status": "Pulling"}
        if not self.pullable:
            yield {"error": "no such host"}
        self.images_here[f"{repository}:{tag}"] = []

    def import_image(self, src: str, *, repository: str, tag: str, changes: list[str]) -> str:
        self._ask("import_image")
        self.imported[f"{repository}:{tag}"] = (Path(src).read_bytes(), changes)
        self.images_here[f"{repository}:{tag}"] = [line[4:] for line in changes if line.startswith("ENV ")]
        return '{"status": "sha256:1"}\r\n{"status": "done"}\r\n'

    def remove_image(self, name: str) -> None:
        self._ask("remove_image")
        del self.images_here[name]

    # -- networks, volumes, containers ---------------------------------------------------------------------

    def create_network(self, name: str, *, driver: str, labels: dict[str, str]) -> None:
        self._ask("create_network")
        assert driver == "bridge"
        self.made["network"][name] = {"Id": name, "Labels": labels}

    def create_volume(self, name: str, *, labels: dict[str, str]) -> None:
        self._ask("create_volume")
        self.made["volume"][name] = {"Name": name, "Labels": labels}

    def create_host_config(self, **options: Any) -> dict[str, Any]:
        return options

    def create_container(
        self, image: str, *, name: str, labels: dict[str, str], **options: Any
    ) -> dict[str, str]:
        self._ask("create_container")
        plan = {"Image": image, "Labels": labels, "Id": f"id-of-{name}", **options}
        if plan["Id"] in self.made["container"]:
            raise refused(f"Conflict. The container name {name!r} is already in use")
        self.made["container"][plan["Id"]] = plan | {"Running": False, "Paused": False, "Exit": 0}
        return {"Id": plan["Id"]}

    def _labelled(self, kind: str, filters: dict[str, str]) -> list[dict[str, Any]]:
        self._ask(f"list {kind}")
        name, _, value = filters["label"].partition("=")
        items = self.made[kind].values()
        return [one for one in items if name in one["Labels"] and value in ("", one["Labels"][name])]

    def containers(self, *, all: bool, filters: dict[str, str]) -> list[dict[str, Any]]:
        assert all
        return self._labelled("container", filters)

    def networks(self, *, filters: dict[str, str]) -> list[dict[str, Any]]:
        return self._labelled("network", filters)

    def volumes(self, *, filters: dict[str, str]) -> dict[str, Any]:
        return {"Volumes": self._labelled("volume", filters) or None}

    def remove_container(self, name: str, *, v: bool, force: bool) -> None:
        assert v and force
        self._remove("container", name)

    def remove_network(self, name: str) -> None:
        self._remove("network", name)

    def remove_volume(self, name: str) -> None:
        self._remove("volume", name)

    def _remove(self, kind: str, name: str) -> None:
        self._ask(f"remove {kind}")
        self._of(kind, name)
        del self.made[kind][name]

    # -- what containers do --------------------------------------------------------------------------------

    def start(self, container: str) -> None:
        self._ask("start")
        self._of("container", container).update(Running=not self.dies, Exit=1 if self.dies else 0)

    def kill(self, container: str) -> None:
        self._ask("kill")
        self._of("container", container).update(Running=False, Paused=False, Exit=137)

    def wait(self, container: str, *, condition: str) -> None:
        assert condition == "not-running" and not self._of("container", container)["Running"]

    def pause(self, container: str) -> None:
        self._ask("pause")
        self._of("container", container)["Paused"] = True

    def unpause(self, container: str) -> None:
        self._ask("unpause")
        self._of("container", container)["Paused"] = False

    def restart(self, container: str, *, timeout: int) -> None:
        self._ask("restart")
        self._of("container", container)["Running"] = timeout > 0

    def inspect_container(self, container: str) -> dict[str, Any]:
        self._ask("inspect_container")
        found = self._of("container", container)
        running, paused = found["Running"], found["Paused"]
        return {"State": {"Running": running, "Paused": paused, "Pid": 0, "ExitCode": found["Exit"]}}

    def logs(self, container: str, *, stdout: bool, stderr: bool, tail: int) -> bytes:
        self._ask("logs")
        assert stdout and stderr
        return b"\n".join(b"line %d" % number for number in range(40, 40 - tail, -1)) + b"\n"


def refused(words: str) -> APIError:
    """What docker-py raises when the engine answers 500."""
    return APIError("500 Server Error", explanation=words)
