"""What a schedule costs, everything switched on, and what the same work costs without the harness.

    python benchmarks/schedule_cost.py [--json]

One schedule: A reads, B writes, C reads, interleaved, each in a new cache instance with new connections; then
the epilogue reads once: eleven exchanges, with history and committed versions.  All on one core, as `verify`
does it.  What is compared is measured in turns (A B C, A B C, …), and medians are taken, so that whatever else
the machine does falls on all of them alike.
"""

import gc
import json
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import click
from cpu_time import cpu_ms
from direct import KEY, DirectClient, RawClients, Sent, recorded
from rich.console import Console
from rich.table import Table
from stopwatch import Stopwatch

from cacheproof.chaos.servers.embedded import EmbeddedServers
from cacheproof.harness.crew import Crew
from cacheproof.harness.evidence import Evidence
from cacheproof.harness.execution import Execution
from cacheproof.harness.operations import Operations
from cacheproof.harness.pinning import one_core
from cacheproof.harness.recorder import Recorder
from cacheproof.harness.runner import Run, Runner
from cacheproof.harness.situation import Situation
from cacheproof.harness.strategies import machine
from cacheproof.harness.world import World
from cacheproof.models.contract import Condition
from cacheproof.models.decision import Decision, Deliver, Invoke
from cacheproof.models.event import Exchanged, Invoked
from cacheproof.models.schedule import Scenario
from cacheproof.patterns.cache_aside import CACHE_ASIDE, CacheAside

SCENARIO = Scenario(clients=3, keys=(KEY,))

ROUND = (
    (0, "GET"),
    (1, "UPDATE"),
    (0, "SELECT"),
    (2, "GET"),
    (2, "SELECT"),
    (0, "SET"),
    (2, "SET"),
    (1, "DEL"),
)
"""(client, command) in order; a client's first one begins its operation."""

EPILOGUE = ((0, "GET"), (0, "SELECT"), (0, "SET"))
_LONG = 10
_WARM_UP = 30

TARGETS = {
    "schedules per second, fastest tenth": (60.0, max),
    "exchange, times direct (drivers)": (5.0, min),
    "schedule, times direct (drivers)": (3.0, min),
}


def decisions_of(rounds: int) -> tuple[Decision, ...]:
    """The schedule of so many rounds: each operation is begun just before its first exchange."""
    taken: list[Decision] = []
    for _ in range(rounds):
        begun: set[int] = set()
        for client, _verb in ROUND:
            if client not in begun:
                taken.append(Invoke(client, "write" if client == 1 else "read", KEY))
                begun.add(client)
            taken.append(Deliver(client))
    return tuple(taken)


def checked(run: Run, rounds: int) -> Run:
    """The run, if it did what the direct work does."""
    verbs = [event.verb for event in run.history.events if isinstance(event, Exchanged)]
    if run.problem is not None or verbs != [verb for _, verb in (*ROUND * rounds, *EPILOGUE)]:
        raise SystemExit(f"the measured schedule went another way: {run.problem or verbs!r}")
    return run


