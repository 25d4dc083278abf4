"""Request ids: taken over or made, in the answer and in the log."""

import io
import logging

import httpx
import pytest

from nova.api import request_ids
from nova.api.request_ids import HEADER
from tests.unit.api.conftest import Api


def ask(api: Api, **headers: str) -> httpx.Response:
    return api.request("GET", "/healthz", headers=headers)


@pytest.mark.parametrize("brought", ["a", "0b6f3a8e-9d2c_4f51.A", "x" * 64])
def test_a_well_formed_id_is_taken_over(api: Api, brought: str) -> None:
    assert ask(api, **{HEADER: brought}).headers[HEADER] == brought


@pytest.mark.parametrize("brought", ["", "x" * 65, "a b", "a\tb", 'a"b', "a%0Ab"])
def test_any_other_id_is_replaced(api: Api, brought: str) -> None:
    made = ask(api, **{HEADER: brought}).headers[HEADER]
    assert made != brought
    assert len(made) == 32


def test_each_request_has_an_id_of_its_own(api: Api) -> None:
    assert len({ask(api).headers[HEADER] for _ in range(3)}) == 3


def test_lines_of_the_log_name_the_request_and_others_do_not(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also a line that is written in the thread in which a route runs."""
    output = io.StringIO()
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [logging.StreamHandler(output)])
    request_ids.install_in_logs()

    def route() -> None:
        logging.getLogger("test").warning("inside")

    api.app.add_api_route("/log", route)
    logging.getLogger("test").warning("outside")
    api.request("GET", "/log", headers={HEADER: "abc"})
    lines = [line for line in output.getvalue().splitlines() if "test [" in line]
    assert [line.partition(" test ")[2] for line in lines] == ["[-]: outside", "[abc]: inside"]
