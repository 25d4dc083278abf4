"""Claims messages for one channel, from the worker's event loop; nothing here blocks it.

Two kinds of connections, each with one request under way at most:

- the *main line* carries the ends of claims and new claims, together in one round trip;
- a *waiting line* per queue asks Redis to move the next message of an empty queue into the inbox
  of this process (BLMOVE). Redis serves one waiting worker per message, so a publish wakes one.

As long as there is work the waiting lines are not used: each round trip brings the next message.
"""

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

import redis
from redis.exceptions import NoScriptError, ReadOnlyError, ResponseError

from nova.runtime.claims import (
    CLAIM_LIMIT,
    ClaimCalls,
    ClaimedMessage,
    Claims,
    ScriptCall,
    Settlement,
    queue_of_inbox,
    read_claim,
)
from nova.runtime.holdings import Holdings
from nova.runtime.scripts import source

logger = logging.getLogger(__name__)

#: Seconds that Redis lets a waiting line wait before it answers that there is nothing.
WAIT_SECONDS = 4
#: Seconds after which an idle claimer looks all the same: nobody is woken by what stock publishers
#: put into kombu's lists for priorities.
LOOK_SECONDS = 10.0
#: Seconds after which an answer that should be there means a broken connection. That of a claim
#: comes when it is on the disk, so a slow disk gets more time.
OVERDUE_SECONDS = 3.0
CLAIM_OVERDUE_SECONDS = 5.0
#: Seconds to leave Redis alone after it could not do what was asked: full, loading, no replicas.
BACKOFF_SECONDS = 0.5
#: Seconds between two lines in the log about that.
LOG_INTERVAL_SECONDS = 60.0
#: The scripts that the main line sends.
SCRIPTS = ("settle", "abandon", "leave", "claim")


class Line:
    """One connection to Redis of the channel, known to the event loop under a name."""

    def __init__(self, channel: Any, name: str) -> None:
        self.name = name
        self.channel = channel
        #: Has the attribute `connection`, as kombu's poller wants it.
        self.client = channel._create_client(asynchronous=True)
        self.sent_at = 0.0
        self._replies = 0
        self._socket: Any = None

    @property
    def connection(self) -> Any:
        """The connection of redis-py."""
        return self.client.connection

    @property
    def is_busy(self) -> bool:
        """Whether a request is under way."""
        return bool(self._replies) and self.connection._sock is self._socket

    def open(self) -> bool:
        """Connect if need be; return whether the connection is a new one."""
        poller = self.channel.connection.cycle
        if not poller._client_registered(self.channel, self.client, self.name):
            self._replies = 0
            poller._register(self.channel, self.client, self.name)
        is_new = self.connection._sock is not self._socket
        self._socket = self.connection._sock
        return is_new

    def ask(self, *command: Any) -> Any:
        """Send one command and wait for its answer; only right after the line was opened."""
        self.connection.send_command(*command, check_health=False)
        return self.connection.read_response()

    def send(self, commands: Sequence[Sequence[Any]]) -> None:
        """Send commands in one piece; the event loop tells when the first answer is there."""
        packed = self.connection.pack_commands(commands)
        self.connection.send_packed_command(packed, check_health=False)
        self._replies = len(commands)
        self.sent_at = time.monotonic()

    def receive(self) -> list[Any]:
        """Read the answers, errors that Redis answered included, in the order of the commands."""
        answers: list[Any] = []
        if not self._replies:
            # Redis says nothing unasked: it has closed the connection of a worker that is busy.
            self.connection.disconnect()
            raise redis.ConnectionError("Redis closed the connection")
        try:
            while self._replies:
                try:
                    answers.append(self.connection.read_response())
                except ResponseError as error:
                    answers.append(error)
                self._replies -= 1
        except BaseException:
            self.connection.disconnect()
            raise
        return answers

    def check_overdue(self, seconds: float) -> None:
        """Raise redis.ConnectionError when the answer should have been there by now."""
        if self.is_busy and time.monotonic() - self.sent_at > seconds:
            self.connection.disconnect()
            raise redis.ConnectionError(f"Redis did not answer within {seconds:.0f} seconds")


class WaitingLine(Line):
    """A line on which Redis is asked for the next message of one queue."""

    def __init__(self, channel: Any, queue: str) -> None:
        super().__init__(channel, f"WAIT {queue}")
        self.queue = queue
        self.client_id = 0
        self.is_called_back = False

    def open(self) -> bool:
        """Connect if need be, and learn by which number Redis knows the connection."""
        is_new = super().open()
        if is_new:
            self.client_id = self.ask("CLIENT", "ID")
        return is_new


