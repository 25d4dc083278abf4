"""The log of a real API process names the requests that its lines are about."""

import httpx

from nova.api.request_ids import HEADER
from tests.conftest import wait_until
from tests.integration.api.conftest import ApiProcess


def test_the_access_log_and_a_problem_name_the_request(api: ApiProcess) -> None:
    answer = httpx.get(f"{api.url}/api/tokens", headers={HEADER: "asked-by-a-test"}, timeout=30)
    assert answer.headers[HEADER] == answer.json()["request_id"] == "asked-by-a-test"

    def lines() -> list[str]:
        return [line for line in api.log.read_text().splitlines() if "asked-by-a-test" in line]

    wait_until(lines, api.log.read_text)
    [line] = lines()
    assert "[asked-by-a-test]: " in line
    assert '"GET /api/tokens HTTP/1.1" 401' in line
