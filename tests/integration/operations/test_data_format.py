"""Data of a newer release: the real writers write, fields are added, the real readers read."""

import json
import subprocess
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import httpx
import redis
from pydantic import BaseModel

from nova.api.admission import Gate
from nova.api.security import Role, TokenIssuer
from nova.api.tokens import list_tokens, record_token, revoke_token
from nova.domains import DOMAINS
from nova.governance.overrides import list_overrides, set_override
from nova.operations.audit import new_note, read_audit, record
from nova.operations.lock import read_lock, renew_lock, take_lock
from nova.operations.pause import pause_api, read_pause
from nova.operations.releases import find_release, list_releases, mark_release
from nova.reports import BaseReport
from nova.runtime.fleet import read_fleet
from nova.runtime.leader import Leader
from nova.settings import Settings
from nova.store import Keys
from nova.terminal import console
from scripts.fleet.work import SAMPLES, work
from tests.integration.api.conftest import running_api
from tests.integration.runtime.stopping import Fleet

ADDED = {"of_a_newer_release": {"nested": [1]}}


def widen(text: bytes | str) -> str:
    """Add a field to a JSON object."""
    return json.dumps(json.loads(text) | ADDED)


def widened(value: Any, dumped: Any) -> Any:
    """Return what a model was dumped as, with a field more in it and in each model that it holds.

    What is no model, such as a table by name, stays as it is.
    """
    if isinstance(value, BaseModel):
        return {name: widened(getattr(value, name), dumped[name]) for name in dumped} | ADDED
    if isinstance(value, list | tuple):
        return [widened(*pair) for pair in zip(value, dumped, strict=True)]
    if isinstance(value, dict):
        pairs = zip(value.values(), dumped.items(), strict=True)
        return {name: widened(part, its) for part, (name, its) in pairs}
    return dumped


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


def test_what_the_domains_keep(
    client: redis.Redis,
    worker: "subprocess.Popen[bytes]",
    process_environment: dict[str, str],
    tmp_path: Path,
) -> None:
    """Reports of all domains, read and shown; and a second run on all that the first has left."""
    with (
        running_api(process_environment, tmp_path) as api,
        httpx.Client(base_url=api.url, headers=api.headers(Role.ADMIN), timeout=60) as http,
    ):
        before = dict(_by_name(work(http, SAMPLES)))
        for name, report in before.items():
            text = json.dumps(widened(report, report.model_dump(mode="json")))
            client.set(Keys.report(name, report.id), text, keepttl=True)
        report_id = before["governance"].id
        states = [
            key.decode() for key in cast(list[bytes], client.keys(Keys.analytics_state("day:*")))
        ]
        others = [key for key in states if client.type(key) == b"string"]
        for key in (*others, Keys.governance_flags(report_id)):
            assert client.exists(key), key
            widen_key(client, key)
        for name, domain in DOMAINS.items():
            found = domain.store.get(client)
            assert found == before[name]
            assert ADDED.keys() <= json.loads(_stored(client, name, found.id)).keys()
            assert domain.store.list(client).total == 1
            with console.capture():
                domain.print_report(found)
            assert api.get(f"/api/reports/{name}/{found.id}", Role.VIEWER).status_code == 200
        channels = api.get("/api/governance/reports/latest/channels", Role.VIEWER)
        assert channels.status_code == 200
        after = dict(_by_name(work(http, SAMPLES)))
    assert after.keys() == before.keys()
    assert all(after[name].id != report.id for name, report in before.items())


def _by_name(reports: Any) -> list[tuple[str, BaseReport]]:
    return [(domain.name, report) for domain, report in reports]


def _stored(client: redis.Redis, domain: str, report_id: str) -> bytes:
    return cast(bytes, client.get(Keys.report(domain, report_id)))
