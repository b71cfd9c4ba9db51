"""The external backend on servers as Debian packages them: the verdicts are those of the embedded ones.

Redis 7 has no import mode, PostgreSQL 15 asks for passwords and keeps its usual settings, and one of the two
users is no superuser.  What needs a kill is not exercised, and says so.
"""

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
import redis

from cacheproof.chaos.servers.embedded import EmbeddedServers
from cacheproof.chaos.servers.external import ExternalServers
from cacheproof.chaos.wire.upstream import PgUpstream, RedisUpstream
from cacheproof.harness.profiles import Profile
from cacheproof.harness.verify import verify
from cacheproof.models.contract import Condition
from cacheproof.models.errors import EnvironmentFault
from cacheproof.models.report import Cell, Report
from cacheproof.models.verdict import Verdict
from cacheproof.patterns.cache_aside import CACHE_ASIDE, CacheAside
from cacheproof.patterns.write_through import WRITE_THROUGH, WriteThrough

WITHOUT_KILLS = (
    Condition.QUIET,
    Condition.CONCURRENT,
    Condition.EXPIRY,
    Condition.APP_CRASH,
    Condition.LOST_MESSAGES,
)
FEW = Profile("few", ("1 reader × 1 writer",), scope_limit=20, random=5, confirmations=2)


class AskingCache(CacheAside):
    """Cache-aside, in which a script asks how long an entry still lives."""

    def __init__(self, env: Any) -> None:
        super().__init__(env)
        self.line = redis.Redis.from_url(env.redis_url)

    def read(self, key: str) -> str | None:
        self.line.eval("return redis.call('PTTL', KEYS[1])", 1, key)
        return super().read(key)


@pytest.fixture
def external(request: pytest.FixtureRequest, debian: Any) -> Iterator[ExternalServers]:
    """Both servers, given by URLs with passwords."""
    url = debian.database_url if request.param == "superuser" else debian.app_url
    told: list[str] = []
    with ExternalServers(cache_url=debian.redis_url, database_url=url, tell=told.append) as servers:
        assert servers.features.superuser is (request.param == "superuser")
        assert not servers.features.import_mode
        cache, database = servers.cache.address, servers.database.address
        yield servers
    assert len(told) == 2 and not any("could not" in words for words in told)
    with closing(RedisUpstream(cache, 2, import_source=False)) as line:
        assert line.call("DBSIZE").value == 0
    with closing(PgUpstream(database, {"user": "cacheproof", "database": "records"})) as session:
        left = "select from pg_namespace where nspname = 'cacheproof' union all select from pg_class"
        assert session.query(f"{left} where relnamespace = 'public'::regnamespace").rows == ()


def cells(report: Report, *conditions: Condition) -> dict[tuple[str, str], Cell]:
    return {
        (cell.guarantee, cell.condition.value): cell for cell in report.cells if cell.condition in conditions
    }


@pytest.mark.parametrize(
    ("external", "cache", "contract"),
    [
        ("superuser", CacheAside, CACHE_ASIDE()),
        ("owner of a database", WriteThrough, WRITE_THROUGH()),
    ],
    indirect=["external"],
)
def test_the_verdicts_are_the_same(external: ExternalServers, cache: Any, contract: Any) -> None:
    """Of every guarantee under every condition that needs no kill: verdict, anomaly, counterexample."""
    theirs = verify(cache, contract, profile="quick", servers=external)
    with EmbeddedServers() as embedded:
        ours = verify(cache, contract, under=WITHOUT_KILLS, profile="quick", servers=embedded)
    assert theirs.servers["cache"].startswith("Redis 7.")
    expected, found = cells(ours, *WITHOUT_KILLS), cells(theirs, *WITHOUT_KILLS)
    assert expected.keys() == found.keys()
    for name, cell in expected.items():
        assert (found[name].verdict, found[name].schedules) == (cell.verdict, cell.schedules), name
        if cell.counterexample is not None:
            also = found[name].counterexample
            assert also is not None and also.schedule == cell.counterexample.schedule, name
    for name, cell in cells(theirs, Condition.CACHE_CRASH).items():
        if cell.verdict is not Verdict.REFUTED:  # by interleaving alone
            assert cell.verdict is Verdict.NOT_EXERCISED, name
            assert cell.reason is not None and "never kills them" in cell.reason


@pytest.mark.parametrize("external", ["superuser"], indirect=True)
def test_what_needs_import_mode_is_unknown(external: ExternalServers) -> None:
    """A script that asks for a time to live would be told a century."""
    report = verify(
        AskingCache,
        CACHE_ASIDE().only(["CA5"]),
        under=[Condition.CONCURRENT],
        profile=FEW,
        servers=external,
    )
    cell = report.cell("CA5", Condition.CONCURRENT)
    assert cell.verdict is Verdict.UNKNOWN
    assert cell.reason is not None and "a script asks for a key's time to live" in cell.reason
    assert "use Valkey 8.1 or newer" in cell.reason


def test_wrong_passwords_are_refused_in_words(debian: Any) -> None:
    """By each server in its own, and neither password is told."""
    wrong = debian.redis_url.replace("s3cret", "wr0ng"), debian.database_url.replace("s3cret", "wr0ng")
    for urls, words in (
        ((wrong[0], debian.database_url), "WRONGPASS"),
        ((debian.redis_url, wrong[1]), "password authentication failed for user"),
    ):
        with pytest.raises(EnvironmentFault, match=words) as caught:
            ExternalServers(cache_url=urls[0], database_url=urls[1]).start()
        assert "wr0ng" not in str(caught.value) and "s3cret" not in str(caught.value)
