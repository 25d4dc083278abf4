"""Tells errors that pass by themselves from errors that somebody must mend.

A Redis that is away, starting, failing over, out of memory or short of replicas refuses now what it
will take later: workers and publishers try again. Each refused command has done nothing.
"""

import re

import redis
from kombu.exceptions import OperationalError
from redis.exceptions import AuthenticationError, AuthorizationError, ResponseError

#: What Redis' answers begin with. TRYAGAIN, MASTERDOWN, CLUSTERDOWN: a group is moving. UNBLOCKED:
#: the server that we waited at has become a replica. BUSY: a long script runs.
CODES = (
    "OOM",
    "NOREPLICAS",
    "MISCONF",
    "READONLY",
    "LOADING",
    "TRYAGAIN",
    "UNBLOCKED",
    "MASTERDOWN",
    "CLUSTERDOWN",
    "BUSY",
)

#: redis-py takes off the codes that it has classes for, and leaves them in `status_code`. In a
#: pipeline it puts words before them, and so does Redis before 7 in a script: "ERR ...: -OOM".
_ANSWER = re.compile(rf"(?:^|: -?)(?:{'|'.join(CODES)})\b")


def is_transient(error: BaseException) -> bool:
    """Say whether what failed may work when it is tried again, without anybody's help."""
    if isinstance(error, OperationalError) and error.__cause__ is not None:
        return is_transient(error.__cause__)  # kombu's own name for any error of a transport
    if isinstance(error, AuthenticationError | AuthorizationError):
        return False  # though they are connection errors of redis-py
    if isinstance(error, ResponseError):
        return error.status_code in CODES or _ANSWER.search(str(error)) is not None
    lost = (redis.ConnectionError, redis.TimeoutError, ConnectionError, TimeoutError)
    return isinstance(error, lost)
