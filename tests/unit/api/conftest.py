"""Settings and an API that reach no server."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import httpx
import pytest
from celery import Celery
from fastapi import FastAPI

from nova.api.admission import Admission
from nova.api.app import create_app
from nova.api.security import Role
from nova.settings import Settings
from tests.conftest import JWT_SECRET

#: Nobody listens on port 1.
NO_REDIS = "redis://:hush-hush@127.0.0.1:1/0"


@pytest.fixture
def offline_settings() -> Callable[..., Settings]:
    """Build settings from keyword arguments named like the environment variables."""

    def make(**variables: object) -> Settings:
        defaults = {"REDIS_URL": NO_REDIS, "JWT_SECRET_KEY": JWT_SECRET}
        return Settings.model_validate(defaults | variables)

    return make


@dataclass
class Api:
    """The app of the API, called without a server in between."""

    app: FastAPI

    def request(
        self, method: str, path: str, *, role: Role | None = None, **options: Any
    ) -> httpx.Response:
        """Send a request, with a token of the role where there is one."""
        headers = dict(options.pop("headers", {}))
        if role is not None:
            token = self.app.state.tokens.issue("ann", role, timedelta(hours=1)).text
            headers["Authorization"] = f"Bearer {token}"

        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://nova") as client:
                return await client.request(method, path, headers=headers, **options)

        return asyncio.run(send())

    def get(self, path: str, *, role: Role | None = None) -> httpx.Response:
        """Send a GET request."""
        return self.request("GET", path, role=role)


class OpenGate:
    """Lets every valid token pass, as a Redis does that knows nothing of it."""

    def ask(self, _token_id: str) -> Admission:
        """Admit."""
        return Admission("admitted", 0)


@pytest.fixture
def api(offline_settings: Callable[..., Settings]) -> Api:
    """The API, in this process and without Redis."""
    settings = offline_settings(NOVA_INGEST_MAX_BYTES=1000)
    celery_app = Celery(broker=settings.redis_dsn, backend=settings.redis_dsn)
    app = create_app(settings, celery_app)
    app.state.gate = OpenGate()
    return Api(app)
