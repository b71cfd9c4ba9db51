"""The command line: `cacheproof verify | replay | check | matrix | advise | explain | doctor | images`.

Exit codes: 0 upheld, 1 refuted, 2 usage error, 3 unknown, 4 the harness or its environment failed.
"""

import importlib
import json
import shutil
import sys
import textwrap
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Any

import click

from cacheproof.chaos.servers.backends import BACKENDS, DEFAULT_BACKEND, make_servers
from cacheproof.chaos.servers.engine import connect_engine
from cacheproof.chaos.servers.recipes import build_images
from cacheproof.harness.check import Questions, ReadingLine, check_file, read_property
from cacheproof.harness.doctor import examine
from cacheproof.harness.matrix import Matrix, load_table, shipped_table
from cacheproof.harness.naming import load_cache
from cacheproof.harness.parallel import can_halve
from cacheproof.harness.profiles import PROFILES
from cacheproof.harness.progress import ProgressLine
from cacheproof.harness.progress_bar import ProgressBar
from cacheproof.harness.replay import replay as replay_failure
from cacheproof.harness.session import read_seed
from cacheproof.harness.store import FailureStore
from cacheproof.harness.verify import verify as verify_cache
from cacheproof.models.advice import (
    Complexity,
    Freshness,
    Latency,
    Loss,
    Needs,
    Protection,
    Visibility,
)
from cacheproof.models.advice import (
    advise as advise_on,
)
from cacheproof.models.anomalies import anomaly
from cacheproof.models.checked import Checked, Who
from cacheproof.models.contract import CORE_CONDITIONS, Condition, Contract
from cacheproof.models.errors import CacheError, CacheproofError, EnvironmentFault, UsageError
from cacheproof.models.report import Report
from cacheproof.models.specifications import SPECIFICATIONS
from cacheproof.models.truth_table import TruthRow, TruthTable, differences
from cacheproof.models.verdict import Verdict
from cacheproof.patterns.catalogue import PAGES
from cacheproof.reports.advice import advice_lines
from cacheproof.reports.check_report import check_to_dict, render_check, render_summary
from cacheproof.reports.encyclopaedia import render_anomaly, render_index
from cacheproof.reports.json_report import write_report
from cacheproof.reports.matrix import render_matrix
from cacheproof.reports.terminal import render_report, to_text
from cacheproof.reports.truth_table import difference_words, truth_table_markdown, wrong_words

__all__ = ["main"]

EXIT_CODES = {
    Verdict.UPHELD: 0,
    Verdict.REFUTED: 1,
    Verdict.UNKNOWN: 3,
    Verdict.NOT_EXERCISED: 3,
}
USAGE_ERROR = 2
FAILED = 4
_WORST_FIRST = (FAILED, USAGE_ERROR, 1, 3, 0)

_CONTRACTS = {
    "cache-aside": "CACHE_ASIDE",
    "read-through": "READ_THROUGH",
    "write-behind-list": "WRITE_BEHIND_LIST",
    "write-behind-stream": "WRITE_BEHIND_STREAM",
    "write-through": "WRITE_THROUGH",
}


