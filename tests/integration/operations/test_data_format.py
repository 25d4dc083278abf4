"""Data of a newer release: the real writers write, fields are added, the real readers read."""

import json
from datetime import timedelta
from typing import cast

import redis

from nova.api.admission import Gate
from nova.api.security import Role, TokenIssuer
from nova.api.tokens import list_tokens, record_token, revoke_token
from nova.governance.overrides import list_overrides, set_override
from nova.operations.audit import new_note, read_audit, record
from nova.operations.lock import read_lock, renew_lock, take_lock
from nova.operations.pause import pause_api, read_pause
from nova.operations.releases import find_release, list_releases, mark_release
from nova.runtime.fleet import read_fleet
from nova.runtime.leader import Leader
from nova.settings import Settings
from nova.store import Keys
from tests.integration.runtime.stopping import Fleet

ADDED = {"of_a_newer_release": {"nested": [1]}}


def widen(text: bytes | str) -> str:
    """Add a field to a JSON object."""
    return json.dumps(json.loads(text) | ADDED)


def widen_key(client: redis.Redis, key: str) -> None:
    """Add fields to what stands under a key: JSON, or a hash of JSON."""
    if client.type(key) == b"hash":
        stored = cast(dict[bytes, bytes], client.hgetall(key))
        for name, text in stored.items():
            client.hset(key, name.decode(), widen(text))
    else:
        client.set(key, widen(cast(bytes, client.get(key))), keepttl=True)


def test_heartbeats_and_the_lead(fleet: Fleet) -> None:
    worker = fleet.start("worker")
    # It writes again every five seconds: it stands still, as if a newer one had written last.
    worker.process.kill()
    worker.process.wait()
    with redis.Redis.from_url(fleet.url) as client:
        Leader(client).look()
        for key in (Keys.worker(worker.node), Keys.BEAT_LEADER):
            widen_key(client, key)
        found = read_fleet(client)
        assert [beat.name for beat in found.workers] == [worker.node]
        assert found.beat is not None
        assert found.beat.pid > 0
        assert [release.workers for release in list_releases(client)] == [1]


def test_the_pause_of_the_api(client: redis.Redis, settings: Settings) -> None:
    hour = timedelta(hours=1)
    pause = pause_api(client, settings, duration=hour, reason="work", by="ann")
    widen_key(client, Keys.API_PAUSE)
    assert read_pause(client) == pause
    assert "work" in Gate(settings, client).ask("a token").reason


def test_overrides(client: redis.Redis) -> None:
    set_override(client, "UC1", "ignore", reason="ours", by="ann")
    widen_key(client, Keys.GOVERNANCE_OVERRIDES)
    assert [override.channel for override in list_overrides(client)] == ["UC1"]


def test_tokens(client: redis.Redis, settings: Settings) -> None:
    """Also when this release writes one back."""
    issued = TokenIssuer(settings).issue("ann", Role.VIEWER, timedelta(hours=1))
    record_token(client, issued)
    widen_key(client, Keys.token(issued.id))
    assert [token.id for token in list_tokens(client).tokens] == [issued.id]
    assert revoke_token(client, issued.id, "bob").revoked_by == "bob"


def test_the_lock_the_audit_and_the_releases(client: redis.Redis, settings: Settings) -> None:
    lock = take_lock(client, settings, owner="ann", reason="work")
    client.hset(Keys.FLEET_LOCK, "of_a_newer_release", "1")
    assert read_lock(client) == lock
    assert renew_lock(client, lock.token).token == lock.token

    record(client, new_note(settings, by="ann", action="deploy"))
    client.xadd(Keys.AUDIT, {"by": "bob", "action": "fly", "result": "landed", "speed": "9"})
    assert [entry.result for entry in read_audit(client, 5)] == ["landed", "ok"]

    mark_release(client, settings, "1", "voided", by="ann", reason="bad")
    widen_key(client, Keys.RELEASES)
    assert find_release(client, "1").reason == "bad"
