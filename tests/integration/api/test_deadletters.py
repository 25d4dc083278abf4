"""Dead letters through a real API process on a real Redis."""

from typing import Any

from nova.api.security import Role
from nova.runtime.deadletters import all_letters
from tests.integration.api.conftest import ApiProcess
from tests.integration.runtime.letters import bury, message

#: The answers of redis-py are typed for two protocols at once, which helps nobody here.
Client = Any


def test_letters_are_listed_page_by_page_and_by_queue(api: ApiProcess, client: Client) -> None:
    first = bury(client, "task-1")
    second = bury(client, "task-2", "analysis")
    pages = [api.get(f"/api/deadletters?limit=1&offset={n}", Role.VIEWER).json() for n in (0, 1)]
    assert [line["id"] for page in pages for line in page["letters"]] == [second.id, first.id]
    assert [page["total"] for page in pages] == [2, 2]
    assert "message" not in pages[0]["letters"][0]
    one = api.get("/api/deadletters?queue=trends", Role.VIEWER).json()
    assert ([line["id"] for line in one["letters"]], one["total"]) == ([first.id], 1)
    wrong = api.get("/api/deadletters?limit=0", Role.VIEWER)
    assert (wrong.status_code, wrong.json()["errors"][0]["location"]) == (422, "query.limit")


def test_a_letter_is_shown_with_its_message(api: ApiProcess, client: Client) -> None:
    letter = bury(client, "task-1")
    shown = api.get(f"/api/deadletters/{letter.id}", Role.VIEWER).json()
    assert shown["message"].encode() == message("task-1")
    assert len(shown["history"]) == shown["starts"] == 5


def test_a_replayed_task_is_pending_again(api: ApiProcess, client: Client) -> None:
    letter = bury(client, "task ö/1")
    answer = api.request("POST", f"/api/deadletters/{letter.id}/replay", Role.OPERATOR)
    assert answer.status_code == 202
    assert answer.json()["task_id"] == "task ö/1"
    assert answer.headers["Location"] == "/api/celery/task/task%20%C3%B6%2F1"
    assert client.lrange("trends", 0, -1) == [message("task ö/1")]

    other = bury(client, "task-1", "analysis")
    answer = api.request("POST", f"/api/deadletters/{other.id}/replay", Role.OPERATOR)
    assert api.get(answer.headers["Location"], Role.VIEWER).json()["state"] == "PENDING"


def test_a_dropped_letter_is_gone(api: ApiProcess, client: Client) -> None:
    letter = bury(client, "task-1")
    path = f"/api/deadletters/{letter.id}"
    assert api.request("DELETE", path, Role.OPERATOR).status_code == 204
    assert all_letters(client) == []
    assert client.llen("trends") == 0
    for method, gone in (("GET", path), ("DELETE", path), ("POST", f"{path}/replay")):
        answer = api.request(method, gone, Role.OPERATOR)
        assert answer.status_code == 404
        assert answer.json()["type"] == "urn:nova:problem:not-found"


def test_text_that_is_no_message_cannot_be_replayed(api: ApiProcess, client: Client) -> None:
    letter = bury(client, "", text=b"\xff rubbish")
    answer = api.request("POST", f"/api/deadletters/{letter.id}/replay", Role.OPERATOR)
    assert answer.status_code == 422
    assert f"nova deadletter drop {letter.id}" in answer.json()["detail"]
    assert [left.id for left in all_letters(client)] == [letter.id]
