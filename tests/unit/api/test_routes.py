"""Who may call what: checked for every route there is, so that a new one cannot forget it."""

from collections.abc import Iterator

import pytest
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute, iter_route_contexts

from nova.api.security import Role
from nova.domains import DOMAINS
from nova.ingest.values import MAX_NAME_BYTES
from tests.unit.api.conftest import Api

#: Probes, scrapers and the documentation come without a token.
OPEN = {"/healthz", "/readyz", "/metrics", "/docs", "/docs/oauth2-redirect", "/redoc"}
OPEN |= {"/openapi.json"}

#: The role that each call needs.
ROLES = {
    ("GET", "/api/celery/status"): Role.VIEWER,
    ("GET", "/api/celery/queues"): Role.VIEWER,
    ("GET", "/api/celery/workers"): Role.VIEWER,
    ("GET", "/api/celery/schedule"): Role.VIEWER,
    ("GET", "/api/celery/tasks"): Role.VIEWER,
    ("GET", "/api/celery/task/{task_id}"): Role.VIEWER,
    ("GET", "/api/channels"): Role.VIEWER,
    ("GET", "/api/channels/{channel:path}"): Role.VIEWER,
    ("GET", "/api/tokens"): Role.ADMIN,
    ("DELETE", "/api/tokens/{token_id}"): Role.ADMIN,
    ("POST", "/api/celery/governance/run"): Role.OPERATOR,
    ("POST", "/api/celery/maintenance/cleanup"): Role.OPERATOR,
    ("POST", "/api/celery/analytics/run"): Role.OPERATOR,
    ("POST", "/api/celery/analysis/run"): Role.OPERATOR,
    ("POST", "/api/celery/trends/run"): Role.OPERATOR,
    ("GET", "/api/analytics/leaderboards/{metric}"): Role.VIEWER,
    ("GET", "/api/analytics/categories"): Role.VIEWER,
    ("GET", "/api/analytics/channels/{channel:path}"): Role.VIEWER,
    ("GET", "/api/deadletters"): Role.VIEWER,
    ("GET", "/api/deadletters/{letter_id}"): Role.VIEWER,
    ("POST", "/api/deadletters/{letter_id}/replay"): Role.OPERATOR,
    ("DELETE", "/api/deadletters/{letter_id}"): Role.OPERATOR,
    ("GET", "/api/governance/reports"): Role.VIEWER,
    ("GET", "/api/governance/reports/{report_id}"): Role.VIEWER,
    ("GET", "/api/governance/reports/{report_id}/channels"): Role.VIEWER,
    ("GET", "/api/governance/overrides"): Role.VIEWER,
    ("PUT", "/api/governance/overrides/{channel:path}"): Role.ADMIN,
    ("DELETE", "/api/governance/overrides/{channel:path}"): Role.ADMIN,
    ("POST", "/api/metrics"): Role.ADMIN,
}
for _name in DOMAINS:
    ROLES["GET", f"/api/reports/{_name}"] = Role.VIEWER
    ROLES["GET", f"/api/reports/{_name}/{{report_id}}"] = Role.VIEWER


def needed_roles(dependant: Dependant) -> Iterator[Role]:
    """Return the roles that a route's dependencies ask for."""
    for dependency in dependant.dependencies:
        if role := getattr(dependency.call, "role", None):
            yield role
        yield from needed_roles(dependency)


def secured_calls(api: Api) -> dict[tuple[str, str], Role]:
    """Return each method and path that is not open, with the role it needs."""
    found: dict[tuple[str, str], Role] = {}
    for route in iter_route_contexts(api.app.routes):
        if route.path in OPEN:
            continue
        original = route.original_route
        assert isinstance(original, APIRoute), f"{route.path} is neither open nor checked"
        roles = list(needed_roles(original.dependant))
        assert len(roles) == 1, f"{route.path} must ask for exactly one role"
        found |= {(method, original.path): roles[0] for method in original.methods or ()}
    return found


def test_every_route_is_open_on_purpose_or_needs_the_listed_role(api: Api) -> None:
    assert secured_calls(api) == ROLES


def test_the_open_routes_are_open_and_exist(api: Api) -> None:
    paths = {route.path for route in iter_route_contexts(api.app.routes)}
    assert paths >= OPEN
    for path in OPEN - {"/readyz"}:
        assert api.get(path).status_code == 200, path


@pytest.mark.parametrize(("method", "path"), ROLES)
def test_without_a_token_nothing_is_answered(api: Api, method: str, path: str) -> None:
    assert api.request(method, path).status_code == 401


@pytest.mark.parametrize(
    "header", [None, "Bearer", "Basic YWRtaW46YWRtaW4=", "Bearer a.b.c", "bearer"]
)
def test_401_challenges_and_gives_a_reason(api: Api, header: str | None) -> None:
    headers = {} if header is None else {"Authorization": header}
    answer = api.request("GET", "/api/celery/status", headers=headers)
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert "token" in answer.json()["detail"]


@pytest.mark.parametrize("call", [call for call, role in ROLES.items() if role > Role.VIEWER])
def test_a_role_that_is_too_low_is_told_which_one_is_needed(
    api: Api, call: tuple[str, str]
) -> None:
    method, path = call
    body = {"rule": "ignore", "reason": "x"} if method == "PUT" else None
    answer = api.request(method, path, role=Role.VIEWER, json=body)
    assert answer.status_code == 403
    assert f"role {ROLES[call].value}" in answer.json()["detail"]


def test_a_higher_role_may_do_what_a_lower_one_may(api: Api) -> None:
    """503: the caller got past the check, and there is no Redis here."""
    for role in Role:
        assert api.get("/api/celery/status", role=role).status_code == 503


def test_an_upload_is_refused_before_its_body_is_read(api: Api) -> None:
    """A body that is over the limit when it is read: 401 says that it was not."""
    answer = api.request("POST", "/api/metrics", content=b"x" * 5000)
    assert answer.status_code == 401


def test_an_upload_as_a_form_is_told_what_to_send_instead(api: Api) -> None:
    answer = api.request("POST", "/api/metrics", role=Role.ADMIN, files={"file": b"a,b\n"})
    assert answer.status_code == 422
    assert "--data-binary" in answer.json()["detail"]


def test_every_channel_that_ingest_takes_can_be_asked_for(api: Api) -> None:
    """Ids are as long in the API as in files."""
    for path, methods in api.app.openapi()["paths"].items():
        for operation in methods.values():
            for parameter in operation.get("parameters", []):
                if parameter["name"] == "channel":
                    schema = parameter["schema"]
                    [longest] = [
                        kind["maxLength"]
                        for kind in schema.get("anyOf", [schema])
                        if "maxLength" in kind
                    ]
                    assert longest == MAX_NAME_BYTES, path
