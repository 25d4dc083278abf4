"""Topics come from titles: which phrases, which of them are one, and which say nothing more."""

import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nova.topics import (
    KEPT,
    LANGUAGES,
    LONGEST,
    MAX_PHRASES,
    NOISE,
    absorb,
    carriers,
    count_topics,
    extract,
    find_topics,
    folded,
    join_near_duplicates,
    merge,
    stop_words,
)

WORDS = ["star", "wars", "Spider", "Man", "iPhone", "8", "X", "2nd", "the", "und", "für", "les"]
WORDS += [
    "Beyoncé",
    "ÜBER",
    "don't",
    "Trump\u2019s",
    "l'amour",
    "official",
    "Straße",
    "дом",
    "नमस्ते",
]
SIGNS = [" ", "  ", " - ", "-", " | ", ": ", "!", " 🎉 ", " #", "\u3000", "..."]
#: Titles as people write them, and any text at all.
TITLE = st.one_of(
    st.lists(st.sampled_from(WORDS + SIGNS), max_size=30).map("".join),
    st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join),
    st.text(max_size=80),
)
PHRASE = st.lists(
    st.sampled_from(["star", "stars", "wars", "clinton", "hilary", "hillary", "8", "7", "x"]),
    min_size=1,
    max_size=LONGEST,
).map(" ".join)
COUNTS = st.dictionaries(
    st.one_of(PHRASE, st.text("ab ", min_size=1, max_size=12)), st.integers(1, 5), max_size=20
)


@pytest.mark.parametrize(
    ("title", "phrases"),
    [
        ("Star Wars", ["star", "star wars", "wars"]),
        ("Star Wars: Battlefront", ["star", "star wars", "wars", "battlefront"]),
        ("Game of Thrones", ["game", "thrones"]),
        ("SPIDER-MAN", ["spider", "spider man", "man"]),
        ("cat - dog", ["cat", "dog"]),
        ("iPhone 8 vs iPhone X", ["iphone", "iphone 8", "iphone x"]),
        ("2 dogs, 20th Century", ["dogs", "century"]),
        ("5.11.2017", []),
        ("Trump\u2019s dog can\u2019t", ["trump", "trump dog", "dog"]),
        ("#66DaysOfData 🎉 pizza", ["66daysofdata", "pizza"]),
        ("Pizza (Official Video) ft. Kuchen [HD]", ["pizza", "kuchen"]),
        ("Der Krieg und die Katze", ["krieg", "katze"]),
        ("Infinity War", ["infinity", "infinity war", "war"]),
        ("\uff30izza \ufb01sh", ["pizza", "pizza fish", "fish"]),
        ("नमस्ते", ["नमस्ते"]),
        ("x" * 41 + " pizza", ["pizza"]),
        ("", []),
    ],
)
def test_the_phrases_of_a_title(title: str, phrases: list[str]) -> None:
    """Words that stand together, without stop words, noise, and numbers at the beginning."""
    assert extract(title) == phrases


def test_short_forms_and_elided_words_go() -> None:
    """Of "can't" nothing stays, of "l'amour" the noun; a name keeps its letters."""
    assert extract("can't") == extract("dont") == extract("it's") == []
    assert extract("l'amour") == ["amour"]
    assert extract("O'Brien's") == ["obrien"]


def test_a_stuffed_title_gives_no_more_than_others() -> None:
    """The phrases that begin first are kept."""
    title = " ".join(f"word{number}" for number in range(200))
    assert len(extract(title)) == MAX_PHRASES
    assert extract(title)[0] == "word0"


@pytest.mark.parametrize("word", ["the", "nicht", "avec", "pero", "official", "über"])
def test_stop_words_of_each_language_and_noise_are_known(word: str) -> None:
    """One word of each language, one of our own."""
    assert len(LANGUAGES) == 4
    assert word in stop_words()


def test_kept_words_are_no_stop_words_and_each_entry_matters() -> None:
    """A word that is on no list need not be kept, and none is both kept and noise."""
    assert not KEPT & stop_words()
    assert not KEPT & NOISE
    assert all(extract(word) for word in KEPT if len(word) > 1)


@given(TITLE)
def test_phrases_hold_no_stop_word_and_keep_the_rules(title: str) -> None:
    """Whatever the title: one to three words, none a stop word, none twice, not too many."""
    phrases = extract(title)
    assert len(phrases) == len(set(phrases)) <= MAX_PHRASES
    for phrase in phrases:
        words = phrase.split(" ")
        assert 1 <= len(words) <= LONGEST
        assert not set(words) & stop_words()


@given(TITLE)
def test_a_phrase_is_a_phrase_of_itself(title: str) -> None:
    """What came out goes in again and stays what it is, so topics can be looked up in titles."""
    for phrase in extract(title):
        assert phrase in extract(phrase)


def has_one_case(letter: str) -> bool:
    """Return whether a letter is the same after folding, large or small: a dotless i is not."""
    return letter.upper().casefold() == letter.lower().casefold() == letter.casefold()


@given(TITLE)
def test_case_and_blanks_make_no_difference(title: str) -> None:
    """Shouted, whispered, with blanks around and doubled inside."""
    title = "".join(filter(has_one_case, title))
    expected = extract(title)
    assert extract(title.upper()) == extract(title.lower()) == expected
    assert extract("  " + re.sub(r"\s", "  ", title) + "\n") == expected


