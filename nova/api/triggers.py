"""What the routes that publish a run share; `nova/api/routes/triggers.py` has one a domain."""

import logging
from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import Depends, Response
from pydantic import BaseModel, Field

from nova.api import problems
from nova.api.deps import CeleryApp, Operator
from nova.domains import DOMAINS

logger = logging.getLogger(__name__)

#: Of a route that publishes: `@router.post(PATH, status_code=202, responses=RESPONSES)`.
RESPONSES = problems.responses(400, 401, 403, 413, 422, 503)


class Accepted(BaseModel):
    """A task was published."""

    task_id: str
    status_url: str = Field(description="Where to ask what became of it; also in Location.")

    @classmethod
    def of(cls, task_id: str, response: Response) -> "Accepted":
        """Return the answer about a task, and set the header Location."""
        # Ids come from publishers, who may be anybody that reaches Redis.
        status_url = f"/api/celery/task/{quote(task_id, safe='')}"
        response.headers["Location"] = status_url
        return cls(task_id=task_id, status_url=status_url)


class _Trigger:
    """Publishes runs for a caller who may do that: operators and above."""

    def __init__(self, caller: Operator, response: Response, celery: CeleryApp) -> None:
        self._caller = caller
        self._response = response
        self._celery = celery

    def publish(self, domain: str, arguments: Mapping[str, Any]) -> Accepted:
        """Publish a run of a domain with these keyword arguments of its task.

        Raises:
            InputError: an argument is wrong: 422.
            UnavailableError: Redis does not take it, or did not confirm it: 503.
        """
        task_id: str = DOMAINS[domain].publish(self._celery, arguments).id
        logger.info(
            "%s published %s of %s with %s", self._caller.subject, task_id, domain, dict(arguments)
        )
        return Accepted.of(task_id, self._response)


Trigger = Annotated[_Trigger, Depends()]
