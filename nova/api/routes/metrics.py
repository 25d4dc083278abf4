"""Upload of channel metrics."""

import logging
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from starlette.concurrency import run_in_threadpool

from nova.api import problems
from nova.api.deps import Admin, AppSettings, RedisClient
from nova.errors import InputError, UnavailableError
from nova.ingest.models import IngestResult
from nova.ingest.service import ingest_file
from nova.ingest.values import MAX_NAME_BYTES

logger = logging.getLogger(__name__)
router = APIRouter(tags=["metrics"])

#: Path of the upload; app.py gives it its own limit of size.
PATH = "/api/metrics"


async def uploaded_file(request: Request) -> AsyncIterator[Path]:
    """Stream the request's body to a file that only this user can read; removed afterwards.

    Raises:
        InputError: the body is a form, not the file itself.
        UnavailableError: the disk is full.
    """
    if request.headers.get("content-type", "").startswith("multipart/"):
        raise InputError(
            "the body must be the file itself, not a form: curl --data-binary @FILE, not -F"
        )
    with tempfile.NamedTemporaryFile(prefix="nova-upload-") as file:
        try:
            async for chunk in request.stream():
                await run_in_threadpool(file.write, chunk)
            await run_in_threadpool(file.flush)
        except OSError as error:
            raise UnavailableError(f"cannot keep the upload: {error.strerror}") from error
        yield Path(file.name)


_BINARY = {"schema": {"type": "string", "format": "binary"}}


# The caller comes before the file: nobody uploads without the right to.
@router.post(
    PATH,
    responses=problems.responses(401, 403, 413, 422, 503),
    openapi_extra={
        "requestBody": {
            "required": True,
            "description": "The file itself, in any format that `nova ingest` takes.",
            "content": {"text/csv": _BINARY, "application/json": _BINARY},
        }
    },
)
def ingest_metrics(
    caller: Admin,
    file: Annotated[Path, Depends(uploaded_file)],
    *,
    settings: AppSettings,
    client: RedisClient,
    channel: Annotated[
        str | None,
        Query(
            max_length=MAX_NAME_BYTES,
            description="Channel of a YouTube Studio export, which has no name.",
        ),
    ] = None,
    strict: Annotated[bool, Query(description="Refuse the file when any row is bad.")] = False,
    dry_run: Annotated[bool, Query(description="Check and compare, write nothing.")] = False,
) -> IngestResult:
    """Read a file of channel metrics and store it, day by day; twice changes nothing more."""
    result = ingest_file(
        file,
        settings,
        client,
        name="the file",
        channel=channel,
        strict=strict,
        dry_run=dry_run,
    )
    logger.info(
        "%s ingested %s: %d rows, %d rejected, %d days changed",
        caller.subject,
        result.format,
        result.rows_read,
        result.rows_rejected,
        len(result.days_changed),
    )
    return result
