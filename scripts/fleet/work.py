"""The work of the lab fleet: data goes in over the API, each domain runs, reports come out."""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from rich.markup import escape

from nova.domains import DOMAINS, Domain
from nova.reports import BaseReport
from nova.runtime.task_status import READY_STATES
from nova.terminal import console
from scripts.fleet.screen import done
from scripts.lab.docker import ROOT, LabError

DEADLINE_SECONDS = 120
#: Lines of each table of a report.
SHOWN = 3
#: What starts a run of each domain, in the order in which they run.
TRIGGERS = {
    "governance": "/api/celery/governance/run",
    "analytics": "/api/celery/analytics/run",
    "trends": "/api/celery/trends/run",
    "analysis": "/api/celery/analysis/run",
    "maintenance": "/api/celery/maintenance/cleanup",
}


@dataclass(frozen=True)
class Source:
    """A file of channel metrics."""

    path: Path
    #: The query of its upload.
    query: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Data:
    """Files, and what to ask of them: the JSON bodies of the triggers, by domain."""

    sources: tuple[Source, ...]
    bodies: Mapping[str, Mapping[str, Any]]


_SAMPLES = ROOT / "config" / "samples"
#: What every checkout has: made-up channels.
SAMPLES = Data(
    (Source(_SAMPLES / "channel_metrics.csv"), Source(_SAMPLES / "trending_list.csv")),
    {
        "governance": {"auto_actions": False},
        "analysis": {"day": "2025-06-30", "seeds": ["Chess Club", "Baking Lab", "Trains Weekly"]},
    },
)


def real_data(folder: Path) -> Data:
    """Return the public data sets of a folder: YouTube's trending list of 2017, a Studio export.

    Raises:
        LabError: one of the files is not there.
    """
    sources = (
        Source(folder / "youtube_trending_us.csv"),
        Source(folder / "youtube_studio_export.csv", {"channel": "Ken Jee"}),
    )
    for source in sources:
        if not source.path.is_file():
            raise LabError(f"there is no {source.path}; without a folder the samples are taken")
    return Data(
        sources,
        {
            "governance": {"auto_actions": False},
            # The day after an engagement that everybody has heard of.
            "trends": {"day": "2017-11-28"},
            "analysis": {"seeds": ["Vox", "Marques Brownlee", "SciShow", "Tom Scott", "WIRED"]},
        },
    )


def ingest(api: httpx.Client, sources: Iterable[Source]) -> None:
    """Upload files, one after the other.

    Raises:
        LabError: the API refuses one.
    """
    for source in sources:
        started = time.monotonic()
        response = api.post(
            "/api/metrics",
            content=source.path.read_bytes(),
            params=dict(source.query),
            headers={"Content-Type": "text/csv"},
        )
        result = _answer(response, httpx.codes.OK)
        done("ingest", f"{result['rows_read']:,} rows of {source.path.name}", started)


def run_domains(api: httpx.Client, bodies: Mapping[str, Any]) -> list[tuple[Domain, BaseReport]]:
    """Run one domain after the other, as the guide does, and return their reports.

    Raises:
        LabError: a task failed or did not end in time.
    """
    return [(DOMAINS[name], _run(api, DOMAINS[name], bodies.get(name))) for name in TRIGGERS]


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
        console.rule(escape(f"{domain.name}: {report.headline}"), align="left")
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
