"""Recorded files are read and asked; whatever is wrong with one is said, and never taken for a pass."""

import io
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cacheproof.harness import check
from cacheproof.harness.check import Questions, ReadingLine, check_file, read_property
from cacheproof.models.checked import Checked, Who
from cacheproof.models.errors import UsageError
from cacheproof.models.general import LinearizableAs
from cacheproof.models.history import History
from cacheproof.models.properties import PROPERTIES
from cacheproof.models.round_trips import RoundTrips
from cacheproof.models.verdict import Judgement, Verdict

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "tests" / "models" / "recorded"
SHARED = ROOT.parent / "shared" / "histories"


def asked(name: str, model: str | None = None, *properties: str) -> Checked:
    return check_file(EXAMPLES / name, Questions(model, tuple(map(read_property, properties))))


def questions(checked: Checked) -> list[str]:
    return [answer.question for answer in checked.answers]


@pytest.mark.parametrize(
    ("name", "verdict", "counts"),
    [
        ("upheld.jsonl", Verdict.UPHELD, (3, 1, 2)),
        ("refuted.jsonl", Verdict.REFUTED, (2, 1, 2)),
        ("upheld.log", Verdict.UPHELD, (4, 1, 4)),
        ("refuted.log", Verdict.REFUTED, (2, 1, 2)),
        ("upheld.edn", Verdict.UPHELD, (4, 2, 2)),
        ("refuted.edn", Verdict.REFUTED, (3, 1, 2)),
        ("independent.edn", Verdict.UPHELD, (4, 2, 2)),
    ],
)
def test_the_examples_have_their_verdicts(name: str, verdict: Verdict, counts: tuple[int, int, int]) -> None:
    """Whatever their format, without options; with how much there was to judge."""
    checked = asked(name)
    assert checked.verdict is verdict
    assert (checked.operations, checked.keys, checked.processes) == counts
    assert checked.file == str(EXAMPLES / name) and checked.seconds > 0 and checked.left_out is None


def test_ours_is_asked_for_every_property_without_parameters() -> None:
    """Linearizability among them; of others the model of their functions is asked."""
    names = questions(asked("upheld.jsonl"))
    assert {"linearizable", "durability", "integrity", "read-after-write"} <= set(names) <= set(PROPERTIES)
    assert "bounded-staleness" not in names
    assert questions(asked("upheld.log")) == ["linearizable as cas-register"]
    assert questions(asked("upheld.edn")) == ["linearizable as key-value"]


def test_options_replace_what_is_asked_by_default() -> None:
    """A model, properties with the parameters that they were given, or both."""
    assert questions(asked("upheld.jsonl", "register")) == ["linearizable as register"]
    assert questions(asked("upheld.log", None, "integrity")) == ["integrity"]
    stale = "bounded-staleness:seconds=5"
    both = asked(
        "refuted.jsonl", "register", stale, "bounded-staleness:seconds=10", "integrity:committed=true"
    )
    assert questions(both) == [
        "linearizable as register",
        "bounded-staleness:seconds=5",
        "bounded-staleness:seconds=10",
        "integrity:committed=true",
    ]
    refuted = [answer.judgement.verdict is Verdict.REFUTED for answer in both.answers]
    assert refuted == [True, True, False, False]


def test_the_evidence_of_a_search() -> None:
    """How far an order goes, and what cannot follow; the finding says the same."""
    (answer,) = asked("refuted.edn").answers
    (search,), (finding,) = answer.searches, answer.judgement.findings
    assert [(op.f, op.value) for op in search.order] == [("append", "x"), ("append", "y")]
    assert [op.value for op in search.stuck] == ["yx"]
    assert (finding.kind, finding.key, finding.culprit) == ("non-linearizable", "a", search.stuck[0])
    assert finding.because == search.order


def test_a_model_that_does_not_fit_is_no_pass(tmp_path: Path) -> None:
    """Functions that it does not know are a doubt, and so are values that it cannot start with."""
    assert asked("upheld.jsonl", "mutex").verdict is Verdict.UNKNOWN
    path = tmp_path / "reads.jsonl"
    path.write_text("".join((EXAMPLES / "malformed.jsonl").read_text("utf-8").splitlines(True)[:2]))
    (answer,) = check_file(path, Questions("counter")).answers
    assert "a counter cannot start with 'v1'" in str(answer.judgement.unknown)