class Claimer:
    """Claims for one channel, as long as it consumes and the process has room."""

    def __init__(
        self,
        channel: Any,
        holdings: Holdings,
        calls: ClaimCalls,
        deliver: Callable[[ClaimedMessage, dict[str, Any] | None], None],
        is_transient: Callable[[BaseException], bool],
    ) -> None:
        self._channel = channel
        self._holdings = holdings
        self._calls = calls
        self._deliver = deliver
        self._is_transient = is_transient
        self.main = Line(channel, "CLAIM")
        self.waiting: dict[str, WaitingLine] = {}
        self._shas: dict[str, str] = {}
        self._sent_settlements: list[Settlement] = []
        #: Claims without an answer that were sent to be undone.
        self._abandoned: list[int] = []
        self._wanted = 0
        #: Of the last claim that was sent.
        self._number = 0
        #: Queues of which Redis has moved a message into the inbox, unclaimed so far; at first
        #: those of the connection before this one, when there was one.
        self._arrived = {queue_of_inbox(inbox) for inbox in holdings.inboxes()}
        self._should_look = True
        self._looked_at = 0.0
        #: Inboxes that were made known over this connection: a server that took over since may
        #: have lost what the one before it was told.
        self._known: set[str] = set()
        #: Inboxes that were sent to be emptied, and when that was confirmed last.
        self._left: list[str] = []
        self._left_at = time.monotonic()
        self._retry_at = 0.0
        self._logged_at = -LOG_INTERVAL_SECONDS

    @property
    def handlers(self) -> dict[str, Callable[[], None]]:
        """What to call when a line has an answer, by the line's name."""
        handlers: dict[str, Callable[[], None]] = {self.main.name: self._on_main}
        for line in self.waiting.values():
            handlers[line.name] = lambda line=line: self._on_waiting(line)  # type: ignore[misc]
        return handlers

    # --- Before the event loop sleeps

    def before_poll(self) -> None:
        """Send what there is to send. Called at each turn of the event loop.

        Raises:
            redis.RedisError: the connection is lost; Celery makes a new one.
        """
        self.main.check_overdue(CLAIM_OVERDUE_SECONDS)
        for line in self.waiting.values():
            line.check_overdue(WAIT_SECONDS + OVERDUE_SECONDS)
        if self.main.is_busy or time.monotonic() < self._retry_at:
            return
        room = self._room()
        if room == 0:
            self._call_back()
        settlements = self._holdings.settlements()
        is_hungry = room > 0 and (self._should_look or not self._all_wait())
        left_over = self._left_over(room)
        if settlements or is_hungry or left_over or self._holdings.unanswered:
            self._send(settlements, left_over, room if is_hungry else 0)

    def _left_over(self, room: int) -> list[str]:
        """Return the inboxes that no claim looks into now, if something may lie there.

        What came when there was no room any more goes back, for others may have room; so does what
        came for a queue that is no longer consumed. A look now and then finds what arrived over a
        connection that was lost.
        """
        claimed = self._channel.claimed_queues if room else ()
        inboxes = [i for i in self._holdings.inboxes() if queue_of_inbox(i) not in claimed]
        has_arrived = any(queue_of_inbox(inbox) in self._arrived for inbox in inboxes)
        is_time = time.monotonic() - self._left_at > LOOK_SECONDS
        return inboxes if has_arrived or is_time else []

    def _room(self) -> int:
        queues = self._channel.claimed_queues
        if not queues or self._holdings.is_draining:
            return 0
        prefetch: int = self._channel.qos.prefetch_count
        if not prefetch:
            return CLAIM_LIMIT
        return max(0, min(prefetch - self._holdings.count(), CLAIM_LIMIT))

    def _all_wait(self) -> bool:
        lines = self.waiting
        return all(q in lines and lines[q].is_busy for q in self._channel.claimed_queues)

    def _send(self, settlements: list[Settlement], left_over: list[str], wanted: int) -> None:
        owner = self._holdings.owner
        calls: list[ScriptCall] = []
        if settlements:
            calls.append(self._calls.settle(owner, settlements))
        # No claim is under way: what was not answered until now will not be.
        abandoned = sorted(self._holdings.unanswered)
        if abandoned:
            calls.append(self._calls.abandon(owner, abandoned))
        if left_over:
            calls.append(self._calls.leave(left_over))
        if wanted:
            self._number = owner.next_call()
            queues = self._channel.next_queues()
            calls.append(self._calls.claim(owner, queues, wanted, self._number))
        if self.main.open():
            self._load_all()
        if wanted:
            self._holdings.unanswered.add(self._number)
        self.main.send(
            [
                ["EVALSHA", self._shas[call.name], len(call.keys), *call.keys, *call.args]
                for call in calls
            ]
        )
        self._sent_settlements, self._left, self._wanted = settlements, left_over, wanted
        self._abandoned = abandoned
        if wanted:
            self._should_look = False
            self._looked_at = time.monotonic()

    def _load_all(self) -> None:
        self._shas = {name: self._load(name) for name in SCRIPTS}

    def _load(self, name: str) -> str:
        sha = self.main.ask("SCRIPT", "LOAD", source(name))
        return sha.decode() if isinstance(sha, bytes) else str(sha)

    # --- When a line has an answer

    def _on_main(self) -> None:
        answers = self.main.receive()
        errors = [answer for answer in answers if isinstance(answer, ResponseError)]
        # One may have failed and the others not: what was claimed is held, whatever else happened.
        for was_sent, take in (
            (self._sent_settlements, self._on_settled),
            (self._abandoned, self._on_abandoned),
            (self._left, self._on_left),
            (self._wanted, self._on_claims),
        ):
            if was_sent:
                answer = answers.pop(0)
                if not isinstance(answer, ResponseError):
                    take(answer)
        self._sent_settlements, self._abandoned, self._left, self._wanted = [], [], [], 0
        if errors:
            self._should_look = True
            self._on_error(errors[0])

    def _on_abandoned(self, returned: int) -> None:
        self._holdings.unanswered.difference_update(self._abandoned)
        if returned:
            logger.warning(
                "Redis had claimed %d messages for this worker without an answer; returned to "
                "their queues",
                returned,
            )

    def _on_left(self, _moved: int) -> None:
        self._arrived -= {queue_of_inbox(inbox) for inbox in self._left}
        self._left_at = time.monotonic()

    def _on_settled(self, held: Sequence[int]) -> None:
        for step, was_held in zip(self._sent_settlements, held, strict=True):
            if not was_held:
                logger.warning(
                    "task %s: this worker does not hold it any more, %s had no effect",
                    step.task_id,
                    step.outcome.value,
                )
        self._holdings.confirm(self._sent_settlements)

    def _on_claims(self, answer: Sequence[Any]) -> None:
        claimed, aside = read_claim(answer)
        wanted = self._wanted
        # A claim looks into the inboxes first.
        self._arrived -= {item.queue for item in claimed} | {item.queue for item in aside}
        # First of all, so that none is forgotten when one cannot be delivered.
        payloads = [self._channel.take_note(message) for message in claimed]
        self._holdings.unanswered.discard(self._number)
        for item in aside:
            self._channel.on_set_aside(item)
        for message, payload in zip(claimed, payloads, strict=True):
            self._deliver(message, payload)
        if len(claimed) < wanted and not aside:
            self._arrived -= set(self._channel.claimed_queues)
            self._wait()
        elif aside:
            self._should_look = True

    def _wait(self) -> None:
        """Nothing is there: let Redis tell when something comes."""
        queues = [
            queue
            for queue in self._channel.claimed_queues
            if queue not in self.waiting or not self.waiting[queue].is_busy
        ]
        if not queues or not self._room():
            return
        inboxes = {queue: self._holdings.owner.inbox(queue) for queue in queues}
        new = set(inboxes.values()) - self._known
        if new:
            # Before Redis may put anything into it.
            self._holdings.add_inboxes(new)
            self._channel.make_inboxes_known(sorted(new))
            self._known |= new
        for queue in queues:
            if queue not in self.waiting:
                self.waiting[queue] = WaitingLine(self._channel, queue)
                self._channel.handlers.update(self.handlers)
            line = self.waiting[queue]
            line.open()
            line.is_called_back = False
            line.send([["BLMOVE", queue, inboxes[queue], "RIGHT", "LEFT", WAIT_SECONDS]])

    def _on_waiting(self, line: WaitingLine) -> None:
        [answer] = line.receive()
        if isinstance(answer, ResponseError) and "UNBLOCKED" not in str(answer):
            # A full Redis refuses the blocking move, not the claim: look now and then.
            self._should_look = True
            return self._on_error(answer)
        if answer is not None and not isinstance(answer, ResponseError):
            self._arrived.add(line.queue)
            self._should_look = True
        elif time.monotonic() - self._looked_at > LOOK_SECONDS:
            self._should_look = True
        else:
            self._wait()
        return None

    def _call_back(self) -> None:
        """There is no room: nobody shall wait for this process."""
        for line in self.waiting.values():
            if line.is_busy and not line.is_called_back:
                line.is_called_back = True
                self._channel.call_back(line.client_id)

    def _on_error(self, error: ResponseError) -> None:
        if isinstance(error, NoScriptError):
            self._load_all()
            return
        if isinstance(error, ReadOnlyError):
            # The server became a replica. Another connection finds the primary.
            raise redis.ConnectionError(str(error)) from error
        self._retry_at = time.monotonic() + BACKOFF_SECONDS
        if time.monotonic() - self._logged_at > LOG_INTERVAL_SECONDS:
            self._logged_at = time.monotonic()
            log = logger.warning if self._is_transient(error) else logger.error
            log("Redis cannot serve this worker now, it tries again: %s", error)

    # --- At the end

    def is_quiet(self) -> bool:
        """Whether no message can be on its way to this process."""
        lines = [self.main, *self.waiting.values()]
        return not self._arrived and not any(line.is_busy for line in lines)

    def close(self, client: redis.Redis, claims: Claims) -> None:
        """End the waiting lines, and give back what came with them; for a worker that stops."""
        for line in self.waiting.values():
            if line.is_busy:
                client.client_unblock(line.client_id)
                line.receive()
        inboxes = self._holdings.inboxes()
        if inboxes:
            claims.leave(inboxes)
