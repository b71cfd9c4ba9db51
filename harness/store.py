"""Failures kept on disk, to be tried first the next time.

A failure is a schedule with the names of what it broke: cache, contract, guarantee and condition.  One
failure is one JSON file, `<folder>/anomalies/<anomaly>-<digest>.json`, that a person can read, commit, send
to a colleague and replay.

Rule 1: the name of a file follows from its content, so the same failure is kept once.
Rule 2: a file is there whole or not at all (written beside its place, then moved onto it).
Rule 3: a file is data from anywhere: it is read as JSON and checked, never run.
Rule 4: the store is a convenience.  A full disk or a strange file is said, and never costs a verdict.
"""

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NoReturn

from cacheproof.models.errors import EnvironmentFault, UsageError
from cacheproof.models.properties import property_from_dict
from cacheproof.models.schedule import Schedule

__all__ = ["FAILURE_FORMAT", "FailureStore", "StoredFailure"]

FAILURE_FORMAT = 1


@dataclass(frozen=True, slots=True)
class StoredFailure:
    """One broken promise and the schedule that shows it.

    `cache` is the qualified name of the class under test, `contract`, `guarantee` and `condition` are the
    names of what was refuted, `claim` is the guarantee in words and `judged_by` the property, as data (None
    for a property that is not ours).  `anomaly` is the name of how.  `seed` is that of the search which found it.
    `hash_seed` is the PYTHONHASHSEED of that search, None if it was not set.
    """

    cache: str
    contract: str
    guarantee: str
    claim: str
    judged_by: Mapping[str, Any] | None
    condition: str
    anomaly: str
    schedule: Schedule
    seed: int
    hash_seed: str | None = None

    @property
    def file_name(self) -> str:
        """The anomaly in words that suit a file name, and eight hexadecimal digits of the content's digest."""
        slug = re.sub(r"[^a-z0-9]+", "-", self.anomaly.lower()).strip("-")[:60] or "anomaly"
        return f"{slug}-{hashlib.sha256(self.to_json().encode()).hexdigest()[:8]}.json"

    def to_json(self) -> str:
        """The content of the file: always the same bytes for the same failure, in ASCII."""
        data: dict[str, Any] = {"format": FAILURE_FORMAT}
        data |= {item.name: getattr(self, item.name) for item in fields(self)}
        return json.dumps(data | {"schedule": self.schedule.to_dict()}, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "StoredFailure":
        """Read what `to_json` wrote.  Raises UsageError, saying what is wrong, for anything else."""
        try:
            data = json.loads(text, parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            raise UsageError(f"a stored failure is JSON, but this is not: {error}") from None
        if not isinstance(data, dict) or data.get("format") != FAILURE_FORMAT:
            found = data.get("format") if isinstance(data, dict) else type(data).__name__
            raise UsageError(f"not a stored failure of format {FAILURE_FORMAT}: found {found!r}")
        _check_fields(data)
        schedule = Schedule.from_dict(data["schedule"])
        return cls(
            **{name: data[name] for name in (*_STRINGS, "judged_by", "seed", "hash_seed")}, schedule=schedule
        )


_STRINGS = ("cache", "contract", "guarantee", "claim", "condition", "anomaly")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON value")


def _check_fields(data: dict[str, Any]) -> None:
    known = {item.name for item in fields(StoredFailure)} | {"format"}
    if unknown := sorted(set(data) - known):
        raise UsageError(f"a stored failure has unknown fields {unknown}; it takes {sorted(known)}")
    if missing := sorted(known - set(data)):
        raise UsageError(f"a stored failure lacks the fields {missing}")
    for name in _STRINGS:
        if not isinstance(data[name], str) or not data[name]:
            raise UsageError(f"{name} is {data[name]!r}; expected a string that is not empty")
    if data["judged_by"] is not None:
        property_from_dict(data["judged_by"])
    if not isinstance(data["seed"], int) or isinstance(data["seed"], bool):
        raise UsageError(f"seed is {data['seed']!r}; expected a whole number")
    if not isinstance(data["hash_seed"], str | None):
        raise UsageError(f"hash_seed is {data['hash_seed']!r}; expected a string or null")


class FailureStore:
    """The failures below one folder.  Nothing is created before the first failure is saved."""

    def __init__(self, folder: Path = Path(".cacheproof")) -> None:
        self.anomalies = folder / "anomalies"
        self.warnings: tuple[str, ...] = ()
        """What the last call of `matching` could not read, and why; one line a file."""

    def save(self, failure: StoredFailure) -> Path:
        """Keep a failure; returns its path.  Saving it again changes nothing.

        Raises EnvironmentFault if the disk is full or may not be written; the folder is then as before.
        """
        path = self.anomalies / failure.file_name
        try:
            self.anomalies.mkdir(parents=True, exist_ok=True)
            _write_whole(path, failure.to_json())
        except OSError as error:
            raise EnvironmentFault(
                f"cannot keep the failure in {str(path)!r}: {error}; free the disk or choose another folder"
            ) from error
        return path

    def load(self, path: Path) -> StoredFailure:
        """Read one failure.  Raises UsageError, naming file and reason, if it is not there or malformed."""
        try:
            return StoredFailure.from_json(path.read_bytes().decode())
        except (OSError, UnicodeDecodeError, UsageError) as error:
            raise UsageError(f"cannot read the failure {str(path)!r}: {error}") from error

    def matching(self, cache: str, contract: str) -> tuple[StoredFailure, ...]:
        """The failures of this cache and contract, sorted by file name.

        Files that cannot be read are left out and named in `warnings`.
        """
        failures, warnings = [], []
        for path in self._paths():
            try:
                failures.append(self.load(path))
            except UsageError as error:
                warnings.append(str(error))
        self.warnings = tuple(warnings)
        return tuple(item for item in failures if (item.cache, item.contract) == (cache, contract))

    def discard(self, path: Path) -> None:
        """Forget one failure.  It is no error if it is gone already; EnvironmentFault if it cannot go."""
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise EnvironmentFault(f"cannot discard the failure {str(path)!r}: {error}") from error

    def _paths(self) -> list[Path]:
        return sorted(self.anomalies.glob("*.json"), key=lambda path: path.name)


def _write_whole(path: Path, text: str) -> None:
    """Write beside `path`, then move onto it.  On POSIX a reader sees the old file or the new one."""
    handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=".tmp", dir=path.parent)
    try:
        with open(handle, "w", encoding="ascii", newline="\n") as file:
            file.write(text)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
