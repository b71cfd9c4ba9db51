"""The command line: `cacheproof verify | replay | check | explain | doctor | images`.

Exit codes: 0 upheld, 1 refuted, 2 usage error, 3 unknown, 4 the harness or its environment failed.
"""

import importlib
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from cacheproof.chaos.servers.backends import BACKENDS, DEFAULT_BACKEND, make_servers
from cacheproof.chaos.servers.engine import connect_engine
from cacheproof.chaos.servers.recipes import build_images
from cacheproof.harness.check import Questions, ReadingLine, check_file, read_property
from cacheproof.harness.doctor import examine
from cacheproof.harness.naming import load_cache
from cacheproof.harness.profiles import PROFILES
from cacheproof.harness.progress import ProgressLine
from cacheproof.harness.replay import replay as replay_failure
from cacheproof.harness.session import read_seed
from cacheproof.harness.store import FailureStore
from cacheproof.harness.verify import verify as verify_cache
from cacheproof.models.anomalies import anomaly
from cacheproof.models.checked import Checked, Who
from cacheproof.models.contract import Condition, Contract
from cacheproof.models.errors import CacheError, CacheproofError, UsageError
from cacheproof.models.report import Report
from cacheproof.models.specifications import SPECIFICATIONS
from cacheproof.models.verdict import Verdict
from cacheproof.reports.check_report import check_to_dict, render_check, render_summary
from cacheproof.reports.encyclopaedia import render_anomaly, render_index
from cacheproof.reports.json_report import write_report
from cacheproof.reports.matrix import render_matrix
from cacheproof.reports.terminal import render_report, to_text

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
