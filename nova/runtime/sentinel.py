"""kombu's channel for Sentinel, which asks every sentinel, not only the one in the broker's URL."""

from typing import Any

from kombu.transport import redis as stock

from nova.sentinels import Sentinel

#: Transport option: host and port of every sentinel.
SENTINELS = "sentinels"


class SentinelChannel(stock.SentinelChannel):  # type: ignore[misc]  # kombu ships no types
    """kombu's own channel, with the sentinels of the transport option `sentinels`.

    kombu takes them from alternative URLs, `sentinel://a;sentinel://b`. But whenever it switches
    to the next of those it forgets which transport class it was told to use.
    """

    def _sentinel_managed_pool(self, asynchronous: bool = False) -> Any:
        """Return a pool of connections to whatever server is the primary."""
        options = self.connection.client.transport_options
        parameters = self._connparams(asynchronous)
        for name in ("host", "port"):
            parameters.pop(name)
        sentinel = Sentinel(options[SENTINELS], sentinel_kwargs=self.sentinel_kwargs, **parameters)
        # kombu closes those two together with the channel.
        if asynchronous:
            self._async_sentinel_manager = sentinel
        else:
            self._sentinel_manager = sentinel
        return sentinel.master_for(self.master_name).connection_pool  # type: ignore[no-untyped-call]


class SentinelTransport(stock.SentinelTransport):  # type: ignore[misc]
    """kombu's own transport for Sentinel, with the channel above."""

    Channel = SentinelChannel
