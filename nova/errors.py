"""Errors that tell a person what is wrong, where, and what to do, in one line.

The command line prints the line and exits with 1; the API answers with a problem document.
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


class UnavailableError(NovaError):
    """A server that Nova needs does not answer."""
