"""Makes the message that Celery would publish, without publishing it.

A script can then enqueue the message in the same step in which it does something else: beat marks
its slot, a task commits its effect.
"""

from dataclasses import dataclass
from threading import Lock
from typing import Any

from celery import Celery
from celery.result import denied_join_result
from kombu import Connection
from kombu.transport import virtual
from kombu.transport.redis import Channel as RedisChannel
from kombu.utils.json import dumps

from nova.runtime.arguments import check_arguments

#: `denied_join_result` is a switch of the whole process: two threads must not set it at once.
_one_at_a_time = Lock()


@dataclass(frozen=True)
class PreparedMessage:
    """A message that only needs `LPUSH list_key payload` to be published."""

    #: The queue's list in Redis.
    list_key: str
    #: kombu's wire form, JSON.
    payload: str
    task_id: str
    name: str
    queue: str


class _CollectingChannel(RedisChannel):  # type: ignore[misc]  # kombu ships no types
    """kombu's Redis channel, which keeps what it is to send instead of sending it."""

    def __init__(self, connection: Any, **options: Any) -> None:
        # Not RedisChannel's own: it would connect.
        virtual.Channel.__init__(self, connection, **options)
        self.collected: list[tuple[str, str, str]] = []

    def _put(self, queue: str, message: dict[str, Any], **_: Any) -> None:
        if message["properties"].get("priority"):
            raise ValueError("takes no priority; send it to another queue")
        self.collected.append((queue, f"{self.global_keyprefix}{queue}", dumps(message)))

    def _put_fanout(self, *_: Any, **__: Any) -> None:
        """Drop the event `task-sent` of `task_send_sent_event`: nothing has been sent yet."""

    def close(self) -> None:
        # Not RedisChannel's own: there is nothing to disconnect.
        virtual.Channel.close(self)


class _CollectingTransport(virtual.Transport):  # type: ignore[misc]
    Channel = _CollectingChannel
    implements = virtual.Transport.implements.extend(
        exchange_type=frozenset(["direct", "topic", "fanout"])
    )


def prepare(
    app: Celery,
    name: str,
    args: Any = None,
    kwargs: Any = None,
    *,
    task_id: str,
    queue: Any = None,
    **options: Any,
) -> PreparedMessage:
    """Return the message that `app.send_task` would publish with the same arguments.

    Talks to nobody. Celery's signals `before_task_publish` and `after_task_publish` are sent here.
    The queue is the one that the task's name routes to when none is given.

    Raises:
        InputError: an argument is unknown, missing or wrong.
        ValueError: the options name an exchange or a priority; Nova has queues only.
        celery.exceptions.QueueNotFound: the queue is unknown.
        kombu.exceptions.EncodeError: the arguments cannot be written down.
    """
    if refused := {"exchange", "routing_key", "exchange_type"} & set(options):
        raise ValueError(f"takes a queue, and no {', '.join(sorted(refused))}")
    # A plain app of Celery knows no arguments.
    if hasattr(app, "known_task"):
        check_arguments(app.known_task(name), args, kwargs)
    # Nothing is declared, and nothing retried: nothing leaves this process.
    options |= {"declare": [], "retry": False}
    with Connection(
        transport=_CollectingTransport,
        transport_options=dict(app.conf.broker_transport_options or {}),
    ) as connection:
        channel = connection.default_channel
        producer = app.amqp.Producer(channel, auto_declare=False)
        # The result backend would subscribe to the result, which needs Redis and ends with it.
        with _one_at_a_time, denied_join_result():
            # Celery's own method: a subclass may do more than to build and to send.
            Celery.send_task(
                app, name, args, kwargs, task_id=task_id, queue=queue, producer=producer, **options
            )
        ((queue_name, list_key, payload),) = channel.collected
    return PreparedMessage(list_key, payload, task_id, name, queue_name)
