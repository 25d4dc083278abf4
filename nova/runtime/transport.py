"""The transport of Nova: kombu's Redis transport, with claims instead of a pop that may get lost.

Wire format and queue names are kombu's. Only the way from a queue to a worker differs: see
docs/delivery-protocol.md. Consumers that need no acknowledgement (replies of the remote control)
and broadcasts go kombu's way.
"""

import logging
from collections.abc import Sequence
from typing import Any

import redis
from kombu.transport import redis as kombu_redis
from kombu.utils.encoding import bytes_to_str
from kombu.utils.json import loads
from kombu.utils.scheduling import cycle_by_name
from redis.exceptions import ResponseError

from nova.runtime.claimer import Claimer
from nova.runtime.claims import (
    PRIORITY_SUFFIXES,
    TOKEN_PREFIX,
    ClaimCalls,
    ClaimedMessage,
    Claims,
    SetAside,
)
from nova.runtime.counts import COUNTS
from nova.runtime.deliveries import queue_label
from nova.runtime.holdings import HOLDINGS, Holdings
from nova.runtime.ledger import TOKEN_HEADER
from nova.runtime.publishing import PublishingChannelMixin
from nova.runtime.sentinel import SentinelChannel
from nova.runtime.transient import is_transient
from nova.runtime.unix_socket import UnixSocketMixin
from nova.settings import SENTINEL_PORT

logger = logging.getLogger(__name__)

#: What stock workers hold comes back after stock's hour.
STOCK_VISIBILITY_SECONDS = 3600
#: What kombu and Celery raise over a message that is not as they expect.
MALFORMED = (TypeError, ValueError, LookupError, AttributeError)


class QoS(kombu_redis.QoS):  # type: ignore[misc]  # kombu ships no types
    """What a channel has delivered; the claims themselves are in the process's `Holdings`."""

    # The claims outlive the channel: a lost connection is not a lost claim.
    restore_at_shutdown = False

    @property
    def holdings(self) -> Holdings:
        """What the channel's process holds."""
        holdings: Holdings = self.channel.holdings
        return holdings

    def append(self, message: Any, delivery_tag: str) -> None:
        """Deliver a message; it was claimed before it came here."""

    def ack(self, delivery_tag: str) -> None:
        """End a claim. Goes to Redis with the next turn of the event loop, until confirmed."""
        self.holdings.acknowledge(delivery_tag)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Put the message back, or end its run: nobody is to have it."""
        self.holdings.reject(delivery_tag, requeue=requeue)

    def restore_unacked(self, client: Any = None) -> None:
        """Nothing: claims go back by `Holdings.give_back` or by the sweep."""

    def restore_visible(self, start: int = 0, num: int | None = None, interval: int = 10) -> None:
        """Restore what stock workers held for longer than stock's hour."""
        self._vrestore_count += 1
        if (self._vrestore_count - 1) % (interval or 1):
            return
        with self.channel.conn_or_acquire() as client:
            seconds, _ = client.time()
            oldest = seconds - STOCK_VISIBILITY_SECONDS
            tags = client.zrange(self.unacked_index_key, "-inf", oldest, byscore=True)
            for tag in map(bytes_to_str, tags):
                if not tag.startswith(TOKEN_PREFIX):
                    self.restore_by_tag(tag, client)


class Poller(kombu_redis.MultiChannelPoller):  # type: ignore[misc]
    """kombu's poller, which also serves the lines of the claimers."""

    def on_poll_start(self) -> None:
        """Before the event loop sleeps: let every claimer send what it has to send."""
        super().on_poll_start()
        for channel in self._channels:
            if channel.claimer is not None:
                channel.claimer.before_poll()

    def on_readable(self, fileno: int) -> Any:
        """An answer is there, on a line of a claimer or on a connection of kombu."""
        channel, name = self._fd_to_chan.get(fileno, (None, ""))
        if channel is not None and channel.claimer is not None:
            handler = channel.claimer.handlers.get(name)
            if handler is not None:
                return handler()
        return super().on_readable(fileno)

    def maybe_restore_messages(self) -> None:
        """Look for abandoned messages of stock workers; the lease thread sweeps Nova's."""
        for channel in self._channels:
            if channel.claimed_queues:
                channel.qos.restore_visible(interval=channel.unacked_restore_throttle)
                return


