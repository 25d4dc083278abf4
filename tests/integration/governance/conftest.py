"""Channel metrics in a real Redis, for governance to judge."""

from collections.abc import Callable, Iterator, Mapping
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
import redis
import yaml

from nova.channels import day_score, pack
from nova.governance.policy import PACKAGED
from nova.settings import Settings
from nova.store import Keys
from tests.integration.governance.servers import Hook, serve_hook

LAST_DAY = date(2026, 3, 28)

Store = Callable[[int, Mapping[str, Mapping[str, float]]], None]


@pytest.fixture
def store_day(client: redis.Redis) -> Store:
    """Store one day, so many days before the last, as ingest does."""

    def store(days_ago: int, channels: Mapping[str, Mapping[str, float]]) -> None:
        day = LAST_DAY - timedelta(days=days_ago)
        for channel, values in channels.items():
            client.hset(Keys.metric_day(day), channel, pack(values))
        client.zadd(Keys.METRIC_DAYS, {day.isoformat(): day_score(day)})

    return store


@pytest.fixture
def fleet(store_day: Store) -> list[str]:
    """Thirty channels on ten days, best first; each has 1.6 times the views of the next."""
    names = [f"channel-{number:02}" for number in range(30)]
    for days_ago in range(10):
        store_day(days_ago, {name: {"views": 1.6 ** (30 - n)} for n, name in enumerate(names)})
    return names


@pytest.fixture
def policy_settings(
    make_settings: Callable[..., Settings], tmp_path: Path
) -> Callable[..., Settings]:
    """Build settings with the packaged policy, changed; sections are merged."""

    def make(**changes: Any) -> Settings:
        values: dict[str, Any] = yaml.safe_load(PACKAGED.read_text())
        for name, value in changes.items():
            values[name] = values[name] | value if isinstance(value, dict) else value
        path = tmp_path / "policy.yml"
        path.write_text(yaml.safe_dump(values))
        return make_settings(NOVA_GOVERNANCE_POLICY=path)

    return make


@pytest.fixture
def hook() -> Iterator[Hook]:
    """A web server that takes notifications, and whose paths may be watched."""
    with serve_hook() as server:
        yield server


@pytest.fixture
def watch_file(tmp_path: Path) -> Callable[..., Path]:
    """Write a watch file with these sections."""

    def write(**sections: Any) -> Path:
        path = tmp_path / "watch.yml"
        path.write_text(yaml.safe_dump(sections))
        return path

    return write
