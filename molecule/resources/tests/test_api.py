"""The API as a person uses it: data in, governance run, report out, and strangers refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from testinfra.host import Host

testinfra_hosts = ["ansible://api?sudo=true"]

RUN = "/api/celery/governance/run"


def trending_list(root: Path) -> Path:
    """Return the real trending list beside the checkout, or skip the test where it is not."""
    path = root.parent / "shared" / "data" / "youtube_trending_us.csv"
    if not path.is_file():
        pytest.skip("the real inputs, ../shared/data, are not beside this checkout")
    return path


def sample(root: Path) -> Path:
    """Return the sample that the project ships."""
    return root / "config" / "samples" / "channel_metrics.csv"


# The real list first: its days are older, and a window ends at the newest day.
@pytest.mark.parametrize("find_file", [trending_list, sample])
def test_governance_end_to_end(
    api: httpx.Client,
    root: Path,
    wait_until: Callable[..., None],
    find_file: Callable[[Path], Path],
) -> None:
    """Data uploaded, governance triggered as in the guide: a report with reasons."""
    content = find_file(root).read_bytes()
    uploaded = api.post("/api/metrics", content=content, headers={"Content-Type": "text/csv"})
    assert uploaded.status_code == httpx.codes.OK, uploaded.text
    assert uploaded.json()["rows_rejected"] == 0

    accepted = api.post(RUN, json={"auto_actions": False})
    assert accepted.status_code == httpx.codes.ACCEPTED, accepted.text
    url = accepted.json()["status_url"]
    wait_until(lambda: api.get(url).json()["state"] in ("SUCCESS", "FAILURE"), "the run ended")
    assert api.get(url).json()["state"] == "SUCCESS", api.get(url).text

    report = api.get(f"/api/governance/reports/{accepted.json()['task_id']}").json()
    assert api.get("/api/governance/reports/latest").json()["id"] == report["id"]
    assert report["window"]["end"] >= max(uploaded.json()["days"])
    assert report["channels_judged"] > 0
    assert report["window"]["days_used"] == sorted(report["window"]["days_used"])
    scores = [verdict["score"] for verdict in report["top"]]
    assert scores == sorted(scores, reverse=True)
    flagged = [verdict for verdict in report["top"] + report["bottom"] if verdict["flag"] != "none"]
    assert flagged
    assert all(verdict["reasons"] for verdict in flagged)
    assert report["enforcement"]["taken"] == []


def test_uploading_again_changes_nothing(api: httpx.Client, root: Path) -> None:
    """The same file twice leaves the data as it was."""
    content = sample(root).read_bytes()
    first, second = (
        api.post("/api/metrics", content=content, headers={"Content-Type": "text/csv"}).json()
        for _ in range(2)
    )
    assert second["days_changed"] == []
    assert second["channels_unchanged"] == len(content.splitlines()) - 1
    assert first["rows_read"] == second["rows_read"]


@pytest.mark.parametrize("path", ["/api/celery/status", "/api/governance/reports"])
def test_without_a_token_nothing_is_shown(api_url: str, path: str) -> None:
    """A request without a token is 401, as a problem document."""
    response = httpx.get(api_url + path)
    assert response.status_code == httpx.codes.UNAUTHORIZED
    assert response.headers["content-type"] == "application/problem+json"


def test_a_viewer_looks_but_does_not_touch(api_url: str, make_token: Callable[[str], str]) -> None:
    """A viewer's token reads the status and is refused the trigger."""
    headers = {"Authorization": f"Bearer {make_token('viewer')}"}
    with httpx.Client(base_url=api_url, headers=headers, timeout=30) as viewer:
        assert viewer.get("/api/celery/status").status_code == httpx.codes.OK
        assert viewer.post(RUN, json={}).status_code == httpx.codes.FORBIDDEN


def test_an_unknown_task_is_not_found(api: httpx.Client) -> None:
    """An id that was never issued is 404, not PENDING."""
    response = api.get("/api/celery/task/00000000-0000-0000-0000-000000000000")
    assert response.status_code == httpx.codes.NOT_FOUND


def test_status_knows_every_worker(api: httpx.Client, fleet: Any) -> None:
    """The status lists each worker of the fleet."""
    text = api.get("/api/celery/status").text
    for workers in fleet.workers().values():
        for worker in workers:
            assert worker in text


def test_metrics_are_shown_to_a_scraper(api_url: str, queues: set[str]) -> None:
    """Prometheus gets a sample for each queue of the queue table, without a token."""
    text = httpx.get(f"{api_url}/metrics").text
    for queue in queues:
        assert f'queue="{queue}"' in text


def test_docs_open(api_url: str) -> None:
    """The documentation page that the guide links to is there."""
    assert httpx.get(f"{api_url}/docs").status_code == httpx.codes.OK


def test_a_restart_refuses_no_connection(host: Host, api_url: str) -> None:
    """The socket stays while the API restarts: a request sent meanwhile waits and is answered."""
    host.check_output("systemctl restart --no-block nova-api.service")
    for _ in range(20):
        assert httpx.get(f"{api_url}/healthz", timeout=60).status_code == httpx.codes.OK
