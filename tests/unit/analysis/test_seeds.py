"""What a seed stands for, and which feeds a seed may name."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nova.analysis.models import Outcome
from nova.analysis.seeds import Names, configured_sources, is_url, source_of
from nova.errors import SourceError
from nova.sources import Source

NAMES = Names(
    ["Vox", "Chris Lee", "chris lee", "Kurzgesagt \u2013 In a Nutshell", "UC123", "SciShow"]
)
FEED = "https://feeds.example.org/a.xml"


@pytest.mark.parametrize("seed", ["Vox", "vox", "VOX ", "\uff36ox"])
def test_case_width_and_blanks_do_not_matter(seed: str) -> None:
    found = NAMES.match(seed)
    assert (found.outcome, found.channel, found.reason) == (Outcome.FOUND, "Vox", None)


def test_kinds_of_apostrophes_do_not_matter() -> None:
    """Environment files of the roles cannot hold the plain one."""
    assert Names(["Simon's Cat"]).match("Simon\u2019s Cat").channel == "Simon's Cat"


def test_an_id_is_found_where_the_data_has_it() -> None:
    assert NAMES.match("UC123").channel == "UC123"


def test_a_name_as_it_is_written_goes_before_other_cases() -> None:
    assert NAMES.match("chris lee").channel == "chris lee"
    assert NAMES.match("Chris Lee").channel == "Chris Lee"


def test_a_name_of_several_channels_is_ambiguous_and_they_are_listed() -> None:
    found = NAMES.match("CHRIS LEE")
    assert (found.outcome, found.channel) == (Outcome.AMBIGUOUS, None)
    assert found.near == ["Chris Lee", "chris lee"]
    assert found.reason == "2 channels are called so; write one as it is"


@pytest.mark.parametrize("seed", ["Kurzgesagt", "kurzgesagt in a nutshel"])
def test_a_name_that_matches_none_comes_with_similar_ones(seed: str) -> None:
    found = NAMES.match(seed)
    assert (found.outcome, found.channel) == (Outcome.NOT_FOUND, None)
    assert found.near == ["Kurzgesagt \u2013 In a Nutshell"]


def test_what_is_like_nothing_has_no_hint() -> None:
    assert NAMES.match("qwertz").near == []


def test_an_unknown_id_of_youtube_is_told_what_to_give_instead() -> None:
    reason = NAMES.match("UC" + "a" * 22).reason or ""
    assert "its feed's URL" in reason
    assert "URL" not in (NAMES.match("qwertz").reason or "")


@given(st.lists(st.text(min_size=1, max_size=8), max_size=12), st.text(max_size=8))
def test_the_order_of_names_does_not_matter(names: list[str], seed: str) -> None:
    assert Names(names).match(seed) == Names(reversed(names)).match(seed)


def test_only_http_and_https_are_urls() -> None:
    assert is_url("HTTP://x/")
    assert is_url("https://x/")
    assert not is_url("httpster")
    assert not is_url("ftp://x/")


def feed(url: str, **fields: object) -> Source:
    return Source.model_validate({"name": "a", "kind": "rss", "url": url, **fields})


def test_feeds_of_the_setting_and_of_the_file_are_configured() -> None:
    trending = Source(name="trending", kind="trending")
    seeds = ["Vox", FEED, "https://other.example.org/", "https://", "https://me:pw@x.example.org/"]
    found = configured_sources([trending, feed(FEED)], seeds)
    assert [source.url for source in found] == [FEED, "https://other.example.org/"]


def refusal(url: str, configured: Sequence[Source]) -> str:
    with pytest.raises(SourceError) as error:
        source_of(url, configured)
    return error.value.reason


def test_a_configured_feed_is_read_as_it_is_configured() -> None:
    configured = feed(FEED, headers={"X-Key": "NOVA_SOURCE_KEY"}, timeout_seconds=3)
    assert source_of(FEED, [configured]) is configured


def test_another_feed_of_a_configured_host_gets_no_credentials() -> None:
    """Who may trigger runs must not have secrets sent where he likes."""
    configured = feed(FEED, headers={"X-Key": "NOVA_SOURCE_KEY"}, private=True)
    found = source_of("https://feeds.example.org/b.xml", [configured])
    assert (found.url, found.headers) == ("https://feeds.example.org/b.xml", {})
    assert found.private


@pytest.mark.parametrize(
    "url",
    [
        "https://other.example.org/a.xml",
        "https://feeds.example.org:8443/a.xml",
        "http://127.0.0.1/",
        "http://localhost:6379/",
        "https://feeds.example.org@other.example.org/a.xml",
    ],
)
def test_a_feed_of_a_host_that_nobody_configured_is_refused(url: str) -> None:
    assert refusal(url, [feed(FEED)])
    assert refusal(url, [])
