"""Dead letters: messages that were given up, until somebody replays or drops them.

A message comes here when its task was started five times and never finished, or when its text is
no message at all; lua/claim.lua puts it here. docs/operations.md says what to do about one.
"""

import heapq
import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from itertools import islice
from typing import Any, cast

import redis
from celery import Celery, states
from pydantic import BaseModel, Field, PrivateAttr

from nova.errors import DeadLetterError, InputError, NotFoundError
from nova.runtime.claims import DONE_EXPIRES_SECONDS, RUN_EXPIRES_SECONDS
from nova.runtime.scripts import load
from nova.store import Keys

#: Letters that are read from Redis in one command.
BATCH = 200


class Start(BaseModel):
    """One start of a task."""

    at: datetime
    worker: str


class DeadLetterLine(BaseModel):
    """A dead letter in short."""

    id: str = Field(description="Id of the letter itself.", examples=["0f3a9c51be27"])
    task_id: str = Field(description="Id of the task; empty if the text was no message.")
    task: str = Field(description="Name of the task; empty if the text was no message.")
    queue: str
    reason: str = Field(examples=["started 5 times and never finished"])
    at: datetime = Field(description="When it was given up, by the clock of Redis.")
    starts: int = Field(description="How often the task was started.")


class DeadLetter(DeadLetterLine):
    """A dead letter with its message."""

    history: list[Start] = Field(description="When it was started, and by which worker.")
    arguments: str = Field(description="What the task was called with, as Celery shows it.")
    message: str = Field(description="The message as it stood in its queue.")
    #: As it stands in Redis: a message that is no text cannot be told apart otherwise.
    _text: bytes = PrivateAttr(default=b"")

    @property
    def is_message(self) -> bool:
        """Whether a worker could make sense of it, so that it can be replayed."""
        return bool(self.task_id)

    def line(self) -> DeadLetterLine:
        """Return it in short."""
        return DeadLetterLine.model_validate(self.model_dump(include=set(_LINE_FIELDS)))


_LINE_FIELDS = tuple(DeadLetterLine.model_fields)


class DeadLetterPage(BaseModel):
    """Some of the dead letters, newest first."""

    total: int
    letters: list[DeadLetterLine]


# --- Reading


def list_letters(
    client: redis.Redis, queue: str | None = None, limit: int = 20, offset: int = 0
) -> DeadLetterPage:
    """Return dead letters, of one queue or of all, newest first.

    Raises:
        redis.RedisError: Redis does not answer.
    """
    queues = _queues(client, queue)
    newest = (_scan(client, name) for name in queues)
    # Each list is in order already: no more is read than is shown.
    merged = heapq.merge(*newest, key=lambda letter: letter.at, reverse=True)
    return DeadLetterPage(
        total=sum(client.llen(Keys.dead_letters(name)) for name in queues),
        letters=[letter.line() for letter in islice(merged, offset, offset + limit)],
    )


def all_letters(client: redis.Redis, queue: str | None = None) -> list[DeadLetter]:
    """Return the dead letters of one queue or of all, oldest first in each queue."""
    return [
        letter for name in _queues(client, queue) for letter in reversed(list(_scan(client, name)))
    ]


def find_letter(client: redis.Redis, letter_id: str) -> DeadLetter:
    """Return one dead letter.

    Raises:
        NotFoundError: there is none with this id.
        redis.RedisError: Redis does not answer.
    """
    for queue in _queues(client, None):
        for letter in _scan(client, queue):
            if letter.id == letter_id:
                return letter
    raise _not_found(letter_id)


def _not_found(letter_id: str) -> NotFoundError:
    return NotFoundError(
        f"no dead letter {letter_id}: it was replayed or dropped, or never was; "
        "see: nova deadletter list"
    )


def _queues(client: redis.Redis, queue: str | None) -> list[str]:
    if queue is not None:
        return [queue]
    names = cast(Iterable[bytes], client.smembers(Keys.DEAD_LETTER_QUEUES))
    return sorted(name.decode() for name in names)


