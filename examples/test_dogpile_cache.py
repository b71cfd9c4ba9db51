"""A library that knows nothing of all this: dogpile.cache with its Redis backend, used as its manual says."""

import psycopg
import pytest
from dogpile.cache import make_region

from cacheproof import CACHE_ASIDE


class DogpileCache:
    def __init__(self, env):
        address = {"url": env.redis_url}
        self.region = make_region().configure("dogpile.cache.redis", expiration_time=300, arguments=address)
        self.db = psycopg.connect(env.database_url, autocommit=True)

    def read(self, key):
        return self.region.get_or_create(key, self.load, creator_args=((key,), {}))

    def write(self, key, value):
        self.db.execute("update records set value = %s where key = %s", (value, key))
        self.region.delete(key)

    def load(self, key):
        row = self.db.execute("select value from records where key = %s", (key,)).fetchone()
        return row and row[0]


@pytest.mark.chaos
def test_dogpile_cache(verify):
    verify(DogpileCache, CACHE_ASIDE(ttl_s=300))
