"""redis-py's client of sentinels, with errors that say in one line which of them failed and why.

redis-py names each by all its options, more than a thousand characters, and leaves the reason out.
"""

import time
from typing import Any, ClassVar

import redis
from redis import sentinel as stock

#: Seconds for which a sentinel that did not answer is asked last.
SILENT_SECONDS = 30.0


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
    """Asks the sentinels where the primary is; redis-py's own arguments.

    redis-py believes the first that answers. But one that was away, on the host of the primary that
    was lost, knows nothing of the failover for the first seconds after its return.
    """

    #: When a sentinel did not answer, by its name: of all clients of the process, for a task makes
    #: new ones and would wait anew each time.
    _silent_at: ClassVar[dict[str, float]] = {}

    def __init__(self, sentinels: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(sentinels, *args, **kwargs)  # type: ignore[no-untyped-call]
        self.sentinels = [
            SentinelClient(host, port, **self.sentinel_kwargs) for host, port in sentinels
        ]

    def discover_master(self, service_name: str) -> tuple[str, int]:
        """Return host and port of the primary, as the sentinel says that knows the last failover.

        Asks until the greater part has answered, or everybody. A failover raises the epoch of the
        configuration, and all who are there know of it within seconds.

        Raises:
            redis.sentinel.MasterNotFoundError: none that answers knows a primary that is there.
        """
        errors: list[str] = []
        states: list[dict[str, Any]] = []
        for sentinel in sorted(self.sentinels, key=self._is_silent):
            try:
                masters: dict[str, Any] = sentinel.sentinel_masters()  # type: ignore[assignment]
            except (redis.ConnectionError, redis.TimeoutError) as error:
                self._silent_at[str(sentinel)] = time.monotonic()
                errors.append(f"{sentinel} - {error!r}")
                continue
            self._silent_at.pop(str(sentinel), None)
            if service_name in masters:
                states.append(masters[service_name])
            if len(states) > len(self.sentinels) // 2 and self._newest(states, service_name):
                break
        found = self._newest(states, service_name)
        if found is None:
            reasons = f" : {', '.join(errors)}" if errors else ""
            raise stock.MasterNotFoundError(f"No master found for {service_name!r}{reasons}")
        return found["ip"], found["port"]

    def _is_silent(self, sentinel: redis.Redis) -> bool:
        silent_at = self._silent_at.get(str(sentinel))
        return silent_at is not None and time.monotonic() - silent_at < SILENT_SECONDS

    def _newest(self, states: list[dict[str, Any]], service_name: str) -> dict[str, Any] | None:
        """Return the state of the newest epoch in which the primary is there, if there is one."""
        epoch = max((state["config-epoch"] for state in states), default=0)
        # The sentinel that leads a failover names the old primary until it has ended.
        for state in sorted(states, key=lambda state: "failover_in_progress" in state["flags"]):
            is_there = self.check_master_state(state, service_name)  # type: ignore[no-untyped-call]
            if state["config-epoch"] == epoch and is_there:
                return state
        return None