def _scan(client: redis.Redis, queue: str) -> Iterator[DeadLetter]:
    """Read the letters of a queue, newest first."""
    start = 0
    while texts := client.lrange(Keys.dead_letters(queue), start, start + BATCH - 1):
        yield from map(_read, cast(list[bytes], texts))
        start += BATCH


def _read(text: bytes) -> DeadLetter:
    fields: dict[str, Any] = json.loads(text.decode(errors="replace"))
    fields["history"] = [
        Start(at=_time(float(seconds)), worker=worker)
        for seconds, worker in (line.split(" ", 1) for line in fields["history"].splitlines())
    ]
    fields["at"] = _time(fields["at"])
    letter = DeadLetter(**fields, arguments=_arguments(fields["message"]))
    letter._text = text
    return letter


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _arguments(message: str) -> str:
    """Return what the publisher noted for people; empty if it did not."""
    try:
        headers = json.loads(message)["headers"]
        found = [headers[name] for name in ("argsrepr", "kwargsrepr")]
    except (ValueError, LookupError, TypeError):
        return ""
    return " ".join(map(str, found))


# --- Acting


def replay(client: redis.Redis, letter: DeadLetter) -> None:
    """Put the message of a letter back into its queue; its task starts with a clean count.

    Raises:
        InputError: it is no message.
        NotFoundError: the letter has been replayed or dropped meanwhile; nothing has changed.
        redis.RedisError: Redis does not answer.
    """
    if not letter.is_message:
        raise InputError(
            f"dead letter {letter.id} cannot be replayed: {letter.reason}; "
            f"drop it: nova deadletter drop {letter.id}"
        )
    _take_out(client, letter, "replay")


def drop(client: redis.Redis, letter: DeadLetter) -> None:
    """Throw a letter away; no copy of its task runs again.

    Raises:
        NotFoundError: the letter has been replayed or dropped meanwhile; nothing has changed.
        redis.RedisError: Redis does not answer.
    """
    _take_out(client, letter, "drop")


def _take_out(client: redis.Redis, letter: DeadLetter, action: str) -> None:
    was_there = load(client, "deadletter")(
        keys=[
            Keys.dead_letters(letter.queue),
            Keys.DEAD_LETTER_QUEUES,
            Keys.HELD,
            Keys.UNTOLD_FAILURES,
            letter.queue,
            Keys.issued_task(letter.task_id),
            Keys.result(letter.task_id),
        ],
        args=[
            action,
            letter._text,
            DONE_EXPIRES_SECONDS,
            RUN_EXPIRES_SECONDS,
            datetime.now(UTC).isoformat(),
        ],
    )
    if not was_there:
        raise _not_found(letter.id)


# --- Telling


def tell_failures(client: redis.Redis, app: Celery) -> int:
    """Give tasks that went to the dead letters the result FAILURE, so that nobody waits for them.

    Every worker looks now and then; whichever comes first tells. A worker that dies right after
    it put a message here leaves that to the others.

    Returns:
        How many were told.

    Raises:
        redis.RedisError: Redis does not answer.
    """
    untold = cast(dict[bytes, bytes], client.hgetall(Keys.UNTOLD_FAILURES))
    return sum(_tell(client, app, task_id.decode(), note) for task_id, note in untold.items())


def _tell(client: redis.Redis, app: Celery, task_id: str, note: bytes) -> int:
    letter_id, _, reason = note.decode().partition(" ")
    error = DeadLetterError(
        f"task {task_id} was given up: {reason}; see: nova deadletter show {letter_id}"
    )
    backend = app.backend
    meta = {
        "status": states.FAILURE,
        "result": backend.encode_result(error, states.FAILURE),
        "traceback": None,
        "children": [],
        "date_done": app.now().isoformat(),
        "task_id": task_id,
    }
    told: int = load(client, "tell")(
        keys=[Keys.UNTOLD_FAILURES, Keys.result(task_id)],
        args=[task_id, note, backend.encode(meta), int(backend.expires)],
    )
    return told
