"""A whole test file: a cache as one writes it on a Tuesday, and one line that asks what it keeps."""

import psycopg
import pytest
import redis

from cacheproof import CACHE_ASIDE


class UserCache:
    def __init__(self, env):  # one instance a client; env has redis_url, database_url and the client's name
        self.redis = redis.Redis.from_url(env.redis_url, decode_responses=True)
        self.db = psycopg.connect(env.database_url, autocommit=True)

    def read(self, key):
        value = self.redis.get(key)
        if value is None:
            row = self.db.execute("select value from records where key = %s", (key,)).fetchone()
            value = row and row[0]
            if value is not None:
                self.redis.set(key, value, ex=300)
        return value

    def write(self, key, value):
        self.db.execute("update records set value = %s where key = %s", (value, key))
        self.redis.delete(key)


@pytest.mark.chaos
def test_user_cache(verify):
    verify(UserCache, CACHE_ASIDE(ttl_s=300))
