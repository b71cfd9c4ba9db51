"""What it costs to judge a history: registers by zones, up to a million operations, and the general checker.

    python benchmarks/checkers.py [--most 1000000] [--histories FOLDER] [--json]

The histories for zones are generated from a seed: ten clients on one register that really is one, every value
written once.  Each operation takes effect at one instant between its invocation and its return, so the history
is linearizable by construction; in the invalid ones a single read near the end returns the first value of all.
Every measurement runs in a process of its own, so that its peak memory is its own.  Seconds are CPU time: nothing
here waits, so on a machine with nothing else to do that is how long it takes, and on a busy one it is steadier.
"""

import json
import random
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import Console
from rich.table import Table

from cacheproof.models.column_reader import read_columns
from cacheproof.models.general import check_linearizable
from cacheproof.models.recording import read_recording
from cacheproof.models.specifications import SPECIFICATIONS
from cacheproof.models.verdict import Verdict
from cacheproof.models.zone_columns import judge_columns

SIZES = (1_000, 10_000, 100_000, 1_000_000)
REFERENCE = 10_000
CLIENTS = 10
REPEATS = 3
RECORDED = Path(__file__).parents[2] / "shared" / "histories"

T = TypeVar("T")


# -- histories -------------------------------------------------------------------------------------------------


def generate(operations: int, *, stale: bool, seed: int = 1) -> Iterator[bytes]:
    """The lines of a history in the format of `History.to_jsonl`."""
    yield b'{"type":"run","format":1,"processes":10,"workers":[],"initial":{"user:1":null}}\n'
    chance = random.Random(seed)
    planted = operations - operations // 100 if stale else None
    current, wrote, begun, returned, index = "null", 0, 0, 0, 0
    calls: list[tuple[str, str] | None] = [
        None
    ] * CLIENTS  # the method, and what it wrote or saw: "" until then
    while returned < operations:
        process = chance.randrange(CLIENTS)
        match calls[process]:
            case None if begun < operations:
                begun += 1
                f, value = chance.choice(("read", "write")), "null"
                if f == "write":
                    wrote += 1
                    value = f'"v{wrote}"'
                calls[process] = f, value if f == "write" else ""
                yield _line(index, "invoke", process, f'"f":"{f}","key":"user:1",', value)
                index += 1
            case ("write", value) if value != "null":
                current, calls[process] = value, ("write", "null")
            case ("read", ""):
                calls[process] = "read", current
            case (f, value):
                if f == "read" and planted is not None and returned >= planted:
                    value, planted = '"v1"', None
                calls[process] = None
                returned += 1
                yield _line(index, "ok", process, "", value)
                index += 1
            case _:
                pass


def _line(index: int, kind: str, process: int, call: str, value: str) -> bytes:
    stamp = f'"index":{index},"time":{index / 1000},"type":"{kind}","process":{process}'
    return f'{{{stamp},{call}"value":{value}}}\n'.encode()


# -- measuring -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ZonesRow:
    """One history of a register.  `check_s` is the median CPU time to judge it once it is loaded."""

    operations: int
    history: str
    verdict: str
    load_s: float
    check_s: float
    peak_mib: float

    @property
    def per_operation_us(self) -> float:
        return self.check_s / self.operations * 1e6


@dataclass(frozen=True, slots=True)
class FileRow:
    """A file of JSON Lines, opened, loaded and judged.  `wall_s` is the time on the clock for all of it."""

    operations: int
    file_mib: float
    load_s: float
    check_s: float
    wall_s: float
    peak_mib: float


@dataclass(frozen=True, slots=True)
class GeneralRow:
    """All recorded logs: `wrong` counts verdicts other than the known ones."""

    files: int
    operations: int
    read_s: float
    check_s: float
    slowest_s: float
    slowest: str
    wrong: int
    unknown: int
    peak_mib: float


def measure_zones(operations: int, stale: bool) -> ZonesRow:
    load_s, columns = _timed(lambda: read_columns(generate(operations, stale=stale)))
    times = [_timed(lambda: judge_columns(columns)) for _ in range(REPEATS)]
    verdict = times[0][1].verdict
    check_s = statistics.median(seconds for seconds, _ in times)
    return ZonesRow(operations, "one stale read" if stale else "valid", verdict, load_s, check_s, _peak_mib())


def measure_file(path: Path) -> FileRow:
    begun = time.perf_counter()
    with path.open("rb") as file:
        load_s, columns = _timed(lambda: read_columns(iter(lambda: file.read(1 << 20), b"")))
    check_s, judgement = _timed(lambda: judge_columns(columns))
    wall_s = time.perf_counter() - begun
    assert judgement.verdict is Verdict.UPHELD
    return FileRow(len(columns), path.stat().st_size / 2**20, load_s, check_s, wall_s, _peak_mib())


