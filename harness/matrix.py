"""The matrix: every page of a catalogue, verified under the conditions of its contract, as rows of the truth table.

    search        how the counterexamples are found               profiles
    from scratch  every guarantee under every condition           default, thorough
    from a table  refuted cells by replaying what the table       quick, where there is a table
                  holds against them, one run each; the others,
                  and what did not replay, by a small search

Rule 1. A budget is a number of schedules, never of seconds: what is found does not depend on the machine.  It is
        shared among all pages and conditions, so the whole takes about as long with many pages as with few.
Rule 2. A replay that shows its anomaly proves the cell as well as a search; one that does not proves nothing.
Rule 3. Each row is a result by itself: rows are made side by side, and those that are done are kept.
"""

import ast
import inspect
import textwrap
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import Any

from cacheproof.chaos.servers.servers import Servers
from cacheproof.harness.pinning import one_core
from cacheproof.harness.pool import Act, Done, Tell, run_tasks
from cacheproof.harness.profiles import PROFILES, Profile, profile_named
from cacheproof.harness.proof import shows
from cacheproof.harness.runner import Run, Runner
from cacheproof.harness.verify import verify
from cacheproof.harness.world import World
from cacheproof.models.contract import Condition, Contract, Guarantee
from cacheproof.models.decision import ServerName
from cacheproof.models.errors import EnvironmentFault, UsageError
from cacheproof.models.history import History
from cacheproof.models.ladder import climb
from cacheproof.models.page import Page
from cacheproof.models.properties import property_to_dict
from cacheproof.models.report import Cell
from cacheproof.models.round_trips import spreads
from cacheproof.models.truth_table import Cost, Rungs, TruthCell, TruthRow, TruthTable

__all__ = ["Matrix", "judge_page", "load_table", "share_of", "shipped_table"]

_SHIPPED = "truth-table.json"


@dataclass(frozen=True, slots=True)
class _Purse:
    """A profile's schedules: so many for all pages and conditions together, and for each not fewer or more."""

    whole: int
    least: int
    most: int
    confirmations: int
    repeats: bool


_PURSES = {
    "quick": _Purse(4_000, 8, 40, 2, repeats=False),
    "default": _Purse(24_000, 30, 152, 3, repeats=True),
}


