"""Tokens on a real Redis: listed, revoked at once everywhere, and limited."""

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import jwt
import pytest
from typer.testing import CliRunner

from nova.api import commands
from nova.api.admission import Gate
from nova.api.app import create_app
from nova.api.security import LEEWAY, Role, TokenIssuer
from nova.api.tokens import list_tokens, record_token, revoke_token
from nova.errors import NotFoundError, UnavailableError
from nova.runtime.app import NovaCelery
from nova.settings import Settings
from nova.store import Keys, connect
from nova.terminal import console
from scripts.local.redis_server import LocalRedis
from tests.integration.api.conftest import ApiProcess, StartApi
from tests.unit.api.conftest import NO_REDIS

#: The answers of redis-py are typed for two protocols at once, which helps nobody here.
Client = Any
Invoke = Callable[..., str]
HOUR = timedelta(hours=1)
STATUS = "/api/celery/status"


@pytest.fixture
def token(client: Client, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Invoke:
    """Run `nova token ...` and return what it prints."""
    monkeypatch.setattr(commands, "get_settings", lambda: settings)
    monkeypatch.setattr(console, "width", 160)

    def invoke(*arguments: str) -> str:
        result = CliRunner().invoke(commands.token, arguments)
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.stdout

    return invoke


def status_with(api: ApiProcess, text: str) -> httpx.Response:
    """Ask for the fleet's status with a token."""
    return httpx.get(api.url + STATUS, headers={"Authorization": f"Bearer {text}"}, timeout=30)


def test_a_created_token_is_the_only_output_and_passes(token: Invoke, api: ApiProcess) -> None:
    text = token("create", "--role", "viewer", "--subject", "ann")
    assert len(text.splitlines()) == 1
    assert status_with(api, text.strip()).status_code == 200


def test_a_token_is_listed_without_being_shown(token: Invoke, client: Client) -> None:
    made = json.loads(token("create", "--role", "operator", "--subject", "ann [b]", "--json"))
    assert token("list").count(made["id"]) == 1
    assert "ann [b]" in token("list")
    page = json.loads(token("list", "--json"))
    [listed] = page["tokens"]
    assert (listed["id"], listed["role"], page["total"]) == (made["id"], "operator", 1)
    assert listed["expires_at"] == made["expires_at"]
    signature = made["token"].rpartition(".")[2]
    stored = [client.dump(key) for key in client.scan_iter("nova:token*")]
    assert stored
    assert not [value for value in stored if signature.encode() in value]


def test_a_revocation_holds_on_every_api_host_at_once(token: Invoke, start_api: StartApi) -> None:
    hosts = [start_api(), start_api()]
    made = json.loads(token("create", "--role", "admin", "--json"))
    assert [status_with(host, made["token"]).status_code for host in hosts] == [200, 200]
    assert "revoked" in token("revoke", made["id"], "--by", "bob")
    answers = [status_with(host, made["token"]) for host in hosts]
    assert [answer.status_code for answer in answers] == [401, 401]
    assert "revoked" in answers[0].json()["detail"]
    assert "revoked by bob" in token("list")


def test_an_admin_lists_and_revokes_over_the_api(token: Invoke, api: ApiProcess) -> None:
    made = json.loads(token("create", "--role", "viewer", "--subject", "dashboard", "--json"))
    page = api.get("/api/tokens", Role.ADMIN).json()
    assert [(line["id"], line["subject"]) for line in page["tokens"]] == [(made["id"], "dashboard")]
    path = f"/api/tokens/{made['id']}"
    assert api.request("DELETE", path, Role.OPERATOR).status_code == 403
    assert status_with(api, made["token"]).status_code == 200
    assert api.request("DELETE", path, Role.ADMIN).status_code == 204
    assert api.request("DELETE", path, Role.ADMIN).status_code == 204
    assert status_with(api, made["token"]).status_code == 401
    [line] = api.get("/api/tokens", Role.ADMIN).json()["tokens"]
    assert line["revoked_by"] == "ann"
    assert api.request("DELETE", "/api/tokens/nothing", Role.ADMIN).status_code == 404


def test_notes_and_revocations_stay_exactly_as_long_as_the_token(
    client: Client, settings: Settings
) -> None:
    """Not shorter, or a revoked token would pass again for the leeway of clocks."""
    issued = TokenIssuer(settings).issue("ann", Role.VIEWER, HOUR)
    record_token(client, issued)
    revoke_token(client, issued.id, "bob")
    last = (issued.expires_at + LEEWAY).timestamp()
    for key in (Keys.token(issued.id), Keys.revoked_token(issued.id)):
        assert last < client.expiretime(key) <= last + 2


def test_what_has_expired_is_forgotten(client: Client, settings: Settings) -> None:
    tokens = TokenIssuer(settings)
    gone = tokens.issue("ann", Role.VIEWER, timedelta(seconds=1))
    record_token(client, gone)
    client.zadd(Keys.TOKENS, {gone.id: time.time() - 60})
    kept = tokens.issue("bob", Role.VIEWER, HOUR)
    record_token(client, kept)
    assert [record.id for record in list_tokens(client).tokens] == [kept.id]
    assert client.zcard(Keys.TOKENS) == 1


def test_tokens_are_listed_page_by_page(client: Client, settings: Settings) -> None:
    tokens = TokenIssuer(settings)
    for hours in (1, 3, 2):
        record_token(client, tokens.issue(f"{hours} h", Role.VIEWER, timedelta(hours=hours)))
    pages = [list_tokens(client, offset, 2) for offset in (0, 2)]
    assert [r.subject for page in pages for r in page.tokens] == ["3 h", "2 h", "1 h"]
    assert {page.total for page in pages} == {3}


def test_revoking_what_is_not_there_is_an_error_for_people(token: Invoke) -> None:
    with pytest.raises(NotFoundError, match="nova token list"):
        token("revoke", "0" * 32)


def test_a_token_of_an_earlier_release_has_no_id_and_is_refused(
    api: ApiProcess, settings: Settings
) -> None:
    """It could not be revoked."""
    now = datetime.now(UTC)
    claims = {"sub": "ann", "role": "admin", "iss": "nova", "aud": "nova-api"}
    text = jwt.encode(
        claims | {"iat": now, "exp": now + HOUR}, settings.require_jwt_secret(), algorithm="HS256"
    )
    answer = status_with(api, text)
    assert answer.status_code == 401
    assert "claim jti" in answer.json()["detail"]


# --- Limits


def test_a_burst_of_the_whole_minute_passes_and_then_one_in_a_share_of_it(
    client: Client, make_settings: Callable[..., Settings]
) -> None:
    gate = Gate(make_settings(NOVA_API_RATE_LIMIT=600), client)
    start = time.monotonic()
    answers = [gate.ask("one").status for _ in range(600)]
    assert set(answers) == {"admitted"}
    more = sum(gate.ask("one").status == "admitted" for _ in range(200))
    # Ten for each second since the first was asked: a slow machine gets back more meanwhile.
    assert more <= (time.monotonic() - start) * 10 + 1
    limited = gate.ask("one")
    while limited.status == "admitted":
        limited = gate.ask("one")
    assert limited.retry_after_seconds == 1
    assert gate.ask("another").status == "admitted"


def test_the_limit_is_one_for_all_api_hosts(start_api: StartApi, settings: Settings) -> None:
    one, other = (start_api(NOVA_API_RATE_LIMIT="1") for _ in range(2))
    text = TokenIssuer(settings).issue("ann", Role.VIEWER, HOUR).text
    assert status_with(one, text).status_code == 200
    refused = status_with(other, text)
    assert refused.status_code == 429
    assert 1 <= int(refused.headers["Retry-After"]) <= 60
    assert refused.json()["status"] == 429
    for path in ("/healthz", "/readyz", "/metrics"):
        assert other.get(path).status_code == 200


def test_who_waits_as_long_as_told_passes(
    client: Client, make_settings: Callable[..., Settings]
) -> None:
    gate = Gate(make_settings(NOVA_API_RATE_LIMIT=60), client)
    while (answer := gate.ask("one")).status == "admitted":
        pass
    time.sleep(answer.retry_after_seconds)
    assert gate.ask("one").status == "admitted"


def test_a_limit_of_zero_is_none_and_leaves_nothing(
    client: Client, make_settings: Callable[..., Settings]
) -> None:
    gate = Gate(make_settings(NOVA_API_RATE_LIMIT=0), client)
    assert {gate.ask("one").status for _ in range(100)} == {"admitted"}
    assert client.dbsize() == 0


def test_a_clock_that_was_set_back_locks_nobody_out(
    client: Client, make_settings: Callable[..., Settings]
) -> None:
    """The note lies an hour ahead then; the token waits a share of the minute, not the hour."""
    client.set(Keys.allowance("one"), time.time() + 3600)
    answer = Gate(make_settings(NOVA_API_RATE_LIMIT=60), client).ask("one")
    assert (answer.status, answer.retry_after_seconds) == ("limited", 1)


def test_a_request_costs_one_round_trip(
    client: Client, make_settings: Callable[..., Settings]
) -> None:
    gate = Gate(make_settings(), client)
    gate.ask("one")
    before = client.info("stats")["total_commands_processed"]
    gate.ask("one")
    # The script, the commands in it, and the INFO before it.
    commands_of_the_script = ("exists", "pttl", "time", "get", "set")
    spent = client.info("stats")["total_commands_processed"] - before
    assert spent <= 2 + len(commands_of_the_script)


def test_a_full_redis_limits_nobody_and_still_knows_who_was_revoked(
    redis_server: LocalRedis, client: Client, make_settings: Callable[..., Settings]
) -> None:
    settings = make_settings(NOVA_API_RATE_LIMIT=1)
    issued = TokenIssuer(settings).issue("ann", Role.VIEWER, HOUR)
    record_token(client, issued)
    revoke_token(client, issued.id, "bob")
    gate = Gate(settings, client)
    assert [gate.ask("warm").status for _ in range(2)] == ["admitted", "limited"]
    client.config_set("maxmemory", 1)
    try:
        assert {gate.ask("one").status for _ in range(3)} == {"admitted"}
        assert gate.ask(issued.id).status == "revoked"
    finally:
        client.config_set("maxmemory", 0)


def test_with_redis_away_the_gate_says_so(make_settings: Callable[..., Settings]) -> None:
    nowhere = make_settings(REDIS_URL=NO_REDIS)
    with connect(nowhere) as client, pytest.raises(UnavailableError, match="does not answer"):
        Gate(nowhere, client).ask("one")


def test_the_apps_gate_is_on_redis(client: Client, settings: Settings) -> None:
    """So that the tests above are about what the API does."""
    app = create_app(settings, NovaCelery("test", settings))
    assert isinstance(app.state.gate, Gate)