def measure_general(folder: Path) -> GeneralRow:
    verdicts = _known_verdicts(folder)
    operations, reads, checks, wrong, unknown = 0, [], [], 0, 0
    paths = [path for path in sorted((folder / "etcd").glob("*.log")) if path.stat().st_size]
    for path in paths:
        lines = path.read_text("utf-8").splitlines()
        read_s, recording = _timed(partial(read_recording, lines))
        history, model = recording.history, SPECIFICATIONS[recording.model or "register"]
        check = partial(check_linearizable, history.operations, model, initial=history.initial)
        check_s, result = _timed(check)
        operations += len(history.operations)
        reads.append(read_s)
        checks.append((check_s, path.name))
        unknown += result.verdict is Verdict.UNKNOWN
        known = verdicts.get(path.relative_to(folder).as_posix())
        wrong += known is not None and (known == "true") != (result.verdict is Verdict.UPHELD)
    slowest_s, slowest = max(checks)
    check_s = sum(seconds for seconds, _ in checks)
    return GeneralRow(
        len(paths), operations, sum(reads), check_s, slowest_s, slowest, wrong, unknown, _peak_mib()
    )


def _known_verdicts(folder: Path) -> dict[str, str]:
    lines = (folder / "VERDICTS.tsv").read_text("utf-8").splitlines()[1:]
    return dict(line.split("\t")[:2] for line in lines)


def _timed(work: Callable[[], T]) -> tuple[float, T]:
    begun = time.process_time()
    found = work()
    return time.process_time() - begun, found


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def alone(work: Callable[..., T], *arguments: Any) -> T:
    """Run it in a fresh process."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(work, *arguments).result()


# -- telling ---------------------------------------------------------------------------------------------------


def _told(met: bool) -> str:
    return "met" if met else "MISSED"


def show_zones(rows: Sequence[ZonesRow]) -> Table:
    table = Table(title="Zones: one register, ten clients, unique values", title_justify="left")
    for head in ("operations", "history", "verdict", "check, s", "µs an operation", "growth", "peak MiB", ""):
        table.add_column(head, justify="left" if head in ("history", "verdict", "") else "right")
    bases = {row.history: row.per_operation_us for row in rows if row.operations == REFERENCE}
    for row in rows:
        growth = f"{row.per_operation_us / bases[row.history]:.2f}" if row.history in bases else ""
        target = f"at most 1.0 s: {_told(row.check_s <= 1)}" if row.operations == SIZES[-1] else ""
        cells = (f"{row.check_s:.4f}", f"{row.per_operation_us:.3f}", growth, f"{row.peak_mib:.0f}", target)
        table.add_row(f"{row.operations:,}", row.history, row.verdict, *cells)
    return table


def show_file(row: FileRow) -> Table:
    table = Table(title=f"A file of {row.operations:,} operations", title_justify="left")
    for head in ("file MiB", "load, s", "check, s", "together, s", "on the clock, s", "peak MiB", ""):
        table.add_column(head, justify="right")
    total = row.load_s + row.check_s
    cells = [
        f"{row.file_mib:.0f}",
        *(f"{s:.2f}" for s in (row.load_s, row.check_s, total, row.wall_s)),
        f"{row.peak_mib:.0f}",
    ]
    table.add_row(*cells, f"at most 10 s: {_told(total <= 10)}")
    return table


def show_general(row: GeneralRow) -> Table:
    table = Table(title=f"General checker: {row.files} etcd logs", title_justify="left")
    for head in ("operations", "read, s", "check, s", "slowest, s", "wrong", "unknown", "peak MiB", ""):
        table.add_column(head, justify="right")
    total = row.read_s + row.check_s
    seconds = (f"{row.read_s:.2f}", f"{row.check_s:.2f}", f"{row.slowest_s:.2f} ({row.slowest})")
    counts = (str(row.wrong), str(row.unknown), f"{row.peak_mib:.0f}")
    table.add_row(f"{row.operations:,}", *seconds, *counts, f"at most 3 s: {_told(total <= 3)}")
    return table


@click.command()
@click.option(
    "--most",
    default=SIZES[-1],
    type=click.IntRange(SIZES[0]),
    show_default=True,
    help="The largest number of operations.",
)
@click.option(
    "--histories",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=RECORDED if RECORDED.is_dir() else None,
    help="A folder with etcd/*.log and VERDICTS.tsv; without one the general checker is not measured.",
)
@click.option("--json", "json_", is_flag=True, help="Print JSON instead of tables.")
def main(most: int, histories: Path | None, json_: bool) -> None:
    """Measure how long the checkers take."""
    if histories and not (histories / "VERDICTS.tsv").is_file():
        raise click.UsageError(f"{histories} has no VERDICTS.tsv; name a folder that has it and etcd/*.log")
    sizes = [size for size in SIZES if size <= most]
    zones = [alone(measure_zones, size, stale) for stale in (False, True) for size in sizes]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "history.jsonl")
        with path.open("wb") as file:
            file.writelines(generate(max(sizes), stale=False))
        loaded = alone(measure_file, path)
    general = alone(measure_general, histories) if histories else None
    if json_:
        data = {"zones": [asdict(row) for row in zones], "file": asdict(loaded)}
        click.echo(json.dumps(data | {"general": general and asdict(general)}, indent=2))
        return
    console = Console(width=130)
    for table in (show_zones(zones), show_file(loaded), *([show_general(general)] if general else [])):
        console.print(table)
    if general is None:
        console.print("General checker: skipped; name a folder of recorded histories with --histories.")


if __name__ == "__main__":
    main()