def test_a_video_counts_once_however_often_it_comes() -> None:
    """A topic knows its videos and its channels."""
    titles = [("v1", "A", "Pizza!"), ("v1", "A", "Pizza!"), ("v2", "B", "pizza"), ("v3", "B", "x")]
    assert set(count_topics(titles)) == {"pizza"}
    topic = count_topics(titles)["pizza"]
    assert topic.videos == {"v1", "v2"}
    assert topic.channels == {"A", "B"}


@pytest.mark.parametrize(
    ("phrase", "like"),
    [
        ("star wars", "starwars"),
        ("star wars", "star war"),
        ("movies", "movie"),
        ("beyoncé", "beyonce"),
        ("hillary clinton", "hilary clinton"),
        ("iphone 8", "iphone8"),
    ],
)
def test_spellings_of_one_phrase_are_joined(phrase: str, like: str) -> None:
    """The one with more videos gives the name, whichever comes first."""
    for one, other in ((phrase, like), (like, phrase)):
        assert join_near_duplicates({one: 1, other: 2}) == {one: other, other: other}


@pytest.mark.parametrize(
    ("phrase", "other"),
    [
        ("iphone 7", "iphone 8"),
        ("iphone", "iphone x"),
        ("football championship 2017", "football championship 2018"),
        ("cat", "cart"),
        ("prince", "price"),
        ("batman", "bateman"),
        ("glass", "glas"),
        ("raspberry pi", "raspberry"),
        ("data science", "data scientist"),
        ("north korea", "south korea"),
    ],
)
def test_what_only_looks_alike_is_not_joined(phrase: str, other: str) -> None:
    """Numbers, short words and added words make a difference."""
    assert join_near_duplicates({phrase: 1, other: 1}) == {phrase: phrase, other: other}


@given(COUNTS, st.randoms(use_true_random=False))
def test_joining_does_not_depend_on_the_order(counts: dict[str, int], draw: random.Random) -> None:
    """Any order gives the same; a name stands for itself, and for nothing that has more videos."""
    joined = join_near_duplicates(counts)
    shuffled = list(counts.items())
    draw.shuffle(shuffled)
    assert join_near_duplicates(dict(shuffled)) == joined
    assert joined.keys() == counts.keys()
    for phrase, name in joined.items():
        assert joined[name] == name
        assert counts[name] >= counts[phrase]


def test_a_group_has_the_videos_and_channels_of_all_its_phrases() -> None:
    """A video with both spellings counts once."""
    titles = [("v1", "A", "movie"), ("v2", "B", "movies"), ("v3", "B", "movie, movies")]
    counted = count_topics(titles)
    merged = merge(counted, {"movie": "movie", "movies": "movie"})
    assert set(merged) == {"movie"}
    assert merged["movie"].phrases == {"movie", "movies"}
    assert merged["movie"].videos == {"v1", "v2", "v3"}
    assert merged["movie"].channels == {"A", "B"}


def test_a_longer_phrase_absorbs_what_never_stands_without_it() -> None:
    """ "wars" is only in "star wars" and goes; "star" has a video of its own and stays."""
    titles = [("v1", "A", "Star Wars!"), ("v2", "B", "Star Wars, 8"), ("v3", "C", "A star")]
    assert set(absorb(count_topics(titles))) == {"star", "star wars"}
    assert set(absorb(count_topics(titles[:2]))) == {"star wars"}


def test_absorbing_sees_the_other_spellings_of_a_topic() -> None:
    """Joined first: "wars" is in every video of the group, however that one spells it."""
    titles = [("v1", "A", "Star Wars!"), ("v2", "B", "Star-Wars"), ("v3", "C", "StarWars")]
    topics = find_topics(titles)
    assert set(topics) == {"star wars"}
    assert topics["star wars"].videos == {"v1", "v2", "v3"}


@given(st.lists(st.tuples(st.sampled_from("uvw"), st.sampled_from("AB"), TITLE), max_size=8))
def test_no_video_is_lost_on_the_way(titles: list[tuple[str, str, str]]) -> None:
    """Every video that has a phrase has a topic, and the order of titles does not matter."""
    topics = find_topics(titles)
    assert find_topics(reversed(titles)) == topics
    with_phrases = {video for video, _, title in titles if extract(title)}
    assert set().union(*(topic.videos for topic in topics.values())) == with_phrases


def test_carriers_are_the_channels_of_a_set_that_have_a_title_on_a_topic() -> None:
    """What two sets share, and what one misses, are differences of keys."""
    topics = find_topics([("v1", "Ann", "Cats"), ("v2", "Bob", "Cats"), ("v3", "Bob", "Dogs")])
    ours, theirs = carriers(topics, ["ann", "Nobody"]), carriers(topics, [" BOB "])
    assert ours == {"cats": {"Ann"}}
    assert theirs == {"cats": {"Bob"}, "dogs": {"Bob"}}
    assert ours.keys() & theirs.keys() == {"cats"}
    assert theirs.keys() - ours.keys() == {"dogs"}
    assert carriers(topics, []) == {}


@pytest.mark.parametrize("name", ["Ann & Co", " ann & co ", "ANN & CO", "\uff21nn & Co"])
def test_names_of_one_channel_are_folded_alike(name: str) -> None:
    assert folded(name) == "ann & co"
