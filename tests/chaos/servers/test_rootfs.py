"""Root file systems: the libraries of a program, and a tar file that is the same every time."""

import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from cacheproof.chaos.servers.binaries import find_binaries
from cacheproof.chaos.servers.rootfs import RootFs, is_program, libraries, pack
from cacheproof.models.errors import EnvironmentFault


def test_programs_are_told_from_other_files(tmp_path: Path) -> None:
    """By their first bytes: a script links nothing."""
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\n")
    empty = tmp_path / "empty"
    empty.touch()
    assert is_program(find_binaries().valkey)
    assert not is_program(script) and not is_program(empty)


def test_libraries_of_a_program() -> None:
    """The loader, the C library, and the table by which the loader finds what lies elsewhere: all are there."""
    found = libraries([find_binaries().postgres])
    names = {Path(path).name for path in found}
    assert any(name.startswith("ld-") for name in names)
    assert any(name.startswith("libc.") for name in names)
    assert ("/etc/ld.so.cache" in found) is Path("/etc/ld.so.cache").is_file()
    assert all(path.is_file() for path in found.values())


def test_what_links_nothing_has_none(tmp_path: Path) -> None:
    """Then nothing else is needed either."""
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\n")
    assert libraries([script]) == libraries([]) == {}


@pytest.fixture
def ldd_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file whose text is what `ldd` says of everything."""
    said = tmp_path / "said"
    program = tmp_path / "ldd"
    program.write_text(f"#!/bin/sh\ncat {said}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    return said


def test_a_library_that_is_missing(ldd_says: Path) -> None:
    """It is named, with who needs it."""
    ldd_says.write_text(
        "\tlinux-vdso.so.1 (0x00007ffd4a1f2000)\n"
        "\tlibc.so.6 => /lib/libc.so.6 (0x00007f5a3d400000)\n"
        "\tlibz.so.1 => not found\n"
    )
    with pytest.raises(
        EnvironmentFault, match=r"library 'libz.so.1', which '/bin/x' links, is not on this machine"
    ):
        libraries([Path("/bin/x")])


def test_what_ldd_says_is_understood(ldd_says: Path) -> None:
    """Also of other C libraries; what has no path is the kernel's."""
    ldd_says.write_text(
        "\tlinux-vdso.so.1 (0x00007ffd4a1f2000)\n"
        "\tlibm.so.6 => /lib/x86_64-linux-gnu/libm.so.6 (0x00007f5a3d600000)\n"
        "\t/lib/ld-musl-x86_64.so.1 (0x7f5a3d800000)\n"
        "\tlibc.musl-x86_64.so.1 => /lib/ld-musl-x86_64.so.1 (0x7f5a3d800000)\n"
        "\tlibpq.so.5 => /opt/bin/../lib/libpq.so.5 (0x7f5a3d900000)\n"
    )
    found = libraries([Path("/bin/x")])
    found.pop("/etc/ld.so.cache", None)
    assert list(found) == [
        "/lib/x86_64-linux-gnu/libm.so.6",
        "/lib/ld-musl-x86_64.so.1",
        "/opt/bin/../lib/libpq.so.5",
    ]


def test_a_root_is_packed(tmp_path: Path) -> None:
    """Files and text with the folders that lead to them, nobody's times, folders for whom they are named."""
    real, link, tar = tmp_path / "real", tmp_path / "link", tmp_path / "root.tar"
    real.write_bytes(b"\x7fELF")
    link.symlink_to(real)
    root = RootFs({"/opt/a/program": link, "/entry": "#!/bin/sh\n"}, {"/data": 999, "/opt/own": 7})
    pack(root, tar)
    with tarfile.open(tar) as archive:
        found = {entry.name: entry for entry in archive}
        assert list(found) == ["data", "opt", "opt/a", "opt/own", "tmp", "entry", "opt/a/program"]
        assert (found["data"].uid, found["data"].gid, found["opt/own"].uid, found["opt"].uid) == (
            999,
            999,
            7,
            0,
        )
        assert (found["tmp"].mode, found["data"].mode, found["entry"].mode) == (0o1777, 0o755, 0o755)
        assert found["opt/a/program"].isfile() and {entry.mtime for entry in found.values()} == {0}
        program = archive.extractfile("opt/a/program")
        assert program is not None and program.read() == b"\x7fELF"


def test_the_digest_is_that_of_all(tmp_path: Path) -> None:
    """The same files and words give the same one; other content, another owner or other words do not."""
    tar = tmp_path / "root.tar"
    root = RootFs({"/entry": "a"}, {"/data": 1})
    digests = [pack(root, tar, ["USER 1"]) for _ in range(2)]
    assert digests[0] == digests[1]
    others = [
        pack(RootFs({"/entry": "b"}, {"/data": 1}), tar, ["USER 1"]),
        pack(RootFs({"/entry": "a"}, {"/data": 2}), tar, ["USER 1"]),
        pack(root, tar, ["USER 2"]),
        pack(root, tar, ["USER", " 1"]),
    ]
    assert len({*digests, *others}) == 5


@pytest.mark.skipif(shutil.which("unshare") is None, reason="util-linux's unshare is not installed")
def test_a_packed_program_runs(tmp_path: Path) -> None:
    """In its own root, with nothing else of this machine in it."""
    valkey = find_binaries().valkey
    tar, inside = tmp_path / "root.tar", tmp_path / "inside"
    pack(RootFs({"/bin/valkey-server": valkey, **libraries([valkey])}, {}), tar)
    with tarfile.open(tar) as archive:
        archive.extractall(inside, filter="data")
    (inside / "bin" / "valkey-server").chmod(0o755)
    run = ["unshare", "--user", "--map-root-user", "--root", str(inside), "/bin/valkey-server", "--version"]
    ran = subprocess.run(run, check=False, capture_output=True, text=True)
    if "Operation not permitted" in ran.stderr:
        pytest.skip(f"this machine lets nobody change the root: {ran.stderr.strip()}")
    assert ran.stdout.startswith("Valkey server v="), ran.stderr
