"""The stories that the tests of the reports tell, each a realistic counterexample."""

import sys
from typing import Any

from cacheproof.models.contract import Condition
from cacheproof.models.convergence import Convergence
from cacheproof.models.durability import Durability
from cacheproof.models.integrity import Integrity
from cacheproof.models.operation import Value
from cacheproof.models.read_after_write import ReadAfterWrite
from cacheproof.models.report import Cell, Counterexample, Report, Scope
from cacheproof.models.verdict import Property, Verdict

story = sys.modules["cacheproof_tests_reports_story"]

EPILOGUE = """
    --: heal
    --: drain
    --: quiesce
"""
READS = """
    --: final-reads
"""


def told(
    text: str, judge: Property, anomaly: str, initial: dict[str, Value] | None = None,
    clients: int = 2, workers: int = 0, **more: Any,
) -> Counterexample:  # fmt: skip
    history, snapshots = story.tell(text, initial, clients, workers)
    found: Counterexample = story.counterexample(
        history, snapshots, story.find(judge, history), anomaly, **more
    )
    return found


def stale_set() -> Counterexample:
    return told(
        """
    B: read user:1
    B: GET user:1
    B: select user:1
    A: write user:1 v2
    A: update user:1 v2
    A: DEL user:1
    A: ok
    B: SET user:1 v1 EX 300
    B: ok v1
"""
        + EPILOGUE
        + READS
        + """
    B: read! user:1
    B: GET user:1
    B: ok v1
""",
        ReadAfterWrite(),
        "stale-set",
    )


def crash_before_invalidation() -> Counterexample:
    return told(
        """
    B: read user:1
    B: GET user:1
    B: select user:1
    B: SET user:1 v1 EX 300
    B: ok v1
    A: write user:1 v2
    A: update user:1 v2
    A: crash
    A: info the client crashed
"""
        + EPILOGUE
        + """
    --: final-reads
    *: advance 299
    B: read! user:1
    B: GET user:1
    B: ok v1
""",
        Convergence(200.0),
        "crash-before-invalidation",
    )


def lost_write() -> Counterexample:
    return told(
        """
    W1: work
    W1: BRPOP queue 0 !waits
    A: write user:1 v2
    A: SET user:1 v2 ; LPUSH queue v2
    A: ok
    W1: BRPOP queue 0 !waited
    cache: kill
    W1: crash
    W1: info the client crashed
    --: heal
    cache: start
    W1: restart
    W1: work
    W1: BRPOP queue 0 !waits
    --: drain
    --: quiesce
"""
        + READS
        + """
    A: read! user:1
    A: GET user:1
    A: select user:1
    A: SET user:1 v1
    A: ok v1
""",
        Durability(),
        "lost-write-behind",
        clients=1,
        workers=1,
    )


def lost_invalidation() -> Counterexample:
    return told(
        """
    B: read user:1
    B: GET user:1
    B: select user:1
    B: SET user:1 v1 EX 300
    B: ok v1
    A: write user:1 v2
    A: update user:1 v2
    A: DEL user:1 !request-lost
    A: ok
"""
        + EPILOGUE
        + READS
        + """
    A: read! user:1
    A: GET user:1
    A: ok v1
""",
        ReadAfterWrite(),
        "lost-invalidation",
    )


def lost_reply() -> Counterexample:
    return told(
        """
    A: write user:1 v2
    A: SET user:1 v2 EX 300 !reply-lost
    A: fail ConnectionError: connection reset by peer
    B: read user:1
    B: GET user:1
    B: ok v2
"""
        + EPILOGUE,
        Integrity(),
        "dirty-read",
    )


