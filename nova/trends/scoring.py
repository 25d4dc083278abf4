"""Scores topics; pure functions, whose formulas docs/trends.md explains.

    growth   = log2((titles + PRIOR) / (expected + PRIOR))
    expected = sum over sources of: titles of the source now * share of its past titles
    breadth  = log2(1 + channels)
    value    = log2(1 + projected earnings / typical earnings), 1 where they are not known
    score    = growth * breadth * value, at least 0

Each factor is 1 for a plain case: a topic that doubled, that one channel carries, that earns what
is typical. The order in which titles come makes no difference.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from math import log2
from statistics import median

from nova.own_channels import Income, OwnChannels
from nova.topics import Topic, carriers, find_topics, folded
from nova.trends.listings import Listed, Listing

#: Titles that are added on both sides of growth, so that small counts do not explode: from none to
#: one title is 1 at most, and a topic without a past needs not be divided by 0.
PRIOR = 1.0
#: Growth from which a topic rises: doubled.
RISING_GROWTH = 1.0
#: What one channel alone carries is that channel's affair.
RISING_CHANNELS = 2


@dataclass(frozen=True)
class Rates:
    """What a view is worth to us, and what is typical on the day. Money is in USD."""

    rpm: float
    #: YouTube's number of a category -> revenue per thousand views of our channels in it.
    rpm_by_category: Mapping[int, float]
    #: Median of the views that the day's titles had when they were first listed.
    typical_views: float

    @property
    def typical_usd(self) -> float:
        """What a video with typical views would earn us."""
        return self.rpm * self.typical_views / 1000

    def project(self, titles: Sequence[Listed]) -> float | None:
        """Return what a video would earn us with the median views of these titles; see `debuts`.

        One title of typical views counts among them: few titles say little. Its category is the
        most frequent one of theirs. None where no title has views.
        """
        views = [title.views for title in titles if title.views is not None]
        if not views:
            return None
        category = most_frequent(titles)
        rpm = self.rpm if category is None else self.rpm_by_category.get(category, self.rpm)
        return rpm * median([*views, self.typical_views]) / 1000


@dataclass(frozen=True)
class Scored:
    """A topic of the day with its numbers."""

    topic: Topic
    #: Its titles now, most views first.
    current: Sequence[Listed]
    #: The same on all days of the window.
    listed: Sequence[Listed]
    expected: float
    projected_usd: float | None
    value: float
    covered_by: frozenset[str]

    @property
    def growth(self) -> float:
        """How much more titles carry it than expected, in doublings."""
        return growth(len(self.current), self.expected)

    @property
    def channels(self) -> frozenset[str]:
        """Channels that carry it now."""
        return frozenset(title.channel for title in self.current)

    @property
    def score(self) -> float:
        """The score."""
        return score(self.growth, len(self.channels), self.value)

    @property
    def rises(self) -> bool:
        """Whether it rises."""
        return self.growth >= RISING_GROWTH and len(self.channels) >= RISING_CHANNELS


def growth(titles: float, expected: float) -> float:
    """Return how much more titles there are than expected, in doublings; below 0 for fewer."""
    return log2((titles + PRIOR) / (expected + PRIOR))


def value(projected_usd: float | None, typical_usd: float) -> float:
    """Return the factor of earnings: 1 for typical ones, and where they are not known."""
    if projected_usd is None or typical_usd <= 0:
        return 1.0
    return log2(1 + projected_usd / typical_usd)


def score(grown: float, channels: int, worth: float = 1.0) -> float:
    """Return the score of a topic: growth x breadth x value; 0 for one that does not grow."""
    return max(grown, 0.0) * log2(1 + channels) * worth


def most_frequent(titles: Iterable[Listed]) -> int | None:
    """Return the category that most titles have, of several the lowest; None without any."""
    counts = Counter(title.category for title in titles if title.category is not None)
    return min(counts, key=lambda category: (-counts[category], category), default=None)


def debuts(listings: Iterable[Listing]) -> dict[str, Listed]:
    """Return each title, by its key, as it was on the first day of the window that has it.

    Titles gather views as long as they are listed. Those of their first days can be compared: else
    what is new would look poor beside what has been there for a week.
    """
    found: dict[str, Listed] = {}
    for listing in listings:
        for day in sorted(listing.lists):
            for listed in listing.lists[day]:
                found.setdefault(listed.key, listed)
    return found


def find_rates(own: OwnChannels, listings: Sequence[Listing]) -> Rates | None:
    """Return what a view is worth to us; None where we earned nothing, or no title has views.

    A channel's category is the most frequent one of its titles in the window; most have none.
    """
    first = debuts(listings)
    current = (first[title.key] for listing in listings for title in listing.current)
    views = [title.views for title in current if title.views is not None]
    rpm = sum(own.income.values(), Income()).rpm
    if rpm is None or not views:
        return None
    titles: dict[str, list[Listed]] = defaultdict(list)
    for listed in _all(listings):
        if listed.channel in own:
            titles[folded(listed.channel)].append(listed)
    earned: dict[int, Income] = defaultdict(Income)
    for name, income in own.income.items():
        category = most_frequent(titles[folded(name)])
        if category is not None:
            earned[category] += income
    by_category = {category: income.rpm for category, income in sorted(earned.items())}
    known = {category: rate for category, rate in by_category.items() if rate is not None}
    return Rates(rpm, known, median(views))


def score_topics(
    listings: Sequence[Listing], own: OwnChannels, rates: Rates | None
) -> list[Scored]:
    """Return the topics of the day's titles with their numbers, best score first.

    Args:
        listings: what each source showed. One without a past, or without titles now, helps to
            find topics, and counts in nothing else.
        own: our channels, whose videos count as covered topics.
        rates: what a view is worth; None leaves earnings out.
    """
    counted = [listing for listing in listings if not listing.not_counted]
    now = {listing.source.name: listing.now for listing in counted}
    lift = {listing.source.name: _share_of_one(listing) for listing in counted}
    titles: dict[str, list[Listed]] = defaultdict(list)
    for title in _all(counted):
        titles[title.key].append(title)
    first = debuts(counted)
    topics = _topics(listings, own)
    covered = carriers(topics, own.names)
    scored = []
    for topic in topics.values():
        listed = list(chain.from_iterable(titles.get(key, ()) for key in topic.videos))
        current = [one for one in listed if one.day == now[one.source]]
        if current:
            past = Counter(one.source for one in listed if one.day != now[one.source])
            projected = rates.project([first[one.key] for one in current]) if rates else None
            scored.append(
                Scored(
                    topic=topic,
                    current=sorted(current, key=_most_seen_first),
                    listed=listed,
                    expected=sum(lift[source] * past[source] for source in sorted(past)),
                    projected_usd=projected,
                    value=value(projected, rates.typical_usd) if rates else 1.0,
                    covered_by=covered.get(topic.name, frozenset()),
                )
            )
    return sorted(scored, key=lambda one: (-one.score, -one.growth, one.topic.name))


def fold(rising: Sequence[Scored]) -> list[tuple[Scored, list[Scored]]]:
    """Bring topics that stand in the same titles together, under the one with the best score.

    Args:
        rising: best score first.

    Returns:
        Topics, each with those after it whose titles of the day are all among its own: "prince
        harry" goes under "meghan markle" where each title on him is on her as well.
    """
    leaders: list[tuple[Scored, list[Scored], frozenset[str]]] = []
    for one in rising:
        keys = frozenset(title.key for title in one.current)
        for _, others, of_leader in leaders:
            if keys <= of_leader:
                others.append(one)
                break
        else:
            leaders.append((one, [], keys))
    return [(leader, others) for leader, others, _ in leaders]


def _topics(listings: Iterable[Listing], own: OwnChannels) -> dict[str, Topic]:
    """Return the topics of all titles, ours among them: so spellings of one topic are joined."""
    theirs = {(listed.key, listed.channel, listed.title) for listed in _all(listings)}
    ours = {(f"\n{video.id}\n{video.title}", video.channel, video.title) for video in own.videos}
    return find_topics(theirs | ours)


def _share_of_one(listing: Listing) -> float:
    """Return how many titles now one past title promises: both counts may differ by day."""
    return len(listing.current) / listing.past_titles


def _all(listings: Iterable[Listing]) -> Iterable[Listed]:
    return chain.from_iterable(titles for listing in listings for titles in listing.lists.values())


def _most_seen_first(listed: Listed) -> tuple[int, str, str]:
    return (-(listed.views or 0), listed.title, listed.key)
