"""Topics of videos, from their titles.

    topics = find_topics((video.id, video.channel, video.title) for video in videos)
    topics["star wars"].channels      # the channels whose titles carry it

A topic is a phrase of one to three words. Three steps lead to it, each of use alone: `extract`
takes the phrases of one title, `join_near_duplicates` brings spellings of one phrase together
("Star-Wars", "starwars", "star war"), and `absorb` lets a phrase go whose every video has a
longer phrase around it ("wars", where all is "star wars").

All of it is deterministic: the same titles in any order give the same topics. No language is
guessed and words are not segmented: in a script without blanks a run of letters is one word.
"""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import chain

from rapidfuzz import fuzz, process
from stop_words import get_stop_words


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


#: Languages whose stop words are neither a topic nor part of one.
LANGUAGES = ("english", "german", "french", "spanish")
#: On a list of stop words, yet what videos are about: the English list was made for search in
#: texts, and a little word of one language is a noun of another (German "war", French "car").
#: Single letters count as numbers do, see `extract`; "a", "e", "i", "o", "w" and "y" stay words.
KEPT = _words(
    "amazon bill car computer cry dare date ed face fire force free home invention man mayor men "
    "microsoft mine ring room sea sean sin solo son state system test tv uk usa war water web "
    "wonder work world b c d f g h j k l m n p q r s t u v x z"
)
#: Words that say what kind of video it is, rather than what it is about.
NOISE = _words(
    "1080p 1440p 2160p 4k 60fps 720p 8k annonce audio bande capítulo channel clip ep episode "
    "episodio feat featuring folge ft hd hq live lyric lyrics music musikvideo official officiel "
    "officielle offiziell offizielle offizielles oficial part parte partie pt saison season "
    "staffel subscribe teaser teil temporada trailer trailers uhd video videoclip videos vidéo "
    "vlog vs youtube"
)

#: Words of the longest phrase.
LONGEST = 3
#: Phrases that one title gives at most, those that begin first: a title stuffed with words must
#: not weigh more than the others. A hundred characters of usual words stay below it.
MAX_PHRASES = 40
#: What is longer is no word but a link or a slip.
MAX_WORD = 40
#: Likeness from which two phrases are one, 0 to 100: rapidfuzz's ratio, twice the letters that
#: both have in the same order, by the letters of both. From 94 on a letter too many is forgiven in
#: phrases of eight letters and more, a wrong one from seventeen: "hilary clinton" is joined. At 90
#: it would be "prince" and "price" as well, at 92 "batman" and "bateman".
LIKENESS = 94.0
#: Only phrases that begin with the same letters are compared, which keeps thousands of them within
#: a second. The price: what differs in its first letters is not joined.
BLOCK_LETTERS = 3

# Vowel signs, and accents that are characters of their own, belong to the word they stand in. The
# range ends before the signs that choose how an emoji looks.
_MARKS = "".join(
    letter
    for letter in map(chr, range(0x300, 0xFE00))
    if unicodedata.category(letter) in ("Mn", "Mc")
)
_LETTERS = rf"[^\W_](?:[^\W_]|[{_MARKS}])*"
_WORD = re.compile(f"{_LETTERS}(?:'{_LETTERS})*")
#: What may stand between two words of one phrase: blanks, or a hyphen.
_JOINT = re.compile("\\s+|[-\u2010\u2011]")
_APOSTROPHES = str.maketrans("\u2018\u2019\u02bc\u0060\u00b4", "'''''")
#: What stands before an apostrophe and is a word of its own: l'amour, d'Artagnan.
_ELIDED = frozenset(["c", "d", "j", "jusqu", "l", "m", "n", "qu", "s", "t"])
_ENDINGS = ("'s", "'ll", "'re", "'ve", "'d", "'m")
_ORDINAL = re.compile("[0-9]+(?:st|nd|rd|th)")
#: The s of a word of four letters and more, of "wars" but not of "glass" or "bus".
_PLURAL = re.compile(r"(?<=[^\W_]{2}[^\Ws_])s\b")
_ACCENTS = re.compile("[\u0300-\u036f]")

