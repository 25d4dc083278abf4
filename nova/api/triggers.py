"""What the routes that publish a run share; `nova/api/routes/triggers.py` has one a domain."""

import logging
import uuid
from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import quote

import orjson
from fastapi import Depends, Header, Response
from pydantic import BaseModel, Field

from nova.api import problems
from nova.api.deps import CeleryApp, Operator
from nova.domains import DOMAINS
from nova.errors import ConflictError

logger = logging.getLogger(__name__)

#: Of a route that publishes: `@router.post(PATH, status_code=202, responses=RESPONSES)`.
RESPONSES = problems.responses(400, 401, 403, 409, 413, 422, 503)
#: Names the ids of tasks that were asked for with a key.
KEY_NAMESPACE = uuid.UUID("b6f0a3f4-6f0c-4c26-9f0e-5d0f9c1a7e21")

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=200,
        pattern=r"^[!-~]+$",
        description="Send the same key again and the task is published once: the answer is the "
        "same, until a week after the run. Another caller's keys do not matter.",
        examples=["governance-2026-11-23"],
    ),
]


class Accepted(BaseModel):
    """A task was published."""

    task_id: str = Field(examples=["8c6e2a52-64a5-5b0c-9c37-2f1a0b7d4e11"])
    status_url: str = Field(
        description="Where to ask what became of it; also in Location.",
        examples=["/api/celery/task/8c6e2a52-64a5-5b0c-9c37-2f1a0b7d4e11"],
    )

    @classmethod
    def of(cls, task_id: str, response: Response) -> "Accepted":
        """Return the answer about a task, and set the header Location."""
        # Ids come from publishers, who may be anybody that reaches Redis.
        status_url = f"/api/celery/task/{quote(task_id, safe='')}"
        response.headers["Location"] = status_url
        return cls(task_id=task_id, status_url=status_url)


class _Trigger:
    """Publishes runs for a caller who may do that: operators and above."""

    def __init__(
        self, caller: Operator, response: Response, celery: CeleryApp, key: IdempotencyKey = None
    ) -> None:
        self._caller = caller
        self._response = response
        self._celery = celery
        self._key = key

    def publish(self, domain: str, arguments: Mapping[str, Any]) -> Accepted:
        """Publish a run of a domain with these keyword arguments of its task.

        Raises:
            InputError: an argument is wrong: 422.
            ConflictError: the caller used the same key for something else: 409.
            UnavailableError: Redis does not take it, or did not confirm it: 503.
        """
        known_id = None if self._key is None else _task_id(self._caller.subject, self._key)
        try:
            task_id: str = (
                DOMAINS[domain]
                .publish(self._celery, arguments, known_id, is_repeatable=known_id is not None)
                .id
            )
        except ConflictError as error:
            raise ConflictError(
                f"the Idempotency-Key was used for something else, task {known_id}; "
                "nothing was published: send another key"
            ) from error
        logger.info(
            "%s published %s of %s with %s", self._caller.subject, task_id, domain, dict(arguments)
        )
        return Accepted.of(task_id, self._response)


def _task_id(caller: str, key: str) -> str:
    """Return the task id that belongs to a caller's key, so that nothing else must remember it."""
    return str(uuid.uuid5(KEY_NAMESPACE, orjson.dumps([caller, key]).decode()))


Trigger = Annotated[_Trigger, Depends()]
