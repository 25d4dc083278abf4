"""dramatiq with results stored; how many threads per process its command line says."""

from collections.abc import Collection
from functools import lru_cache

import dramatiq
import redis
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

from bench.contenders.work import COUNT_KEY, STARTS_KEY, now, redis_url

backend = RedisBackend(url=redis_url())
broker = RedisBroker(url=redis_url())
broker.add_middleware(Results(backend=backend, store_results=True))
dramatiq.set_broker(broker)


@lru_cache
def client() -> redis.Redis:
    """Return this process's client, which its threads share."""
    return redis.Redis.from_url(redis_url())


@dramatiq.actor  # type: ignore[untyped-decorator]  # follow_imports is off for it
def count(number: int) -> int:
    """Count one up, and return the task's number."""
    client().incr(COUNT_KEY)
    return number


@dramatiq.actor  # type: ignore[untyped-decorator]  # follow_imports is off for it
def empty(number: int) -> int:
    """Do nothing."""
    return number


@dramatiq.actor  # type: ignore[untyped-decorator]  # follow_imports is off for it
def stamp(number: int) -> int:
    """Leave when the task started."""
    started_at = now()
    client().hset(STARTS_KEY, str(number), started_at)
    return number


class DramatiqSystem:
    """Publishes; the id of a task is the key of its result."""

    actors = {actor.actor_name: actor for actor in (count, empty, stamp)}  # noqa: RUF012

    def publish(self, task: str, number: int) -> str:
        """Publish a task; return the key of its result."""
        return str(backend.build_message_key(self.actors[task].send(number)))

    def finished(self, client: redis.Redis, ids: Collection[str]) -> set[str]:
        """Return those ids whose result is stored."""
        with client.pipeline(transaction=False) as pipe:
            for key in ids:
                pipe.exists(key)
            return {key for key, there in zip(ids, pipe.execute(), strict=True) if there}


system = DramatiqSystem()
