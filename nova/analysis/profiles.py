"""Makes the profiles of channels, ranks them, and compares them with those of the report before.

Pure functions: the same data gives the same profiles, in whatever order it comes.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from nova.analysis.coverage import Covered
from nova.analysis.material import Material
from nova.analysis.measures import (
    dispersion,
    engagement,
    growth,
    median_gap_days,
    median_or_none,
    quartiles,
    rank,
)
from nova.analysis.models import Cadence, Change, ChannelProfile, Measure, Origin, Spread

#: Topics of a channel that its profile names; all are counted.
TOPICS_NAMED = 10


@dataclass(frozen=True)
class Subject:
    """A channel to measure."""

    channel: str
    ours: bool
    seeds: Sequence[str]
    #: The best source that knows it.
    material: Material
    #: Days on which a trending list has it, None without any list.
    listed: frozenset[date] | None


def make_profile(subject: Subject, topics: Iterable[Covered]) -> ChannelProfile:
    """Return the profile of a channel, as yet without ranks and changes.

    Args:
        subject: the channel.
        topics: topics of competitors, the first ones are named first.
    """
    material = subject.material
    views = [piece.views for piece in material.pieces if piece.views is not None]
    engaged = [engagement(one.views, one.likes, one.comments) for one in material.pieces]
    carried = [topic for topic in topics if subject.channel in topic.channels | topic.covered_by]
    shared = [topic.name for topic in carried if topic.covered_by]
    missed = [topic.name for topic in carried if not topic.covered_by]
    is_daily = material.window.origin is Origin.METRICS
    return ChannelProfile(
        channel=subject.channel,
        ours=subject.ours,
        seeds=sorted(subject.seeds),
        origin=material.window.origin,
        first=material.window.first,
        last=material.window.last,
        unit="day" if is_daily else "video",
        count=len(material.pieces),
        views=_spread(views),
        cadence=None if is_daily else _cadence(material),
        engagement=median_or_none(engaged),
        engagement_count=sum(one is not None for one in engaged),
        growth=growth(*material.halves()),
        days_listed=None if subject.listed is None else len(subject.listed),
        ranks={},
        shared_topics=shared[:TOPICS_NAMED],
        shared_total=len(shared),
        missed_topics=missed[:TOPICS_NAMED],
        missed_total=len(missed),
        change=None,
    )


def _spread(values: Sequence[float]) -> Spread | None:
    if not values:
        return None
    lower, middle, upper = quartiles(values)
    return Spread(lower=lower, median=middle, upper=upper, dispersion=dispersion(lower, upper))


def _cadence(material: Material) -> Cadence | None:
    """Return how often a channel published; None where no day of publishing can be known."""
    if not material.days:
        return None
    days = [piece.day for piece in material.dated if piece.day]
    return Cadence(
        videos=len(days),
        days=material.days,
        videos_per_week=7 * len(days) / material.days,
        median_gap_days=median_gap_days(days),
        day_unknown=sum(piece.day is None for piece in material.pieces),
        by_list=sum(piece.by_list for piece in material.dated),
    )


def rank_profiles(
    profiles: Sequence[ChannelProfile],
) -> tuple[list[ChannelProfile], dict[Measure, int]]:
    """Return the profiles with their ranks, and how many channels each ranking has.

    Most median views come first. A channel of which only daily metrics are known is compared in
    nothing: a day is no video.
    """
    compared = [profile for profile in profiles if profile.unit == "video"]
    places = {
        measure: rank({profile.channel: profile.value(measure) for profile in compared})
        for measure in Measure
    }
    ranked = [
        profile.model_copy(update={"ranks": _places_of(profile.channel, places)})
        for profile in profiles
    ]
    last = len(profiles) + 1
    ranked.sort(
        key=lambda one: (
            one.ranks.get(Measure.VIEWS, last),
            -(one.value(Measure.VIEWS) or 0.0),
            one.channel,
        )
    )
    return ranked, {measure: len(found) for measure, found in places.items()}


def _places_of(channel: str, places: Mapping[Measure, Mapping[str, int]]) -> dict[Measure, int]:
    return {measure: found[channel] for measure, found in places.items() if channel in found}


def with_change(now: ChannelProfile, before: ChannelProfile | None) -> ChannelProfile:
    """Return a profile with its change since another report's, None if that has no such channel.

    Numbers of different sources have no change.
    """
    if before is None or before.origin is not now.origin:
        return now
    places = [profile.ranks.get(Measure.VIEWS) for profile in (before, now)]
    change = Change(
        median_views=_difference(now, before, Measure.VIEWS),
        videos_per_week=_difference(now, before, Measure.CADENCE),
        engagement=_difference(now, before, Measure.ENGAGEMENT),
        growth=_difference(now, before, Measure.GROWTH),
        days_listed=_difference(now, before, Measure.LISTED),
        rank=places[0] - places[1] if places[0] and places[1] else None,
    )
    return now.model_copy(update={"change": change})


def _difference(now: ChannelProfile, before: ChannelProfile, measure: Measure) -> float | None:
    new, old = now.value(measure), before.value(measure)
    return None if new is None or old is None else new - old
