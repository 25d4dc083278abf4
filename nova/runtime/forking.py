"""Keeps forks and the calls of threads apart, so that no child is born with a lock that stays shut.

A child has a copy of every lock and none of the threads that would open them. A thread that is
inside OpenSSL, an import or a log file at the moment of a fork leaves their locks shut in the child
for ever. See docs/decisions/0024-no-fork-in-the-middle-of-a-call.md.

A thread of a process that forks does its work within `no_fork`, and waits outside of it.
"""

import logging  # noqa: F401  # registers its own: see at the end
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

#: Most seconds that a fork waits for calls. One that takes longer waits for a server that does not
#: answer, and holds no lock of a library meanwhile.
PATIENCE_SECONDS = 2.0


class ForkGate:
    """Lets calls happen, many at once, or a fork, but not both."""

    def __init__(self) -> None:
        self._open_again()

    def _open_again(self) -> None:
        self._condition = threading.Condition()
        self._calls = 0
        self._is_forking = False

    @property
    def calls(self) -> int:
        """How many calls are under way."""
        return self._calls

    @contextmanager
    def no_fork(self) -> Iterator[None]:
        """Within this the process does not fork, unless it takes longer than a fork may wait."""
        with self._condition:
            # A fork that waits goes first: threads that call all the time would never let it.
            self._condition.wait_for(lambda: not self._is_forking)
            self._calls += 1
        try:
            yield
        finally:
            with self._condition:
                self._calls -= 1
                self._condition.notify_all()

    def before_fork(self) -> None:
        """Hold new calls up, and wait for the end of those under way."""
        with self._condition:
            self._is_forking = True
            self._condition.wait_for(lambda: self._calls == 0, PATIENCE_SECONDS)

    def after_fork(self) -> None:
        """Let calls happen again, in the process that has forked."""
        with self._condition:
            self._is_forking = False
            self._condition.notify_all()

    def after_fork_in_child(self) -> None:
        """Begin anew: the threads are not here, and one may have been at the gate itself."""
        self._open_again()


#: Of this process.
GATE = ForkGate()
no_fork = GATE.no_fork

# Python calls what was registered last first. So the lock of `logging`, which was imported before,
# is taken after the wait, and a thread that is waited for can log.
os.register_at_fork(
    before=GATE.before_fork,
    after_in_parent=GATE.after_fork,
    after_in_child=GATE.after_fork_in_child,
)
