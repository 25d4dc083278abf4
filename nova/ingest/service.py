"""The one way in: a file, whatever its format, becomes channel metrics and videos in Redis.

All of the file is read and checked before anything is stored; then day after day is stored, the
oldest first, each in one step. The same file a second time changes nothing.
"""

import uuid
from collections.abc import Callable, Iterator
from datetime import date
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import redis

from nova.errors import ConfigurationError, InputError, UnavailableError
from nova.ingest.commit import CHUNK, Outcome, channel_hash, store_day, video_hash
from nova.ingest.formats import Format, Record, recognise
from nova.ingest.models import IngestResult, Tally
from nova.ingest.scratch import Scratch, open_scratch
from nova.ingest.source import Source
from nova.settings import Settings
from nova.store import redis_errors
from nova.videos import VideoSource

#: Rows that are put into the scratch table together.
BATCH = 10_000


class DayOutcome(NamedTuple):
    """What became of a day's channels and of its videos."""

    channels: Outcome
    videos: Outcome


BytesDone = Callable[[int], None]
DaysDone = Callable[[int, int], None]


def ingest_file(
    path: Path,
    settings: Settings,
    client: redis.Redis,
    *,
    name: str | None = None,
    channel: str | None = None,
    strict: bool = False,
    dry_run: bool = False,
    progress: BytesDone | None = None,
    stored: DaysDone | None = None,
) -> IngestResult:
    """Read a file and store what it holds.

    Args:
        path: The file.
        settings: Settings of this process.
        client: Redis.
        name: What messages call the file; its path when None.
        channel: The channel, for a YouTube Studio export, which does not name it.
        strict: Refuse the file when any row is bad.
        dry_run: Read, check and compare with what is stored, and write nothing.
        progress: Called with the bytes read so far.
        stored: Called with the days stored so far and the days there are to store.

    Raises:
        InputError: the file cannot be read, is of no known format, has no good row, or has a
            bad one and `strict` is set. Nothing was written.
        UnavailableError: Redis does not answer, or the disk is full. Days that were stored
            before are whole, the message names them, and a second run completes the file.
        ConfigurationError: Redis refused user or password.
    """
    with Source(path, name or str(path)) as source, open_scratch() as scratch:
        tally = Tally()
        reader = recognise(source, tally, channel)
        with redis_errors(settings):
            # Minutes of reading would be lost on a Redis that is not there to begin with.
            client.ping()
        _read(source, reader, scratch, tally, progress)
        _judge(source, tally, strict)
        days = scratch.days()
        outcomes = _store(
            settings, client, scratch, days, reader.videos, dry_run=dry_run, stored=stored
        )
    channels = [outcome.channels for outcome in outcomes.values()]
    videos = [outcome.videos for outcome in outcomes.values()]
    return IngestResult(
        file=source.name,
        format=reader.name,
        dry_run=dry_run,
        rows_read=tally.rows_read,
        rows_rejected=tally.rows_rejected,
        rows_skipped=tally.skipped,
        problems=tally.problems,
        notes=tally.notes,
        days=days,
        days_changed=[day for day, done in outcomes.items() if any(part.written for part in done)],
        channels_new=sum(outcome.new for outcome in channels),
        channels_changed=sum(outcome.changed for outcome in channels),
        channels_unchanged=sum(outcome.unchanged for outcome in channels),
        videos_new=sum(outcome.new for outcome in videos),
        videos_changed=sum(outcome.changed for outcome in videos),
        videos_unchanged=sum(outcome.unchanged for outcome in videos),
    )


def _read(
    source: Source, reader: Format, scratch: Scratch, tally: Tally, progress: BytesDone | None
) -> None:
    records: Iterator[Record] = reader.records()
    while batch := list(islice(records, BATCH)):
        scratch.add(batch, tally)
        if progress:
            progress(source.position)


def _judge(source: Source, tally: Tally, strict: bool) -> None:
    """Refuse a file that has nothing to store, or a bad row where none is allowed."""
    rejected = tally.rows_rejected
    good = tally.rows_read - rejected - sum(tally.skipped.values())
    if rejected and (strict or not good):
        what = "bad rows" if good else "bad rows, and no good one"
        raise InputError(
            f"{source.name} has {what}: {rejected}; nothing was stored; "
            f"the first is {tally.problems[0]}"
        )
    if not good:
        raise InputError(f"{source.name} has a header and no rows to store")


def _store(
    settings: Settings,
    client: redis.Redis,
    scratch: Scratch,
    days: list[date],
    videos: VideoSource | None,
    *,
    dry_run: bool,
    stored: DaysDone | None,
) -> dict[date, DayOutcome]:
    ingest_id = uuid.uuid4().hex
    outcomes: dict[date, DayOutcome] = {}
    for day in days:
        try:
            with redis_errors(settings):
                hashes = [channel_hash(day, ingest_id, partial(scratch.channels, day, CHUNK))]
                if videos:
                    read_videos = partial(scratch.videos, day, videos, CHUNK)
                    hashes.append(video_hash(day, ingest_id, read_videos))
                done = store_day(client, day, hashes, dry_run=dry_run)
            outcomes[day] = DayOutcome(done[0], done[1] if videos else Outcome())
        except (UnavailableError, ConfigurationError) as error:
            whats_in = "" if dry_run else f" ({_whats_in(days, day)})"
            raise type(error)(f"{error}{whats_in}") from error
        if stored:
            stored(len(outcomes), len(days))
    return outcomes


def _whats_in(days: list[date], failed: date) -> str:
    """Say which days are stored after storing failed at one of them."""
    done = days.index(failed)
    if not done:
        return "nothing of the file was stored"
    return (
        f"of the file's {len(days)} days, {days[0]} to {days[done - 1]} ({done}) are stored, "
        f"{failed} and later are not; ingest the file again to complete it"
    )
