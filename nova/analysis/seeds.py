"""Which channel a seed of COMPETITOR_SEEDS stands for: it is a name, an id, or a feed's URL."""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rapidfuzz import fuzz, process

from nova.analysis.models import Outcome
from nova.errors import SourceError
from nova.fetching.hosts import AllowedHosts, host_of, parse_url
from nova.sources import Source
from nova.topics import folded

#: Likeness from which a name is told as a hint, 0 to 100: rapidfuzz's WRatio, which also sees a
#: name within a longer one. Below 85 short names are like too many.
HINT_LIKENESS = 85.0
#: Hints for one seed.
HINTS = 3

_URL = re.compile("https?://", re.IGNORECASE)
#: YouTube's ids of channels.
_CHANNEL_ID = re.compile("UC[A-Za-z0-9_-]{22}")


@dataclass(frozen=True)
class Match:
    """What a seed stands for."""

    outcome: Outcome
    channel: str | None = None
    reason: str | None = None
    near: Sequence[str] = ()


class Names:
    """The names of channels that there is data of, to be found whatever their case."""

    def __init__(self, names: Iterable[str]) -> None:
        self._by_folded: dict[str, list[str]] = defaultdict(list)
        for name in sorted(set(names)):
            self._by_folded[folded(name)].append(name)

    def all_of(self, name: str) -> Sequence[str]:
        """Return the channels that are called so, but for case, width and blanks around."""
        return self._by_folded.get(folded(name), [])

    def match(self, seed: str) -> Match:
        """Return what a name or id stands for; as it is written goes before other cases."""
        same = self.all_of(seed)
        if seed in same or len(same) == 1:
            return Match(Outcome.FOUND, seed if seed in same else same[0])
        if same:
            reason = f"{len(same)} channels are called so; write one as it is"
            return Match(Outcome.AMBIGUOUS, reason=reason, near=same)
        reason = "no data of such a channel in the windows"
        if _CHANNEL_ID.fullmatch(seed):
            reason += "; lists and exports have names, so give its name, or its feed's URL"
        return Match(Outcome.NOT_FOUND, reason=reason, near=self._hints(seed))

    def _hints(self, seed: str) -> list[str]:
        """Return channels with a similar name, the most similar first."""
        found = process.extract(
            folded(seed),
            sorted(self._by_folded),
            scorer=fuzz.WRatio,
            score_cutoff=HINT_LIKENESS,
            limit=HINTS,
        )
        return [name for key, _, _ in found for name in self._by_folded[key]]


def is_url(seed: str) -> bool:
    """Say whether a seed is the URL of a feed."""
    return _URL.match(seed) is not None


def configured_sources(sources: Sequence[Source], seeds: Iterable[str]) -> list[Source]:
    """Return what may be fetched: the configured sources, and the feeds of COMPETITOR_SEEDS.

    Seeds whose URL cannot be fetched are left out: they fail in their own turn.
    """
    found = [source for source in sources if source.url]
    for seed in sorted(filter(is_url, seeds)):
        try:
            parse_url(seed)
        except SourceError:
            continue
        if seed not in {source.url for source in found}:
            found.append(_feed(seed, len(found)))
    return found


def source_of(url: str, configured: Sequence[Source]) -> Source:
    """Return the source that a seed's URL is: a configured one, or another feed of its host.

    Another feed of a configured host gets none of the credentials of the configured one.

    Raises:
        SourceError: it cannot be fetched, or nobody configured its host and port.
    """
    for source in configured:
        if source.url == url:
            return source
    parsed = parse_url(url)
    targets = [source.target for source in configured if source.target]
    AllowedHosts(targets).check(parsed)
    private = {host_of(parse_url(target.url)) for target in targets if target.private}
    return _feed(url, len(configured), private=host_of(parsed) in private)


def _feed(url: str, number: int, *, private: bool = False) -> Source:
    return Source(name=f"seed-{number}", kind="rss", url=url, private=private)
