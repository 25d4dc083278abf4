"""redis-py's client of sentinels, with errors that say in one line which of them failed and why.

redis-py names each by all its options, more than a thousand characters, and leaves the reason out.
"""

from typing import Any

import redis
from redis import sentinel as stock


class SentinelError(redis.ConnectionError):
    """A sentinel did not say where the primary is."""

    def __repr__(self) -> str:
        return str(self)


class SentinelClient(redis.Redis):
    """A client of one sentinel; errors name it by its address."""

    def __repr__(self) -> str:
        options = self.connection_pool.connection_kwargs
        return f"{options['host']}:{options['port']}"

    def sentinel_masters(self, *args: Any, **kwargs: Any) -> Any:
        """Return what the sentinel knows of each primary.

        Raises:
            SentinelError: it does not answer, or refuses the password.
        """
        try:
            return super().sentinel_masters(*args, **kwargs)
        except (redis.ConnectionError, redis.TimeoutError) as error:
            raise SentinelError(" ".join(str(error).split())) from error


class Sentinel(stock.Sentinel):
    """Asks the sentinels where the primary is; redis-py's own arguments."""

    def __init__(self, sentinels: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(sentinels, *args, **kwargs)  # type: ignore[no-untyped-call]
        self.sentinels = [
            SentinelClient(host, port, **self.sentinel_kwargs) for host, port in sentinels
        ]
