"""What a killed harness has left goes, and nothing else."""

from dataclasses import replace
from types import ModuleType
from typing import Any

import pytest

from cacheproof.chaos.servers.engine import Engine
from cacheproof.chaos.servers.owner import Owner, this_process
from cacheproof.chaos.servers.reaper import OWNER, PAIR, reap, remove_pair
from cacheproof.models.errors import EnvironmentFault

ME = this_process()
GONE = replace(ME, started=ME.started - 1)


@pytest.fixture
def api(docker: ModuleType) -> Any:
    return docker.FakeApi()


def make(api: Any, name: str, labels: dict[str, str]) -> None:
    """A container, a network and a volume of this name."""
    engine = Engine(api, "fake")
    engine.create_network(f"{name}-network", labels)
    engine.create_volume(f"{name}-volume", labels)
    api.create_container("redis:7", name=name, labels=labels)


def left(api: Any) -> list[str]:
    return sorted(name for things in api.made.values() for name in things)


def test_only_what_belongs_to_somebody_gone_is_removed(api: Any) -> None:
    """Not what belongs to us, to whom we cannot see, or to nobody; not what others have labelled."""
    make(api, "left", {OWNER: str(GONE), PAIR: "left"})
    kept = {
        "mine": {OWNER: str(ME)},
        "elsewhere": {OWNER: str(replace(GONE, machine="other"))},
        "unreadable": {OWNER: "somebody"},
        "foreign": {"owner": str(GONE)},
    }
    for name, labels in kept.items():
        make(api, name, labels)
    removed = reap(Engine(api, "fake"), ME)
    assert removed == ["container id-of-left", "network left-network", "volume left-volume"]
    assert len(left(api)) == 3 * len(kept) and not any("left" in name for name in left(api))
    assert reap(Engine(api, "fake"), ME) == []


def test_what_cannot_be_removed_stops_nobody(api: Any, docker: ModuleType) -> None:
    """A network that somebody else's container has joined stays; what comes after it goes."""
    make(api, "left", {OWNER: str(GONE)})
    api.errors["remove network"] = [docker.refused("network left has active endpoints")]
    assert reap(Engine(api, "fake"), ME) == ["container id-of-left", "volume left-volume"]
    assert left(api) == ["left-network"]
    assert reap(Engine(api, "fake"), ME) == ["network left-network"]


def test_a_pair_goes_as_a_whole(api: Any, docker: ModuleType) -> None:
    """Everything of it, whoever owns it, and nothing of another pair; what stays is a fault."""
    make(api, "one", {OWNER: str(ME), PAIR: "p"})
    make(api, "two", {OWNER: str(ME), PAIR: "q"})
    api.errors["remove volume"] = [docker.refused("volume is in use")]
    with pytest.raises(EnvironmentFault, match="cannot remove the volume 'one-volume': volume is in use"):
        remove_pair(Engine(api, "fake"), "p")
    assert remove_pair(Engine(api, "fake"), "p") == ["volume one-volume"]
    assert left(api) == ["id-of-two", "two-network", "two-volume"]


def test_a_real_engine_filters_labels(engine: Engine) -> None:
    """What we made for an owner who is gone goes; a volume of ours beside it stays until it is removed."""
    nobody = Owner(ME.machine, "an earlier boot".replace(" ", "-"), ME.namespace, 1, 1)
    pair = "cacheproof-test-reaper"
    engine.create_volume(f"{pair}-left", {OWNER: str(nobody), PAIR: pair})
    engine.create_network(f"{pair}-left", {OWNER: str(nobody), PAIR: pair})
    engine.create_volume(f"{pair}-kept", {OWNER: str(ME), PAIR: pair})
    removed = reap(engine, ME)
    assert f"volume {pair}-left" in removed and f"volume {pair}-kept" not in removed
    assert remove_pair(engine, pair) == [f"volume {pair}-kept"]
