"""`nova token create`, without Redis."""

import pytest
from typer.testing import CliRunner

from nova import settings
from nova.api.commands import token
from nova.errors import InputError, UnavailableError
from tests.conftest import JWT_SECRET
from tests.unit.api.conftest import NO_REDIS


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", NO_REDIS)
    monkeypatch.setenv("JWT_SECRET_KEY", JWT_SECRET)
    monkeypatch.setattr("nova.api.commands.get_settings", settings.load_settings)


def test_a_token_that_cannot_be_listed_is_not_given_out() -> None:
    """Nobody could revoke it."""
    result = CliRunner().invoke(token, ["create", "--role", "operator"])
    assert isinstance(result.exception, UnavailableError)
    assert result.stdout == ""


def test_a_lifetime_out_of_bounds_is_an_error_for_people() -> None:
    result = CliRunner().invoke(token, ["create", "--role", "admin", "--ttl", "999d"])
    assert isinstance(result.exception, InputError)


@pytest.mark.parametrize("arguments", [[], ["--role", "boss"], ["--role", "admin", "--ttl", "1"]])
def test_wrong_usage_exits_with_2(arguments: list[str]) -> None:
    assert CliRunner().invoke(token, ["create", *arguments]).exit_code == 2
