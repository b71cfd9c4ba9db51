"""Backends by name, and what is said of names that there are not."""

import sys
from typing import Any

import pytest

from cacheproof.chaos.servers.backends import BACKENDS, DEFAULT_BACKEND, make_servers
from cacheproof.chaos.servers.containers import ContainerServers
from cacheproof.chaos.servers.embedded import EmbeddedServers
from cacheproof.chaos.servers.external import ExternalServers
from cacheproof.models.errors import UsageError


def test_each_name_is_a_backend() -> None:
    """Embedded servers unless another one is named; nothing is started yet."""
    assert type(make_servers()) is type(make_servers(DEFAULT_BACKEND)) is EmbeddedServers
    assert (
        type(make_servers("docker", cache_image="redis:8", database_image="postgres:17")) is ContainerServers
    )
    assert all(make_servers(name).lifeline_fds == () for name in BACKENDS)


def test_unknown_backend() -> None:
    """The value, and what there is."""
    with pytest.raises(UsageError, match="unknown backend 'podman'; choose from docker, embedded, external"):
        make_servers("podman")


@pytest.mark.parametrize("images", [{"cache_image": "redis:8"}, {"database_image": "redis:8"}])
def test_images_are_for_containers(images: dict[str, str]) -> None:
    """An image that nobody would look at is a mistake."""
    with pytest.raises(UsageError, match="image 'redis:8' was given, and the backend 'embedded' uses none"):
        make_servers("embedded", **images)


def test_embedded_servers_need_no_docker(monkeypatch: pytest.MonkeyPatch) -> None:
    """The package is imported by whoever uses containers."""
    monkeypatch.delitem(sys.modules, "docker", raising=False)
    make_servers("embedded")
    assert "docker" not in sys.modules


@pytest.mark.parametrize(
    "given", [{"cache_url": "redis://h"}, {"database_url": "postgresql://h"}, {"allow_flush": ["h:1/0"]}]
)
def test_urls_are_for_external_servers(given: dict[str, Any]) -> None:
    """A server that nobody would use is a mistake."""
    assert type(make_servers("external", **given)) is ExternalServers
    with pytest.raises(
        UsageError, match="the backend 'embedded' has servers of its own; choose the backend 'external'"
    ):
        make_servers(**given)
