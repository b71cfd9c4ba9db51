"""The command line: what it says, and the exit code that a script goes by."""

import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace

import pytest

from cacheproof.chaos.servers.engine import Engine
from cacheproof.chaos.servers.recipes import Built
from cacheproof.harness import check, cli, doctor
from cacheproof.models.errors import CacheError, EnvironmentFault, UsageError
from cacheproof.models.history import History
from cacheproof.models.recording import Recording

CACHE = "cacheproof.patterns.cache_aside:CacheAside"
MINE = """
from cacheproof import Condition, Contract, Durability, Guarantee, ReadAfterWrite
from cacheproof.patterns.cache_aside import CacheAside

KEPT = Contract("mine", (Guarantee("M1", "no acknowledged write is lost", Durability()),))
FRESH = Contract("mine", (Guarantee("M2", "reads are fresh", ReadAfterWrite()),))
SEVEN = 7


class Listing(CacheAside):
    def read(self, key):
        return [key]
"""
Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Call:
    """`cacheproof` with these arguments in an empty folder: (exit code, output, errors)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    (tmp_path / "mine.py").write_text(MINE)

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["cacheproof", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        code = ended.value.code
        assert isinstance(code, int)
        return code, said.out, said.err

    return run


def verify(call: Call, cache: str, contract: str) -> tuple[int, str, str]:
    return call("verify", cache, "--contract", contract, "--under", "concurrent", "--profile", "quick")


def test_upheld_is_0(call: Call, tmp_path: Path) -> None:
    """With the matrix, and the report on disk where the last line says."""
    code, out, _ = verify(call, CACHE, "mine:KEPT")
    assert code == 0
    assert "M1" in out and "report: .cacheproof" in out.splitlines()[-1]
    assert list((tmp_path / ".cacheproof" / "report").rglob("*.json"))


def test_refuted_is_1_and_the_failure_replays(call: Call) -> None:
    """`replay` shows the same counterexample, again as often as asked, or its history as JSON Lines."""
    code, out, _ = verify(call, CACHE, "mine:FRESH")
    assert code == 1 and "stale set" in out.lower()
    (path,) = Path(".cacheproof", "anomalies").iterdir()
    code, out, _ = call("replay", str(path), "--times", "3")
    assert code == 1 and "stale set" in out.lower() and f"cacheproof replay {path}" in out
    code, out, _ = call("replay", str(path), "--history")
    assert code == 1
    assert [operation.value for operation in History.from_jsonl(out).operations] == ["v1", "v2", "v1"]


def test_a_failure_that_was_mended_replays_with_0(call: Call, tmp_path: Path) -> None:
    """The schedule does not break the guarantee any more, and that is said."""
    assert verify(call, CACHE, "mine:FRESH")[0] == 1
    (path,) = (tmp_path / ".cacheproof" / "anomalies").iterdir()
    failure = json.loads(path.read_text())
    failure["schedule"]["decisions"] = failure["schedule"]["decisions"][:1]
    path.write_text(json.dumps(failure))
    code, out, _ = call("replay", str(path))
    assert code == 0 and "the schedule does not break the guarantee any more" in out


def test_unknown_is_3(call: Call) -> None:
    """A cache that returns what no cache may return: nothing is known of it."""
    code, out, err = verify(call, "mine:Listing", "mine:KEPT")
    assert code == 3 and "of type list" in out + err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["verify", CACHE, "--contract", "cache-asid"], "unknown contract 'cache-asid'"),
        (["verify", CACHE, "--contract", "mine:NONE"], "unknown contract 'mine:NONE'"),
        (["verify", CACHE, "--contract", "mine:SEVEN"], "'mine:SEVEN' is no contract, but int"),
        (["verify", "nowhere:Cache"], "cannot load the cache 'nowhere:Cache'"),
        (["verify", "Cache"], "'Cache' cannot be loaded by name"),
        (["verify", CACHE, "--seed", "x"], "the seed is 'x'"),
        (["verify", CACHE, "--under", "rain"], "'rain' is not one of"),
        (["verify", CACHE, "--backend", "podman"], "'podman' is not one of"),
        (
            ["verify", CACHE, "--cache-image", "redis:7"],
            "image 'redis:7' was given, and the backend 'embedded'",
        ),
        (["verify"], "Missing argument 'CACHE'"),
        (["replay", "nothing.json"], "'nothing.json' does not exist"),
        (["replay", "mine.py"], "cannot read the failure 'mine.py'"),
        (["check"], "Missing argument 'FILE...'"),
        (["check", "nothing.log"], "'nothing.log' does not exist"),
        (["check", "mine.py", "--model", "queue"], "'queue' is not one of"),
        (["check", "mine.py", "--property", "rain"], "no property is called 'rain'"),
        (["explain", "rain"], "rain"),
        (["dance"], "No such command 'dance'"),
    ],
)
def test_wrong_usage_is_2(call: Call, arguments: list[str], message: str) -> None:
    """On standard error, with what was wrong."""
    code, out, err = call(*arguments)
    assert (code, out) == (2, "")
    assert message in err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageError("no"), 2),
        (CacheError("no"), 3),
        (EnvironmentFault("no"), 4),
        (KeyboardInterrupt(), None),
    ],
)
def test_errors_have_their_codes(
    call: Call, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int | None
) -> None:
    """By who must act: you, your cache, your machine; Ctrl-C is 4 as well."""

    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(cli, "verify_cache", fail)
    ended, out, err = call("verify", CACHE)
    assert (ended, out) == (code or 4, "")
    assert code is None or err == "cacheproof: no\n"


RECORDED = Path(__file__).parents[1] / "models" / "recorded"


@pytest.mark.parametrize(
    ("names", "options", "code"),
    [
        (["upheld.log"], [], 0),
        (["upheld.log", "refuted.edn"], [], 1),
        (["upheld.log", "refuted.edn", "malformed.jsonl"], [], 2),
        (["upheld.jsonl"], ["--model", "mutex"], 3),
        (["upheld.jsonl", "refuted.jsonl"], ["--property", "bounded-staleness:seconds=9"], 0),
        (["upheld.jsonl", "refuted.jsonl"], ["--property", "bounded-staleness:seconds=5"], 1),
        (["upheld.edn", "upheld.log"], ["--model", "cas-register"], 3),
    ],
)
def test_check_says_the_worst_of_its_files(
    call: Call, names: list[str], options: list[str], code: int
) -> None:
    """A verdict each in the order of the files, and a summary of several; as JSON, one object a line."""
    files = [str(RECORDED / name) for name in names]
    ended, out, err = call("check", *files, *options)
    assert (ended, err) == (code, "")
    heads = [line.split("  ")[1] for line in out.splitlines() if line.startswith(("UP", "RE", "UN", "CAN"))]
    assert heads == files
    assert (f"{len(files)} files: " in out.splitlines()[-1]) == (len(files) > 1)
    ended, out, err = call("check", "--json", *files, *options)
    assert (ended, err) == (code, "")
    assert [json.loads(line)["file"] for line in out.splitlines()] == files


def test_check_failing_is_4_whatever_else(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """That is ours to mend, and outweighs what was found."""
    known, upheld, malformed = (
        str(RECORDED / name) for name in ("refuted.log", "upheld.edn", "malformed.log")
    )
    read = check.read_recording

    def fail_once(lines: Iterable[str]) -> Recording:
        monkeypatch.setattr(check, "read_recording", read)
        raise RuntimeError("oh")

    monkeypatch.setattr(check, "read_recording", fail_once)
    code, out, _ = call("check", upheld, malformed, known)
    assert code == 4 and "RuntimeError('oh'); please report it" in out
    assert out.splitlines()[-1] == "3 files: 1 refuted, 2 cannot be checked"


def test_a_replayed_history_can_be_checked(call: Call, tmp_path: Path) -> None:
    """What `replay --history` prints is what `check` reads, and the same is wrong with it."""
    assert verify(call, CACHE, "mine:FRESH")[0] == 1
    (path,) = Path(".cacheproof", "anomalies").iterdir()
    (tmp_path / "history.jsonl").write_text(call("replay", str(path), "--history")[1])
    code, out, _ = call("check", "history.jsonl", "--property", "read-after-write")
    assert code == 1 and "although" in out and "|--read v1--|" in out


def test_explain_lists_and_explains(call: Call) -> None:
    """All anomalies by name; one of them with what happens, who suffers and what helps."""
    code, listed, _ = call("explain")
    assert code == 0 and "stale-set" in listed
    code, told, _ = call("explain", "stale-set")
    assert code == 0
    assert all(word in told for word in ("What happens", "Who suffers", "How to fix it", "Source"))


def test_the_doctor_says_what_is_missing(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code 0 where all is well; 4, and the line marked, where it is not."""
    code, out, _ = call("doctor")
    assert code == 0 and "BAD" not in out and "ok   server binaries: Valkey in" in out
    monkeypatch.setattr(cli, "examine", lambda: [doctor.Line("disk", False, "full")])
    assert call("doctor")[:2] == (4, "BAD  disk: full\n")