def two_keys() -> Counterexample:
    return told(
        """
    A: write user:2 v3
    A: update user:2 v3
    A: DEL user:2
    A: ok
    B: read user:2
    B: GET user:2
    B: select user:2
    A: write user:2 v4
    A: update? user:2 v4
    A: DEL user:2
    A: commit
    A: ok
    B: SET user:2 v3 EX 300
    B: ok v3
    *: advance 10
    *: expire user:1
"""
        + EPILOGUE
        + READS
        + """
    A: read! user:1
    A: GET user:1
    A: select user:1
    A: SET user:1 v1 EX 300
    A: ok v1
    A: read! user:2
    A: GET user:2
    A: ok v3
""",
        ReadAfterWrite(),
        "invalidation-in-transaction",
        {"user:1": "v1", "user:2": "v2"},
    )


def three_clients() -> Counterexample:
    return told(
        """
    A: write user:1 v2
    B: write user:1 v3
    C: read user:1
    C: GET user:1
    A: update user:1 v2
    C: select user:1
    B: update user:1 v3
    B: SET user:1 v3 EX 300
    C: SET user:1 v2 EX 300
    B: ok
    C: ok v2
    A: SET user:1 v2 EX 300
    A: ok
"""
        + EPILOGUE
        + READS
        + """
    A: read! user:1
    A: GET user:1
    A: ok v2
""",
        Convergence(0.0),
        "write-through-reorder",
        clients=3,
    )


def hostile_values() -> Counterexample:
    red, bell = "[red]v1[/red]", "\x1b[31m\x07v2"
    return told(
        f"""
    B: read user:[bold]
    B: GET user:[bold]
    B: select user:[bold]
    A: write user:[bold] {bell}
    A: update user:[bold] {bell}
    A: DEL user:[bold]
    A: ok
    B: SET user:[bold] {red} EX 300
    B: ok {red}
    A: read user:[bold]
    A: GET user:[bold]
    A: ok {red}
""",
        ReadAfterWrite(),
        "stale-set",
        {"user:[bold]": red},
    )


def wide_values() -> Counterexample:
    old, new = "漢字" * 60, "🦊" * 80
    return told(
        f"""
    B: read user:1
    B: GET user:1
    B: select user:1
    A: write user:1 {new}
    A: update user:1 {new}
    A: DEL user:1
    A: ok
    B: SET user:1 {old} EX 300
    B: ok {old}
    A: read user:1
    A: GET user:1
    A: ok {old}
""",
        ReadAfterWrite(),
        "stale-set",
        {"user:1": old},
    )


def long_story(rounds: int = 30) -> Counterexample:
    """The stale set behind many reads that change nothing."""
    idle = """
    A: read user:1
    A: GET user:1
    A: ok v1
"""
    start = """
    A: read user:1
    A: GET user:1
    A: select user:1
    A: SET user:1 v1 EX 300
    A: ok v1
"""
    end = """
    B: read user:1
    *: expire user:1
    B: GET user:1
    B: select user:1
    A: write user:1 v2
    A: update user:1 v2
    A: DEL user:1
    A: ok
    B: SET user:1 v1 EX 300
    B: ok v1
    A: read user:1
    A: GET user:1
    A: ok v1
"""
    return told(start + idle * rounds + end, ReadAfterWrite(), "stale-set")


def cell(found: Counterexample | None, **more: Any) -> Cell:
    fields: dict[str, Any] = {
        "guarantee": "CA4",
        "claim": "after a write is acknowledged, the next read sees it",
        "condition": Condition.CONCURRENT,
        "verdict": Verdict.REFUTED if found else Verdict.UPHELD,
        "schedules": 2000,
        "exercised": 2000,
        "kept": False,
    }
    return Cell(counterexample=found, **(fields | more))


def report(*cells: Cell, **more: Any) -> Report:
    fields: dict[str, Any] = {
        "cache": "cache-aside",
        "contract": "cache-aside",
        "profile": "default",
        "seed": 1732308812,
        "scopes": (Scope(Condition.CONCURRENT, "1 reader × 1 writer", 10, True),),
        "servers": {"cache": "Valkey 9.1.2, no persistence", "database": "PostgreSQL 18, fsync off"},
        "schedules": 3200,
        "seconds": 41.3,
    }
    return Report(cells=cells, **(fields | more))
