"""The pytest plugin: the marker `chaos`, the fixture `verify`, its options, and the matrix at the end.

Imports of Hypothesis and of ourselves happen inside the hooks: a plugin that is installed is imported into
every pytest run, also into those that have nothing to do with caches.

With pytest-xdist each worker has servers of its own, and the seed of the session that the user sees.  At its end it
hands over what it has to say: a matrix a worker.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from cacheproof.chaos.servers.servers import Servers
    from cacheproof.harness.session import ChaosSession, Expect
    from cacheproof.models.report import Cell, Report

__all__ = [
    "chaos_servers",
    "pytest_addoption",
    "pytest_configure",
    "pytest_configure_node",
    "pytest_report_header",
    "pytest_sessionfinish",
    "pytest_terminal_summary",
    "pytest_testnodedown",
    "pytest_unconfigure",
    "verify",
]

_SESSION: pytest.StashKey[ChaosSession] = pytest.StashKey()
_HANDED = "cacheproof"
"""The name under which workers are handed the seed, and hand over what they have to say."""
_WORKERS_WIDTH = 100


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("chaos", "cacheproof: does a cache keep its promises?")
    group.addoption(
        "--chaos-profile",
        default="default",
        metavar="NAME",
        help="how much to search: quick, default or thorough",
    )
    group.addoption(
        "--chaos-seed",
        default="0",
        metavar="N",
        help="seed of the search, a whole number, or 'random' (drawn and printed); default 0",
    )
    group.addoption(
        "--chaos-report",
        default=".cacheproof",
        metavar="DIR",
        help="folder for reports, histories and failures that can be replayed; default .cacheproof",
    )
    group.addoption(
        "--chaos-backend",
        default="embedded",
        choices=("embedded", "docker", "external"),
        help="which servers to use: embedded (default; real ones, started for the session), docker (containers) or "
        "external (yours)",
    )
    group.addoption(
        "--chaos-cache-image",
        metavar="IMAGE",
        help="image of the cache's container; default $CACHEPROOF_CACHE_IMAGE, else redis:7",
    )
    group.addoption(
        "--chaos-database-image",
        metavar="IMAGE",
        help="image of the database's container; default $CACHEPROOF_DATABASE_IMAGE, else postgres:16",
    )
    group.addoption(
        "--chaos-redis-url",
        metavar="URL",
        help="your Redis or Valkey, for the backend external; default $CACHEPROOF_REDIS_URL",
    )
    group.addoption(
        "--chaos-database-url",
        metavar="URL",
        help="your PostgreSQL, for the backend external; default $CACHEPROOF_DATABASE_URL",
    )
    group.addoption(
        "--chaos-allow-flush",
        metavar="HOST:PORT/NAME",
        action="append",
        default=[],
        help="let everything in this database of yours be lost (external); may be repeated",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "chaos: verifies a cache under every interleaving and with faults")


def _session(config: pytest.Config) -> ChaosSession:
    if _SESSION not in config.stash:
        from cacheproof.harness.session import ChaosSession
        from cacheproof.models.errors import UsageError

        reporter = config.pluginmanager.get_plugin("terminalreporter")
        try:
            config.stash[_SESSION] = ChaosSession(
                profile=config.getoption("--chaos-profile"),
                seed=getattr(config, "workerinput", {}).get(_HANDED, config.getoption("--chaos-seed")),
                folder=Path(config.getoption("--chaos-report")),
                terminal=reporter._tw._file if reporter is not None and reporter.isatty else None,
            )
        except UsageError as error:
            raise pytest.UsageError(str(error)) from None
    return config.stash[_SESSION]


@pytest.fixture(scope="session")
def chaos_servers(request: pytest.FixtureRequest) -> Iterator[Servers]:
    """A real cache and a real PostgreSQL for the session; started when first used, gone at its end."""
    from cacheproof.chaos.servers.backends import make_servers
    from cacheproof.models.errors import EnvironmentFault, UsageError

    option = request.config.getoption
    try:
        servers = make_servers(
            option("--chaos-backend"),
            cache_image=option("--chaos-cache-image"),
            database_image=option("--chaos-database-image"),
            cache_url=option("--chaos-redis-url"),
            database_url=option("--chaos-database-url"),
            allow_flush=option("--chaos-allow-flush"),
        )
        servers.start()
    except (EnvironmentFault, UsageError) as fault:
        pytest.fail(str(fault), pytrace=False)
    with servers:
        yield servers


@pytest.fixture
def verify(request: pytest.FixtureRequest, chaos_servers: Servers) -> Callable[..., Report]:
    """`verify(cache, contract, …)`: judges, and fails the test if a promise is broken or in doubt.

    Takes the arguments of `cacheproof.verify`; profile and seed come from the command line.  With
    `expect=Expect.TRUTH` the test fails exactly if reality differs from what the contract says is kept.
    """
    from cacheproof.harness.session import Expect

    session = _session(request.config)
    reporter = request.config.pluginmanager.get_plugin("terminalreporter")
    color = bool(reporter is not None and reporter.hasmarkup)

    def call(cache: Any, contract: Any, *, expect: Expect = Expect.CLAIMS, **options: Any) -> Report:
        __tracebackhide__ = True
        report = session.verify(cache, contract, servers=chaos_servers, **options)
        _write(session, report)
        if (complaint := _complaint(report, expect, color=color)) is not None:
            pytest.fail(complaint, pytrace=False)
        return report

    return call


def _write(session: ChaosSession, report: Report) -> None:
    """Write the report down; a disk that is full costs the file, never the verdict."""
    from cacheproof.reports.json_report import write_report

    try:
        write_report(report, session.folder / "report")
    except OSError as error:
        session.problems.append(f"the report of {report.cache} could not be written: {error}; free the disk")


def _complaint(report: Report, expect: Expect, *, color: bool) -> str | None:
    """Why the test fails, in words and pictures; None if it does not."""
    from cacheproof.harness.session import wrong_cells
    from cacheproof.reports.terminal import render_report, to_text

    wrong = wrong_cells(report, expect)
    if not wrong:
        return None
    drawn = to_text(render_report(report, cells=wrong), width=110, color=color)
    told = [_told(cell, in_truth=expect.value == "truth") for cell in wrong if cell.counterexample is None]
    return "\n".join([drawn, "", *dict.fromkeys(told)])


def _told(cell: Cell, *, in_truth: bool) -> str:
    where = f"{cell.guarantee} ({cell.condition.value})"
    if cell.verdict.value == "unknown":
        return f"{where} is unknown: {cell.reason}"
    expected = "upheld" if cell.kept or not in_truth else "refuted"
    reason = f": {cell.reason}" if cell.reason else f" in {cell.exercised} schedules that exercised it"
    return f"{where} was expected to be {expected}, and is {cell.verdict.value}{reason}"


def pytest_report_header(config: pytest.Config) -> str | None:
    if "chaos" not in (config.getoption("-m") or ""):
        return None
    session = _session(config)
    backend = config.getoption("--chaos-backend")
    servers = "" if backend == "embedded" else f", servers from {backend}"
    return f"cacheproof: profile {session.profile.name}, seed {session.seed}, report in {session.folder}{servers}"


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    session = config.stash.get(_SESSION, None)
    if session is None or not (session.reports or session.handed):
        return
    terminalreporter.section("cacheproof")
    width, color = max(terminalreporter._tw.fullwidth, 60), terminalreporter.hasmarkup
    for text in [*(_summary(session, width, color=color) if session.reports else ()), *session.handed]:
        terminalreporter.write_line(text)
    for problem in session.problems:
        terminalreporter.write_line(problem, yellow=True)
    terminalreporter.write_line(f"reports, histories and failures to replay: {session.folder}")


def _summary(session: ChaosSession, width: int, *, color: bool) -> list[str]:
    """The matrix, and a line for each report."""
    from cacheproof.reports.matrix import render_matrix
    from cacheproof.reports.terminal import render_verdict_line, to_text

    matrix = to_text(render_matrix(session.reports), width=width, color=color)
    return [matrix, *(render_verdict_line(report) for report in session.reports)]


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """A seed that is drawn is drawn once, for all workers."""
    if node.config.getoption("--chaos-seed") == "random":
        node.workerinput[_HANDED] = str(_session(node.config).seed)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """In a worker: hand over what is to be said."""
    own = session.config.stash.get(_SESSION, None)
    if own is not None and own.reports and hasattr(session.config, "workeroutput"):
        said = _summary(own, _WORKERS_WIDTH, color=False)
        session.config.workeroutput[_HANDED] = {"said": said, "problems": own.problems}


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take what a worker hands over; one that has crashed hands over nothing."""
    handed = getattr(node, "workeroutput", {}).get(_HANDED)
    if handed is not None:
        own = _session(node.config)
        own.handed += handed["said"]
        own.problems += handed["problems"]


def pytest_unconfigure(config: pytest.Config) -> None:
    session = config.stash.get(_SESSION, None)
    if session is not None:
        session.close()
