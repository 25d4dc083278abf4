"""What all sources together know of channels, and what a report rests on."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import pairwise

from nova.analysis.coverage import Title
from nova.analysis.material import Material, Source, Window
from nova.analysis.models import ChannelProfile, Origin
from nova.analysis.profiles import Subject
from nova.analysis.resolving import Feed, Resolved
from nova.own_channels import OwnChannels
from nova.reports import Basis, Omission


@dataclass(frozen=True)
class Known:
    """What there is of all channels."""

    sources: Sequence[Source]
    #: By the channel that a feed stands for.
    feeds: Mapping[str, Feed]
    own: OwnChannels

    def materials(self, channel: str) -> list[Material]:
        """Return what each source knows of a channel, the best source first."""
        found = {
            source.window.origin: source.materials[channel]
            for source in self.sources
            if channel in source.materials
        }
        if channel in self.feeds:
            found[Origin.FEED] = self.feeds[channel].material
        return [found[origin] for origin in Origin if origin in found]

    def subject(self, channel: str, seeds: Sequence[str] = ()) -> Subject:
        """Return a channel to measure by the best source that has anything of it."""
        materials = self.materials(channel)
        best = next((material for material in materials if material.pieces), materials[0])
        lists = [source for source in self.sources if source.window.origin is Origin.LISTS]
        listed = lists[0].listed.get(channel, frozenset()) if lists else None
        return Subject(channel, channel in self.own, seeds, best, listed)

    def titles(self, subjects: Iterable[Subject]) -> dict[Title, float | None]:
        """Return the titles of channels in all sources, with the views that the best one tells."""
        found: dict[Title, float | None] = {}
        for subject in subjects:
            for material in self.materials(subject.channel):
                for piece in material.pieces:
                    title = (subject.channel, piece.title)
                    if piece.title and found.get(title) is None:
                        found[title] = piece.views
        return found

    def windows(self, profiles: Iterable[ChannelProfile]) -> list[Window]:
        """Return the windows of the sources that profiles rest on, and of the lists in any case."""
        used = {profile.origin for profile in profiles} | {Origin.LISTS}
        found = {source.window.origin: source.window for source in self.sources}
        if self.feeds:
            found[Origin.FEED] = self._window_of_feeds()
        return [found[origin] for origin in Origin if origin in found.keys() & used]

    def _window_of_feeds(self) -> Window:
        """Return the window of all feeds together."""
        windows = [feed.material.window for feed in self.feeds.values()]
        days = sorted({day for window in windows for day in window.days})
        rows = sum(window.rows for window in windows)
        return Window(Origin.FEED, windows[0].first, windows[0].last, days, rows)


def find_basis(resolved: Resolved, known: Known, profiles: Sequence[ChannelProfile]) -> Basis:
    """Return which data a report rests on, and which it left out."""
    windows = known.windows(profiles)
    feeds = sorted(url for feed in known.feeds.values() for url in feed.urls)
    return Basis(
        days_used=sorted({day for window in windows for day in window.days}),
        days_missing=_days_without_list(windows),
        rows=sum(window.rows for window in windows),
        sources=[
            *(str(window.origin) for window in windows if window.origin is not Origin.FEED),
            *(f"feed {url}" for url in feeds),
        ],
        left_out=[*_omissions(resolved, known, profiles)],
    )


def _days_without_list(windows: Iterable[Window]) -> list[date]:
    """Return the days of the lists' window that have none: on those nobody can be listed."""
    return [
        day
        for window in windows
        if window.origin is Origin.LISTS
        for day in _days(window)
        if day not in window.days
    ]


def _days(window: Window) -> Iterator[date]:
    for number in range((window.last - window.first).days + 1):
        yield window.first + timedelta(days=number)


def _omissions(
    resolved: Resolved, known: Known, profiles: Sequence[ChannelProfile]
) -> Iterator[Omission]:
    for note in resolved.notes:
        if note.reason:
            yield Omission(what=f"seed {note.seed}", reason=note.reason)
    if not known.own.names:
        reason = "none is known: set NOVA_OWN_CHANNELS, or load a YouTube Studio export"
        yield Omission(what="our channels", reason=reason)
    counts = {
        ("our channels", "no data in the windows"): len(known.own.names)
        - sum(profile.ours for profile in profiles),
        ("videos, in cadence and growth", "since when they are public is not known"): sum(
            profile.cadence.day_unknown for profile in profiles if profile.cadence
        ),
        ("channels, in ranks", "only daily metrics are known, and a day is no video"): sum(
            profile.unit == "day" for profile in profiles
        ),
        ("entries of feeds", "published outside the window, or later than today"): sum(
            feed.outside for feed in known.feeds.values()
        ),
        ("entries of feeds", "without a title"): sum(
            feed.untitled for feed in known.feeds.values()
        ),
    }
    for (what, reason), count in counts.items():
        if count > 0:
            yield Omission(what=what, reason=reason, count=count)


def find_caveats(windows: Sequence[Window], profiles: Sequence[ChannelProfile]) -> list[str]:
    """Return what to bear in mind when these channels are compared."""
    used = {profile.origin for profile in profiles}
    found = []
    if Origin.LISTS in used:
        found.append(
            "trending lists show what was popular: of a channel that is known from them alone, "
            "only its most seen videos count, with what they had gathered by their last day there"
        )
    if any(profile.cadence and profile.cadence.by_list for profile in profiles):
        found.append(
            "the lists do not tell when a video was published: it counts on its first day there"
        )
    if used & {Origin.STUDIO, Origin.FEED}:
        found.append(
            "exports and feeds tell views up to now: older videos had more time, "
            "which lowers growth"
        )
    found += _gaps(sorted((w.first, w.last, w.origin) for w in windows if w.origin in used))
    return found


def _gaps(spans: Sequence[tuple[date, date, Origin]]) -> Iterator[str]:
    """Yield windows that have no day in common, each with the next."""
    for (first, last, origin), (next_first, next_last, next_origin) in pairwise(spans):
        if last < next_first:
            yield (
                f"the {origin} ({first} to {last}) and the {next_origin} ({next_first} to "
                f"{next_last}) have no day in common: ranks compare different times"
            )
