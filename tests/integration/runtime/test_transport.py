"""The transport on a real Redis: consumers in this process, and workers where it takes one."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import redis
from celery import Celery
from kombu import Connection, Consumer, Exchange, Queue
from kombu.transport import redis as kombu_redis

from nova.runtime import claimer, ledger, transport
from nova.runtime.claims import Claims, Owner
from nova.runtime.holdings import Holdings
from nova.settings import Settings
from nova.store import Keys
from tests.conftest import wait_until

#: The answers of redis-py are typed for two protocols at once, which helps nobody here.
Client = Any
QUEUES = [Queue(name, Exchange(name), routing_key=name) for name in ("first", "second")]


class OwnChannel(transport.Channel):
    """A channel with holdings of its own, as in a process of its own."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.holdings = Holdings()
        super().__init__(*args, **kwargs)


class OwnTransport(transport.Transport):
    """Nova's transport, as if each connection were another process."""

    Channel = OwnChannel


def drain(connection: Connection, seconds: float) -> None:
    """Let the connection deliver what comes within a while."""
    with suppress(TimeoutError):
        connection.drain_events(timeout=seconds)


class Process:
    """What consumes in this test: a connection, what it got, and its event loop's turns."""

    def __init__(
        self,
        connection: Connection,
        queues: list[Queue],
        prefetch: int,
        holdings: Holdings | None = None,
    ) -> None:
        self.connection = connection
        self.channel = connection.channel()
        if holdings is not None:
            self.channel.holdings = holdings
        self.messages: list[Any] = []
        self.channel.basic_qos(0, prefetch, False)
        consumer = Consumer(self.channel, queues, on_message=self.messages.append)
        consumer.consume()

    def turn(self, seconds: float = 0.01) -> None:
        """Let the event loop go on for a while."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            drain(self.connection, 0.01)

    def is_waiting(self) -> bool:
        """Whether Redis knows that this process waits for messages of all its queues."""
        self.turn()
        claimer = self.channel.claimer
        return bool(claimer is not None and claimer._all_wait())

    def has(self, count: int) -> bool:
        """Turn once; whether so many messages have come."""
        self.turn()
        return len(self.messages) >= count

    def settle(self) -> None:
        """Let Redis confirm everything that was acknowledged."""
        wait_until(lambda: turned(self) and not self.channel.holdings.settlements())


def turned(process: Process, seconds: float = 0.01) -> bool:
    """Let an event loop go on, within a condition."""
    process.turn(seconds)
    return True


Start = Callable[..., Process]


@pytest.fixture
def start(client: Client, redis_url: str) -> Iterator[Start]:
    """Start to consume; connections are closed at the end."""
    connections = []

    def start(
        queues: list[Queue] = QUEUES, prefetch: int = 1, holdings: Holdings | None = None
    ) -> Process:
        connection = Connection(redis_url, transport=OwnTransport)
        connections.append(connection)
        return Process(connection, queues, prefetch, holdings)

    yield start
    for connection in connections:
        connection.close()


@pytest.fixture
def publish(client: Client, redis_url: str) -> Iterator[Callable[..., None]]:
    """Publish as a stock client does."""
    with Connection(redis_url) as connection:
        producer = connection.Producer()

        def publish(number: int, queue: str = "first", **options: Any) -> None:
            producer.publish(
                {"number": number},
                exchange=queue,
                routing_key=queue,
                declare=QUEUES,
                **({"headers": {"id": f"task-{number}", "task": "nova.trends.scan"}} | options),
            )

        yield publish


def numbers(process: Process) -> list[int]:
    return [message.payload["number"] for message in process.messages]


def test_a_message_is_held_until_it_is_acknowledged(
    start: Start, publish: Callable[..., None], client: Client
) -> None:
    """In kombu's keys, in kombu's form; afterwards nothing of it is left but the mark `done`."""
    process = start()
    publish(1)
    wait_until(lambda: process.has(1))
    [(token, value)] = client.hgetall(Keys.HELD).items()
    assert token.startswith(b"nova:")
    message, exchange, routing_key = json.loads(value)
    assert (exchange, routing_key) == ("", "first")
    assert message["headers"]["id"] == "task-1"
    assert client.zscore(Keys.HELD_INDEX, token) == pytest.approx(time.time(), abs=60)
    process.messages[0].ack()
    process.settle()
    assert not client.exists(Keys.HELD, Keys.HELD_INDEX)
    assert client.hget(f"{Keys.RUN_PREFIX}task-1", "done") is not None


def test_a_run_has_the_token_of_its_own_claim(
    start: Start,
    publish: Callable[..., None],
    client: Client,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever a stock publisher sent under its name, be it the token of another run."""
    monkeypatch.setattr(ledger, "get_settings", lambda: settings)
    process = start(prefetch=2)
    publish(1)
    wait_until(lambda: process.has(1))
    other = process.messages[0].delivery_tag
    publish(2, headers={"id": "task-2", "task": "nova.trends.scan", ledger.TOKEN_HEADER: other})
    wait_until(lambda: process.has(2))
    headers = process.messages[1].headers
    assert headers[ledger.TOKEN_HEADER] == process.messages[1].delivery_tag != other
    request = SimpleNamespace(id="task-2", get=headers.get)
    run = ledger.Run(SimpleNamespace(request=request, app=Celery(set_as_current=False)), client)
    effects = run.effects()
    effects.incr("effect")
    assert run.commit_slice("one", effects)
    assert client.hexists(Keys.issued_task("task-2"), "slice:one")
    assert not client.hexists(Keys.issued_task("task-1"), "slice:one")