@pytest.mark.parametrize(
    ("name", "place"),
    [("malformed.jsonl", (3, 45)), ("malformed.log", (2, 33)), ("malformed.edn", (2, 51))],
)
def test_a_file_that_cannot_be_read_has_a_problem_with_its_place(name: str, place: tuple[int, int]) -> None:
    """And no verdict."""
    checked = asked(name)
    assert checked.verdict is None and checked.problem is not None
    assert (checked.problem.line, checked.problem.column, checked.problem.who) == (*place, Who.USER)


@pytest.mark.parametrize(
    ("content", "place", "what"),
    [
        (b"", (None, None), "the file is empty; expected a history, one event a line"),
        (b"\n\n", (None, None), "nothing is recorded here"),
        (b"a,b\n", (1, 1), "begins no format that can be read"),
        (b"{:process :nemesis}\n\xff", (2, 1), "byte 0xff; expected UTF-8"),
        ("{:process 0 :é \xe9".encode("latin-1"), (1, 14), "byte 0xe9; expected UTF-8"),
        ('{:key "é" '.encode() + b"\xfe}", (1, 11), "byte 0xfe; expected UTF-8"),
    ],
)
def test_files_that_are_no_histories(
    tmp_path: Path, content: bytes, place: tuple[int | None, int | None], what: str
) -> None:
    """Empty, blank, another format, no text."""
    path = tmp_path / "file"
    path.write_bytes(content)
    problem = check_file(path, Questions()).problem
    assert problem is not None and what in problem.what
    assert (problem.line, problem.column, problem.who) == (*place, Who.USER)


def test_a_line_ends_with_a_line_feed_and_nothing_else(tmp_path: Path) -> None:
    """What Unicode, or Python, takes for the end of a line may stand in a value."""
    path = tmp_path / "file"
    text = (EXAMPLES / "upheld.jsonl").read_text("utf-8").replace("v2", "a\u2028b\x85c")
    path.write_bytes(text.encode())
    assert check_file(path, Questions()).verdict is Verdict.UPHELD


def test_what_keeps_us_from_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Is a matter of the machine, or ours; neither is a verdict."""
    problem = check_file(tmp_path / "nowhere", Questions()).problem
    assert problem is not None and problem.who is Who.MACHINE and "FileNotFoundError" in problem.what
    monkeypatch.setattr(check, "read_recording", lambda lines: 1 // 0)
    problem = asked("upheld.jsonl").problem
    assert problem is not None and problem.who is Who.US and "ZeroDivisionError" in problem.what


def test_a_checker_that_fails_has_found_nothing_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its answer is unknown, and the others are given."""

    def fail(*_: object, **__: object) -> Judgement:
        raise RuntimeError("oh")

    monkeypatch.setattr(PROPERTIES["durability"], "check", fail)
    checked = asked("upheld.jsonl")
    told = {answer.question: answer.judgement for answer in checked.answers}
    assert "the checker failed with RuntimeError('oh')" in str(told["durability"].unknown)
    assert told["linearizable"].verdict is Verdict.UPHELD
    monkeypatch.setattr(LinearizableAs, "search", fail)
    assert asked("upheld.log").verdict is Verdict.UNKNOWN


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("freshness", "no property is called 'freshness'; choose from"),
        ("bounded-staleness", "'seconds' is unknown or missing; write bounded-staleness:seconds=…"),
        ("bounded-staleness:seconds", "'seconds' is not name=value"),
        ("bounded-staleness:seconds=soon", "'soon'"),
        ("bounded-staleness:seconds=[1]", "[1]"),
        ("bounded-staleness:seconds=1,hours=2", "'hours' is unknown or missing"),
        ("bounded-staleness:seconds=1,seconds=2", "'seconds' is given twice"),
        ("bounded-staleness:seconds=-1", "-1"),
        ("durability:x=1", "'x' is unknown or missing; durability takes no parameters"),
    ],
)
def test_properties_that_there_are_not(text: str, message: str) -> None:
    """Refused, with what there is."""
    with pytest.raises(UsageError) as caught:
        read_property(text)
    assert message in str(caught.value)


def test_parameters_may_be_texts() -> None:
    """What is no number is taken as it stands."""
    assert read_property("round-trips:at_most=2,f=read") == RoundTrips(2, "read")


def test_a_model_that_there_is_not() -> None:
    """Refused before anything is read."""
    with pytest.raises(UsageError, match="no model is called 'queue'"):
        Questions("queue")


# Large files


