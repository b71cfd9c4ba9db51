"""The command line: what it says, and the exit code that a script goes by."""

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from cacheproof.chaos.servers.engine import Engine
from cacheproof.chaos.servers.recipes import Built
from cacheproof.harness import check, cli, doctor
from cacheproof.harness.matrix import Matrix
from cacheproof.harness.pool import Done
from cacheproof.models.contract import Condition
from cacheproof.models.errors import CacheError, EnvironmentFault, UsageError
from cacheproof.models.history import History
from cacheproof.models.page import Kind, Page, Section
from cacheproof.models.recording import Recording
from cacheproof.models.truth_table import TruthCell, TruthRow, TruthTable
from cacheproof.models.verdict import Verdict

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


# matrix and advise


def row(name: str, *, verdict: Verdict = Verdict.UPHELD, kept: bool = True, seed: int = 0) -> TruthRow:
    """A row of one cell."""
    durable = {"name": "durability"}
    cell = TruthCell(
        "X1", "no write is lost", durable, Condition.QUIET, kept, verdict, 9, 8, reason="it hung"
    )
    return TruthRow(name, Section.CACHE_ASIDE, Kind.RECIPE, "m:C", name, 300, "default", seed, cells=(cell,))


Rows = Callable[..., None]


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> Rows:
    """What the search for each page comes to: a row, an error in words, or an interruption."""

    def set_(*found: TruthRow | str | type[BaseException]) -> None:
        pages = [Page(f"p{n}", Section.CACHE_ASIDE, "m:C", "C") for n in range(len(found))]

        def run(work: Matrix, names: tuple[str, ...], **_: object) -> Iterator[Done]:
            for task, item in enumerate(found):
                if names and pages[task].name not in names:
                    continue
                if isinstance(item, type):
                    raise item
                yield Done(task, error=item) if isinstance(item, str) else Done(task, item)

        monkeypatch.setattr(cli, "PAGES", pages)
        monkeypatch.setattr(cli.Matrix, "run", run)

    return set_


def names_in(path: str) -> list[str]:
    return [found.name for found in TruthTable.from_json(Path(path).read_text("utf-8")).rows]


def test_a_matrix_is_written_as_page_and_as_data(call: Call, rows: Rows) -> None:
    """In a folder that is made, with the way there; and a log has a line for each pattern."""
    rows(row("p0"), row("p1"))
    code, out, err = call("matrix")
    assert code == 0
    assert names_in("docs/truth-table.json") == ["p0", "p1"]
    assert "`p1`" in Path("docs/truth-table.md").read_text("utf-8")
    assert out.splitlines() == [
        "2 patterns, 2 cells, 18 judgements",
        "table: docs/truth-table.md, docs/truth-table.json",
    ]
    assert err.splitlines() == ["[1/2] p0: 1 upheld", "[2/2] p1: 1 upheld"]


def test_what_is_done_is_kept_when_a_matrix_is_interrupted(call: Call, rows: Rows) -> None:
    """Ctrl-C after the first pattern: it stands in the table, beside what was there before."""
    rows(row("p0"), row("p1"))
    call("matrix")
    rows(row("p0", seed=7), KeyboardInterrupt)
    code, out, err = call("matrix")
    assert code == 4 and "interrupted; 1 of 2 patterns are done" in err and "table: " in out
    table = TruthTable.from_json(Path("docs/truth-table.json").read_text("utf-8"))
    assert [(found.name, found.seed) for found in table.rows] == [("p0", 7), ("p1", 0)]
    assert "seed 7" in Path("docs/truth-table.md").read_text("utf-8")


def test_a_part_of_a_matrix_leaves_the_rest_as_it_was(call: Call, rows: Rows) -> None:
    """And a page that is gone from the catalogue goes from the table."""
    rows(row("p0"), row("p1"), row("p2"))
    call("matrix", "--output", "t.md")
    rows(row("p0"), row("p1", seed=7))
    assert call("matrix", "--only", "p1", "--output", "t.md")[0] == 0
    assert names_in("t.json") == ["p0", "p1"]


