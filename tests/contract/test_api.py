"""The API agrees with the units that run it and with its documentation."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from celery import Celery
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute, iter_route_contexts

from nova.api.app import create_app
from nova.api.problems import INVALID_REQUEST, KINDS
from nova.api.server import SHUTDOWN_TIMEOUT_SECONDS
from nova.domains import DOMAINS
from nova.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
UNITS = ROOT / "deployment" / "systemd"


@pytest.fixture
def documentation() -> str:
    """The API's page."""
    return (ROOT / "docs" / "api.md").read_text()


def value(unit: str, name: str) -> str:
    """Return the value of a setting that stands once in a unit."""
    lines = (UNITS / unit).read_text().splitlines()
    [found] = [line.partition("=")[2] for line in lines if line.startswith(f"{name}=")]
    return found


def roles(dependant: Dependant) -> Iterator[str]:
    """Return the roles that a route's dependencies ask for."""
    for dependency in dependant.dependencies:
        if role := getattr(dependency.call, "role", None):
            yield role.value
        yield from roles(dependency)


def calls() -> set[tuple[str, str, str]]:
    """Return method, path and role of everything that the API serves besides its own docs."""
    settings = Settings.model_validate(
        {"REDIS_URL": "redis://localhost", "JWT_SECRET_KEY": "k" * 32}
    )
    found = set()
    for context in iter_route_contexts(create_app(settings, Celery()).routes):
        route = context.original_route
        if isinstance(route, APIRoute):
            role = next(roles(route.dependant), "none")
            path = route.path.replace(":path}", "}")
            for name in DOMAINS:
                path = path.replace(f"/api/reports/{name}", "/api/reports/{domain}")
            found |= {(method, path, role) for method in route.methods or ()}
    return found


def test_the_api_ends_by_itself_before_systemd_kills_it(documentation: str) -> None:
    assert int(value("nova-api.service", "TimeoutStopSec")) > SHUTDOWN_TIMEOUT_SECONDS
    assert f"gives running ones {SHUTDOWN_TIMEOUT_SECONDS} seconds" in documentation


def test_the_socket_listens_where_the_api_does_by_itself() -> None:
    fields = Settings.model_fields
    address = f"{fields['api_host'].default}:{fields['api_port'].default}"
    assert value("nova-api.socket", "ListenStream") == address


def test_the_documentation_lists_each_call_with_its_role(documentation: str) -> None:
    rows = re.findall(r"^\| ([A-Z]+) \| `(/\S+)` \| (\w+) \|", documentation, re.MULTILINE)
    assert len(rows) == len(set(rows))
    assert set(rows) == calls()


def test_the_documentation_lists_each_type_of_problem(documentation: str) -> None:
    kinds = {kind for kind in (*KINDS.values(), INVALID_REQUEST) if kind.type != "about:blank"}
    rows = re.findall(r"^\| `(urn:\S+)` \| (\d+) \|", documentation, re.MULTILINE)
    assert sorted(rows) == sorted((kind.type, str(kind.status)) for kind in kinds)
