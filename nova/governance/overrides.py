"""Operators' overrides, and the status that runs give to channels; both are hashes in Redis."""

from datetime import UTC, datetime
from typing import Literal, cast

import redis

from nova.errors import InputError, NotFoundError
from nova.governance.models import ChannelStatus, Flag, Override
from nova.store import Keys


def list_overrides(client: redis.Redis) -> list[Override]:
    """Return all overrides, by channel."""
    stored = cast(dict[bytes, bytes], client.hgetall(Keys.GOVERNANCE_OVERRIDES))
    return [Override.model_validate_json(stored[channel]) for channel in sorted(stored)]


def set_override(
    client: redis.Redis,
    channel: str,
    rule: Literal["ignore", "force"],
    *,
    reason: str,
    by: str,
    flag: Flag | None = None,
) -> Override:
    """Set the override of a channel, in place of the one it had.

    The channel need not have data yet.

    Raises:
        InputError: channel or reason is empty, or the flag does not go with the rule.
    """
    if not channel.strip():
        raise InputError("the channel's id is empty")
    if not reason.strip():
        raise InputError(f"an override needs a reason; say why channel {channel} is treated so")
    if (rule == "force") != (flag is not None):
        raise InputError("force needs a flag to set, ignore takes none")
    override = Override(
        channel=channel.strip(),
        rule=rule,
        flag=flag,
        reason=reason.strip(),
        by=by,
        at=datetime.now(UTC),
    )
    client.hset(Keys.GOVERNANCE_OVERRIDES, override.channel, override.model_dump_json())
    return override


def clear_override(client: redis.Redis, channel: str) -> None:
    """Remove the override of a channel.

    Raises:
        NotFoundError: it has none.
    """
    if not client.hdel(Keys.GOVERNANCE_OVERRIDES, channel.strip()):
        raise NotFoundError(f"channel {channel} has no override; see: nova override list")


def list_statuses(client: redis.Redis) -> list[ChannelStatus]:
    """Return the channels that runs with auto actions promoted or retired, by channel."""
    stored = cast(dict[bytes, bytes], client.hgetall(Keys.GOVERNANCE_STATUS))
    return [ChannelStatus.model_validate_json(stored[channel]) for channel in sorted(stored)]


def reset_status(client: redis.Redis, channel: str) -> None:
    """Take the status of a channel away, as if no run had ever acted on it.

    Raises:
        NotFoundError: it has none.
    """
    if not client.hdel(Keys.GOVERNANCE_STATUS, channel.strip()):
        raise NotFoundError(f"channel {channel} has no status; see: nova governance status")
