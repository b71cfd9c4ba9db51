"""Which image a container is made of, and what is said if it cannot be had."""

from types import ModuleType
from typing import Any

import pytest

from cacheproof.chaos.servers.engine import Engine
from cacheproof.chaos.servers.images import Chosen, choose_image, wanted_image
from cacheproof.models.decision import ServerName
from cacheproof.models.errors import EnvironmentFault

CACHE, DATABASE = ServerName.CACHE, ServerName.DATABASE


@pytest.fixture
def api(docker: ModuleType) -> Any:
    return docker.FakeApi()


@pytest.fixture
def fake(api: Any) -> Engine:
    return Engine(api, "fake")


def test_an_option_is_stronger_than_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """And without both, or with empty ones, nothing is asked for."""
    monkeypatch.setenv("CACHEPROOF_CACHE_IMAGE", "redis:8")
    monkeypatch.setenv("CACHEPROOF_DATABASE_IMAGE", "")
    assert wanted_image(CACHE, "redis:6") == "redis:6"
    assert wanted_image(CACHE, None) == "redis:8"
    assert wanted_image(DATABASE, None) is None


@pytest.mark.parametrize(
    ("server", "wanted", "name"),
    [
        (CACHE, None, "redis:7"),
        (DATABASE, None, "postgres:16"),
        (CACHE, "valkey/valkey:8", "valkey/valkey:8"),
    ],
)
def test_an_image_that_is_here_is_used(
    fake: Engine, api: Any, server: ServerName, wanted: str | None, name: str
) -> None:
    """Nothing is pulled, whatever else there is."""
    api.images_here |= {name: [], "cacheproof/valkey:9": [], "cacheproof/postgres:18": []}
    assert choose_image(fake, server, wanted) == Chosen(name)
    assert "pull" not in api.asked


def test_an_image_is_pulled(fake: Engine, api: Any) -> None:
    """Where its registry answers, that is what is used, even if a built one is here."""
    api.pullable = True
    api.images_here["cacheproof/valkey:9"] = []
    chosen = choose_image(fake, CACHE, None)
    assert str(chosen) == "redis:7" and "redis:7" in api.images_here


def test_a_built_image_stands_in(fake: Engine, api: Any) -> None:
    """The newest, for the default one only, and that is said."""
    api.images_here |= {"cacheproof/postgres:17.1": [], "cacheproof/postgres:18.6": []}
    chosen = choose_image(fake, DATABASE, None)
    assert chosen == Chosen("cacheproof/postgres:18.6", instead_of="postgres:16")
    words = "cacheproof/postgres:18.6 (instead of postgres:16, which is not here and cannot be pulled)"
    assert str(chosen) == words


def test_nothing_can_be_had(fake: Engine) -> None:
    """Which image, why, and what to do."""
    with pytest.raises(EnvironmentFault) as caught:
        choose_image(fake, CACHE, None)
    assert str(caught.value) == (
        "image 'redis:7' is missing: the Docker engine cannot pull the image 'redis:7': no such host; "
        "pull it where its registry answers, or run: cacheproof images build"
    )


def test_nothing_stands_in_for_what_was_named(fake: Engine, api: Any) -> None:
    """Somebody wants just this one; the built one would be used if nobody did."""
    api.images_here["cacheproof/valkey:9"] = []
    with pytest.raises(
        EnvironmentFault, match="image 'redis:8' is missing.*run: cacheproof images build, and name"
    ):
        choose_image(fake, CACHE, "redis:8")