def _on_servers(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options that say on which servers a command works."""
    options = (
        click.option(
            "--backend",
            type=click.Choice(list(BACKENDS)),
            default=DEFAULT_BACKEND,
            show_default=True,
            help="Which servers to use.",
        ),
        click.option("--cache-image", help="Image of the cache's container (docker); default redis:7."),
        click.option(
            "--database-image", help="Image of the database's container (docker); default postgres:16."
        ),
        click.option(
            "--redis-url", "cache_url", help="URL of your cache (external); default $CACHEPROOF_REDIS_URL."
        ),
        click.option(
            "--database-url", help="URL of your database (external); default $CACHEPROOF_DATABASE_URL."
        ),
        click.option(
            "--allow-flush",
            metavar="HOST:PORT/NAME",
            multiple=True,
            help="Let everything in this database of yours be lost (external); may be repeated.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="cacheproof")
def cli() -> None:
    """Does your cache keep its promises, when requests interleave and things break?"""


@cli.command()
@click.argument("cache")
@click.option(
    "--contract",
    "contract_name",
    default="cache-aside",
    show_default=True,
    help=f"{', '.join(_CONTRACTS)}, or module:name of your own.",
)
@click.option(
    "--ttl", type=float, default=300, show_default=True, help="Seconds an entry lives; 0: for ever."
)
@click.option(
    "--under",
    type=click.Choice([item.value for item in Condition]),
    multiple=True,
    help="Only this condition; may be repeated.",
)
@click.option(
    "--profile",
    type=click.Choice(list(PROFILES)),
    default="default",
    show_default=True,
    help="How much to search.",
)
@click.option("--seed", default="0", show_default=True, help="A whole number, or 'random'.")
@click.option(
    "--report",
    "folder",
    type=click.Path(path_type=Path),
    default=Path(".cacheproof"),
    show_default=True,
    help="Folder for the report and for failures to replay.",
)
@_on_servers
def verify(
    cache: str,
    contract_name: str,
    ttl: float,
    under: tuple[str, ...],
    profile: str,
    seed: str,
    folder: Path,
    **where: Any,
) -> None:
    """Verify CACHE, given as module:Class or path/to/file.py:Class."""
    contract = _contract(contract_name, ttl or None)
    make_cache, number = load_cache(cache), read_seed(seed)
    with (
        make_servers(**where) as servers,
        ProgressLine(sys.stderr if sys.stderr.isatty() else None) as progress,
    ):
        report = verify_cache(
            make_cache,
            contract,
            under=[Condition(item) for item in under] or None,
            profile=profile,
            seed=number,
            store=FailureStore(folder),
            servers=servers,
            progress=progress,
        )
    _show(report)
    click.echo(_text(render_matrix([report])))
    click.echo(f"report: {write_report(report, folder / 'report')}")
    sys.exit(EXIT_CODES[report.verdict])


@cli.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--times", type=click.IntRange(min=1), default=1, show_default=True, help="How often.")
@click.option("--history", is_flag=True, help="Print the history as JSON Lines instead.")
@_on_servers
def replay(
    file: Path,
    times: int,
    history: bool,
    **where: Any,
) -> None:
    """Replay the failure in FILE and show it again."""
    report, run = replay_failure(file, times=times, make=lambda: make_servers(**where))
    if history:
        click.echo(run.history.to_jsonl(), nl=False)
    else:
        _show(report)
        if report.verdict is Verdict.UPHELD:
            click.echo("the schedule does not break the guarantee any more")
    sys.exit(EXIT_CODES[report.verdict])


@cli.command()
@click.argument(
    "files",
    metavar="FILE...",
    nargs=-1,
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
)
@click.option(
    "--model",
    type=click.Choice(sorted(SPECIFICATIONS)),
    help="Ask whether the history is linearizable as this model.",
)
@click.option(
    "--property",
    "properties",
    metavar="NAME[:PARAMETER=VALUE,…]",
    multiple=True,
    help="Ask for this property, for example bounded-staleness:seconds=300; may be repeated.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a file instead of text.")
def check(files: tuple[Path, ...], model: str | None, properties: tuple[str, ...], as_json: bool) -> None:
    """Check recorded histories again: JSON Lines of ours, Jepsen's text log, or EDN.

    Without options: a history of ours is asked for every property that needs no parameter, any other whether
    it is linearizable.  A file that cannot be read is named with line and column, and the others are checked.
    """
    questions = Questions(model, tuple(read_property(text) for text in properties))
    checked = []
    for path in files:
        with ReadingLine(sys.stderr if sys.stderr.isatty() else None, path.name) as notice:
            checked.append(check_file(path, questions, notice))
        found = checked[-1]
        click.echo(json.dumps(check_to_dict(found)) if as_json else _text(render_check(found)))
    if len(checked) > 1 and not as_json:
        click.echo(render_summary(checked))
    codes = {_exit_code(item) for item in checked}
    sys.exit(next(code for code in _WORST_FIRST if code in codes))


@cli.command()
@click.option(
    "--profile",
    type=click.Choice(list(PROFILES)),
    default="default",
    show_default=True,
    help="How much to search; quick replays what the table holds against a pattern, and searches the rest a little.",
)
@click.option("--only", metavar="NAME", multiple=True, help="Only this pattern; may be repeated.")
@click.option("--seed", default="0", show_default=True, help="A whole number, or 'random'.")
@click.option("--jobs", type=click.IntRange(1, 2), default=2, show_default=True, help="Patterns at a time.")
@click.option(
    "--check",
    "against",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Write nothing; say where the table in FILE (its Markdown or its JSON) disagrees with this run.",
)
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("docs/truth-table.md"),
    show_default=True,
    help="Where the table goes, and its data beside it, as JSON.",
)
@_on_servers
def matrix(
    profile: str,
    only: tuple[str, ...],
    seed: str,
    jobs: int,
    against: Path | None,
    output: Path,
    **where: Any,
) -> None:
    """Verify every pattern of the catalogue, and write the truth table.

    Each row is written as soon as it is done; rows that are not made stay as they were.
    """
    known = _known_table(output if against is None else against, must=against is not None)
    names = [page.name for page in PAGES]
    work = Matrix(
        PAGES, lambda: make_servers(**where), profile, read_seed(seed), known if profile == "quick" else None
    )

    def keep(rows: list[TruthRow]) -> None:
        if against is None:
            _write_table(known.with_rows(rows, names), output)

    rows, whole = _judge_rows(work, only, jobs, keep)
    fresh = TruthTable().with_rows(rows, names)
    differs = against is not None and _say_differences(known, fresh, against, partial=bool(only) or not whole)
    for row, cell in fresh.wrong:
        click.echo(f"WRONG  {wrong_words(row, cell)}")
    click.echo("the table agrees with this run" if against and not differs else _total_words(fresh))
    if against is None:
        click.echo(f"table: {output}, {output.with_suffix('.json')}")
    sys.exit(
        FAILED if not whole else 1 if differs or _refutes_a_contract(fresh) else EXIT_CODES[_doubt(fresh)]
    )


def _judge_rows(
    work: Matrix, only: tuple[str, ...], jobs: int, keep: Callable[[list[TruthRow]], None]
) -> tuple[list[TruthRow], bool]:
    """(the rows that could be made, whether those are all); each is given to `keep` with those before it."""
    rows, whole = list[TruthRow](), True
    total = len(set(only)) or len(PAGES)
    with ProgressBar(sys.stderr, total, moving=sys.stderr.isatty()) as bar:
        try:
            for done in work.run(only, jobs=jobs if can_halve() else 1, tell=bar.tell):
                name = PAGES[done.task].name
                bar.done(f"{name}: {_row_words(done.result) if done.error is None else done.error}")
                if done.error is not None:
                    whole = False
                    continue
                rows.append(done.result)
                keep(rows)
        except KeyboardInterrupt:
            click.echo(f"interrupted; {len(rows)} of {total} patterns are done", err=True)
            whole = False
    return rows, whole


def _known_table(place: Path, *, must: bool) -> TruthTable:
    """The table that is there already; none if there need not be one."""
    data = place.with_suffix(".json")
    return load_table(data) if must or data.exists() else TruthTable()


def _write_table(table: TruthTable, place: Path) -> None:
    for path, text in ((place.with_suffix(".json"), table.to_json()), (place, truth_table_markdown(table))):
        unfinished = path.with_name(f"{path.name}.part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            unfinished.write_text(text, "utf-8")
            unfinished.replace(path)
        except OSError as error:
            raise EnvironmentFault(
                f"cannot write the table {str(path)!r}: {error}; choose another --output"
            ) from error


def _say_differences(known: TruthTable, fresh: TruthTable, place: Path, *, partial: bool) -> bool:
    """Say where the table at `place` is wrong; whether it is."""
    told = [difference_words(item) for item in differences(known, fresh, partial=partial)]
    if place.suffix == ".md" and place.read_text("utf-8") != truth_table_markdown(known):
        told.append(f"{place} is not what its data say: it was edited, or made by another version")
    for line in told:
        click.echo(f"DIFFERS  {line}")
    return bool(told)


def _row_words(row: TruthRow) -> str:
    counts = ", ".join(
        f"{count} {verdict.value}"
        for verdict in Verdict
        if (count := sum(cell.verdict is verdict for cell in row.cells))
    )
    wrong = sum(cell.disagrees for cell in row.cells)
    return counts + (f"; {wrong} OTHERWISE THAN ITS CONTRACT SAYS" if wrong else "")


def _total_words(table: TruthTable) -> str:
    cells = [cell for row in table.rows for cell in row.cells]
    return f"{len(table.rows)} patterns, {len(cells)} cells, {sum(cell.schedules for cell in cells):,} judgements"


def _refutes_a_contract(table: TruthTable) -> bool:
    return any(cell.disagrees for _, cell in table.wrong)


def _doubt(table: TruthTable) -> Verdict:
    """Upheld if every cell is decided as its contract says, else unknown."""
    return Verdict.UNKNOWN if table.wrong else Verdict.UPHELD


def _asked(name: str, kind: type[StrEnum], question: str, default: StrEnum) -> Callable[..., Any]:
    """An option that is asked for on a terminal, unless it is given; elsewhere it is what it is by default."""
    return click.option(
        name,
        type=click.Choice([item.value for item in kind]),
        prompt=question if sys.stdin is not None and sys.stdin.isatty() else False,
        default=default.value,
        show_default=True,
        help=f"{question}?",
    )


@cli.command()
@_asked("--freshness", Freshness, "How old may what is read be", Freshness.EVENTUAL)
@_asked("--read-after-write", Visibility, "Who has to see a write at once", Visibility.NOBODY)
@_asked("--tolerated-loss", Loss, "When may acknowledged writes be lost", Loss.NEVER)
@_asked(
    "--latency", Latency, "How long may a write take (low: it does not wait for the database)", Latency.ANY
)
@_asked("--load-protection", Protection, "How is the database spared concurrent loads", Protection.NONE)
@_asked("--complexity", Complexity, "How much may there be to run (medium: no worker)", Complexity.HIGH)
@click.option(
    "--under",
    type=click.Choice([item.value for item in Condition]),
    multiple=True,
    help="A condition that matters; may be repeated. Those of every cache unless given.",
)
@click.option(
    "--table",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Truth table to go by, as JSON; the one that comes with cacheproof unless given.",
)
def advise(
    freshness: str,
    read_after_write: str,
    tolerated_loss: str,
    latency: str,
    load_protection: str,
    complexity: str,
    under: tuple[str, ...],
    table: Path | None,
) -> None:
    """Which pattern to take, from what was measured; asks what is needed.

    Exit code 1 if no pattern was measured to keep it; the nearest one is named then.
    """
    needs = Needs(
        Freshness(freshness),
        Visibility(read_after_write),
        Loss(tolerated_loss),
        Latency(latency),
        Protection(load_protection),
        Complexity(complexity),
        tuple(Condition(item) for item in under) or CORE_CONDITIONS,
    )
    advice = advise_on(needs, shipped_table() if table is None else load_table(table))
    for line in advice_lines(advice):
        click.echo(_wrapped(line))
    sys.exit(0 if advice.best is not None else 1)


def _wrapped(line: str) -> str:
    """A line of advice, as wide as is good to read, with what follows below its text."""
    lead = " " * (len(line) - len(line.lstrip()) + 2)
    return textwrap.fill(line, 100, subsequent_indent=lead, break_on_hyphens=False)


@cli.command()
@click.argument("name", required=False)
def explain(name: str | None) -> None:
    """Explain an anomaly: what happens, who suffers, how to fix it.  Without NAME: list them."""
    if name is None:
        click.echo(_text(render_index()))
        return
    click.echo(_text(render_anomaly(anomaly(name))))


@cli.command()
def doctor() -> None:
    """Check whether everything that the harness needs is here."""
    well = True
    for line in examine():
        well = well and (line.well or not line.needed)
        mark = "ok  " if line.well else "BAD " if line.needed else "none"
        click.echo(f"{mark} {line.what}: {line.found}")
    sys.exit(0 if well else FAILED)


@cli.group()
def images() -> None:
    """Images for containers, for where no registry can be reached."""


@images.command()
def build() -> None:
    """Build images of the cache and the database from the embedded binaries."""
    engine = connect_engine()
    try:
        for built in build_images(engine):
            click.echo(f"{built.name} ({built.size_mib} MiB): {'built' if built.new else 'was here already'}")
    finally:
        engine.close()


def _contract(name: str, ttl_s: float | None) -> Contract:
    module, _, attribute = name.rpartition(":")
    try:
        made: Any = getattr(importlib.import_module(module or "cacheproof"), _CONTRACTS.get(name, attribute))
    except (ImportError, AttributeError, ValueError) as error:
        known = ", ".join(_CONTRACTS)
        raise UsageError(
            f"unknown contract {name!r} ({error}); choose from {known}, or give module:name"
        ) from None
    contract = made(ttl_s) if callable(made) else made
    if not isinstance(contract, Contract):
        raise UsageError(f"{name!r} is no contract, but {type(contract).__name__}")
    return contract


def _exit_code(checked: Checked) -> int:
    if checked.verdict is None:
        return USAGE_ERROR if checked.problem and checked.problem.who is Who.USER else FAILED
    return EXIT_CODES[checked.verdict]


def _show(report: Report) -> None:
    click.echo(_text(render_report(report)))


def _text(renderable: Any) -> str:
    width = max(60, shutil.get_terminal_size((110, 40)).columns)
    return to_text(renderable, width=width, color=sys.stdout.isatty())


def main() -> None:
    """Entry point of the command `cacheproof`."""
    sys.exit(_guarded(lambda: cli.main(standalone_mode=False)))


def _guarded(run: Callable[[], Any]) -> int:
    try:
        run()
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return USAGE_ERROR
    except click.exceptions.Abort:
        return FAILED
    except UsageError as error:
        click.echo(f"cacheproof: {error}", err=True)
        return USAGE_ERROR
    except CacheError as error:
        click.echo(f"cacheproof: {error}", err=True)
        return EXIT_CODES[Verdict.UNKNOWN]
    except CacheproofError as error:
        click.echo(f"cacheproof: {error}", err=True)
        return FAILED
    return 0


if __name__ == "__main__":
    main()
