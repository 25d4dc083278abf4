"""The Lua scripts of the runtime: each runs in Redis as one indivisible step.

The texts are in `lua/`; `common.lua` stands in front of each. docs/delivery-protocol.md says what
each promises.
"""

from collections.abc import Sequence
from functools import cache
from importlib import resources
from typing import Any

import redis
from redis.commands.core import Script


@cache
def source(name: str) -> str:
    """Return the text of `lua/<name>.lua` with the common functions in front."""
    folder = resources.files("nova.runtime").joinpath("lua")
    return folder.joinpath("common.lua").read_text() + folder.joinpath(f"{name}.lua").read_text()


def load(client: redis.Redis, name: str) -> Script:
    """Return a script as a function of `keys` and `args`; nothing is sent before its first call."""
    return client.register_script(source(name))


def run_confirmed(
    client: redis.Redis,
    script: Script,
    *,
    keys: Sequence[str],
    args: Sequence[str | bytes | int | float],
    replicas: int,
    seconds: float,
) -> tuple[Any, int]:
    """Run a script, and wait until so many replicas have what it wrote, or the time is over.

    Returns:
        What the script answers, and how many replicas have confirmed.

    Raises:
        redis.RedisError: Redis is away, or refused. Without an answer the script may have run.
    """
    # WAIT is about the connection that it comes on: a pipeline has only one.
    with client.pipeline(transaction=False) as pipeline:
        script(keys=keys, args=args, client=pipeline)
        pipeline.wait(replicas, round(seconds * 1000))
        answer, confirmed = pipeline.execute()
    return answer, int(confirmed)
