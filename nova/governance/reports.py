"""Governance reports in Redis: written so that each is there as a whole or not at all."""

from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
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
from nova.staging import Staging
from nova.store import Keys, execute_watched

STORE = ReportStore("governance", Report, ReportLine)
T = TypeVar("T")
#: Sends recorded commands: the effects, the report they make visible, and a pipeline that watches
#: what they were computed from.
Commit = Callable[[Pipeline, Report, Pipeline], None]


def stage(
    place: Staging,
    report_id: str,
    scores: Mapping[bytes, float],
    flagged: Iterable[Verdict],
    retention: timedelta,
) -> None:
    """Put together all scores, and the channels of which the report says more than the score."""
    noted = ((verdict.channel, verdict.model_dump_json()) for verdict in flagged)
    place.write_scores(Keys.governance_scores(report_id), scores.items(), retention)
    place.write_hash(Keys.governance_flags(report_id), noted, retention)


def commit_plainly(effects: Pipeline, _: Report, transaction: Pipeline) -> None:
    """Commit in a transaction, for a run that is no task."""
    transaction.multi()
    for arguments, options in effects.command_stack:
        transaction.execute_command(*arguments, **options)  # type: ignore[no-untyped-call]
    execute_watched(transaction)


def publish(
    client: redis.Redis,
    place: Staging,
    plan: Callable[[Mapping[str, ChannelStatus]], Plan],
    build: Callable[[Pipeline, Plan], Report],
    *,
    retention: timedelta,
    commit: Commit,
) -> Report:
    """Make a report visible, and its actions effective, in one step.

    The actions are planned from the statuses as they are when the step begins; when another run
    changes them meanwhile, they are planned again. `build` makes the report, and records on the
    pipeline what else becomes visible with it.
    """

    def attempt(transaction: Any) -> Report:
        stored = transaction.hgetall(Keys.GOVERNANCE_STATUS)
        statuses = {c.decode(): ChannelStatus.model_validate_json(s) for c, s in stored.items()}
        decided = plan(statuses)
        effects = client.pipeline()
        report = build(effects, decided)
        place.rename(effects)
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
    report = get_report(client, report_id)
    if flag is None:
        return _list_all(client, report, offset, limit)
    noted = _read_noted(client, report.id)
    if flag == Flag.NONE:
        return _list_unflagged(client, report.id, noted, offset, limit)
    verdicts = [verdict for verdict in noted if verdict.flag == flag]
    sign = -1 if flag == Flag.PROMOTE else 1
    verdicts.sort(key=lambda v: (v.score is None, sign * (v.score or 0.0), v.channel))
    return VerdictPage(total=len(verdicts), channels=verdicts[offset : offset + limit])


def _list_all(client: redis.Redis, report: Report, offset: int, limit: int) -> VerdictPage:
    """Return a page of all channels. Only the page is read, of however many there are."""
    judged = client.zcard(Keys.governance_scores(report.id))
    # Only an override notes a channel that was not judged.
    overridden = _read_noted(client, report.id, [o.channel for o in report.overrides])
    unjudged = sorted(v.channel for v in overridden if v.score is None)
    scores = _read_scores(client, report.id, offset, limit)
    begin = max(0, offset - judged)
    channels = [*scores, *unjudged[begin : begin + limit - len(scores)]]
    noted = {verdict.channel: verdict for verdict in _read_noted(client, report.id, channels)}
    page = [noted.get(c) or Verdict(channel=c, score=scores[c], flag=Flag.NONE) for c in channels]
    return VerdictPage(total=judged + len(unjudged), channels=page)


def _list_unflagged(
    client: redis.Redis, report_id: str, noted: list[Verdict], offset: int, limit: int
) -> VerdictPage:
    flagged = {v.channel for v in noted if v.flag is not Flag.NONE and v.score is not None}
    known = {v.channel: v for v in noted if v.flag is Flag.NONE}
    total = client.zcard(Keys.governance_scores(report_id)) - len(flagged)
    # So many of the best that the page is among them, even if all that have a flag are, too.
    scores = _read_scores(client, report_id, 0, offset + limit + len(flagged))
    unjudged = sorted(c for c, verdict in known.items() if verdict.score is None)
    channels = [*(c for c in scores if c not in flagged), *unjudged]
    page = [
        known.get(c) or Verdict(channel=c, score=scores[c], flag=Flag.NONE)
        for c in channels[offset : offset + limit]
    ]
    return VerdictPage(total=total + len(unjudged), channels=page)


def _read_scores(client: redis.Redis, report_id: str, offset: int, limit: int) -> dict[str, float]:
    """Return channels and scores, the best first."""
    key = Keys.governance_scores(report_id)
    pairs = cast(
        list[tuple[bytes, float]],
        client.zrevrange(key, offset, offset + limit - 1, withscores=True),
    )
    return {member.decode(): score for member, score in pairs}


def _read_noted(
    client: redis.Redis, report_id: str, channels: list[str] | None = None
) -> list[Verdict]:
    """Return what is noted of these channels, or of all: a flag, a force, or top and bottom."""
    key = Keys.governance_flags(report_id)
    if channels is None:
        stored: list[Any] = client.hvals(key)
    else:
        stored = client.hmget(key, channels) if channels else []
    return [Verdict.model_validate_json(text) for text in stored if text is not None]
