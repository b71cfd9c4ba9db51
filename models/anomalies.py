"""Gives a finding its name: which anomaly of the encyclopaedia the history shows.

What a finding is about (see `anomaly_rules.kinds`) selects a table of rules, which are tried from the most
specific to the most general.  They are made for minimal histories, in which every step is needed; a finding
that no rule explains gets the general name of what its property saw.
"""

from difflib import get_close_matches

from cacheproof.models.anomaly_rules import KINDS, RULES, UNKNOWN_KIND, Case
from cacheproof.models.encyclopaedia import ANOMALIES, Anomaly
from cacheproof.models.errors import UsageError
from cacheproof.models.history import History
from cacheproof.models.verdict import Finding

__all__ = ["ANOMALIES", "Anomaly", "anomaly", "classify"]


def anomaly(slug: str) -> Anomaly:
    """The entry of this name.  Raises UsageError, with the names closest to it, for any other."""
    if slug in ANOMALIES:
        return ANOMALIES[slug]
    close = get_close_matches(slug, ANOMALIES, n=3, cutoff=0.4)
    raise UsageError(
        f"unknown anomaly {slug!r}; {'did you mean' if close else 'choose from'} "
        f"{', '.join(close or sorted(ANOMALIES))}"
    )


def classify(finding: Finding, history: History) -> Anomaly:
    """The anomaly that explains `finding`, which a property found in `history`."""
    case = Case(finding, history)
    kind = KINDS.get(finding.kind, UNKNOWN_KIND)
    slug = next((slug for slug, shows in RULES[kind.about] if shows(case)), kind.general)
    return ANOMALIES[slug]
