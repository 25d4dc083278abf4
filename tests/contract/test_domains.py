"""The table of domains agrees with packages, queues, schedule, command line and API."""

import inspect
from pkgutil import resolve_name

import pytest
from celery import Celery
from typer.main import get_command

from nova.api.app import create_app
from nova.cli import app
from nova.domains import DEFAULT_DOMAIN, DOMAINS, Domain
from nova.queues import QUEUES, queue_of_task
from nova.reports import BaseReport, ReportStore
from nova.schedule import SCHEDULE
from nova.settings import Settings
from scripts.fleet.work import TRIGGERS

EVERY_DOMAIN = pytest.mark.parametrize("domain", DOMAINS.values(), ids=DOMAINS)


def test_the_default_is_in_the_table() -> None:
    assert DEFAULT_DOMAIN in DOMAINS


@EVERY_DOMAIN
def test_a_domain_has_one_word_everywhere(domain: Domain) -> None:
    """Name of the row, queue, task, store and package are one, and beat runs the task."""
    assert domain.name in QUEUES
    assert queue_of_task(domain.task).name == domain.name
    assert domain.task in {entry.task for entry in SCHEDULE}
    assert isinstance(domain.store, ReportStore)
    assert domain.store.domain == domain.name
    assert domain.reports.startswith(f"nova.{domain.name}.")
    assert domain.printer.startswith(f"nova.{domain.name}.")


@EVERY_DOMAIN
def test_a_domains_report_says_what_it_rests_on_and_lists_it(domain: Domain) -> None:
    """Each field of a line is an attribute of the report, so that a list can be made."""
    model = domain.store.model
    assert issubclass(model, BaseReport)
    assert not inspect.isabstract(model)
    assert all(
        name in model.model_fields or hasattr(model, name)
        for name in domain.store.line.model_fields
    )
    assert len(inspect.signature(resolve_name(domain.printer)).parameters) == 2


@EVERY_DOMAIN
def test_a_domain_can_be_triggered_on_the_command_line(domain: Domain) -> None:
    trigger = get_command(app).commands["trigger"]  # type: ignore[attr-defined]
    options = {name for option in trigger.commands[domain.name].params for name in option.opts}
    assert options >= {"--wait", "--timeout", "--task-id", "--json"}


@EVERY_DOMAIN
def test_a_domain_is_in_the_api_with_a_trigger_and_its_own_model(domain: Domain) -> None:
    settings = Settings.model_validate(
        {"REDIS_URL": "redis://localhost", "JWT_SECRET_KEY": "k" * 32}
    )
    paths = create_app(settings, Celery()).openapi()["paths"]
    answer = paths[f"/api/reports/{domain.name}/{{report_id}}"]["get"]["responses"]["200"]
    schema = answer["content"]["application/json"]["schema"]["$ref"]
    assert schema.endswith(domain.store.model.__name__)
    assert TRIGGERS[domain.name].startswith(f"/api/celery/{domain.name}/")
    assert "post" in paths[TRIGGERS[domain.name]], "what `make fleet` asks for"
