"""Dead letters: messages that were given up."""

import logging
from typing import Annotated

from fastapi import APIRouter, Path, Query, Response

from nova.api import problems
from nova.api.deps import AppSettings, Operator, RedisClient, Viewer
from nova.api.parameters import Limit, Offset
from nova.api.triggers import Accepted
from nova.runtime import deadletters
from nova.runtime.deadletters import DeadLetter, DeadLetterPage
from nova.store import redis_errors

logger = logging.getLogger(__name__)
router = APIRouter(prefix="/api/deadletters", tags=["dead letters"])

LetterId = Annotated[str, Path(max_length=200, description="Id of the letter, not of its task.")]


@router.get("", responses=problems.responses(401, 403, 422, 503))
def list_letters(
    _caller: Viewer,
    settings: AppSettings,
    client: RedisClient,
    *,
    queue: Annotated[
        str | None, Query(max_length=200, description="Only those of this queue.")
    ] = None,
    offset: Offset = 0,
    limit: Limit = 20,
) -> DeadLetterPage:
    """List the dead letters, newest first."""
    with redis_errors(settings):
        return deadletters.list_letters(client, queue, limit, offset)


@router.get("/{letter_id}", responses=problems.responses(401, 403, 404, 422, 503))
def show_letter(
    _caller: Viewer, letter_id: LetterId, settings: AppSettings, client: RedisClient
) -> DeadLetter:
    """Show one dead letter, with its message and when it was started where."""
    with redis_errors(settings):
        return deadletters.find_letter(client, letter_id)


@router.post(
    "/{letter_id}/replay",
    status_code=202,
    responses=problems.responses(401, 403, 404, 422, 503),
)
def replay_letter(
    caller: Operator,
    letter_id: LetterId,
    response: Response,
    settings: AppSettings,
    client: RedisClient,
) -> Accepted:
    """Put the message back into its queue; its task starts with a clean count and no result."""
    with redis_errors(settings):
        letter = deadletters.find_letter(client, letter_id)
        deadletters.replay(client, letter)
    logger.info("%s replayed dead letter %s, task %s", caller.subject, letter_id, letter.task_id)
    return Accepted.of(letter.task_id, response)


@router.delete(
    "/{letter_id}", status_code=204, responses=problems.responses(401, 403, 404, 422, 503)
)
def drop_letter(
    caller: Operator, letter_id: LetterId, settings: AppSettings, client: RedisClient
) -> None:
    """Throw a dead letter away. Its task stays failed, and no copy of it runs again."""
    with redis_errors(settings):
        letter = deadletters.find_letter(client, letter_id)
        deadletters.drop(client, letter)
    logger.info("%s dropped dead letter %s, task %s", caller.subject, letter_id, letter.task_id)