def test_an_idle_consumer_is_woken_on_each_of_its_queues(
    start: Start, publish: Callable[..., None]
) -> None:
    process = start()
    for number, queue in enumerate(["second", "first", "second"]):
        wait_until(process.is_waiting)
        begin = time.monotonic()
        publish(number, queue)
        wait_until(partial(process.has, number + 1))
        assert time.monotonic() - begin < 1.0
        process.messages[-1].ack()
    assert numbers(process) == [0, 1, 2]


def test_a_busy_consumer_takes_nothing_that_others_could_run(
    start: Start, publish: Callable[..., None], client: Client
) -> None:
    """Also not what Redis moves to it in the moment in which it becomes busy."""
    busy, idle = start(), start()
    wait_until(busy.is_waiting)
    publish(1, "first")
    publish(2, "second")
    wait_until(lambda: busy.has(1))
    wait_until(lambda: turned(busy) and idle.has(1))
    assert sorted(numbers(busy) + numbers(idle)) == [1, 2]
    publish(3)
    wait_until(lambda: turned(busy, 0.2) and client.llen("first") == 1)
    assert not client.keys("nova:inbox:*")


def test_queues_have_their_turn_one_after_the_other(
    start: Start, publish: Callable[..., None]
) -> None:
    """A queue that is full does not starve the other."""
    for number in range(10):
        publish(number, "first")
    for number in range(10, 13):
        publish(number, "second")
    process = start()
    for count in range(1, 7):
        wait_until(partial(process.has, count))
        process.messages[-1].ack()
    assert sorted(numbers(process)) == [0, 1, 2, 10, 11, 12]


def test_one_publish_wakes_one_of_many(
    start: Start, publish: Callable[..., None], client: Client
) -> None:
    """Redis serves one waiting consumer; the others send nothing."""
    processes = [start([QUEUES[0]]) for _ in range(10)]
    for process in processes:
        wait_until(process.is_waiting)
    client.config_resetstat()
    publish(1)
    wait_until(lambda: any(process.has(1) for process in processes))
    claims = client.info("commandstats")["cmdstat_evalsha"]["calls"]
    assert claims == 1


def test_a_full_redis_can_be_drained(
    start: Start, publish: Callable[..., None], client: Client
) -> None:
    """Out of memory: waiting is refused, but claims, acknowledgements and returns work."""
    for number in range(20):
        publish(number)
    process = start()
    wait_until(lambda: process.has(1))
    client.config_set("maxmemory", "1")
    try:
        for count in range(1, 20):
            wait_until(partial(process.has, count))
            process.messages[-1].ack()
        wait_until(lambda: process.has(20))
        process.messages[-1].reject(requeue=True)
        wait_until(lambda: process.has(21))
        process.messages[-1].ack()
        process.settle()
        assert sorted(set(numbers(process))) == list(range(20))
    finally:
        client.config_set("maxmemory", "0")
    publish(99)
    wait_until(lambda: process.has(22))


def test_priorities_of_stock_publishers_are_read(
    start: Start, publish: Callable[..., None]
) -> None:
    """kombu puts them into lists of their own; the best priority comes first."""
    for number, priority in enumerate([9, 3, 0, 6]):
        publish(number, priority=priority)
    process = start()
    for count in range(1, 5):
        wait_until(partial(process.has, count))
        process.messages[-1].ack()
    assert numbers(process) == [2, 1, 3, 0]


