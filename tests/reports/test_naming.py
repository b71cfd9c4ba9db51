"""The names of anomalies come from the catalogue, and an unknown slug is put into words."""

import pytest

from cacheproof.models.anomalies import ANOMALIES
from cacheproof.reports.naming import anomaly_fixes, anomaly_title, is_catalogued


@pytest.mark.parametrize("slug", sorted(ANOMALIES))
def test_catalogued_anomalies_have_title_and_short_fixes(slug: str) -> None:
    """Every fix is a name: without the explanation that the catalogue gives it."""
    assert anomaly_title(slug) == ANOMALIES[slug].title
    assert is_catalogued(slug)
    assert anomaly_fixes(slug) and not any(": " in fix or " (" in fix for fix in anomaly_fixes(slug))


def test_an_unknown_anomaly_has_its_slug_in_words() -> None:
    """A slug that the catalogue lacks is readable, has no fixes, and is not explained."""
    assert anomaly_title("torn-read\n") == "torn read\\n"
    assert anomaly_fixes("torn-read") == () and not is_catalogued("torn-read")