def seconds(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


# -- the fixed schedule ----------------------------------------------------------------------------------------


def measure_schedules(runner: Runner, servers: EmbeddedServers, count: int) -> dict[str, Any]:
    """Wall time and CPU time of one schedule."""
    decisions = decisions_of(1)
    for _ in range(_WARM_UP):
        checked(runner.attempt(SCENARIO, decisions), 1)
    before = cpu_ms(servers)
    walls = [seconds(lambda: runner.attempt(SCENARIO, decisions)) for _ in range(count)]
    after = cpu_ms(servers)
    spent = {kind: (after[kind] - before[kind]) / count for kind in after}
    return {
        "schedules per second, median": 1 / statistics.median(walls),
        "schedules per second, fastest tenth": 1 / statistics.quantiles(walls, n=10)[0],
        "schedules per second of CPU time": 1000 / sum(spent.values()),
        "CPU ms a schedule": {**spent, "total": sum(spent.values())},
    }


# -- against the same work done directly -----------------------------------------------------------------------


def directly(servers: EmbeddedServers) -> None:
    """The whole schedule by three fresh clients, connects included."""
    with ExitStack() as stack:
        clients = [stack.enter_context(DirectClient(servers)) for _ in range(SCENARIO.clients)]
        for client, verb in (*ROUND, *EPILOGUE):
            clients[client].run(verb)


def driven(servers: EmbeddedServers) -> float:
    """Seconds for all rounds but the first, on connections that the first one has opened."""
    with ExitStack() as stack:
        clients = [stack.enter_context(DirectClient(servers)) for _ in range(SCENARIO.clients)]
        for client, verb in ROUND:
            clients[client].run(verb)
        return seconds(lambda: [clients[client].run(verb) for client, verb in ROUND * (_LONG - 1)])


def raw(servers: EmbeddedServers, sent: list[Sent]) -> float:
    """The same, as recorded messages."""
    with RawClients(servers, sent) as clients:
        clients.play(len(ROUND))
        return seconds(clients.play)


def messages_of(runner: Runner) -> list[Sent]:
    """What the clients' connections carry to the servers in the long schedule, without the epilogue."""
    with recorded() as sent:
        checked(runner.attempt(SCENARIO, decisions_of(_LONG)), _LONG)
    theirs = {link.upstream for link in runner.world.wire.all_links()}
    return [(upstream, data) for upstream, data in sent if upstream in theirs][: -len(EPILOGUE)]


def compare(runner: Runner, servers: EmbeddedServers, turns: int) -> dict[str, Any]:
    """Milliseconds of each way, and how many times as long ours takes.

    An exchange on open connections is what a schedule of ten rounds takes longer than one of one round.
    """
    sent = messages_of(runner)
    one, many = decisions_of(1), decisions_of(_LONG)
    ways: dict[str, Callable[[], float]] = {
        "one": lambda: seconds(lambda: runner.attempt(SCENARIO, one)),
        "whole": lambda: seconds(lambda: directly(servers)),
        "many": lambda: seconds(lambda: runner.attempt(SCENARIO, many)),
        "driven": lambda: driven(servers),
        "raw": lambda: raw(servers, sent),
    }
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(turns):
        for name, way in ways.items():
            runner.world.reset(SCENARIO)
            gc.collect()
            taken[name].append(way())
    checked(runner.attempt(SCENARIO, many), _LONG)
    exchanges = len(ROUND) * (_LONG - 1)
    median = {name: 1000 * statistics.median(values) for name, values in taken.items()}
    slopes = [longer - shorter for longer, shorter in zip(taken["many"], taken["one"], strict=True)]
    exchange = 1000 * statistics.median(slopes) / exchanges
    return {
        "exchange, ms": exchange,
        "exchange directly with drivers, ms": median["driven"] / exchanges,
        "exchange directly as raw messages, ms": median["raw"] / exchanges,
        "exchange, times direct (drivers)": exchange * exchanges / median["driven"],
        "exchange, times direct (raw messages)": exchange * exchanges / median["raw"],
        "schedule, ms": median["one"],
        "schedule directly with drivers, ms": median["whole"],
        "schedule, times direct (drivers)": median["one"] / median["whole"],
    }


# -- where the time goes ---------------------------------------------------------------------------------------


def _invocation(operations: Operations, decision: Invoke) -> str:
    """A driver connects when it is first needed, so a client's first operation counts as connecting."""
    events = operations._here.recorder.events
    earlier = any(isinstance(event, Invoked) and event.process == decision.client for event in events)
    return "exchanges" if earlier else "connecting"


@contextmanager
def watched(stopwatch: Stopwatch) -> Iterator[None]:
    with stopwatch.watching(
        (World, "reset", "reset"),
        (World, "take_output", "reset"),
        (Execution, "__init__", "reset"),
        (Execution, "end", "reset"),
        (Operations, "start", "connecting"),
        (Operations, "invoke", _invocation),
        (Execution, "perform", "exchanges"),
        (Situation, "record_commits", "committed versions"),
        (machine, "take", "exchanges"),
        (machine, "conclude", "exchanges"),
        (Crew, "settle", "settling"),
        (Recorder, "history", "judging"),
        (Evidence, "add", "judging"),
    ):
        yield


def measure_search(runner: Runner, examples: int) -> dict[str, Any]:
    """Where the time goes when Hypothesis chooses the schedules and every run is judged."""
    stopwatch = Stopwatch(rest="generating", keeps=frozenset({"connecting"}))
    evidence = Evidence(CACHE_ASIDE(), Condition.CONCURRENT)

    def judge(run: Run) -> None:
        evidence.add(run, "Hypothesis")

    with watched(stopwatch):
        machine.search(runner, evidence.condition, [SCENARIO], judge, examples=examples, number=1)
    total = sum(stopwatch.spent.values())
    return {
        "shares in percent": stopwatch.shares,
        "schedules per second, generated and judged": evidence.runs / total,
    }


# -- telling ---------------------------------------------------------------------------------------------------


def show(figures: dict[str, Any]) -> None:
    table = Table(title="Cost of a schedule: 3 clients, 11 exchanges, one core", title_justify="left")
    table.add_column("")
    table.add_column("measured", justify="right")
    table.add_column("target", justify="right")
    for name, value in figures.items():
        if isinstance(value, dict):
            table.add_section()
            table.add_row(f"[bold]{name}")
            for part, share in value.items():
                table.add_row(f"  {part}", f"{share:.2f}")
            table.add_section()
        else:
            table.add_row(name, f"{value:.3g}", verdict(name, value))
    Console().print(table)


def verdict(name: str, value: float) -> str:
    if name not in TARGETS:
        return ""
    bound, better = TARGETS[name]
    met = better(value, bound) == value
    return f"{'at least' if better is max else 'at most'} {bound:g}: {'met' if met else 'MISSED'}"


@click.command()
@click.option("--schedules", default=300, show_default=True, help="Schedules for the rate and the CPU time.")
@click.option("--turns", default=60, show_default=True, help="Turns of the comparison.")
@click.option("--examples", default=100, show_default=True, help="Schedules that Hypothesis chooses.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def main(schedules: int, turns: int, examples: int, as_json: bool) -> None:
    """Measure what a schedule costs."""
    with EmbeddedServers() as servers, one_core(servers), World(CacheAside, servers) as world:
        runner = Runner(world)
        figures = measure_schedules(runner, servers, schedules)
        figures |= compare(runner, servers, turns)
        figures |= measure_search(runner, examples)
    if as_json:
        click.echo(json.dumps(figures, indent=2))
    else:
        show(figures)


if __name__ == "__main__":
    main()
