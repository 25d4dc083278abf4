"""Compares competitors with our channels: find them, measure them, say what we miss."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime

import redis

import nova
from nova.analysis.coverage import Covered, Title, find_coverage
from nova.analysis.known import Known, find_basis, find_caveats
from nova.analysis.material import Source, Window, read_exports, read_lists, read_metrics
from nova.analysis.models import AnalysisReport, Comparison, TopicNote, WindowNote
from nova.analysis.profiles import Subject, make_profile, rank_profiles, with_change
from nova.analysis.reports import STORE
from nova.analysis.resolving import Answer, Resolved, resolve
from nova.analysis.seeds import Names, configured_sources, is_url, source_of
from nova.errors import InputError, SourceError
from nova.fetching import Fetcher
from nova.own_channels import find_own_channels
from nova.settings import Settings
from nova.source_reading import read_sources
from nova.sources import load_sources

logger = logging.getLogger(__name__)

NOTHING = "COMPETITOR_SEEDS is not set: nobody to compare us with"
#: Our channels that a report profiles; all are ranked.
OWN_SHOWN = 20
#: Topics that a report tells of either kind; all are counted.
TOPICS_SHOWN = 30
#: Channels, or other topics, that a report names of one topic.
NAMES_SHOWN = 20
#: Seconds for all feeds together, within the time limit of the queue.
FETCH_SECONDS = 900.0
#: Reports that are looked through for the one to compare with.
REPORTS_BEFORE = 100


@dataclass(frozen=True)
class Request:
    """What was asked for: the last day that counts, and the length of windows in days."""

    report_id: str
    now: datetime
    day: date
    length: int
    by_setting: bool


def analyse(
    client: redis.Redis,
    settings: Settings,
    report_id: str,
    *,
    now: datetime,
    day: date | None = None,
    seeds: Iterable[str] | None = None,
) -> AnalysisReport | None:
    """Compare competitors with our channels; None where no competitor is named.

    Args:
        client: Redis with the ingested data and the reports before.
        settings: the seeds, which channels are ours, how long windows are.
        report_id: id of the task that runs.
        now: the time, UTC.
        day: the last day that counts. None is today. Feeds are only asked for today: they do not
            tell what they showed before.
        seeds: competitors to ask about in place of COMPETITOR_SEEDS. A URL must be of a host that
            is configured.

    Raises:
        InputError: the day has not come yet, or the seeds are blank.
        ConfigurationError: the file of sources cannot be read or is wrong.
        redis.RedisError: Redis does not answer.
    """
    today = now.date()
    day = day or today
    if day > today:
        raise InputError(f"day {day} has not come yet; today is {today} (UTC)")
    asked = settings.competitor_seeds if seeds is None else {seed.strip() for seed in seeds} - {""}
    if not asked:
        if seeds is not None:
            raise InputError("seeds: all of them are blank; give names of channels, ids or URLs")
        logger.warning(NOTHING)
        return None
    answers = _ask_feeds(client, settings, sorted(filter(is_url, asked)), is_today=day == today)
    own = find_own_channels(client, settings)
    length = settings.analysis_window_days
    sources = _read_sources(client, day, length, [*asked, *own.names])
    names = Names(name for source in sources for name in source.names)
    resolved = resolve(asked, answers, names, own, day=day, length=length)
    request = Request(report_id, now, day, length, by_setting=seeds is None)
    report = build_report(request, resolved, Known(sources, resolved.feeds, own), names)
    report = compare(report, find_report_before(client, report))
    logger.info("analysis report %s: %s", report_id, report.headline)
    return report


def _read_sources(
    client: redis.Redis, day: date, length: int, names: Sequence[str]
) -> list[Source]:
    found = (
        read_exports(client, day, length),
        read_lists(client, day, length),
        read_metrics(client, day, length, names),
    )
    return [source for source in found if source is not None]


def _ask_feeds(
    client: redis.Redis, settings: Settings, urls: Sequence[str], *, is_today: bool
) -> dict[str, Answer]:
    """Return what the feeds of seeds answer, or one line that says why they do not."""
    if not urls:
        return {}
    if not is_today:
        return dict.fromkeys(urls, "feeds are only asked for today, they do not tell of other days")
    configured = configured_sources(load_sources(settings), settings.competitor_seeds)
    found: dict[str, Answer] = {}
    wanted = {}
    for url in urls:
        try:
            wanted[url] = source_of(url, configured)
        except SourceError as error:
            found[url] = error.reason
    targets = [source.target for source in wanted.values() if source.target]
    fetcher = Fetcher(client, settings, targets, budget_seconds=FETCH_SECONDS)
    readings = read_sources(client, settings, list(wanted.values()), fetcher)
    return found | dict(zip(wanted, readings, strict=True))


def build_report(
    request: Request, resolved: Resolved, known: Known, names: Names
) -> AnalysisReport:
    """Return the report, as yet without changes; a pure function, whatever the order of the seeds.

    Args:
        request: what was asked for.
        resolved: what the seeds stand for.
        known: what there is of all channels.
        names: channels that there is data of.
    """
    theirs = [known.subject(name, seeds) for name, seeds in resolved.competitors.items()]
    ours = [known.subject(name) for name in _own_with_data(known, names)]
    topics = find_coverage(known.titles(theirs), _own_titles(known, ours), known.own)
    ranked, of = rank_profiles([make_profile(subject, topics) for subject in [*theirs, *ours]])
    own = [profile for profile in ranked if profile.ours]
    missed = [topic for topic in topics if not topic.covered_by]
    shared = [topic for topic in topics if topic.covered_by]
    return AnalysisReport(
        id=request.report_id,
        generated_at=request.now,
        release=nova.__release__,
        basis=find_basis(resolved, known, ranked),
        day=request.day,
        window_days=request.length,
        by_setting=request.by_setting,
        seeds=list(resolved.notes),
        windows=[_window_note(window) for window in known.windows(ranked)],
        caveats=find_caveats(known.windows(ranked), ranked),
        own_basis=known.own.basis,
        own=own[:OWN_SHOWN],
        own_total=len(known.own.names),
        own_videos=len(known.own.videos),
        competitors=[profile for profile in ranked if not profile.ours],
        ranked=of,
        missed_topics=[_topic_note(topic) for topic in missed[:TOPICS_SHOWN]],
        missed_total=len(missed),
        shared_topics=[_topic_note(topic) for topic in shared[:TOPICS_SHOWN]],
        shared_total=len(shared),
        compared_with=None,
    )


def _own_with_data(known: Known, names: Names) -> list[str]:
    """Return our channels that a source knows, as it writes them."""
    found = {channel for name in known.own.names for channel in names.all_of(name)}
    found |= {channel for channel in known.feeds if channel in known.own}
    return sorted(channel for channel in found if known.materials(channel))


def _own_titles(known: Known, ours: Iterable[Subject]) -> set[Title]:
    """Return the titles of our videos: of all days that are kept, not of the windows alone."""
    return {(video.channel, video.title) for video in known.own.videos} | known.titles(ours).keys()


def _window_note(window: Window) -> WindowNote:
    return WindowNote(
        origin=window.origin,
        first=window.first,
        last=window.last,
        days=len(window.days),
        rows=window.rows,
    )


def _topic_note(topic: Covered) -> TopicNote:
    return TopicNote(
        name=topic.name,
        also=list(topic.also[:NAMES_SHOWN]),
        channels=sorted(topic.channels)[:NAMES_SHOWN],
        videos=len(topic.titles),
        median_views=topic.median_views,
        covered_by=sorted(topic.covered_by)[:NAMES_SHOWN],
    )


def find_report_before(client: redis.Redis, report: AnalysisReport) -> AnalysisReport | None:
    """Return the newest report of an earlier day to compare with, None if there is none.

    Runs for COMPETITOR_SEEDS are compared with each other, runs for other seeds too: a question in
    between does not hide the report of last week.
    """
    lines = STORE.list(client, limit=REPORTS_BEFORE).reports
    before = [
        line for line in lines if line.by_setting == report.by_setting and line.day < report.day
    ]
    newest = max(before, key=lambda line: (line.day, line.generated_at, line.id), default=None)
    return STORE.find(client, newest.id) if newest else None


def compare(report: AnalysisReport, before: AnalysisReport | None) -> AnalysisReport:
    """Return a report with the changes since another one."""
    if before is None:
        return report
    past = {profile.channel: profile for profile in [*before.own, *before.competitors]}
    now = {profile.channel for profile in [*report.own, *report.competitors]}
    comparison = Comparison(
        report_id=before.id,
        day=before.day,
        appeared=sorted(now - past.keys()),
        gone=sorted(past.keys() - now),
    )
    changed = {
        "own": [with_change(one, past.get(one.channel)) for one in report.own],
        "competitors": [with_change(one, past.get(one.channel)) for one in report.competitors],
        "compared_with": comparison,
    }
    return report.model_copy(update=changed)
