"""The work of the lab fleet: data goes in over the API, each domain runs, reports come out."""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from nova.domains import DOMAINS, Domain
from nova.reports import BaseReport
from nova.runtime.task_status import READY_STATES
from nova.terminal import console
from scripts.fleet.screen import done
from scripts.lab.docker import ROOT, LabError

DEADLINE_SECONDS = 120
#: Lines of each table of a report.
SHOWN = 3
#: What starts a run of each domain.
TRIGGERS = {
    "governance": "/api/celery/governance/run",
    "analytics": "/api/celery/analytics/run",
    "trends": "/api/celery/trends/run",
    "analysis": "/api/celery/analysis/run",
    "maintenance": "/api/celery/maintenance/cleanup",
}


#: What is asked of each domain: the JSON body of its trigger, None for no body.
Runs = Mapping[str, Mapping[str, Any] | None]


@dataclass(frozen=True)
class Step:
    """A file of channel metrics, and which domains run once it is there."""

    file: Path
    runs: Runs
    #: The query of the file's upload.
    query: Mapping[str, str] = field(default_factory=dict)


_SAMPLES = ROOT / "config" / "samples"
#: What every checkout has: made-up channels.
SAMPLES = (
    Step(
        _SAMPLES / "channel_metrics.csv",
        {"governance": {"auto_actions": False}, "analytics": None},
    ),
    Step(
        _SAMPLES / "trending_list.csv",
        {
            "trends": None,
            "analysis": {
                "day": "2025-06-30",
                "seeds": ["Chess Club", "Baking Lab", "Trains Weekly"],
            },
            "maintenance": None,
        },
    ),
)


def real_data(folder: Path) -> tuple[Step, ...]:
    """Return the steps with a folder's public data: YouTube's list of 2017, and a Studio export.

    The export is of later years. Channels are judged and added up before it comes, for that is
    done for the newest days that there are.

    Raises:
        LabError: one of the files is not there.
    """
    steps = (
        Step(
            folder / "youtube_trending_us.csv",
            # The list of the 9th is short.
            {"governance": {"auto_actions": False}, "analytics": {"day": "2017-12-08"}},
        ),
        Step(
            folder / "youtube_studio_export.csv",
            {
                # The day after an engagement that everybody has heard of.
                "trends": {"day": "2017-11-28"},
                "analysis": {"seeds": ["Vox", "Marques Brownlee", "SciShow", "Tom Scott", "WIRED"]},
                "maintenance": None,
            },
            {"channel": "Ken Jee"},
        ),
    )
    for step in steps:
        if not step.file.is_file():
            raise LabError(f"there is no {step.file}; without a folder the samples are taken")
    return steps


def work(api: httpx.Client, steps: Iterable[Step]) -> list[tuple[Domain, BaseReport]]:
    """Upload each file, run its domains one after the other, and return their reports.

    Raises:
        LabError: the API refuses something, or a task failed or did not end in time.
    """
    reports = []
    for step in steps:
        _ingest(api, step)
        reports += [
            (DOMAINS[name], _run(api, DOMAINS[name], step.runs[name])) for name in step.runs
        ]
    return reports


def _ingest(api: httpx.Client, step: Step) -> None:
    started = time.monotonic()
    response = api.post(
        "/api/metrics",
        content=step.file.read_bytes(),
        params=dict(step.query),
        headers={"Content-Type": "text/csv"},
    )
    result = _answer(response, httpx.codes.OK)
    done("ingest", f"{result['rows_read']:,} rows of {step.file.name}", started)


def _run(api: httpx.Client, domain: Domain, body: Mapping[str, Any] | None) -> BaseReport:
    started = time.monotonic()
    accepted = _answer(api.post(TRIGGERS[domain.name], json=body), httpx.codes.ACCEPTED)
    task_id = accepted["task_id"]
    with console.status(f"{domain.name} runs: {accepted['status_url']}"):
        while (task := _answer(api.get(accepted["status_url"]), 200))["state"] not in READY_STATES:
            if time.monotonic() - started > DEADLINE_SECONDS:
                raise LabError(
                    f"{domain.name} is still {task['state']} after {DEADLINE_SECONDS} s: {task_id}"
                )
            time.sleep(0.5)
    if task["state"] != "SUCCESS":
        raise LabError(f"{domain.name} ended as {task['state']}: {task['error']}")
    done(domain.name, f"task {task_id}", started)
    report = _answer(api.get(f"/api/reports/{domain.name}/{task_id}"), httpx.codes.OK)
    return domain.store.model.model_validate(report)


def show_reports(reports: Iterable[tuple[Domain, BaseReport]]) -> None:
    """Print reports as `nova report show ID --limit 3` does."""
    for domain, report in reports:
        console.print()
        console.rule(domain.name, align="left")
        domain.print_report(report, SHOWN)


def _answer(response: httpx.Response, wanted: int) -> dict[str, Any]:
    """Return the answer's JSON.

    Raises:
        LabError: the status is another than wanted; the message has the API's own words.
    """
    if response.status_code != wanted:
        request = response.request
        raise LabError(
            f"{request.method} {request.url} answered {response.status_code}: {response.text[:300]}"
        )
    content: dict[str, Any] = response.json()
    return content
