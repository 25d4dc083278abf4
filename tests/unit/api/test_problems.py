"""Every error is a problem document that helps and reveals nothing."""

import asyncio
import logging
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from nova.api.problems import KINDS, MEDIA_TYPE
from nova.api.security import Role
from nova.errors import (
    ConfigurationError,
    ConflictError,
    InputError,
    NotFoundError,
    NovaError,
    UnavailableError,
)
from tests.unit.api.conftest import NO_REDIS, Api


def problem(response: httpx.Response, status: int) -> dict[str, Any]:
    """Check that an answer is a well-formed problem document, and return it."""
    assert response.status_code == status
    assert response.headers["content-type"] == MEDIA_TYPE
    document: dict[str, Any] = response.json()
    always = {"type", "title", "status", "detail", "instance", "request_id"}
    assert document.keys() - {"errors"} == always
    assert document["status"] == status
    assert document["instance"] == response.request.url.path
    assert document["request_id"] == response.headers["X-Request-ID"]
    return document


def fail_with(app: FastAPI, error: Exception) -> None:
    """Give the app a route that fails."""

    def fail() -> None:
        raise error

    app.add_api_route("/fail", fail)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InputError("bad row"), 422),
        (NotFoundError("no such report"), 404),
        (ConflictError("asked for something else before"), 409),
        (UnavailableError("Redis is away"), 503),
    ],
)
def test_an_error_for_the_caller_keeps_its_message(api: Api, error: NovaError, status: int) -> None:
    fail_with(api.app, error)
    answer = problem(api.get("/fail"), status)
    assert answer["detail"] == str(error)
    assert answer["type"] == KINDS[type(error)].type


@pytest.mark.parametrize("error", [ConfigurationError("key abc is wrong"), NovaError("abc")])
def test_an_error_for_the_operator_is_logged_and_not_told(
    api: Api, error: NovaError, caplog: pytest.LogCaptureFixture
) -> None:
    fail_with(api.app, error)
    answer = api.get("/fail")
    problem(answer, 500)
    assert "abc" not in answer.text
    assert str(error) in caplog.text


def test_a_path_forges_no_line_of_the_log(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    path = "/api/celery/task/x%0Aroot%20revoked%20all"
    assert api.get(path, role=Role.VIEWER).status_code == 503
    [line] = [record.getMessage() for record in caplog.records if "revoked" in record.getMessage()]
    assert line.startswith(f"GET {path}: ")


def test_a_kind_is_found_for_a_subclass_of_an_error(api: Api) -> None:
    class NoSuchThingError(NotFoundError):
        pass

    fail_with(api.app, NoSuchThingError("gone"))
    assert problem(api.get("/fail"), 404)["detail"] == "gone"


def test_an_unknown_error_tells_nothing_of_the_inside(api: Api) -> None:
    fail_with(api.app, RuntimeError("the password is swordfish"))
    answer = api.get("/fail")
    assert problem(answer, 500)["title"] == "Internal Server Error"
    assert "swordfish" not in answer.text


def test_what_failed_for_a_while_says_when_to_try_again(
    api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    answer = api.get("/readyz")
    detail = problem(answer, 503)["detail"]
    assert int(answer.headers["Retry-After"]) > 0
    assert "127.0.0.1:1" in detail
    assert "hush-hush" not in detail + caplog.text
    assert "hush-hush" in NO_REDIS  # the password that must not show is really there


def test_an_unknown_path_is_a_problem(api: Api) -> None:
    assert "/docs" in problem(api.get("/nothing"), 404)["detail"]


def test_a_wrong_method_is_a_problem_that_names_the_right_one(api: Api) -> None:
    answer = api.request("DELETE", "/healthz")
    problem(answer, 405)
    assert answer.headers["Allow"] == "GET"


def test_a_wrong_field_is_named(api: Api) -> None:
    body = {"auto_actions": "perhaps", "autoactions": True}
    answer = api.request("POST", "/api/celery/governance/run", role=Role.OPERATOR, json=body)
    errors = problem(answer, 422)["errors"]
    assert {item["location"] for item in errors} == {"body.auto_actions", "body.autoactions"}
    assert all(item["reason"] for item in errors)


def test_a_body_that_is_not_json_is_a_bad_request(api: Api) -> None:
    answer = api.request("POST", "/api/celery/governance/run", role=Role.OPERATOR, content=b"{")
    # Without a JSON content type the body is text, which is not what the route takes either.
    problem(answer, 422)
    headers = {"Content-Type": "application/json"}
    options = {"content": b"{", "headers": headers}
    answer = api.request("POST", "/api/celery/governance/run", role=Role.OPERATOR, **options)
    assert problem(answer, 400)["detail"] == "the body is not JSON"


@pytest.mark.parametrize("chunked", [False, True], ids=["announced", "chunked"])
@pytest.mark.parametrize(
    ("path", "limit"), [("/api/metrics", 1000), ("/api/celery/governance/run", 64 * 1024)]
)
def test_a_body_over_the_limit_is_refused(api: Api, path: str, limit: int, chunked: bool) -> None:
    """Whether its size is announced or not; a body of exactly the limit gets further."""

    def send(size: int) -> httpx.Response:
        async def chunks() -> Any:
            yield b" " * (size - 1)
            yield b" "

        headers = {"Content-Type": "application/json"}
        content = chunks() if chunked else b" " * size
        return api.request("POST", path, role=Role.ADMIN, content=content, headers=headers)

    assert str(limit) in problem(send(limit + 1), 413)["detail"]
    assert send(limit).status_code in (400, 422)


def test_openapi_documents_problems_with_examples(api: Api) -> None:
    document = api.get("/openapi.json").json()
    assert "Problem" in document["components"]["schemas"]
    assert "HTTPValidationError" not in document["components"]["schemas"]
    for path, operations in document["paths"].items():
        for operation in operations.values():
            for status, answer in operation["responses"].items():
                if int(status) >= 400:
                    assert list(answer["content"]) == [MEDIA_TYPE], (path, status)
                    assert answer["content"][MEDIA_TYPE]["example"]["status"] == int(status)


def test_every_route_with_a_token_documents_what_any_may_answer(api: Api) -> None:
    document = api.get("/openapi.json").json()
    secured = [o for p in document["paths"].values() for o in p.values() if "security" in o]
    assert len(secured) >= 9
    for operation in secured:
        assert {"401", "403", "429", "503"} <= operation["responses"].keys(), operation["summary"]


def test_unknown_errors_are_left_to_the_server_to_log(
    api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    """Starlette raises them again after the answer; uvicorn then logs the stack trace."""
    fail_with(api.app, RuntimeError("boom"))
    caplog.set_level(logging.INFO)
    transport = httpx.ASGITransport(api.app)

    async def send() -> None:
        async with httpx.AsyncClient(transport=transport, base_url="http://nova") as client:
            await client.get("/fail")

    with pytest.raises(RuntimeError, match="boom"):
        asyncio.run(send())
