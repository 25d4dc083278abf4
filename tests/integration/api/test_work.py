"""The work of `make fleet`, on one machine: data over the API, five domains, five reports."""

import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from nova.analysis.models import Outcome
from nova.api.security import Role
from nova.domains import DOMAINS
from nova.terminal import console
from scripts.fleet.work import SAMPLES, Step, real_data, show_reports, work
from scripts.lab.docker import LabError
from scripts.make_trending_sample import RISING
from tests.integration.api.conftest import ApiProcess


@pytest.fixture
def http(api: ApiProcess) -> Iterator[httpx.Client]:
    """A client of the API with an administrator's token."""
    headers = api.headers(Role.ADMIN)
    with httpx.Client(base_url=api.url, headers=headers, timeout=60) as client:
        yield client


@pytest.fixture
def run_all(http: httpx.Client, worker: "subprocess.Popen[bytes]") -> Any:
    """Load data, run everything, and return the reports by domain."""

    def run(steps: Iterable[Step]) -> dict[str, Any]:
        reports = work(http, steps)
        with console.capture():
            show_reports(reports)
        return {domain.name: report for domain, report in reports}

    return run


def test_all_domains_make_something_of_the_samples(run_all: Any) -> None:
    """Whoever clones Nova and types `make fleet` sees five reports that say something."""
    reports = run_all(SAMPLES)
    assert set(reports) == set(DOMAINS)
    assert reports["governance"].counts.promote > 0 < reports["governance"].counts.retire
    assert reports["trends"].opportunities[0].name == RISING
    assert len(reports["analysis"].competitors) == 3
    assert {seed.outcome for seed in reports["analysis"].seeds} == {Outcome.FOUND}


def test_all_domains_make_something_of_real_data(run_all: Any, shared_data: Path) -> None:
    reports = run_all(real_data(shared_data))
    assert reports["governance"].counts.promote > 0 < reports["governance"].counts.retire
    assert reports["trends"].opportunities[1].name == "meghan markle"
    assert len(reports["analysis"].competitors) == 5


def test_a_folder_without_the_data_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(LabError, match=r"there is no .*youtube_trending_us\.csv; without a folder"):
        real_data(tmp_path)


def test_what_the_api_refuses_ends_the_work(http: httpx.Client, tmp_path: Path) -> None:
    """The message has the API's own words."""
    file = tmp_path / "poem.csv"
    file.write_text("roses,violets\nred,blue\n")
    with pytest.raises(LabError, match=r"/api/metrics answered 422: .*roses"):
        work(http, [Step(file, {})])
