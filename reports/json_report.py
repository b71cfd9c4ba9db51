"""A report as JSON: everything that is known, for programs, one file for each report.

The same report always has the same bytes: keys stand in a fixed order, what comes from a mapping is sorted, and
nothing depends on the time or the machine of writing.
"""

import json
import os
import re
from hashlib import sha256
from pathlib import Path
from typing import Any

from cacheproof.models.errors import EnvironmentFault
from cacheproof.models.history import History
from cacheproof.models.report import Cell, Counterexample, Report, Scope, Snapshot
from cacheproof.reports.finding_json import finding_to_dict, jsonable
from cacheproof.reports.findings import finding_sentences
from cacheproof.reports.naming import anomaly_title
from cacheproof.reports.preemptions import preemption_words
from cacheproof.reports.steps import steps_of

__all__ = ["REPORT_FORMAT", "file_name", "report_to_dict", "write_report"]

REPORT_FORMAT = 1

_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
_LONGEST_NAME = 100


def write_report(report: Report, folder: Path) -> Path:
    """Write `<folder>/<cache>-<contract>.json`, making the folder if need be, and return its path.

    The file is replaced as a whole.  Raises EnvironmentFault if it cannot be written.
    """
    path = folder / file_name(report)
    # A lone surrogate is legal in a Python string, not in UTF-8: its JSON escape says the same.
    text = json.dumps(report_to_dict(report), ensure_ascii=False, indent=1) + "\n"
    unfinished = path.with_suffix(f".{os.getpid()}.part")  # others may be writing the same
    try:
        folder.mkdir(parents=True, exist_ok=True)
        unfinished.write_bytes(text.encode("utf-8", errors="backslashreplace"))
        unfinished.replace(path)
    except OSError as error:
        raise EnvironmentFault(
            f"cannot write the report {str(path)!r}: {error}; choose another folder"
        ) from error
    return path


def file_name(report: Report) -> str:
    """A name that is safe on every file system, and different for different caches and contracts."""
    wanted = f"{report.cache}-{report.contract}"
    safe = _UNSAFE.sub("-", wanted).strip("-.")[:_LONGEST_NAME]
    if safe == wanted:
        return f"{safe}.json"
    return f"{safe or 'report'}-{sha256(wanted.encode('utf-8', 'backslashreplace')).hexdigest()[:8]}.json"


def report_to_dict(report: Report) -> dict[str, Any]:
    """The report as JSON values, keys in a fixed order.  Numbers that JSON lacks become strings."""
    out = {
        "format": REPORT_FORMAT,
        "cache": report.cache,
        "contract": report.contract,
        "verdict": report.verdict.value,
        "profile": report.profile,
        "seed": report.seed,
        "schedules": report.schedules,
        "seconds": report.seconds,
        "servers": dict(sorted(report.servers.items())),
        "warnings": list(report.warnings),
        "scopes": [_scope(scope) for scope in report.scopes],
        "cells": [_cell(cell) for cell in report.cells],
    }
    return {name: jsonable(value) for name, value in out.items()}


def _scope(scope: Scope) -> dict[str, Any]:
    return {
        "condition": scope.condition.value,
        "name": scope.name,
        "schedules": scope.schedules,
        "complete": scope.complete,
    }


def _cell(cell: Cell) -> dict[str, Any]:
    return {
        "guarantee": cell.guarantee,
        "claim": cell.claim,
        "condition": cell.condition.value,
        "kept": cell.kept,
        "verdict": cell.verdict.value,
        "reason": cell.reason,
        "schedules": cell.schedules,
        "exercised": cell.exercised,
        "counterexample": _counterexample(cell.counterexample) if cell.counterexample else None,
    }


def _counterexample(found: Counterexample) -> dict[str, Any]:
    steps = steps_of(found)
    return {
        "anomaly": found.anomaly,
        "title": anomaly_title(found.anomaly),
        "words": [*finding_sentences(found, steps), preemption_words(steps, found.history)],
        "finding": finding_to_dict(found.finding),
        "found_by": found.found_by,
        "found_after": found.found_after,
        "shrunk_from": found.shrunk_from,
        "shrink_replays": found.shrink_replays,
        "minimal": found.minimal,
        "replayed": found.replayed,
        "replays": found.replays,
        "replay_command": found.replay_command,
        "schedule": found.schedule.to_dict(),
        "steps": [{"number": step.number, "index": step.event.index} for step in steps.items],
        "history": _history(found.history),
        "snapshots": [_snapshot(snapshot) for snapshot in found.snapshots],
    }


def _history(history: History) -> list[Any]:
    """The lines of the history as they stand in a history file, the first of them describing the run."""
    # Not splitlines: a value may hold what Unicode, but not JSON Lines, takes for the end of a line.
    return [json.loads(line) for line in history.to_jsonl().split("\n") if line]


def _snapshot(snapshot: Snapshot) -> dict[str, Any]:
    return {
        "index": snapshot.index,
        "cache": {
            key: {"value": value, "ttl_s": ttl_s} for key, (value, ttl_s) in sorted(snapshot.cache.items())
        },
        "database": dict(sorted(snapshot.database.items())),
    }
