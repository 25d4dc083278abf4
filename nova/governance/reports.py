"""Governance reports in Redis: written so that each is there as a whole or not at all."""

import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from itertools import islice
from typing import Any, TypeVar, cast

import redis
from redis.client import Pipeline

from nova.governance.enforcement import Plan
from nova.governance.models import (
    ChannelStatus,
    Flag,
    Report,
    ReportLine,
    ReportPage,
    Verdict,
    VerdictPage,
)
from nova.reports import LATEST, ReportStore
from nova.store import Keys

STORE = ReportStore("governance", Report, ReportLine)
#: Channels that are sent to Redis in one command.
BATCH = 10_000
#: Longer than any run may take: what a killed run leaves behind goes away by itself.
STAGING_EXPIRES_SECONDS = 3600

T = TypeVar("T")
#: Sends recorded commands: the effects, the report they make visible, and a pipeline that watches
#: what they were computed from.
Commit = Callable[[Pipeline, Report, Pipeline], None]


class Staging:
    """The large keys of a report under names of this run's own, until `publish` renames them."""

    def __init__(self, client: redis.Redis, report_id: str) -> None:
        run_id = uuid.uuid4().hex
        #: Staged key -> the name it gets.
        self.names = {
            Keys.governance_staging(run_id, "scores"): Keys.governance_scores(report_id),
            Keys.governance_staging(run_id, "flags"): Keys.governance_flags(report_id),
        }
        self.client = client
        self.filled: set[str] = set()

    def write(self, scores: Mapping[bytes, float], flagged: Iterable[Verdict]) -> None:
        """Write all scores, and the channels of which the report says more than the score."""
        scores_key, flags_key = self.names
        for pairs in _batches(scores.items()):
            with self._batch(scores_key) as pipe:
                pipe.zadd(scores_key, dict(pairs))
        for verdicts in _batches(flagged):
            with self._batch(flags_key) as pipe:
                pipe.hset(flags_key, mapping={v.channel: v.model_dump_json() for v in verdicts})

    @contextmanager
    def _batch(self, key: str) -> Iterator[Any]:
        """Give a pipeline to write to the key with, and send it."""
        with self.client.pipeline(transaction=False) as pipe:
            yield pipe
            pipe.expire(key, STAGING_EXPIRES_SECONDS)
            pipe.execute()
        self.filled.add(key)

    def rename(self, pipe: Any, expires: timedelta) -> None:
        """Queue the commands that put the keys in place of those an earlier delivery wrote."""
        for staged, final in self.names.items():
            pipe.unlink(final)
            if staged in self.filled:
                pipe.rename(staged, final)
                pipe.expire(final, expires)

    def remove(self) -> None:
        """Remove what was not published."""
        self.client.unlink(*self.names)


@contextmanager
def staging(client: redis.Redis, report_id: str) -> Iterator[Staging]:
    """Give a place to write large keys to; a run that fails leaves nothing there."""
    place = Staging(client, report_id)
    try:
        yield place
    except Exception:
        place.remove()
        raise


def commit_plainly(effects: Pipeline, _: Report, transaction: Pipeline) -> None:
    """Commit in a transaction, for a run that is no task."""
    transaction.multi()
    for arguments, options in effects.command_stack:
        transaction.execute_command(*arguments, **options)  # type: ignore[no-untyped-call]
    transaction.execute()


def publish(
    client: redis.Redis,
    place: Staging,
    plan: Callable[[Mapping[str, ChannelStatus]], Plan],
    build: Callable[[Plan], Report],
    *,
    retention: timedelta,
    commit: Commit,
) -> Report:
    """Make a report visible, and its actions effective, in one step.

    The actions are planned from the statuses as they are when the step begins; when another run
    changes them meanwhile, they are planned again.
    """

    def attempt(transaction: Any) -> Report:
        stored = transaction.hgetall(Keys.GOVERNANCE_STATUS)
        statuses = {c.decode(): ChannelStatus.model_validate_json(s) for c, s in stored.items()}
        decided = plan(statuses)
        report = build(decided)
        effects = client.pipeline()
        place.rename(effects, retention)
        _record(effects, report, decided, retention)
        commit(effects, report, transaction)
        return report

    return _transaction(client, attempt, Keys.GOVERNANCE_STATUS)


def _transaction(client: Any, attempt: Callable[[Any], T], *watched: str) -> T:
    """Try until no watched key changed meanwhile."""
    result: T = client.transaction(attempt, *watched, value_from_callable=True)
    return result


def _record(effects: Pipeline, report: Report, decided: Plan, retention: timedelta) -> None:
    """Record the commands that store the summary and the statuses of the channels acted on."""
    STORE.record(effects, report, retention)
    for action in decided.new:
        status = ChannelStatus(
            channel=action.channel,
            status=action.status,
            since=report.generated_at,
            report=report.id,
        )
        effects.hset(Keys.GOVERNANCE_STATUS, action.channel, status.model_dump_json())


def list_reports(client: redis.Redis, offset: int = 0, limit: int = 20) -> ReportPage:
    """Return reports, newest first."""
    page = STORE.list(client, offset, limit)
    return ReportPage(total=page.total, reports=page.reports)


def get_report(client: redis.Redis, report_id: str = LATEST) -> Report:
    """Return a report by its id, or the newest with the id `latest`.

    Raises:
        NotFoundError: there is no such report.
    """
    return STORE.get(client, report_id)


def list_channels(
    client: redis.Redis,
    report_id: str = LATEST,
    flag: Flag | None = None,
    offset: int = 0,
    limit: int = 50,
) -> VerdictPage:
    """Return channels of a report, all of them or those with a flag.

    The best score comes first, but the lowest where the flag is watch or retire. Channels that
    were not judged have no score and are only there when an operator forced their flag; they
    come last.

    Raises:
        NotFoundError: there is no such report.
    """
    report_id = get_report(client, report_id).id
    if flag is None or flag == Flag.NONE:
        return _list_by_score(client, report_id, flag, offset, limit)
    verdicts = [verdict for verdict in _read_flagged(client, report_id) if verdict.flag == flag]
    sign = -1 if flag == Flag.PROMOTE else 1
    verdicts.sort(key=lambda v: (v.score is None, sign * (v.score or 0.0), v.channel))
    return VerdictPage(total=len(verdicts), channels=verdicts[offset : offset + limit])


def _list_by_score(
    client: redis.Redis, report_id: str, flag: Flag | None, offset: int, limit: int
) -> VerdictPage:
    noted = {verdict.channel: verdict for verdict in _read_flagged(client, report_id)}
    pairs = cast(
        list[tuple[bytes, float]],
        client.zrevrange(Keys.governance_scores(report_id), 0, -1, withscores=True),
    )
    scores = {member.decode(): score for member, score in pairs}
    channels = [*scores, *sorted(noted.keys() - scores.keys())]
    if flag == Flag.NONE:
        channels = [c for c in channels if c not in noted or noted[c].flag is Flag.NONE]
    page = [
        noted.get(c) or Verdict(channel=c, score=scores[c], flag=Flag.NONE)
        for c in channels[offset : offset + limit]
    ]
    return VerdictPage(total=len(channels), channels=page)


def _read_flagged(client: redis.Redis, report_id: str) -> list[Verdict]:
    stored = cast(list[bytes], client.hvals(Keys.governance_flags(report_id)))
    return [Verdict.model_validate_json(text) for text in stored]


def _batches(items: Iterable[T]) -> Iterator[list[T]]:
    iterator = iter(items)
    while batch := list(islice(iterator, BATCH)):
        yield batch