class ClaimingChannel(kombu_redis.Channel):  # type: ignore[misc]
    """A channel whose consumers claim what they get, unless they need no acknowledgement."""

    QoS = QoS
    #: One for all channels of a process, for claims outlive a channel.
    holdings: Holdings = HOLDINGS
    lease_seconds: float = ClaimCalls().lease_seconds
    # Sentinel, main line, a line for each queue, broadcasts, and some for synchronous commands.
    max_connections = 100

    from_transport_options = (*kombu_redis.Channel.from_transport_options, "lease_seconds")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.claimed_queues: list[str] = []
        self.claimer: Claimer | None = None
        self._turns = cycle_by_name("round_robin")()
        super().__init__(*args, **kwargs)
        self._claim_calls = ClaimCalls(lease_seconds=self.lease_seconds)

    # --- Consuming

    def basic_consume(self, queue: str, no_ack: bool, *args: Any, **kwargs: Any) -> Any:
        """Consume a queue; by claims if the consumer acknowledges."""
        if not no_ack and queue not in self._fanout_queues:
            if self.claimer is None:
                self.claimer = Claimer(
                    self, self.holdings, self._claim_calls, self._deliver_claimed, is_transient
                )
            if queue not in self.claimed_queues:
                self.claimed_queues.append(queue)
            self._turns.update(self.claimed_queues)
        return super().basic_consume(queue, no_ack, *args, **kwargs)

    def _basic_cancel(self, consumer_tag: str) -> Any:
        queue = self._tag_to_queue.get(consumer_tag)
        if queue in self.claimed_queues:
            self.claimed_queues.remove(queue)
            self._turns.update(self.claimed_queues)
        return super()._basic_cancel(consumer_tag)

    @property
    def active_queues(self) -> list[str]:
        """The queues that kombu's blocking pop serves."""
        return [queue for queue in super().active_queues if queue not in self.claimed_queues]

    def basic_get(self, queue: str, no_ack: bool = False, **kwargs: Any) -> Any:
        """Take one message now, or return None."""
        if no_ack:
            return super().basic_get(queue, no_ack=True, **kwargs)
        with self.conn_or_acquire() as client:
            claimed, _ = Claims(client, self.holdings.owner, self._claim_calls).claim([queue])
        if not claimed:
            return None
        return self.Message(self.take_note(claimed[0]) or self._open(claimed[0]), channel=self)

    def _queue_bind(self, exchange: str, routing_key: str, pattern: str, queue: str) -> None:
        """Enter a queue where its exchange is looked up.

        A full Redis refuses it. Then it is enough that an earlier worker has entered the queue, or
        no worker that connects anew could drain it.
        """
        try:
            super()._queue_bind(exchange, routing_key, pattern, queue)
        except ResponseError as error:
            table = self.keyprefix_queue % (exchange,)
            member = self.sep.join([routing_key or "", pattern or "", queue or ""])
            with self.conn_or_acquire() as client:
                if not (is_transient(error) and client.sismember(table, member)):
                    raise

    def _size(self, queue: str) -> int:
        """Count the messages of a queue, without the transaction that a full Redis refuses."""
        with self.conn_or_acquire() as client, client.pipeline(transaction=False) as pipe:
            for suffix in PRIORITY_SUFFIXES:
                pipe.llen(queue + suffix)
            return sum(pipe.execute())

    # --- What the claimer asks of its channel

    def next_queues(self) -> Sequence[str]:
        """Return the claimed queues, the one that had its turn last at the end."""
        queues: list[str] = self._turns.consume(len(self.claimed_queues))
        return queues

    def take_note(self, message: ClaimedMessage) -> dict[str, Any] | None:
        """Hold a claimed message; return it as Celery wants it, or None if it is malformed."""
        self._turns.rotate(message.queue)
        try:
            payload = self._open(message)
        except MALFORMED:
            # Whether the claim counted its start is not known: giving it up shall.
            self.holdings.add(message, has_eta=True)
            return None
        self.holdings.add(message, has_eta=bool(payload["headers"].get("eta")))
        return payload

    @staticmethod
    def _open(message: ClaimedMessage) -> dict[str, Any]:
        payload: dict[str, Any] = loads(message.payload)
        headers = payload.setdefault("headers", {})
        headers[TOKEN_HEADER] = message.token
        properties = payload["properties"]
        properties["delivery_tag"] = message.token
        if message.starts > 1:
            headers["redelivered"] = True
            properties.setdefault("delivery_info", {})["redelivered"] = True
        return payload

    def on_set_aside(self, item: SetAside) -> None:
        """Tell about a message that was found and not taken."""
        if item.kind == "dead":
            COUNTS.add("dead_lettered", queue_label(item.queue))
            logger.error(
                "task %s %s goes to the dead letters of %s: %s",
                item.task_name,
                item.task_id,
                item.queue,
                item.detail,
            )
        else:
            logger.info("task %s %s: %s", item.task_name, item.task_id, item.kind)

    def make_inboxes_known(self, inboxes: Sequence[str]) -> None:
        """Enter inboxes where the sweep looks for them."""
        with self.conn_or_acquire() as client:
            Claims(client, self.holdings.owner, self._claim_calls).renew([], inboxes)

    def call_back(self, client_id: int) -> None:
        """End a blocking move."""
        with self.conn_or_acquire() as client:
            client.client_unblock(client_id)

    def _deliver_claimed(self, message: ClaimedMessage, payload: dict[str, Any] | None) -> None:
        if self.holdings.is_draining or message.queue not in self.connection._callbacks:
            # Asked to stop, or cancelled, while the claim was under way.
            self.holdings.give_back(should_keep=lambda token: token != message.token)
            return
        try:
            self.connection._deliver(payload or self._open(message), message.queue)
        except MALFORMED:
            # It must not end the worker. It counts as a start: after some it is given up.
            logger.exception("message %s in %s is malformed", message.task_id, message.queue)
            self.holdings.start(message.token)
            self.holdings.reject(message.token, requeue=True)

    # --- The end

    def leave(self, client: redis.Redis) -> None:
        """Settle what is to be settled and wait for Redis to confirm; for a worker that stops.

        Raises:
            redis.RedisError: Redis does not answer; the sweep finds what stays behind.
        """
        claims = Claims(client, self.holdings.owner, self._claim_calls)
        settlements = self.holdings.settlements()
        if settlements:
            claims.settle(*settlements)
            self.holdings.confirm(settlements)
        if self.holdings.unanswered:
            claims.abandon(sorted(self.holdings.unanswered))
        if self.claimer is not None:
            self.claimer.close(client, claims)


class Channel(PublishingChannelMixin, UnixSocketMixin, ClaimingChannel):
    """The channel for one Redis server."""


class Transport(kombu_redis.Transport):  # type: ignore[misc]
    """The transport for one Redis server; `broker_transport` in Celery's configuration."""

    Channel = Channel
    supports_batch_publish = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.cycle = Poller()


class SentinelClaimingChannel(PublishingChannelMixin, ClaimingChannel, SentinelChannel):
    """The channel for a group of Redis servers that sentinels watch."""

    from_transport_options = (*SentinelChannel.from_transport_options, "lease_seconds")


class SentinelTransport(Transport):
    """The transport for a group of Redis servers that sentinels watch."""

    Channel = SentinelClaimingChannel
    default_port = SENTINEL_PORT
