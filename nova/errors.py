"""Errors that tell a person what is wrong, where, and what to do, in one line.

The command line prints the line and exits with 1, or with 75 for what may work later
(UnavailableError); the API answers with a problem document.
Anything that is not a NovaError is a fault in Nova and keeps its stack trace.
"""


class NovaError(Exception):
    """Base of every error whose message is meant for the person in front of Nova."""


class ConfigurationError(NovaError):
    """A setting or a configuration file is missing or wrong."""


class InputError(NovaError):
    """Data or arguments that somebody gave are wrong."""


class NotFoundError(NovaError):
    """What was asked for does not exist."""


class ConflictError(NovaError):
    """What was asked for contradicts what was asked for before."""


class UnavailableError(NovaError):
    """A server that Nova needs does not answer."""


class PausedError(NovaError):
    """The API is paused, on purpose; after `retry_after_seconds` it is not."""

    def __init__(self, reason: str, retry_after_seconds: int) -> None:
        super().__init__(reason)
        self.retry_after_seconds = retry_after_seconds


class SourceError(NovaError):
    """A source could not be fetched, or is not what it should be. `url` holds no secrets."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(f"{url}: {reason}")
        self.url = url
        self.reason = reason


class NotificationError(NovaError):
    """A notification cannot be sent, and could not be later: its target does not take it."""


class UnconfirmedPublishError(UnavailableError):
    """A task may have been published, or not: Redis did not confirm it in time.

    `task_id` is the id to publish it again with, which is safe: a task runs once per id.
    """

    def __init__(self, task_id: str, reason: str) -> None:
        super().__init__(
            f"task {task_id} may have been published, or not: {reason}; "
            "publish it again with the same id, it runs once"
        )
        self.task_id = task_id


class DeadLetterError(NovaError):
    """A task was given up, and is among the dead letters; its result as long as it is there."""