def test_a_stock_consumer_restores_what_nova_held(
    start: Start, publish: Callable[..., None], client: Client, redis_url: str
) -> None:
    """After a way back to stock nothing of Nova's is stranded."""
    process = start()
    publish(1)
    wait_until(lambda: process.has(1))
    client.zadd(Keys.HELD_INDEX, {client.hkeys(Keys.HELD)[0]: 0})
    with Connection(redis_url) as connection:
        channel = connection.channel()
        channel.qos.restore_visible(interval=1)
        assert not client.exists(Keys.HELD)
        [message] = [channel.basic_get("first")]
        assert message.payload == {"number": 1}
        message.ack()


def test_stock_claims_keep_stocks_hour(
    start: Start, publish: Callable[..., None], client: Client, redis_url: str
) -> None:
    """Nova leaves them alone for an hour, then restores them: stock may be gone by then."""
    publish(1)
    stock = Connection(redis_url)
    channel = stock.channel()
    assert channel.basic_get("first") is not None
    channel.qos._delivered.clear()
    [tag] = client.hkeys(Keys.HELD)
    now = client.time()[0]
    nova = start()
    for age, is_restored in [(3590, False), (3610, True)]:
        client.zadd(Keys.HELD_INDEX, {tag: now - age})
        Claims(client, Owner("other@host")).sweep()
        nova.channel.qos.restore_visible(interval=1)
        assert bool(client.exists(Keys.HELD)) != is_restored
    stock.close()
    wait_until(lambda: nova.has(1))


def test_strangers_in_the_index_do_not_hide_a_silent_worker(
    publish: Callable[..., None], client: Client
) -> None:
    """A thousand claims of stock workers are older; the message of a dead worker comes back."""
    publish(1)
    dead, other = Claims(client, Owner("dead@host")), Claims(client, Owner("other@host"))
    assert dead.claim(["first"])[0]
    [token] = client.hkeys(Keys.HELD)
    client.zadd(Keys.HELD_INDEX, {f"stock-{number}": number for number in range(1, 1500)})
    client.zincrby(Keys.HELD_INDEX, -61, token)
    other.sweep()
    client.hincrbyfloat(Keys.SWEEP, "not_before", -61)
    [redelivered] = other.sweep()
    assert redelivered.task_id == "task-1"
    assert client.llen("first") == 1


def test_what_comes_for_a_cancelled_queue_goes_back(
    start: Start, publish: Callable[..., None], client: Client
) -> None:
    """Redis was asked for the next message before the consumer was cancelled."""
    process = start()
    wait_until(process.is_waiting)
    [tag] = [tag for tag, queue in process.channel._tag_to_queue.items() if queue == "first"]
    process.channel.basic_cancel(tag)
    publish(1)
    wait_until(lambda: turned(process) and client.llen("first") == 1)
    assert not client.keys("nova:inbox:*")


@pytest.mark.parametrize("setting", ["maxmemory", "min-replicas-to-write"])
def test_a_consumer_can_connect_anew_when_redis_refuses_writes(
    start: Start, publish: Callable[..., None], client: Client, setting: str
) -> None:
    """What it declares is there from before; a full Redis must be drained by somebody."""
    start()
    publish(1)
    client.config_set(setting, "1")
    try:
        process = start()
        if setting == "maxmemory":
            wait_until(lambda: process.has(1))
    finally:
        client.config_set(setting, "0")
    wait_until(lambda: process.has(1))


def test_a_consumer_that_needs_no_acknowledgement_goes_kombus_way(
    client: Client, redis_url: str, publish: Callable[..., None]
) -> None:
    """Replies of the remote control are popped; nothing is recorded."""
    got: list[Any] = []
    publish(1)
    with Connection(redis_url, transport=OwnTransport) as connection:
        consumer = Consumer(connection.channel(), [QUEUES[0]], no_ack=True, on_message=got.append)
        with consumer:
            connection.drain_events(timeout=5)
    assert len(got) == 1
    assert not client.exists(Keys.HELD)


def test_a_message_for_a_consumer_that_dies_waiting_is_swept(
    start: Start, publish: Callable[..., None], client: Client
) -> None:
    """Redis moved it into an inbox, and nobody claimed it: it comes back after the lease."""
    process = start()
    wait_until(process.is_waiting)
    publish(1)
    wait_until(lambda: client.keys("nova:inbox:*"))
    assert client.llen("first") == 0
    other = Claims(client, Owner("other@host"))
    other.sweep()
    for inbox in client.zrange(Keys.INBOXES, 0, -1):
        client.zincrby(Keys.INBOXES, -61, inbox)
    client.hincrbyfloat(Keys.SWEEP, "not_before", -61)
    other.sweep()
    assert client.llen("first") == 1