def long_history(path: Path, reads: int, stale: bool = False) -> None:
    """A write, and many reads of what it wrote; the last one perhaps of what was before."""
    lines = ['{"type":"run","format":1,"processes":2,"workers":[],"initial":{"k":"v0"}}']
    told = (
        [("write", "v1", None)] + [("read", None, "v1")] * reads + [("read", None, "v0" if stale else "v1")]
    )
    for number, (f, value, result) in enumerate(told):
        call = {"index": 2 * number, "time": 0.0, "type": "invoke", "process": number % 2, "f": f, "key": "k"}
        end = {"index": 2 * number + 1, "time": 0.0, "type": "ok", "process": number % 2, "value": result}
        lines += [json.dumps(call | {"value": value}), json.dumps(end)]
    path.write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize("stale", [False, True])
def test_a_large_file_is_judged_by_columns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stale: bool
) -> None:
    """With the same verdict and evidence; what was not asked is said, unless it was not wanted."""
    path = tmp_path / "long.jsonl"
    long_history(path, 500, stale)
    wanted = Questions(properties=(read_property("linearizable"),))
    slow = check_file(path, wanted)
    monkeypatch.setattr(check, "LARGE_BYTES", 10_000)
    monkeypatch.setattr(check, "_PIECE_BYTES", 30_000)
    monkeypatch.setattr(History, "from_jsonl", None)
    noticed: list[int] = []
    for options in (Questions(), wanted, Questions("register")):
        checked = check_file(path, options, noticed.append)
        assert checked.verdict is (Verdict.REFUTED if stale else Verdict.UPHELD)
        assert (checked.operations, checked.keys, checked.processes) == (502, 1, 2)
        assert (checked.left_out is not None) == (options == Questions())
        assert questions(checked) == ["linearizable as register" if options.model else "linearizable"]
        assert checked.answers[0].judgement == slow.answers[0].judgement
    assert len(set(noticed)) > 2 and max(noticed) == 2 * 502 + 1


def test_other_questions_of_a_large_file_read_it_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As does another format."""
    path = tmp_path / "long.jsonl"
    long_history(path, 10)
    monkeypatch.setattr(check, "LARGE_BYTES", 100)
    for options in (Questions("cas-register"), Questions(properties=(read_property("durability"),))):
        assert check_file(path, options).left_out is None
    assert asked("upheld.log").verdict is Verdict.UPHELD
    path.write_bytes(b"\xff" * 200)
    assert check_file(path, Questions()).problem is not None


# Progress


def test_progress_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of lines, at most ten times a second, and the line is gone in the end."""
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    terminal = io.StringIO()
    with ReadingLine(terminal, "a.log") as notice:
        for lines, seconds in ((0, 0.0), (20_000, 0.01), (40_000, 0.02), (60_000, 0.5)):
            now[0] = seconds
            notice(lines)
    assert terminal.getvalue() == "\ra.log: 20,000 lines\x1b[K\ra.log: 60,000 lines\x1b[K\r\x1b[K"


def test_no_progress_without_need() -> None:
    """Nor where there is no terminal, nor for what is read at once."""
    terminal = io.StringIO()
    with ReadingLine(terminal, "a.log") as notice:
        notice(0)
    with ReadingLine(None, "a.log") as notice:
        notice(20_000)
    assert terminal.getvalue() == ""


def test_checking_without_columns_starts_no_threads() -> None:
    """The command line is imported by `verify`, too, which forks: it must not bring numpy's threads along."""
    code = "import sys, cacheproof.harness.cli; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


# Histories recorded elsewhere


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"no recorded histories in {os.path.relpath(SHARED, ROOT)}")
def test_histories_recorded_elsewhere_have_their_verdicts() -> None:
    """All of them together within 10 s and 4 GiB; files without a verdict are empty, and that is an error."""
    table = (SHARED / "VERDICTS.tsv").read_text("utf-8").splitlines()[1:]
    verdicts = {name: verdict == "true" for name, verdict in (line.split("\t") for line in table)}
    files = sorted(path for path in SHARED.glob("*/*") if path.is_file())
    code = "import sys; from cacheproof.harness.cli import main; sys.argv[0] = 'cacheproof'; main()"
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", code, "check", "--json", *map(str, files)],
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30)),
    )
    took_s = time.monotonic() - began
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert (done.stderr, len(told)) == ("", len(files)) and len(files) >= len(verdicts) > 0
    found = {path.relative_to(SHARED).as_posix(): item for path, item in zip(files, told, strict=True)}
    empty = {name for name in found if (SHARED / name).stat().st_size == 0}
    assert all("the file is empty" in found[name]["problem"]["what"] for name in empty)
    upheld = {name: item["verdict"] for name, item in found.items() if name not in empty}
    assert upheld == {name: "upheld" if verdict else "refuted" for name, verdict in verdicts.items()}
    assert done.returncode == (2 if empty else 1)
    assert took_s < 10