def test_what_is_not_needed_may_be_missing(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told, and the exit code is 0."""
    monkeypatch.setattr(cli, "examine", lambda: [doctor.Line("engine", False, "not here", needed=False)])
    assert call("doctor")[:2] == (0, "none engine: not here\n")


@pytest.fixture
def nobody_listens(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")


@pytest.mark.usefixtures("nobody_listens")
@pytest.mark.parametrize(
    "arguments",
    [["images", "build"], ["verify", CACHE, "--backend", "docker"], ["replay", "--backend", "docker"]],
)
def test_without_an_engine_is_4(call: Call, stored_failure: Callable[[], Path], arguments: list[str]) -> None:
    """Who wants containers is told where an engine was looked for, and what to do."""
    if arguments[0] == "replay":
        arguments = [*arguments, str(stored_failure())]
    code, out, err = call(*arguments)
    assert (code, out) == (4, "")
    assert err.startswith("cacheproof: no Docker engine answers at 'unix:///") and "start one" in err


@pytest.fixture
def stored_failure(call: Call, tmp_path: Path) -> Callable[[], Path]:
    """Searches until there is a failure to replay; returns its file."""

    def search() -> Path:
        verify(call, CACHE, "mine:FRESH")
        (path,) = (tmp_path / ".cacheproof" / "anomalies").iterdir()
        return path

    return search


def test_images_are_built(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line each, which tells new ones from those that were here; the engine is let go of."""
    engine = SimpleNamespace(closed=False)
    engine.close = lambda: setattr(engine, "closed", True)
    built = [Built("our/valkey:9", 7, new=True), Built("our/postgres:18", 25, new=False)]
    monkeypatch.setattr(cli, "connect_engine", lambda: engine)
    monkeypatch.setattr(cli, "build_images", lambda given: built if given is engine else [])
    code, out, _ = call("images", "build")
    assert (code, engine.closed) == (0, True)
    assert out.splitlines() == ["our/valkey:9 (7 MiB): built", "our/postgres:18 (25 MiB): was here already"]


def test_a_search_on_containers(call: Call, engine: Engine) -> None:
    """The same verdict as elsewhere, and the report says where it comes from; the failure replays there."""
    assert call("images", "build")[0] == 0
    options = ("--under", "concurrent", "--profile", "quick", "--backend", "docker")
    code, out, _ = call("verify", CACHE, "--contract", "mine:FRESH", *options)
    assert code == 1 and "stale set" in out.lower() and "container of" in out
    (path,) = Path(".cacheproof", "anomalies").iterdir()
    code, out, _ = call("replay", str(path), "--backend", "docker", "--times", "2")
    assert code == 1 and "container of" in out


def test_help_and_version(call: Call) -> None:
    """Both end with 0."""
    assert call("--help")[0] == 0
    code, out, _ = call("--version")
    assert code == 0 and "cacheproof, version" in out