def test_a_connection_makes_the_inboxes_of_its_process_known_again(
    start: Start, client: Client
) -> None:
    """A replica that took over may not know them, and nobody would look into them."""
    before = start()
    wait_until(before.is_waiting)
    inboxes = client.zrange(Keys.INBOXES, 0, -1)
    assert len(inboxes) == len(QUEUES)
    client.delete(Keys.INBOXES)
    after = start(holdings=before.channel.holdings)
    wait_until(after.is_waiting)
    assert client.zrange(Keys.INBOXES, 0, -1) == inboxes


def test_basic_get_claims_as_well(
    client: Client, redis_url: str, publish: Callable[..., None]
) -> None:
    publish(1)
    with Connection(redis_url, transport=OwnTransport) as connection:
        channel = connection.channel()
        message = channel.basic_get("first")
        assert message.payload == {"number": 1}
        assert client.hlen(Keys.HELD) == 1
        assert channel.basic_get("first") is None
        message.ack()
        channel.leave(client)
    assert not client.exists(Keys.HELD)


def test_kombus_own_transport_is_what_this_one_stands_on() -> None:
    """If kombu renames what is overridden here, this test tells, and not a lost message."""
    for name in ("_basic_cancel", "basic_consume", "basic_get", "active_queues", "conn_or_acquire"):
        assert hasattr(kombu_redis.Channel, name)
    for name in ("on_poll_start", "on_readable", "maybe_restore_messages", "_register"):
        assert hasattr(kombu_redis.MultiChannelPoller, name)


def test_a_claim_under_way_when_the_worker_is_to_stop_goes_back(
    start: Start, publish: Callable[..., None], client: Client
) -> None:
    publish(1)
    process = start()
    process.channel.claimer.before_poll()
    wait_until(lambda: client.hlen(Keys.HELD) == 1)
    process.channel.holdings.is_stopping = True
    wait_until(lambda: turned(process) and client.hlen(Keys.HELD) == 0)
    assert (process.messages, client.llen("first")) == ([], 1)


@pytest.mark.parametrize("headers", [{}, {"eta": "2026-01-01T00:00:00+00:00"}], ids=["now", "eta"])
def test_a_claim_whose_answer_never_came_is_no_start(
    start: Start, publish: Callable[..., None], client: Client, headers: dict[str, str]
) -> None:
    """Redis took its time, and the connection was given up; the next one gives the message back."""
    run = f"{Keys.RUN_PREFIX}task-1"
    client.hset(run, mapping={"starts": 2, "history": "1 before\n2 before\n"})
    publish(1, headers={"id": "task-1", "task": "nova.trends.scan"} | headers)
    slow = start()
    slow.channel.claimer.before_poll()
    wait_until(lambda: client.hlen(Keys.HELD) == 1)
    slow.channel.claimer.main.sent_at -= claimer.CLAIM_OVERDUE_SECONDS
    with pytest.raises(redis.ConnectionError, match="within 5 seconds"):
        slow.channel.claimer.before_poll()
    assert client.hget(run, "starts") == (b"2" if headers else b"3")
    slow.connection.close()
    holdings = slow.channel.holdings
    assert len(holdings.unanswered) == 1
    is_draining, holdings.is_stopping = holdings.is_stopping, True
    after = start(holdings=holdings)
    wait_until(lambda: turned(after) and not holdings.unanswered)
    assert not client.exists(Keys.HELD, Keys.HELD_INDEX)
    assert client.llen("first") == 1
    assert client.hmget(run, "starts", "history", "holder") == [b"2", b"1 before\n2 before\n", None]
    holdings.is_stopping = is_draining
    wait_until(lambda: after.has(1))
    assert not holdings.unanswered


def test_a_claim_without_an_answer_gives_back_its_own_messages_only(
    publish: Callable[..., None], client: Client
) -> None:
    """The oldest to the very head; neither what runs, nor a copy, which comes back by itself."""
    claims = Claims(client, Owner("w1@host"))
    publish(1)
    assert claims.claim(["first"])[0]
    for number in (1, 2, 3):
        publish(number)
    assert len(claims._run(claims.calls.claim(claims.owner, ["first"], 2, number=1000))) == 3
    publish(4)
    assert claims.abandon([999, 1000]) == 2
    assert claims.abandon([999, 1000]) == 0
    waiting = [json.loads(text)["headers"]["id"] for text in client.lrange("first", 0, -1)]
    assert waiting == ["task-4", "task-3", "task-2"]
    assert client.hlen(Keys.HELD) == 2
    assert client.hexists(Keys.HELD, client.hget(f"{Keys.RUN_PREFIX}task-1", "holder"))
