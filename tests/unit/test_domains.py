"""What the API and the command line do with any domain of the table, shown with one more."""

import json
import re
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest
import redis
from celery import Celery
from celery.exceptions import SoftTimeLimitExceeded, TaskRevokedError
from typer.testing import CliRunner

from nova import domain_commands
from nova.cli import app
from nova.domains import DOMAINS, Domain, find_report, list_reports
from nova.errors import (
    InputError,
    NotFoundError,
    NovaError,
    UnavailableError,
    UnconfirmedPublishError,
)
from nova.reports import BaseReport, Basis, Omission, ReportStore
from nova.terminal import console
from tests.conftest import Invoke

NOON = datetime.now(UTC).replace(microsecond=0)


class Toys(BaseReport):
    """A report of a domain that there is not."""

    @property
    def headline(self) -> str:
        """What it found."""
        return "[many] toys"


TOYS = ReportStore("toys", Toys)
CRATES = ReportStore("crates", Toys)


def print_toys(report: Toys, limit: int | None) -> None:
    """Print a report of that domain."""
    console.print(domain_commands.facts_table(report))
    console.print(f"limit {limit}")


@pytest.fixture(autouse=True)
def domains(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two more domains in the table."""
    for name in ("toys", "crates"):
        here = f"{__name__}:"
        row = Domain(name, f"nova.{name}.run", here + name.upper(), here + "print_toys")
        monkeypatch.setitem(cast("dict[str, Domain]", DOMAINS), name, row)


@pytest.fixture
def nova(command_line: Callable[..., Invoke]) -> Invoke:
    """Run a command and return what it prints; an error of Nova's is raised."""
    return command_line(domain_commands, width=80)


@pytest.fixture
def stored(client: redis.Redis) -> None:
    """Reports, newest first: toy-new, crate, toy-old."""
    basis = Basis(
        days_used=[NOON.date()],
        days_missing=[NOON.date() - timedelta(days=2)],
        rows=1200,
        sources=["shelf", "box"],
        left_out=[Omission(what="toys", reason="broken", count=3)],
    )
    for hours_ago, (store, report_id) in enumerate(
        [(TOYS, "toy-new"), (CRATES, "crate"), (TOYS, "toy-old")]
    ):
        made_at = NOON - timedelta(hours=hours_ago)
        report = Toys(id=report_id, generated_at=made_at, release="r", basis=basis)
        effects = client.pipeline()
        store.record(effects, report, timedelta(days=1))
        effects.execute()


@pytest.mark.usefixtures("stored")
def test_reports_of_all_domains_are_listed_together_newest_first(client: redis.Redis) -> None:
    total, found = list_reports(client, DOMAINS, limit=2)
    assert (total, [line.id for _, line in found]) == (3, ["toy-new", "crate", "toy-old"])


@pytest.mark.usefixtures("stored")
def test_a_domain_with_many_reports_hides_none_of_another(client: redis.Redis) -> None:
    total, found = list_reports(client, DOMAINS, limit=1)
    assert (total, [(name, line.id) for name, line in found]) == (
        3,
        [("toys", "toy-new"), ("crates", "crate")],
    )


@pytest.mark.usefixtures("stored")
def test_a_report_is_found_in_whichever_domain_has_it(client: redis.Redis) -> None:
    for report_id, name in (("crate", "crates"), ("toy-old", "toys")):
        domain, report = find_report(client, report_id)
        assert (domain.name, report.id) == (name, report_id)


@pytest.mark.usefixtures("stored")
def test_latest_is_governances_unless_a_domain_is_named(client: redis.Redis) -> None:
    with pytest.raises(NotFoundError, match="no governance report yet"):
        find_report(client, "latest")
    assert find_report(client, "latest", "toys")[1].id == "toy-new"


@pytest.mark.usefixtures("stored")
def test_a_report_of_another_domain_is_not_found_in_the_named_one(client: redis.Redis) -> None:
    with pytest.raises(NotFoundError, match="no toys report crate"):
        find_report(client, "crate", "toys")
    with pytest.raises(NotFoundError, match="no report absent; see: nova report list"):
        find_report(client, "absent")


@pytest.mark.usefixtures("stored")
def test_the_list_for_people_fits_into_80_characters_and_can_be_narrowed(nova: Invoke) -> None:
    text = nova("report", "list")
    assert all(len(line) <= 80 for line in text.splitlines())
    assert "toys: [many] toys" in text
    assert text.splitlines()[-1] == "3 of 3"
    assert "crate" not in nova("report", "list", "--domain", "toys")


@pytest.mark.usefixtures("stored")
def test_the_list_for_programs_names_the_domains(nova: Invoke) -> None:
    page = json.loads(nova("report", "list", "--json", "--limit", "1"))
    generated_at = NOON.isoformat().replace("+00:00", "Z")
    line = {"domain": "toys", "id": "toy-new", "generated_at": generated_at}
    assert page["total"] == 3
    assert page["reports"][0] == line | {"headline": "[many] toys"}


@pytest.mark.usefixtures("stored")
def test_a_report_is_shown_by_its_domains_printer_with_what_it_rests_on(nova: Invoke) -> None:
    text = nova("report", "show", "crate", "--limit", "7")
    day, before = NOON.date(), NOON.date() - timedelta(days=2)
    for part in (
        "crate, ",
        f"{before} to {day}: 1 with data, 1 not",
        "1,200 rows of shelf, box",
        "3 toys: broken",
        "limit 7",
    ):
        assert part in text
    assert json.loads(nova("report", "show", "crate", "--json"))["basis"]["rows"] == 1200


@pytest.mark.usefixtures("stored")
def test_the_flag_of_governance_is_refused_for_other_domains(nova: Invoke) -> None:
    with pytest.raises(InputError, match="toys reports have no --flag"):
        nova("report", "show", "toy-new", "--flag", "promote")


def test_an_unknown_domain_is_typed_wrongly() -> None:
    result = CliRunner().invoke(app, ["report", "list", "--domain", "nope"])
    assert result.exit_code == 2
    assert "nope is none of governance, " in result.output


def test_without_reports_the_list_says_how_to_get_one(nova: Invoke) -> None:
    assert "Run: nova trigger toys" in nova("report", "list", "--domain", "toys")


class Unconfirmed(Celery):  # type: ignore[misc]  # celery ships no types
    """An app whose Redis never confirms."""

    def send_task(self, *_: object, task_id: str, **__: object) -> None:
        """Publish, perhaps."""
        raise UnconfirmedPublishError(task_id, "no replica")


def run_toys(arguments: dict[str, object], task_id: str | None = None, wait: bool = False) -> None:
    """Trigger the domain of toys, as its command would."""
    domain_commands.run_now("toys", arguments, wait=wait, timeout=1, task_id=task_id, as_json=False)


@pytest.mark.usefixtures("nova")
def test_a_trigger_that_is_not_confirmed_says_how_to_repeat_it_with_its_arguments(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A command made up from the id alone would run a dry run for real."""
    module = SimpleNamespace(app=Unconfirmed(set_as_current=False))
    monkeypatch.setitem(sys.modules, "nova.celery_app", module)
    with pytest.raises(UnavailableError, match=r"add --task-id id-7 to this command, and change"):
        run_toys({"dry_run": True}, task_id="id-7")
    with pytest.raises(UnavailableError) as caught:
        run_toys({"dry_run": True})
    assert "nova trigger toys" not in str(caught.value)
    assert re.search(r"add --task-id [0-9a-f-]{36} to", str(caught.value))


class Sent(Celery):  # type: ignore[misc]
    """An app that keeps what was published, the end of which is an error."""

    ends_with: Exception = RuntimeError("stuck\n")

    def send_task(self, name: str, *, task_id: str, **options: Any) -> Any:
        """Publish."""
        self.sent = {"name": name, "task_id": task_id, **options}
        return SimpleNamespace(id=task_id, get=self.get)

    def get(self, timeout: float) -> None:
        """Wait for the result."""
        raise self.ends_with


@pytest.mark.usefixtures("nova")
def test_a_trigger_keeps_what_it_asked_for_with_its_id(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that other arguments under the same id are refused; see publish.lua."""
    sender = Sent(set_as_current=False)
    monkeypatch.setitem(sys.modules, "nova.celery_app", SimpleNamespace(app=sender))
    run_toys({"dry_run": True}, task_id="id-8")
    asked = sender.sent["headers"]
    run_toys({"dry_run": False}, task_id="id-8")
    assert asked != sender.sent["headers"]


@pytest.mark.usefixtures("nova")
@pytest.mark.parametrize("end", [SoftTimeLimitExceeded(), TaskRevokedError("revoked")])
def test_a_run_that_was_ended_is_one_line_for_who_waits(
    monkeypatch: pytest.MonkeyPatch, end: Exception
) -> None:
    sender = Sent(set_as_current=False)
    sender.ends_with = end
    monkeypatch.setitem(sys.modules, "nova.celery_app", SimpleNamespace(app=sender))
    with pytest.raises(NovaError, match=rf"task id-9 ended with {type(end).__name__}: .*task show"):
        run_toys({}, task_id="id-9", wait=True)
