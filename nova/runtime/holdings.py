"""What one worker process holds: in memory, beside the claims that stand in Redis.

The event loop fills and empties it, the lease thread reads it. It outlives connections: after a
lost one the worker goes on with what runs, and settles it over the next.
"""

import os
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterable

from nova.runtime.claims import ClaimedMessage, Outcome, Owner, Settlement


class Holdings:
    """Messages that this process holds, and ends of claims that Redis has not confirmed yet."""

    def __init__(self) -> None:
        self.owner = Owner(f"{socket.gethostname()}.{os.getpid()}")
        #: An operator wants this worker to take nothing until it is resumed.
        self.is_drained = False
        #: This worker was asked to stop.
        self.is_stopping = False
        # A signal handler of Celery (SIGQUIT) may come here while this same thread holds it.
        self._lock = threading.RLock()
        self._held: dict[str, ClaimedMessage] = {}
        #: Held, but neither settled nor started yet: their ETA lies ahead.
        self._waiting_for_eta: set[str] = set()
        #: Runs that do not end with the acknowledgement: a retry or a replacement follows.
        self._released: set[str] = set()
        self._lost: set[str] = set()
        self._settlements: list[Settlement] = []
        self._inboxes: set[str] = set()
        #: Numbers of claims that Redis was asked for and has not answered. No lock: only the event
        #: loop looks at them.
        self.unanswered: set[int] = set()

    def add(self, message: ClaimedMessage, *, has_eta: bool) -> None:
        """Take note of a message that was claimed."""
        with self._lock:
            self._held[message.token] = message
            if has_eta:
                self._waiting_for_eta.add(message.token)

    def count(self) -> int:
        """Count the messages that take up room: those whose end Celery has not told yet."""
        return len(self._held)

    def by_queue(self) -> dict[str, int]:
        """Count the messages that are held by the queue that they came from."""
        with self._lock:
            return dict(Counter(message.queue for message in self._held.values()))

    def find(self, token: str) -> ClaimedMessage | None:
        """Return a message that is held under this token, if one is."""
        return self._held.get(token)

    @property
    def is_draining(self) -> bool:
        """Whether nothing more is to be claimed."""
        return self.is_drained or self.is_stopping

    def tokens(self) -> list[str]:
        """Return the tokens to renew: what is held, and what is not settled in Redis yet."""
        with self._lock:
            pending = {step.token for step in self._settlements}
            return sorted((self._held.keys() | pending) - self._lost)

    def inboxes(self) -> list[str]:
        """Return the inboxes that this process has made known."""
        with self._lock:
            return sorted(self._inboxes)

    def add_inboxes(self, inboxes: Iterable[str]) -> None:
        """Renew these inboxes from now on."""
        with self._lock:
            self._inboxes.update(inboxes)

    def mark_lost(self, tokens: Iterable[str]) -> list[ClaimedMessage]:
        """Stop to renew what others may hold by now; return what this process still works on."""
        with self._lock:
            lost = [token for token in tokens if token not in self._lost]
            self._lost.update(token for token in lost if token in self._held)
            return [self._held[token] for token in lost if token in self._held]

    # --- Ends of claims

    def start(self, token: str) -> None:
        """The ETA of a message has come; its start counts from now on."""
        with self._lock:
            if token in self._waiting_for_eta:
                self._waiting_for_eta.discard(token)
                self._append(token, Outcome.START)

    def release_when_acknowledged(self, token: str) -> None:
        """The acknowledgement to come does not end the run."""
        with self._lock:
            self._released.add(token)

    def acknowledge(self, token: str) -> None:
        """The task has ended."""
        with self._lock:
            released = token in self._released
            self._end(token, Outcome.RELEASE if released else Outcome.DONE, "acknowledged")

    def reject(self, token: str, *, requeue: bool) -> None:
        """The task did not take the message."""
        with self._lock:
            self._end(token, Outcome.REQUEUE if requeue else Outcome.DONE, "rejected")

    def defer(self, token: str, seconds: float) -> None:
        """The task cannot run now; try again in some seconds."""
        with self._lock:
            self._end(token, Outcome.DEFER, str(seconds))

    def postpone(self, token: str, seconds: float) -> None:
        """This worker cannot run the task; another may, in some seconds. The start counts."""
        with self._lock:
            self._end(token, Outcome.POSTPONE, str(seconds))

    def give_back(self, should_keep: Callable[[str], bool] = lambda token: False) -> int:
        """Return to their queues the messages that are not to be kept; return how many."""
        with self._lock:
            tokens = [token for token in self._held if not should_keep(token)]
            for token in tokens:
                detail = "" if token in self._waiting_for_eta else "counted"
                self._end(token, Outcome.RETURN, detail)
            return len(tokens)

    def _end(self, token: str, outcome: Outcome, detail: str) -> None:
        if token in self._held and token not in self._lost:
            self._append(token, outcome, detail)
        self._held.pop(token, None)
        for tokens in (self._waiting_for_eta, self._released, self._lost):
            tokens.discard(token)

    def _append(self, token: str, outcome: Outcome, detail: str = "") -> None:
        task_id = self._held[token].task_id
        self._settlements.append(Settlement(token, task_id, outcome, detail))

    def settlements(self) -> list[Settlement]:
        """Return the ends of claims that Redis has not confirmed, oldest first."""
        with self._lock:
            return list(self._settlements)

    def confirm(self, settlements: Iterable[Settlement]) -> None:
        """Redis has taken these."""
        with self._lock:
            confirmed = set(settlements)
            self._settlements = [step for step in self._settlements if step not in confirmed]


#: Of this process. Channels come and go with their connections, and share it.
HOLDINGS = Holdings()
