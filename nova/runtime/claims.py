"""Claims: who holds which message, and how a claim begins, is renewed and ends.

docs/delivery-protocol.md tells the whole of it. Each step is one Lua script. This module builds
their calls and reads their answers; `Claims` sends them over a client that waits for the answer,
the transport sends the same calls from the worker's event loop.
"""

import itertools
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import redis
from redis.commands.core import Script

from nova.runtime.scripts import load
from nova.settings import Settings
from nova.store import Keys

#: A message is looked for by others when its holder has been silent for so long.
LEASE_SECONDS: int = Settings.model_fields["lease_seconds"].default
#: A holder renews so many times in a lease.
RENEWALS_PER_LEASE = 6
#: A message that was started so often and never finished is poison.
STARTS_ALLOWED = 5
#: Messages that one call claims at most, and tokens that it makes at most: those of the copies that
#: it sets aside on the way are among them (`ASIDE_LIMIT` in lua/claim.lua).
CLAIM_LIMIT = 16
TOKENS_PER_CALL = CLAIM_LIMIT + 100
#: A copy of a task that runs already is looked at again after so many renewal intervals.
DEFER_RENEWALS = 1
#: kombu's lists for priorities, which stock publishers may use: the suffixes after the queue.
PRIORITY_SUFFIXES = ("", "\x06\x163", "\x06\x166", "\x06\x169")
#: A run is remembered so long after it is done: no copy of it runs again.
DONE_EXPIRES_SECONDS = 7 * 24 * 3600
#: A run whose message is in a queue is remembered so long.
RUN_EXPIRES_SECONDS = 30 * 24 * 3600

TOKEN_PREFIX = "nova:"  # noqa: S105  # no secret

#: One word of a Redis command.
Word = str | bytes | int | float


class Outcome(StrEnum):
    """How a claim ends; `lua/settle.lua` says what each does."""

    DONE = "done"
    RELEASE = "release"
    REQUEUE = "requeue"
    RETURN = "return"
    DEFER = "defer"
    POSTPONE = "postpone"
    START = "start"


@dataclass(frozen=True)
class Settlement:
    """One step of one claim, to be sent until Redis has confirmed it."""

    token: str
    task_id: str
    outcome: Outcome
    detail: str = ""


@dataclass(frozen=True)
class ClaimedMessage:
    """A message that is held under a token."""

    token: str
    task_id: str
    task_name: str
    queue: str
    payload: bytes
    starts: int
    #: Seconds from its publishing to its claim; None if nobody noted when it was published.
    waited_seconds: float | None = None


@dataclass(frozen=True)
class SetAside:
    """A message that a claim met and did not take: done, deferred or dead."""

    kind: str
    task_id: str
    task_name: str
    queue: str
    detail: str


@dataclass(frozen=True)
class Redelivered:
    """A message whose holder was silent too long."""

    task_id: str
    task_name: str
    queue: str
    token: str


@dataclass(frozen=True)
class ScriptCall:
    """A script, its keys and its arguments."""

    name: str
    keys: Sequence[str]
    args: Sequence["Word"]


@dataclass
class Owner:
    """One worker process: its tokens and inboxes carry its name and a random part."""

    worker: str
    unique: str = field(default_factory=lambda: secrets.token_hex(4))
    _calls: "itertools.count[int]" = field(default_factory=itertools.count)

    @property
    def token_prefix(self) -> str:
        """What the tokens of this process begin with."""
        return f"{TOKEN_PREFIX}{self.worker}:{self.unique}:"

    def next_call(self) -> int:
        """Return a number that no call of this process has had, for the tokens that it makes."""
        return next(self._calls)

    def inbox(self, queue: str) -> str:
        """List into which Redis moves a message of a queue while this process waits for one."""
        return Keys.inbox(f"{self.worker}:{self.unique}", queue)


def worker_of_token(token: str) -> str:
    """Return the name of the worker that a token names."""
    return token.removeprefix(TOKEN_PREFIX).rsplit(":", 2)[0]


def queue_of_inbox(inbox: str) -> str:
    """Return the queue whose messages come into an inbox."""
    return inbox.partition("|")[2]