@pytest.mark.parametrize(
    ("found", "code", "words"),
    [
        (row("p0", kept=False), 1, "WRONG  p0, X1 under quiet: the contract says that it does not keep it"),
        (row("p0", verdict=Verdict.REFUTED), 1, "and the run refuted it"),
        (row("p0", verdict=Verdict.UNKNOWN), 3, "and the run could not decide (it hung)"),
        (row("p0", verdict=Verdict.REFUTED, kept=False), 0, "1 patterns"),
        ("no such file", 4, "0 patterns"),
    ],
)
def test_what_a_matrix_is_worth(call: Call, rows: Rows, found: TruthRow | str, code: int, words: str) -> None:
    """0 if all is as the contracts say, 1 if not, 3 in doubt, 4 if a page cannot be judged."""
    rows(found)
    assert (got := call("matrix"))[0] == code
    assert words in got[1]


def test_a_table_is_checked_and_not_written(call: Call, rows: Rows) -> None:
    """It agrees, by its page or by its data; or it does not, and where is said in words."""
    rows(row("p0"), row("p1"))
    call("matrix")
    before = Path("docs/truth-table.json").read_bytes()
    for file in ("docs/truth-table.md", "docs/truth-table.json"):
        code, out, _ = call("matrix", "--check", file)
        assert (code, out) == (0, "the table agrees with this run\n")
    rows(row("p0"), row("p1", verdict=Verdict.REFUTED, kept=False))
    code, out, _ = call("matrix", "--check", "docs/truth-table.md")
    assert code == 1 and out.startswith("DIFFERS  p1, X1 under quiet: the contract no longer says")
    assert call("matrix", "--check", "docs/truth-table.md", "--only", "p0")[0] == 0
    rows(row("p0"))
    assert "DIFFERS  p1: the catalogue lacks it" in call("matrix", "--check", "docs/truth-table.json")[1]
    assert Path("docs/truth-table.json").read_bytes() == before


def test_a_page_that_was_edited_is_noticed(call: Call, rows: Rows) -> None:
    """It is generated; the data say what it has to be."""
    rows(row("p0"))
    call("matrix")
    page = Path("docs/truth-table.md")
    page.write_text(page.read_text("utf-8") + "and it is fast\n", "utf-8")
    code, out, _ = call("matrix", "--check", str(page))
    assert code == 1 and "is not what its data say" in out


def test_a_table_that_is_none_is_a_usage_error(call: Call, rows: Rows) -> None:
    """Nothing is run for it."""
    rows(KeyboardInterrupt)
    Path("t.json").write_text("{}")
    assert call("matrix", "--check", "t.json")[0] == 2
    assert call("matrix", "--check", "nowhere.md")[0] == 2


def test_a_place_that_cannot_be_written_is_said(call: Call, rows: Rows) -> None:
    """As an error of the machine, with what to do."""
    rows(row("p0"))
    Path("file").write_text("")
    code, _, err = call("matrix", "--output", "file/t.md")
    assert code == 4 and "choose another --output" in err


def test_advice_from_a_table(call: Call) -> None:
    """0 and a pattern with its evidence; 1 and the nearest one if nothing keeps what is needed."""
    Path("t.json").write_text(TruthTable((row("p0"),)).to_json())
    given = ("--table", "t.json", "--under", "quiet", "--freshness", "any")
    code, out, _ = call("advise", *given)
    assert code == 0 and out.startswith("take    p0") and "X1 upheld in 8 schedules" in out
    code, out, _ = call("advise", *given, "--load-protection", "one-load")
    assert code == 1 and "nearest    p0" in out
    assert max(map(len, out.splitlines())) <= 100


def test_advice_comes_with_the_package(call: Call) -> None:
    """Without a table of one's own; what is asked for by name only is a choice."""
    code, out, _ = call("advise")
    assert code == 0 and out.startswith("take    ")
    assert call("advise", "--freshness", "yesterday")[0] == 2
