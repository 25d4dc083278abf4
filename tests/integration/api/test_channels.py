"""Channels on the API: which there are, and their metrics day by day."""

from datetime import date
from typing import Any

import pytest

from nova.api.security import Role
from nova.channels import METRIC_NAMES
from nova.ingest.service import ingest_file
from nova.settings import Settings
from tests.integration.api.conftest import ApiProcess

#: The answers of redis-py are typed for two protocols at once, which helps nobody here.
Client = Any


@pytest.fixture
def _data(client: Client, settings: Settings, tmp_path: Any) -> None:
    """Three days of 40 channels; the last one has no second day, and a slash in its id."""
    lines = ["day,channel,views,ctr"]
    for day in (1, 2, 3):
        for number in range(40):
            channel = "a/b" if number == 39 else f"channel-{number}"
            if not (day == 2 and number == 39):
                lines.append(f"2026-03-0{day},{channel},{number * 10 + day},")
    file = tmp_path / "metrics.csv"
    file.write_text("\n".join(lines))
    ingest_file(file, settings, client)


@pytest.mark.usefixtures("_data")
def test_a_channel_is_shown_day_by_day_and_what_is_not_known_is_null(api: ApiProcess) -> None:
    answer = api.get("/api/channels/a/b", Role.VIEWER)
    assert answer.status_code == 200, answer.text
    shown = answer.json()
    assert (shown["channel"], shown["first_day"], shown["last_day"]) == (
        "a/b",
        "2026-02-04",
        "2026-03-03",
    )
    assert [(line["day"], line["metrics"]["views"]) for line in shown["days"]] == [
        ("2026-03-01", 391),
        ("2026-03-03", 393),
    ]
    assert list(shown["days"][0]["metrics"]) == list(METRIC_NAMES)
    assert shown["days"][0]["metrics"]["ctr"] is None


@pytest.mark.usefixtures("_data")
def test_the_window_of_days_is_the_callers(api: ApiProcess) -> None:
    query = "days=2&until=2026-03-02"
    shown = api.get(f"/api/channels/channel-7?{query}", Role.VIEWER).json()
    assert [line["day"] for line in shown["days"]] == ["2026-03-01", "2026-03-02"]
    assert api.get(f"/api/channels/a/b?days=1&{query[7:]}", Role.VIEWER).status_code == 404
    early = api.get("/api/channels/a/b?until=0001-01-02", Role.VIEWER)
    assert early.status_code == 404
    assert "channel a/b" in early.json()["detail"]


@pytest.mark.usefixtures("_data")
def test_the_channels_of_a_day_are_listed_page_by_page(api: ApiProcess) -> None:
    found: dict[str, float] = {}
    cursor: str | None = "0"
    pages = 0
    while cursor is not None:
        page = api.get(f"/api/channels?limit=10&cursor={cursor}", Role.VIEWER).json()
        assert (page["day"], page["total"]) == (str(date(2026, 3, 3)), 40)
        found |= {line["channel"]: line["metrics"]["views"] for line in page["channels"]}
        cursor, pages = page["next"], pages + 1
    assert pages > 1
    assert len(found) == 40
    assert found["channel-7"] == 73
    second = api.get("/api/channels?limit=1000&day=2026-03-02", Role.VIEWER).json()
    assert (second["total"], len(second["channels"])) == (39, 39)


def test_without_data_the_list_is_empty_and_a_channel_not_found(
    api: ApiProcess, client: Client
) -> None:
    page = api.get("/api/channels", Role.VIEWER).json()
    assert page == {"day": None, "total": 0, "channels": [], "next": None}
    answer = api.get("/api/channels/channel-7", Role.VIEWER)
    assert answer.status_code == 404
    assert "nova ingest" in answer.json()["detail"]


def test_a_cursor_that_nobody_gave_out_is_refused(api: ApiProcess) -> None:
    assert api.get("/api/channels?cursor=abc", Role.VIEWER).status_code == 422
