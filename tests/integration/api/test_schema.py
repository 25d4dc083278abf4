"""The API does what its OpenAPI document says, whatever it is sent.

Schemathesis makes requests from the document, good and bad ones, the same in every run. None is
answered by a server error, or by anything that the document does not describe.
"""

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from celery import Celery

from nova.api.app import create_app
from nova.api.security import Role
from nova.governance.service import run_governance
from nova.ingest.service import ingest_file
from nova.settings import Settings
from nova.store import connect
from tests.conftest import JWT_SECRET
from tests.integration.api.conftest import ApiProcess, running_api
from tests.integration.api.test_api import sample_csv
from tests.integration.runtime.letters import bury
from tests.unit.api.conftest import NO_REDIS

#: A schema cannot say what they refuse: a rule without its flag, a file that is no data.
REFUSE_FOR_THEIR_MEANING = ("PUT /api/governance/overrides/{channel}", "POST /api/metrics")


def schema_of_the_app(*, max_examples: int, with_coverage: bool) -> Any:
    """Return the app's own document; requests made from it are the same in every run."""
    settings = Settings.model_validate({"REDIS_URL": NO_REDIS, "JWT_SECRET_KEY": JWT_SECRET})
    config = {
        "seed": 4,
        "generation": {
            "deterministic": True,
            "max-examples": max_examples,
            "database": "none",
            # Parameters that nobody knows are ignored, as is usual.
            "allow-extra-parameters": False,
        },
        "phases": {"coverage": {"enabled": with_coverage}},
        "operations": [
            {"include-name": name, "checks": {"positive_data_acceptance": {"enabled": False}}}
            for name in REFUSE_FOR_THEIR_MEANING
        ],
    }
    return schemathesis.openapi.from_dict(
        create_app(settings, Celery()).openapi(),
        config=schemathesis.Config.from_dict(config),
    )


FULL = schema_of_the_app(max_examples=15, with_coverage=True)
SHORT = schema_of_the_app(max_examples=2, with_coverage=False)


@pytest.fixture(scope="module")
def target(
    process_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ApiProcess]:
    """An API with something of everything in it, which limits nobody."""
    folder = tmp_path_factory.mktemp("schema")
    environment = process_environment | {
        "NOVA_API_RATE_LIMIT": "0",
        "NOVA_INGEST_MAX_BYTES": "100000",
    }
    settings = Settings.model_validate(environment)
    with connect(settings) as client, running_api(environment, folder) as api:
        client.flushall()
        file = folder / "metrics.csv"
        file.write_bytes(sample_csv())
        ingest_file(file, settings, client)
        run_governance(client, settings, "first", False)
        bury(client, "task-1")
        yield api
        assert "Traceback" not in api.log.read_text()


@FULL.parametrize()  # type: ignore[untyped-decorator]  # made at run time
def test_an_admin_gets_what_the_document_says(case: Any, target: ApiProcess) -> None:
    case.call_and_validate(base_url=target.url, headers=target.headers(Role.ADMIN))


@pytest.mark.parametrize("role", [Role.VIEWER, Role.OPERATOR, None], ids=str)
@SHORT.parametrize()  # type: ignore[untyped-decorator]
def test_so_does_everybody_else(case: Any, role: Role | None, target: ApiProcess) -> None:
    case.call_and_validate(base_url=target.url, headers=target.headers(role))
