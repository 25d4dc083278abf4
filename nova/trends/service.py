"""Scans for trends: read the sources, score their topics, say which of those we do not cover."""

import logging
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime

import redis
from pydantic import JsonValue

import nova
from nova import videos
from nova.errors import InputError
from nova.fetching import Fetcher
from nova.own_channels import Income, OwnChannels, find_own_channels
from nova.reports import Basis, Omission
from nova.settings import Settings
from nova.sources import Source
from nova.trends.listings import Listing, Window, read_window, sources_of_trends
from nova.trends.models import (
    DayCount,
    Evidence,
    OwnNote,
    ProjectionNote,
    RisingTopic,
    SourceNote,
    TrendReport,
)
from nova.trends.scoring import Rates, Scored, find_rates, fold, score_topics
from nova.videos import VideoSource

logger = logging.getLogger(__name__)

#: Topics that a report tells of either kind; all are counted.
TOPICS_SHOWN = 50
#: Titles that a report tells of a topic.
TITLES_SHOWN = 5
#: Names that a report tells of channels, or of folded topics.
NAMES_SHOWN = 20
FORMULA = (
    "rpm of our channels in the topic's category, or of all, x median of the views that its titles "
    "and one typical title had when they were first listed / 1000"
)
NOTHING = "no trending list was ingested and no other source is configured: nothing to scan"


@dataclass(frozen=True)
class Scan:
    """What a scan found, as yet without any effect."""

    report: TrendReport
    #: Values for agent memory, by key.
    remember: Mapping[str, JsonValue]


def scan_trends(
    client: redis.Redis,
    settings: Settings,
    report_id: str,
    *,
    now: datetime,
    day: date | None = None,
    fetcher: Fetcher | None = None,
) -> Scan | None:
    """Scan a day; None where there is nothing to scan.

    Args:
        client: Redis with the ingested data.
        settings: which sources, which channels are ours, how long the window is.
        report_id: id of the task that runs.
        now: the time, UTC.
        day: the day. None is today if any source is fetched, else the day of the newest trending
            list. Feeds are only fetched for today; for another day they count with what was
            remembered of it.
        fetcher: fetches exactly the configured targets, in place of one made here.

    Raises:
        InputError: the day has not come yet.
        ConfigurationError: the file of sources cannot be read or is wrong.
        redis.RedisError: Redis does not answer.
    """
    sources = sources_of_trends(settings)
    today = now.date()
    day = day or _default_day(client, sources, today)
    if day is None:
        logger.warning(NOTHING)
        return None
    if day > today:
        raise InputError(f"day {day} has not come yet; today is {today} (UTC)")
    window = read_window(client, settings, sources, day, fetch=day == today, fetcher=fetcher)
    report = build_report(report_id, now, window, find_own_channels(client, settings))
    logger.info("trend report %s: %s", report_id, report.headline)
    remember = [item for listing in window.listings for item in listing.remember.items()]
    return Scan(report, dict(remember))


def _default_day(client: redis.Redis, sources: Sequence[Source], today: date) -> date | None:
    if any(source.target for source in sources):
        return today
    return videos.newest_day(client, VideoSource.TRENDING) if sources else None


def build_report(report_id: str, now: datetime, window: Window, own: OwnChannels) -> TrendReport:
    """Return the report of a window; a pure function, the same for the same data in any order.

    Args:
        report_id: id of the task that runs.
        now: the time, UTC.
        window: what the sources showed.
        own: our channels.
    """
    rates = find_rates(own, window.listings)
    scored = score_topics(window.listings, own, rates)
    rising = [one for one in scored if one.rises]
    missed = fold([one for one in rising if not one.covered_by])
    covered = fold([one for one in rising if one.covered_by])
    return TrendReport(
        id=report_id,
        generated_at=now,
        release=nova.__release__,
        basis=_basis(window, own, rates, len(scored) - len(rising)),
        day=window.days[-1],
        window_days=len(window.days),
        sources=[_source_note(listing) for listing in window.listings],
        own=OwnNote(
            basis=own.basis,
            channels=sorted(own.names)[:NAMES_SHOWN],
            total=len(own.names),
            videos=len(own.videos),
        ),
        projection=_projection_note(own, rates),
        topics_seen=len(scored),
        opportunities=[_rising_topic(*pair, window) for pair in missed[:TOPICS_SHOWN]],
        opportunities_total=len(missed),
        covered=[_rising_topic(*pair, window) for pair in covered[:TOPICS_SHOWN]],
        covered_total=len(covered),
    )


