"""What becomes of a request whose token is valid: admitted, revoked or limited."""

import pytest

from nova.api.admission import Admission
from nova.api.problems import MEDIA_TYPE
from nova.api.security import Role
from nova.errors import UnavailableError
from tests.unit.api.conftest import Api

PATH = "/api/celery/status"


class Gate:
    """Answers the same about every token, and notes which it was asked about."""

    def __init__(self, admission: Admission) -> None:
        self.admission = admission
        self.asked: list[str] = []

    def ask(self, token_id: str) -> Admission:
        self.asked.append(token_id)
        return self.admission


def test_a_revoked_token_is_refused_as_an_invalid_one(api: Api) -> None:
    api.app.state.gate = Gate(Admission("revoked", 0))
    answer = api.get(PATH, role=Role.ADMIN)
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'
    assert "revoked" in answer.json()["detail"]


def test_too_many_requests_are_told_when_the_next_one_passes(api: Api) -> None:
    api.app.state.gate = Gate(Admission("limited", 7))
    answer = api.get(PATH, role=Role.VIEWER)
    assert answer.status_code == 429
    assert answer.headers["Retry-After"] == "7"
    assert answer.headers["content-type"] == MEDIA_TYPE
    assert answer.json()["title"] == "Too Many Requests"


@pytest.mark.parametrize("path", ["/healthz", "/metrics", "/openapi.json"])
def test_probes_and_scrapers_are_never_limited(api: Api, path: str) -> None:
    api.app.state.gate = gate = Gate(Admission("limited", 7))
    assert api.get(path).status_code == 200
    assert gate.asked == []


def test_a_request_is_asked_about_once(api: Api) -> None:
    api.app.state.gate = gate = Gate(Admission("admitted", 0))
    api.get(PATH, role=Role.VIEWER)
    assert len(gate.asked) == 1


def test_a_token_that_is_not_accepted_is_not_asked_about(api: Api) -> None:
    api.app.state.gate = gate = Gate(Admission("admitted", 0))
    api.request("POST", "/api/celery/governance/run", role=Role.VIEWER)
    api.request("GET", PATH, headers={"Authorization": "Bearer a.b.c"})
    assert gate.asked == []


def test_while_redis_is_away_nobody_passes(api: Api) -> None:
    class Away:
        def ask(self, _token_id: str) -> Admission:
            raise UnavailableError("Redis does not answer")

    api.app.state.gate = Away()
    assert api.get(PATH, role=Role.ADMIN).status_code == 503
