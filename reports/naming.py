"""The names of anomalies: what the catalogue calls a slug, and sensible words for one that it does not know."""

import re

from cacheproof.models.anomalies import ANOMALIES
from cacheproof.reports.words import plain

__all__ = ["anomaly_fixes", "anomaly_title", "is_catalogued"]


def anomaly_title(slug: str) -> str:
    """The title of the anomaly; for an unknown one the slug in words."""
    known = ANOMALIES.get(slug)
    return plain(known.title if known else slug.replace("-", " "))


def anomaly_fixes(slug: str) -> tuple[str, ...]:
    """What is known to prevent it, the best first, by name alone; empty for an unknown anomaly.

    The catalogue writes "name: how it works" or "name (how)"; the rest is for `cacheproof explain`.
    """
    known = ANOMALIES.get(slug)
    return tuple(plain(re.split(r": | \(|; ", fix)[0]) for fix in known.fixes) if known else ()


def is_catalogued(slug: str) -> bool:
    """True if `cacheproof explain` knows the anomaly."""
    return slug in ANOMALIES