def _basis(window: Window, own: OwnChannels, rates: Rates | None, not_rising: int) -> Basis:
    used = window.days_with_titles()
    left_out = [omission for listing in window.listings for omission in _omissions(listing)]
    if not own.names:
        reason = "none is known: set NOVA_OWN_CHANNELS, or load a YouTube Studio export"
        left_out.append(Omission(what="our channels", reason=reason))
    if rates is None:
        reason = "no title has views" if own.income else "no revenue of our channels is known"
        left_out.append(Omission(what="projected earnings", reason=reason))
    if not_rising:
        reason = "less than twice what was expected, or of one channel alone"
        left_out.append(Omission(what="topics", reason=reason, count=not_rising))
    return Basis(
        days_used=used,
        days_missing=[day for day in window.days if day not in used],
        rows=sum(len(titles) for one in window.listings for titles in one.lists.values()),
        sources=[listing.source.name for listing in window.listings if listing.lists],
        left_out=left_out,
    )


def _omissions(listing: Listing) -> list[Omission]:
    found = [*listing.left_out]
    if listing.not_counted:
        count = len(listing.current) or None
        what = f"source {listing.source.name}"
        found.append(Omission(what=what, reason=listing.not_counted, count=count))
    return found


def _source_note(listing: Listing) -> SourceNote:
    return SourceNote(
        name=listing.source.name,
        kind=listing.source.kind,
        day=listing.now,
        titles=len(listing.current),
        past_days=len(listing.past_days),
        past_titles=listing.past_titles,
        not_counted=listing.not_counted,
    )


def _projection_note(own: OwnChannels, rates: Rates | None) -> ProjectionNote | None:
    if rates is None or own.earned is None:
        return None
    total = sum(own.income.values(), Income())
    return ProjectionNote(
        formula=FORMULA,
        rpm_usd=rates.rpm,
        rpm_by_category=dict(rates.rpm_by_category),
        channels=len(own.income),
        revenue_usd=total.revenue,
        views=total.views,
        first_day=own.earned[0],
        last_day=own.earned[1],
        typical_views=rates.typical_views,
        typical_usd=rates.typical_usd,
    )


def _rising_topic(one: Scored, others: Sequence[Scored], window: Window) -> RisingTopic:
    by_day = Counter(listed.day for listed in one.listed)
    days: dict[str, list[date]] = defaultdict(list)
    for listed in one.listed:
        days[listed.key].append(listed.day)
    return RisingTopic(
        name=one.topic.name,
        also=[other.topic.name for other in others[:NAMES_SHOWN]],
        score=one.score,
        growth=one.growth,
        titles=len(one.current),
        expected=one.expected,
        channels=sorted(one.channels)[:NAMES_SHOWN],
        channels_total=len(one.channels),
        projected_usd=one.projected_usd,
        value=one.value,
        covered_by=sorted(one.covered_by)[:NAMES_SHOWN],
        history=[DayCount(day=day, titles=by_day[day]) for day in window.days_with_titles()],
        evidence=[
            Evidence(
                title=listed.title,
                channel=listed.channel,
                source=listed.source,
                days=sorted(days[listed.key]),
                views=listed.views,
            )
            for listed in one.current[:TITLES_SHOWN]
        ],
        sources=sorted({listed.source for listed in one.current}),
    )
