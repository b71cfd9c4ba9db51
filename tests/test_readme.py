"""The README says what is so: its code runs, its tables are those of the code, and its report is a real one."""

import ast
import re
import runpy
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

import cacheproof
from cacheproof.chaos.chance import NOT_SEEDED, SEEDED
from cacheproof.chaos.virtualtime.coverage import NOT_VIRTUALISED, VIRTUALISED
from cacheproof.harness import cli
from cacheproof.harness.store import FailureStore
from cacheproof.harness.verify import verify
from cacheproof.models.contract import ALL_CONDITIONS, Condition, Contract
from cacheproof.models.encyclopaedia import ANOMALIES
from cacheproof.patterns.cache_aside import CACHE_ASIDE, CacheAside
from cacheproof.reports.terminal import render_counterexample, to_text

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
PAGES = (
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "docs/soundness.md",
    "examples/README.md",
)

MOST_LINES = 30
"""As many as the report at the top may have, so that what to type is on the first screen too."""


def blocks(language: str) -> list[str]:
    """The fenced blocks of one language, in order, without their fences."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)


def contracts() -> Mapping[str, Contract]:
    """The contracts of the public face, by name, as one gets them without arguments."""
    names = [name for name in cacheproof.__all__ if name.isupper() and not name.endswith("_CONDITIONS")]
    return {name: getattr(cacheproof, name)() for name in names}


def broken_under(contract: Contract) -> Mapping[str, frozenset[Condition]]:
    """For each property that a contract promises, the conditions under which the promise is not kept."""
    broken: dict[str, frozenset[Condition]] = {}
    for item in contract.guarantees:
        broken[item.property.name] = broken.get(item.property.name, frozenset()) | (item.claimed - item.kept)
    return broken


def contract_row(name: str, contract: Contract) -> str:
    """The line of the table of contracts."""
    kept, quiet, partly = [], [], []
    for promise, broken in broken_under(contract).items():
        if not broken:
            kept.append(promise)
        elif broken == frozenset(contract.conditions) - {Condition.QUIET}:
            quiet.append(promise)
        else:
            ordered = [condition.value for condition in contract.conditions if condition in broken]
            words = "any condition" if len(ordered) == len(contract.conditions) else ", ".join(ordered)
            partly.append(f"{promise} ({words})")
    return f"| `{name}` | {', '.join(kept)} | {', '.join(quiet)} | {', '.join(partly)} |"


def without_digests(text: str) -> str:
    """A report in which the names of stored failures no longer depend on their content."""
    return re.sub(r"-[0-9a-f]{8}\.json", "-….json", text)


def test_its_python_compiles() -> None:
    """Every block of Python is Python."""
    assert len(blocks("python")) == 3
    for block in blocks("python"):
        ast.parse(block)


def test_the_user_test_is_the_example() -> None:
    """The whole test file in the README is the one in examples/."""
    assert blocks("python")[0] == (ROOT / "examples/test_user_cache.py").read_text("utf-8")


def test_the_library_is_the_example() -> None:
    """The class that plugs in a library is the one in examples/."""
    assert blocks("python")[1] in (ROOT / "examples/test_dogpile_cache.py").read_text("utf-8")


def test_the_contract_of_ones_own_can_be_made(tmp_path: Path) -> None:
    """The block that makes a contract makes one."""
    file = tmp_path / "sessions.py"
    file.write_text(blocks("python")[2], "utf-8")
    assert isinstance(runpy.run_path(str(file))["SESSIONS"], Contract)


def test_its_report_is_what_one_gets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The report at the top is what `verify` says of plain cache-aside, word for word."""
    monkeypatch.chdir(tmp_path)
    report = verify(
        CacheAside, CACHE_ASIDE().only(["CA4"]), under=[Condition.CONCURRENT], budget=0, store=FailureStore()
    )
    (cell,) = report.cells
    drawn = to_text(render_counterexample(cell, report), width=100).strip()
    shown = blocks("text")[0].strip()
    assert without_digests(shown) == without_digests(drawn)
    assert len(shown.splitlines()) <= MOST_LINES


@pytest.mark.parametrize("name", contracts())
def test_its_contracts_are_those_of_the_patterns(name: str) -> None:
    """What the README says a pattern keeps is what its contract says."""
    assert contract_row(name, contracts()[name]) in README.splitlines()


def test_its_conditions_are_all_there_are() -> None:
    """Every condition has a line in the table."""
    assert [item.value for item in ALL_CONDITIONS if f"\n| {item.value} | " not in README] == []


@pytest.mark.parametrize("table", [VIRTUALISED, NOT_VIRTUALISED, SEEDED, NOT_SEEDED])
def test_its_limits_are_those_of_the_code(table: Mapping[str, str]) -> None:
    """What is controlled and what is not is told as the code tells it."""
    assert [name for name, words in table.items() if f"\n| {name} | {words} |\n" not in README] == []


def test_its_options_are_those_of_pytest() -> None:
    """The README tells of every option of ours, and of no other."""
    program = [sys.executable, "-m", "pytest", "--help"]
    told = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    known = set(re.findall(r"--chaos-[a-z-]+", told))
    assert known and set(re.findall(r"--chaos-[a-z-]+", README)) == known


def test_its_commands_are_those_of_the_command_line() -> None:
    """The README tells of every command and of no other, and what it has explained is an anomaly."""
    told = re.findall(r"^\| `cacheproof ([a-z]+)", README, flags=re.MULTILINE)
    assert sorted(told) == sorted(cli.cli.commands)
    assert set(re.findall(r"cacheproof explain ([a-z]\S*)", README)) <= set(ANOMALIES)


def test_its_exit_codes_are_those_of_the_command_line() -> None:
    """Every exit code has a line in the table."""
    codes = {*cli.EXIT_CODES.values(), cli.USAGE_ERROR, cli.FAILED}
    assert set(map(int, re.findall(r"^\| (\d) \|", README, flags=re.MULTILINE))) == codes


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    """A relative link names a file or folder that is there."""
    text = (ROOT / page).read_text("utf-8")
    targets = [target for target in re.findall(r"\]\(([^)#]+)", text) if "://" not in target]
    assert [target for target in targets if not (ROOT / page).parent.joinpath(target).exists()] == []


def test_it_speaks_of_make_targets_that_exist() -> None:
    """Every `make …` in the pages is a target."""
    makefile = (ROOT / "Makefile").read_text("utf-8")
    targets = set(re.findall(r"^([a-z]+):", makefile, flags=re.MULTILINE))
    for page in PAGES:
        text = (ROOT / page).read_text("utf-8")
        used = re.findall(r"(?:`|^)make ([a-z]+)", text, flags=re.MULTILINE)
        assert set(used) <= targets, page