def share_of(profile: str, places: int) -> Profile:
    """What a profile spends on each of so many places (a page under a condition).

    Three quarters go to small scopes, the rest to random schedules, which are longer.  The profile `thorough` is
    not shared.  Raises UsageError for a profile that there is not.
    """
    if (purse := _PURSES.get(profile)) is None:
        return profile_named(profile)
    share = min(max(purse.whole // max(places, 1), purse.least), purse.most)
    return Profile(
        name=profile,
        scopes=PROFILES[profile].scopes,
        scope_limit=share * 3 // 8,
        random=share // 4,
        confirmations=purse.confirmations,
        repeats=purse.repeats,
    )


@dataclass(frozen=True, slots=True)
class Matrix:
    """What to run: the pages of a catalogue, how much to search for each, and on what.

    `known` is a table whose counterexamples are replayed first; None: everything is searched from scratch.
    `make_servers` makes a pair of servers, not started yet.
    """

    pages: Sequence[Page]
    make_servers: Callable[[], Servers]
    profile: str = "default"
    seed: int = 0
    known: TruthTable | None = None

    def run(self, names: Sequence[str] = (), *, jobs: int = 1, tell: Tell) -> Generator[Done, None, None]:
        """Judge these pages (all, if none is named), and yield the row of each as it is done.

        `task` of what is yielded is the place of the page in the catalogue.  Raises UsageError for a page that
        there is not and HarnessError if a worker dies.
        """
        tasks = self._places(names)
        profile = share_of(self.profile, sum(len(_conditions(self.contract(page))) for page in self.pages))

        @contextmanager
        def ready() -> Iterator[Act]:
            with self.make_servers() as servers:
                yield lambda task, told: self._judge(self.pages[task], profile, servers, told)

        return run_tasks(tasks, ready, jobs=jobs, tell=tell)

    def _judge(self, page: Page, profile: Profile, servers: Servers, tell: Tell) -> TruthRow:
        if self.known is None:
            return judge_page(page, profile, servers, seed=self.seed, tell=tell)
        known, unshared = self.known.row(page.name), profile_named(self.profile)
        return judge_page(page, profile, servers, seed=self.seed, known=known, to_refute=unshared, tell=tell)

    def _places(self, names: Sequence[str]) -> list[int]:
        known = [page.name for page in self.pages]
        if unknown := [name for name in names if name not in known]:
            raise UsageError(f"no page is called {unknown[0]!r}; the catalogue has {', '.join(known)}")
        return [place for place, name in enumerate(known) if not names or name in names]

    @staticmethod
    def contract(page: Page) -> Contract:
        return _load(page)[1]


def judge_page(
    page: Page,
    profile: Profile,
    servers: Servers,
    *,
    seed: int = 0,
    known: TruthRow | None = None,
    to_refute: Profile | None = None,
    tell: Tell = lambda _: None,
) -> TruthRow:
    """Verify one page and return its row; what `known` holds against it is replayed first, if there is one.

    Under conditions with a claim that is said to be broken, and that no replay has broken, the search is that of
    `to_refute`, if it is given; the other one is for what is left then.

    Raises UsageError if the page cannot be loaded, and EnvironmentFault if a server cannot be had.
    """
    cache, contract = _load(page)
    work = _Work(page, cache, contract, servers)
    if known is not None:
        tell(f"{page.name}: replaying what is known")
        work.replay(known)
    work.search(profile, to_refute or profile, seed, tell)
    return TruthRow(
        name=page.name,
        section=page.section,
        kind=page.kind,
        cache=f"{page.module}:{page.class_name}",
        contract=contract.name,
        ttl_s=page.ttl_s,
        profile=profile.name,
        seed=seed,
        workers=contract.workers,
        lines=_lines(cache),
        cells=work.in_order(),
        ladders=tuple(work.ladders()),
        costs=tuple(_costs(work.histories.get(Condition.QUIET, []))),
        warnings=tuple(work.warnings),
    )


def _load(page: Page) -> tuple[type, Contract]:
    try:
        module = import_module(page.module)
        return getattr(module, page.class_name), getattr(module, page.contract)(page.ttl_s)
    except (ImportError, AttributeError, SyntaxError) as error:
        raise UsageError(
            f"page {page.name!r} cannot be loaded: {error!r}; mend its row or its file"
        ) from error


def _conditions(contract: Contract) -> list[Condition]:
    """The conditions under which something is judged."""
    return [at for at in contract.conditions if any(at in item.claimed for item in contract.guarantees)]


@dataclass(slots=True)
class _Work:
    """One page while it is judged: cells and histories so far."""

    page: Page
    cache: type
    contract: Contract
    servers: Servers
    cells: dict[tuple[str, Condition], TruthCell] = field(default_factory=dict)
    histories: dict[Condition, list[History]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def witness(self, condition: Condition, history: History) -> None:
        self.histories.setdefault(condition, []).append(history)

    # -- what is known

    def replay(self, known: TruthRow) -> None:
        """Refute again what the table says is refuted, each schedule in one run."""
        wanted = [cell for cell in known.cells if cell.schedule is not None and self._still_claimed(cell)]
        if not wanted:
            return
        self.servers.mend()
        with one_core(self.servers), World(self.cache, self.servers) as world:
            runner, runs = Runner(world), dict[str, Run]()
            for cell in wanted:
                assert cell.schedule is not None
                name = cell.schedule.to_json()
                if name not in runs:
                    runs[name] = runner.attempt(cell.schedule.scenario, cell.schedule.decisions)
                self._refute(cell, runs[name])

    def _still_claimed(self, cell: TruthCell) -> bool:
        return cell.condition in self.contract.conditions and any(
            item.id == cell.guarantee
            and cell.condition in item.claimed
            and property_to_dict(item.property) == cell.judged_by
            for item in self.contract.guarantees
        )

    def _refute(self, known: TruthCell, run: Run) -> None:
        (guarantee,) = self.contract.only([known.guarantee]).guarantees
        anomaly = known.anomaly or ""
        if run.problem is not None or shows(guarantee, run.history, anomaly) is None:
            return
        self.witness(known.condition, run.history)
        self.cells[known.guarantee, known.condition] = replace(
            known,
            claim=guarantee.claim,
            kept=known.condition in guarantee.kept,
            schedules=1,
            exercised=1,
            others=(),
        )

    # -- what has to be searched

    def search(self, profile: Profile, to_refute: Profile, seed: int, tell: Tell) -> None:
        """Verify every guarantee under every condition that is not decided yet."""
        everywhere = frozenset(self.contract.conditions)
        broken = frozenset(
            at
            for item in self.contract.guarantees
            for at in self._undecided(item.id, item.claimed - item.kept)
        )
        if to_refute == profile:
            self._search(everywhere, profile, seed, tell)
            return
        self._search(broken, to_refute, seed, tell)
        self._search(everywhere - broken, profile, seed, tell)

    def _search(self, under: frozenset[Condition], profile: Profile, seed: int, tell: Tell) -> None:
        narrowed = (self._narrowed(item, under) for item in self.contract.guarantees)
        left = tuple(item for item in narrowed if item.claimed)
        if not left:
            return
        options: dict[str, Any] = dict(self.page.options)
        report = verify(
            self.cache,
            replace(self.contract, guarantees=left),
            profile=profile,
            seed=seed,
            servers=self.servers,
            progress=lambda what, runs: tell(f"{what}, {runs:,} schedules"),
            jobs=1,
            witness=self.witness,
            **options,
        )
        self.warnings += [item for item in report.warnings if item not in self.warnings]
        for cell in report.cells:
            self.cells[cell.guarantee, cell.condition] = self._found(cell)

    def _narrowed(self, item: Guarantee, under: frozenset[Condition]) -> Guarantee:
        return replace(item, claimed=frozenset(self._undecided(item.id, item.claimed & under)))

    def _undecided(self, guarantee: str, claimed: frozenset[Condition]) -> Iterator[Condition]:
        return (at for at in claimed if (guarantee, at) not in self.cells)

    def _found(self, cell: Cell) -> TruthCell:
        (guarantee,) = self.contract.only([cell.guarantee]).guarantees
        found = cell.counterexample
        return TruthCell(
            guarantee=cell.guarantee,
            claim=cell.claim,
            judged_by=property_to_dict(guarantee.property),
            condition=cell.condition,
            kept=cell.kept,
            verdict=cell.verdict,
            schedules=cell.schedules,
            exercised=cell.exercised,
            anomaly=found.anomaly if found else None,
            others=tuple(item.anomaly for item in cell.others),
            schedule=found.schedule if found else None,
            reason=cell.reason,
        )

    # -- what came of it

    def in_order(self) -> tuple[TruthCell, ...]:
        """The cells by guarantee and condition, as the contract has them."""
        places = [(item.id, at) for item in self.contract.guarantees for at in self.contract.conditions]
        return tuple(self.cells[place] for place in places if place in self.cells)

    def ladders(self) -> Iterator[Rungs]:
        for condition in self.contract.conditions:
            if seen := self.histories.get(condition):
                ladder = climb(seen)
                yield Rungs(condition, tuple(rung.name for rung in ladder.strongest), ladder.histories)


def _costs(quiet: Sequence[History]) -> Iterator[Cost]:
    for server in ServerName:
        for f, spread in spreads(quiet, server).items():
            yield Cost(f, server.value, spread.least, spread.most)


def _lines(cache: type) -> int:
    """Lines of code of a class and what it inherits from its own module, without comments and docstrings."""
    own = [kind for kind in cache.__mro__ if kind.__module__ == cache.__module__]
    return sum(len(_code(inspect.getsource(kind)).splitlines()) for kind in own)


def _code(source: str) -> str:
    tree = ast.parse(textwrap.dedent(source))
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(
            node
        ):
            node.body = node.body[1:] or [ast.Pass()]
    return "\n".join(line for line in ast.unparse(tree).splitlines() if line)


# -- tables on disk


def load_table(path: Path) -> TruthTable:
    """Read a table.  Raises UsageError, naming the file, if it is not there or is none."""
    try:
        return TruthTable.from_json(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, UsageError) as error:
        raise UsageError(f"cannot read the truth table {str(path)!r}: {error}") from error


def shipped_table() -> TruthTable:
    """The table that comes with the package.  Raises EnvironmentFault if the installation lacks it."""
    place = files("cacheproof") / _SHIPPED
    try:
        return TruthTable.from_json(place.read_text("utf-8"))
    except OSError as error:
        raise EnvironmentFault(
            f"the truth table is not where it was installed: {error}; install cacheproof again"
        ) from error
