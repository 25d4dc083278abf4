"""Topics that competitors carry: which of them we carry too, and which we miss. Pure functions."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from nova.analysis.measures import median_or_none
from nova.own_channels import OwnChannels
from nova.topics import Topic, carriers, find_topics

#: Videos of competitors that a topic must have: one title alone is no topic.
TOPIC_VIDEOS = 2

#: Channel and title; a title that a channel has several times counts once.
Title = tuple[str, str]


@dataclass(frozen=True)
class Covered:
    """A topic of competitors."""

    name: str
    #: Topics of which all videos are among its own.
    also: Sequence[str]
    #: Competitors that carry it.
    channels: frozenset[str]
    #: Their titles on it.
    titles: frozenset[Title]
    median_views: float | None
    #: Our channels that carry it.
    covered_by: frozenset[str]


def find_coverage(
    theirs: Mapping[Title, float | None], ours: Iterable[Title], own: OwnChannels
) -> list[Covered]:
    """Return the topics of competitors: most channels first, then most videos, then most views.

    Topics of the same titles come together, under the first of them.

    Args:
        theirs: views of competitors' titles, None where they are not known.
        ours: titles of our channels. They are there when topics are found, so that spellings of
            one topic are joined.
        own: our channels.
    """
    named = {_key(title): title for title in [*theirs, *ours]}
    topics = find_topics((key, channel, text) for key, (channel, text) in named.items())
    covered = carriers(topics, own.names)
    found = [
        _covered(topic, titles, theirs, covered.get(topic.name, frozenset()))
        for topic in topics.values()
        if len(titles := frozenset(map(named.__getitem__, topic.videos)) & theirs.keys())
        >= TOPIC_VIDEOS
    ]
    # What we carry and what we miss do not mix: neither hides the other.
    missed = _fold([topic for topic in found if not topic.covered_by])
    return sorted(missed + _fold([topic for topic in found if topic.covered_by]), key=_first)


def _key(title: Title) -> str:
    return "\n".join(title)


def _covered(
    topic: Topic,
    titles: frozenset[Title],
    theirs: Mapping[Title, float | None],
    covered_by: frozenset[str],
) -> Covered:
    return Covered(
        name=topic.name,
        also=(),
        channels=frozenset(channel for channel, _ in titles),
        titles=titles,
        median_views=median_or_none(theirs[title] for title in titles),
        covered_by=covered_by,
    )


def _first(topic: Covered) -> tuple[int, int, float, str]:
    return (-len(topic.channels), -len(topic.titles), -(topic.median_views or 0.0), topic.name)


def _fold(topics: Iterable[Covered]) -> list[Covered]:
    """Bring topics under the first one that has all of their titles."""
    leaders: list[tuple[Covered, list[str]]] = []
    for topic in sorted(topics, key=_first):
        for leader, also in leaders:
            if topic.titles <= leader.titles:
                also.append(topic.name)
                break
        else:
            leaders.append((topic, []))
    return [replace(leader, also=also) for leader, also in leaders]
