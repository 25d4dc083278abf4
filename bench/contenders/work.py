"""The work of the tasks, the same for all systems."""

import os
import time

#: Where the bench's Redis is, for workers and publishers.
URL_VARIABLE = "REDIS_URL"
#: How often `count` ran.
COUNT_KEY = "bench:count"
#: Hash: number of a `stamp` -> when it started, seconds of the machine's monotonic clock.
STARTS_KEY = "bench:starts"


def redis_url() -> str:
    """Return the URL of the bench's Redis."""
    return os.environ[URL_VARIABLE]


def now() -> float:
    """Return seconds of a clock that all processes of a machine share and that never jumps."""
    return time.clock_gettime(time.CLOCK_MONOTONIC)