#: A video's id, its channel and its title.
Titled = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic, and who carries it."""

    #: The phrase that most videos have; of several the shortest, of those the first by letters.
    name: str
    #: All phrases that count as this one, its name among them.
    phrases: frozenset[str]
    #: Ids of the videos.
    videos: frozenset[str]
    #: Names of the channels.
    channels: frozenset[str]


def normalise(text: str) -> str:
    """Return a text in which case, width, ligatures and kinds of apostrophes are all the same."""
    folded = unicodedata.normalize("NFKC", text.translate(_APOSTROPHES)).casefold()
    return unicodedata.normalize("NFKC", folded).translate(_APOSTROPHES)


@cache
def stop_words() -> frozenset[str]:
    """Return the words that end a phrase: those of LANGUAGES without KEPT, and NOISE.

    A word with an apostrophe is in it without one too ("dont"), for titles are written so.
    """
    listed = {normalise(word) for language in LANGUAGES for word in get_stop_words(language)}
    listed |= {word.replace("'", "") for word in listed}
    return frozenset(word for word in listed if not word.isdecimal()) - KEPT | NOISE


def extract(title: str) -> list[str]:
    """Return the phrases of a title, each once, by where they begin, shorter ones first.

    A phrase is one to LONGEST words that stand beside each other, with blanks or a hyphen between
    them; any other sign, an emoji too, ends it, and so does a stop word. Numbers, ordinal numbers
    and single letters may stand in a phrase, but not at its beginning nor alone: "iphone 8" is a
    phrase, "8" and "8 iphone" are none. A hashtag is its word. What follows an apostrophe as a
    short form goes ("Trump's" is "trump"), as does an elided word before it ("l'amour"). At most
    MAX_PHRASES are returned.
    """
    return list(_extract(title))


# The same title comes back on each day that its video is on the list.
@lru_cache(maxsize=1 << 15)
def _extract(title: str) -> tuple[str, ...]:
    phrases: dict[str, None] = {}
    for run in _runs(normalise(title)):
        for begin, first in enumerate(run):
            if not _is_number(first):
                for end in range(begin + 1, min(begin + LONGEST, len(run)) + 1):
                    phrases[" ".join(run[begin:end])] = None
    return tuple(phrases)[:MAX_PHRASES]


def _runs(text: str) -> Iterator[list[str]]:
    """Return the runs of words that may form phrases."""
    run: list[str] = []
    end = 0
    for match in _WORD.finditer(text):
        word = _bare(match[0])
        if run and not _JOINT.fullmatch(text, end, match.start()):
            yield run
            run = []
        if word in stop_words() or len(word) > MAX_WORD:
            yield run
            run = []
        else:
            run.append(word)
        end = match.end()
    yield run


def _bare(word: str) -> str:
    """Return a word without apostrophes, and without what they cut off or tie on."""
    if "'" not in word or word in stop_words():
        return word
    before, _, after = word.partition("'")
    if before in _ELIDED:
        word = after
    for ending in _ENDINGS:
        word = word.removesuffix(ending)
    return word.replace("'", "")


def _is_number(word: str) -> bool:
    """Return whether a word is a number, an ordinal number or a single letter."""
    return len(word) == 1 or not any(map(str.isalpha, word)) or bool(_ORDINAL.fullmatch(word))


def count_topics(titles: Iterable[Titled]) -> dict[str, Topic]:
    """Return each phrase of the titles as a topic of its own, with its videos and channels.

    A video may come several times, as it does when it is on a list for days; it counts once.
    """
    videos: dict[str, set[str]] = defaultdict(set)
    channels: dict[str, set[str]] = defaultdict(set)
    for video, channel, title in titles:
        for phrase in _extract(title):
            videos[phrase].add(video)
            channels[phrase].add(channel)
    return {
        phrase: Topic(phrase, frozenset([phrase]), frozenset(found), frozenset(channels[phrase]))
        for phrase, found in videos.items()
    }


def join_near_duplicates(counts: Mapping[str, int]) -> dict[str, str]:
    """Return for each phrase the one that it counts as, often itself.

    Phrases are taken by their count, the largest first, then the shortest, then by letters; each
    joins the phrase before it that it is most like, if LIKENESS is reached, or stands for itself.
    So the order in which they come does not matter, and no chain of small steps joins two that
    are not alike.

    Blanks, accents and an s at the end of a word make no difference. Beyond that, phrases are
    only alike that have equally many words and the same first BLOCK_LETTERS letters. Numbers and
    single letters must be the same in any case: "iphone 7" is no "iphone 8".

    20,000 phrases of the words in real titles take 0.2 s; if all of them begin alike, 6 s.
    """
    joined: dict[str, str] = {}
    same: dict[tuple[str, str], str] = {}
    blocks: dict[tuple[str, str, int], tuple[list[str], list[str]]]
    blocks = defaultdict(lambda: ([], []))
    for phrase in sorted(counts, key=lambda phrase: (-counts[phrase], len(phrase), phrase)):
        letters, numbers = _compact(phrase), _numbers(phrase)
        keys, leaders = blocks[letters[:BLOCK_LETTERS], numbers, phrase.count(" ")]
        leader = same.get((letters, numbers))
        if leader is None:
            # Of several that are equally like, the first is taken: the one with the most.
            found = process.extractOne(letters, keys, scorer=fuzz.ratio, score_cutoff=LIKENESS)
            if found:
                leader = leaders[found[2]]
            else:
                keys.append(letters)
                leaders.append(phrase)
        joined[phrase] = same[letters, numbers] = leader or phrase
    return joined


def _compact(phrase: str) -> str:
    """Return a phrase without blanks, accents and plurals in s."""
    plain = _ACCENTS.sub("", unicodedata.normalize("NFD", phrase))
    return unicodedata.normalize("NFC", _PLURAL.sub("", plain)).replace(" ", "")


def _numbers(phrase: str) -> str:
    """Return what of a phrase must be the same in its like: its digits and single letters."""
    digits = "".join(filter(str.isdecimal, phrase))
    letters = (word for word in phrase.split() if len(word) == 1 and not word.isdecimal())
    return " ".join([digits, *letters])


def absorb(topics: Mapping[str, Topic]) -> dict[str, Topic]:
    """Return the topics without those that say nothing beside a longer one.

    A topic is left out when each of its videos has a topic of more words around it: where "wars"
    is only ever found in "star wars", it goes; where "star" is also found without "wars", it
    stays, and so does "star wars".
    """
    home = {phrase: topic for topic in topics.values() for phrase in topic.phrases}
    absorbed: set[str] = set()
    for topic in topics.values():
        for part in set(chain.from_iterable(map(_parts, topic.phrases))):
            inner = home.get(part, topic)
            shorter = inner.name.count(" ") < topic.name.count(" ")
            if shorter and inner.videos <= topic.videos:
                absorbed.add(inner.name)
    return {name: topic for name, topic in topics.items() if name not in absorbed}


def _parts(phrase: str) -> Iterator[str]:
    """Return the shorter phrases within a phrase."""
    words = phrase.split()
    for size in range(1, len(words)):
        for begin in range(len(words) - size + 1):
            yield " ".join(words[begin : begin + size])


def merge(topics: Mapping[str, Topic], joined: Mapping[str, str]) -> dict[str, Topic]:
    """Return the topics after joining: phrases, videos and channels of a group come together.

    Args:
        topics: Topics by phrase, as `count_topics` returns them.
        joined: For each phrase the one that it counts as, as `join_near_duplicates` returns them.
    """
    groups: dict[str, list[Topic]] = defaultdict(list)
    for phrase in sorted(topics):
        groups[joined[phrase]].append(topics[phrase])
    return {
        name: Topic(
            name,
            frozenset().union(*(topic.phrases for topic in group)),
            frozenset().union(*(topic.videos for topic in group)),
            frozenset().union(*(topic.channels for topic in group)),
        )
        for name, group in groups.items()
    }


def find_topics(titles: Iterable[Titled]) -> dict[str, Topic]:
    """Return the topics of titles by name: counted, near-duplicates joined, parts absorbed.

    To compare topics of several days, find them in the titles of all days together, and look up
    the videos of each day in `Topic.videos`: a topic found day by day may change its name.
    """
    counted = count_topics(titles)
    joined = join_near_duplicates({phrase: len(topic.videos) for phrase, topic in counted.items()})
    return absorb(merge(counted, joined))


def folded(name: str) -> str:
    """Return a channel's name as names are compared: case, width and blanks around do not matter.

    Channels of one name are one channel, wherever their titles come from.
    """
    return normalise(name).strip()


def carriers(topics: Mapping[str, Topic], channels: Iterable[str]) -> dict[str, frozenset[str]]:
    """Return the topics that any of these channels carries: name -> which of them, as titled.

    What two sets of channels share is the intersection of the keys, what one misses the difference.
    """
    wanted = set(map(folded, channels))
    named = {channel for topic in topics.values() for channel in topic.channels}
    matching = frozenset(channel for channel in named if folded(channel) in wanted)
    carried = {name: topic.channels & matching for name, topic in topics.items()}
    return {name: found for name, found in carried.items() if found}
