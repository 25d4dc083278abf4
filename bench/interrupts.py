"""Ctrl-C, SIGTERM and a hang-up end a benchmark once, and what it started goes too."""

import signal
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    # A second one would break off the cleaning up.
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def install() -> None:
    """Make the first of these signals raise KeyboardInterrupt, and ignore all after it."""
    for number in SIGNALS:
        signal.signal(number, _interrupt)
