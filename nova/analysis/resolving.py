"""Says of each seed which channel it stands for; pure functions."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from nova.analysis.material import Material, feed_channel, feed_material
from nova.analysis.models import Outcome, SeedNote
from nova.analysis.seeds import Match, Names, is_url
from nova.feeds import Item
from nova.fetching import shown_url
from nova.own_channels import OwnChannels
from nova.source_reading import Reading

#: What a feed answered, or one line that says why it was not asked.
Answer = Reading | str


@dataclass(frozen=True)
class Feed:
    """What the feeds of one channel know."""

    material: Material
    #: Their URLs, without queries.
    urls: Sequence[str]
    entries: int
    #: Entries without a title.
    untitled: int

    @property
    def outside(self) -> int:
        """Entries that were published before the window, or after it."""
        return self.entries - len(self.material.pieces)


@dataclass(frozen=True)
class Resolved:
    """What the seeds stand for."""

    notes: Sequence[SeedNote]
    #: By channel.
    feeds: Mapping[str, Feed]

    @property
    def competitors(self) -> dict[str, list[str]]:
        """The channels to compare us with, and the seeds that led to each."""
        found: dict[str, list[str]] = defaultdict(list)
        for note in self.notes:
            if note.outcome is Outcome.FOUND and note.channel:
                found[note.channel].append(note.seed)
        return dict(found)


def resolve(
    seeds: Iterable[str],
    answers: Mapping[str, Answer],
    names: Names,
    own: OwnChannels,
    *,
    day: date,
    length: int,
) -> Resolved:
    """Return what each seed stands for, in the order of the seeds' letters.

    Args:
        seeds: names, ids and URLs.
        answers: what the feeds of the URLs answered.
        names: channels that there is data of.
        own: our channels, which are nobody's competitor.
        day: the day on which the feeds were read.
        length: days of a feed's window.
    """
    notes: list[SeedNote] = []
    read: dict[str, dict[str, Reading]] = defaultdict(dict)
    for seed in sorted(seeds):
        match = _feed_match(answers[seed], names) if is_url(seed) else names.match(seed)
        answer = answers.get(seed)
        if match.channel is not None and isinstance(answer, Reading):
            read[match.channel][seed] = answer
        notes.append(_note(shown_url(seed) if is_url(seed) else seed, match, own))
    feeds = {channel: _feed(found, day, length) for channel, found in read.items()}
    return Resolved(notes, feeds)


def _feed_match(answer: Answer, names: Names) -> Match:
    """Return the channel of a feed: one that there is other data of too, or a new one."""
    if isinstance(answer, str) or answer.items is None:
        reason = answer if isinstance(answer, str) else answer.error
        return Match(Outcome.FAILED, reason=reason)
    if not answer.items.items:
        return Match(Outcome.FAILED, reason="its feed shows no title")
    name = feed_channel(answer.items.items) or shown_url(answer.source.url or "")
    known = names.match(name)
    return known if known.channel else Match(Outcome.FOUND, name)


def _note(seed: str, match: Match, own: OwnChannels) -> SeedNote:
    is_ours = match.channel in own
    return SeedNote(
        seed=seed,
        outcome=Outcome.OURS if is_ours else match.outcome,
        channel=match.channel,
        reason="is one of our channels, and no competitor" if is_ours else match.reason,
        near=list(match.near),
    )


def _feed(readings: Mapping[str, Reading], day: date, length: int) -> Feed:
    """Return what several feeds of a channel know together; an entry of several counts once."""
    found = [reading.items for reading in readings.values() if reading.items]
    items: dict[Item, None] = dict.fromkeys(item for one in found for item in one.items)
    return Feed(
        material=feed_material(list(items), day, length),
        urls=sorted(set(map(shown_url, readings))),
        entries=len(items),
        untitled=sum(one.left_out for one in found),
    )
