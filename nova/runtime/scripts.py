"""The Lua scripts of the runtime: each runs in Redis as one indivisible step.

The texts are in `lua/`; `common.lua` stands in front of each. docs/delivery-protocol.md says what
each promises.
"""

from functools import cache
from importlib import resources

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