@dataclass(frozen=True)
class ClaimCalls:
    """Builds the calls of the scripts for one lease time."""

    lease_seconds: float = LEASE_SECONDS
    starts_allowed: int = STARTS_ALLOWED
    done_expires_seconds: int = DONE_EXPIRES_SECONDS

    @property
    def renew_seconds(self) -> float:
        """Seconds between two renewals."""
        return self.lease_seconds / RENEWALS_PER_LEASE

    def claim(
        self, owner: Owner, queues: Sequence[str], wanted: int, number: int | None = None
    ) -> ScriptCall:
        """Take up to `wanted` messages: first what waits in the inboxes, then in turn.

        `number` is one of `owner.next_call`, for who wants to know it.
        """
        sources = [(owner.inbox(queue), queue) for queue in queues]
        sources += [(queue + suffix, queue) for suffix in PRIORITY_SUFFIXES for queue in queues]
        return ScriptCall(
            name="claim",
            keys=[
                Keys.HELD,
                Keys.HELD_INDEX,
                Keys.DEAD_LETTER_QUEUES,
                Keys.UNTOLD_FAILURES,
                *(source for source, _ in sources),
            ],
            args=[
                owner.token_prefix,
                owner.next_call() if number is None else number,
                wanted,
                self.lease_seconds,
                self.starts_allowed,
                self.renew_seconds * DEFER_RENEWALS,
                Keys.RUN_PREFIX,
                Keys.DEAD_LETTERS_PREFIX,
                owner.worker,
                RUN_EXPIRES_SECONDS,
                *(queue for _, queue in sources),
            ],
        )

    def settle(self, owner: Owner, settlements: Iterable[Settlement]) -> ScriptCall:
        """End claims, or count a start."""
        steps = [
            word
            for step in settlements
            for word in (step.token, step.task_id, step.outcome.value, step.detail)
        ]
        return ScriptCall(
            name="settle",
            keys=[Keys.HELD, Keys.HELD_INDEX],
            args=[
                Keys.RUN_PREFIX,
                self.done_expires_seconds,
                RUN_EXPIRES_SECONDS,
                self.lease_seconds,
                owner.worker,
                *steps,
            ],
        )

    def abandon(self, owner: Owner, numbers: Iterable[int]) -> ScriptCall:
        """Put back what these claims have taken, whose answer never came."""
        return ScriptCall(
            name="abandon",
            keys=[Keys.HELD, Keys.HELD_INDEX],
            args=[
                owner.token_prefix,
                TOKENS_PER_CALL,
                Keys.RUN_PREFIX,
                RUN_EXPIRES_SECONDS,
                *numbers,
            ],
        )

    def renew(self, tokens: Sequence[str], inboxes: Sequence[str]) -> ScriptCall:
        """Renew what one worker holds."""
        return ScriptCall(
            name="renew",
            keys=[Keys.HELD, Keys.HELD_INDEX, Keys.INBOXES],
            args=[len(tokens), *tokens, *inboxes],
        )

    def sweep(self) -> ScriptCall:
        """Put back what silent workers held."""
        return ScriptCall(
            name="sweep",
            keys=[Keys.HELD, Keys.HELD_INDEX, Keys.INBOXES, Keys.SWEEP],
            args=[
                self.lease_seconds,
                # Every worker sweeps at each renewal; two missed in a row are a gap.
                2 * self.renew_seconds,
                self.renew_seconds / 2,
                TOKEN_PREFIX,
                Keys.RUN_PREFIX,
                RUN_EXPIRES_SECONDS,
            ],
        )

    def leave(self, inboxes: Sequence[str]) -> ScriptCall:
        """Put back what lies in inboxes that nobody claims from now."""
        return ScriptCall(name="leave", keys=[], args=list(inboxes))

    def commit(
        self, token: str, task_id: str, commands: Iterable[Sequence[Word]], slice_name: str = ""
    ) -> ScriptCall:
        """Run Redis commands and mark the run, or a slice of it, done."""
        words = [word for command in commands for word in (len(command), *command)]
        return ScriptCall(
            name="commit",
            keys=[f"{Keys.RUN_PREFIX}{task_id}", Keys.HELD, Keys.LEDGER_COUNTS],
            args=[token, slice_name, *words],
        )


def read_claim(answer: Iterable[Sequence[Any]]) -> tuple[list[ClaimedMessage], list[SetAside]]:
    """Read the answer of `claim`."""
    claimed, aside = [], []
    for item in answer:
        kind, task_id, task_name, queue = (_text(word) for word in item[:4])
        if kind == "message":
            token, payload, starts, waited = item[4:]
            text, seconds = _text(token), float(waited) if waited else None
            claimed.append(
                ClaimedMessage(text, task_id, task_name, queue, _bytes(payload), starts, seconds)
            )
        else:
            detail = _text(item[4]) if len(item) > 4 else ""
            aside.append(SetAside(kind, task_id, task_name, queue, detail))
    return claimed, aside


def _text(word: bytes | str) -> str:
    return word.decode() if isinstance(word, bytes) else word


def _bytes(word: bytes | str) -> bytes:
    return word if isinstance(word, bytes) else word.encode()


class Claims:
    """The claims of one worker process, over a client that waits for each answer."""

    def __init__(self, client: redis.Redis, owner: Owner, calls: ClaimCalls | None = None) -> None:
        self.owner = owner
        self.calls = calls or ClaimCalls()
        self._client = client
        self._scripts: dict[str, Script] = {}

    def claim(
        self, queues: Sequence[str], wanted: int = 1
    ) -> tuple[list[ClaimedMessage], list[SetAside]]:
        """Take up to `wanted` messages of these queues."""
        return read_claim(self._run(self.calls.claim(self.owner, queues, wanted)))

    def settle(self, *settlements: Settlement) -> list[bool]:
        """End claims; False where another holds the message by now."""
        return [bool(held) for held in self._run(self.calls.settle(self.owner, settlements))]

    def abandon(self, numbers: Iterable[int]) -> int:
        """Put back what claims have taken whose answer never came; return how many messages."""
        returned: int = self._run(self.calls.abandon(self.owner, numbers))
        return returned

    def renew(self, tokens: Sequence[str], inboxes: Sequence[str] = ()) -> set[str]:
        """Renew leases; return the tokens that are lost."""
        return {_text(token) for token in self._run(self.calls.renew(tokens, inboxes))}

    def sweep(self) -> list[Redelivered]:
        """Put back what silent workers held."""
        return [
            Redelivered(*(_text(word) for word in item)) for item in self._run(self.calls.sweep())
        ]

    def leave(self, inboxes: Sequence[str]) -> int:
        """Put back what lies in inboxes; return how many messages."""
        moved: int = self._run(self.calls.leave(inboxes))
        return moved

    def commit(
        self, token: str, task_id: str, commands: Iterable[Sequence[Word]], slice_name: str = ""
    ) -> str:
        """Make effects visible; return `committed`, `before` or `stale`, see lua/commit.lua."""
        call = self.calls.commit(token, task_id, commands, slice_name)
        return _text(self._run(call))

    def _run(self, call: ScriptCall) -> Any:
        if call.name not in self._scripts:
            self._scripts[call.name] = load(self._client, call.name)
        return self._scripts[call.name](keys=call.keys, args=call.args)
