"""Reports: what they rest on, what they leave out, and how people see them."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nova import terminal
from nova.own_channels import Income, OwnChannels
from nova.reports import Omission
from nova.sources import Source
from nova.trends.commands import print_report
from nova.trends.listings import Listed, Listing, Window
from nova.trends.models import TrendReport
from nova.trends.service import TITLES_SHOWN, TOPICS_SHOWN, build_report
from nova.videos import Video, VideoSource

TODAY = date(2026, 3, 14)
NOW = datetime(2026, 3, 14, 6, tzinfo=UTC)
NOBODY = OwnChannels(frozenset(), "nobody", {})
US = OwnChannels(
    frozenset(["Us"]),
    "a test",
    {"Us": Income(6.0, 2000.0)},
    (date(2026, 1, 1), date(2026, 2, 1)),
    (Video("v", VideoSource.STUDIO, "Robots [1/2]", "Us"),),
)


def listing(*days: Sequence[str], error: str | None = None) -> Listing:
    """Return a list with titles, each of a channel of its own; the last day is today."""
    lists = {
        (day := TODAY - timedelta(days=ago)): [
            Listed("lists", day, f"{title}{n}", title, f"Channel {n}", 100 * (n + 1))
            for n, title in enumerate(titles)
        ]
        for ago, titles in enumerate(reversed(days))
    }
    source = Source(name="lists", kind="trending")
    return Listing(source, lists, None if error else TODAY, error)


def report(*listings: Listing, own: OwnChannels = US, days: int = 3) -> TrendReport:
    window = [TODAY - timedelta(days=ago) for ago in reversed(range(days))]
    return build_report("r1", NOW, Window(window, listings), own)


RISING = listing(["dogs"], ["cats", "cats [b]", "robots", "my robots", "dogs"])


def test_a_report_tells_what_rises_with_its_evidence() -> None:
    found = report(RISING)
    [cats] = found.opportunities
    assert (cats.name, cats.titles, cats.channels) == ("cats", 2, ["Channel 0", "Channel 1"])
    assert [(day.day, day.titles) for day in cats.history] == [
        (date(2026, 3, 13), 0),
        (TODAY, 2),
    ]
    assert [(one.title, one.views, one.days) for one in cats.evidence] == [
        ("cats [b]", 200, [TODAY]),
        ("cats", 100, [TODAY]),
    ]
    assert cats.sources == ["lists"]
    [robots] = found.covered
    assert (robots.name, robots.covered_by) == ("robots", ["Us"])
    assert found.headline == "2026-03-14: 2 rising topics, 1 of them not covered by us: cats"


def test_a_report_says_what_earnings_are_projected_from() -> None:
    """3 USD a thousand views; the titles have 100 to 500 views, so 300 are typical."""
    basis = report(RISING).projection
    assert basis is not None
    assert (basis.rpm_usd, basis.typical_views, basis.typical_usd) == (3.0, 300.0, 0.9)
    assert (basis.revenue_usd, basis.views, basis.channels) == (6.0, 2000.0, 1)
    assert report(RISING).opportunities[0].projected_usd == 3.0 * 200 / 1000


def test_a_report_says_what_it_rests_on_and_what_it_left_out() -> None:
    dead = Listing(Source(name="feed", kind="rss", url="http://a.example/"), error="is away")
    omission = Omission(what="entries of lists", reason="without a title", count=2)
    lists = Listing(RISING.source, RISING.lists, TODAY, left_out=[omission])
    found = report(lists, dead, own=NOBODY)
    assert found.basis.days_used == [date(2026, 3, 13), TODAY]
    assert found.basis.days_missing == [date(2026, 3, 12)]
    assert found.basis.rows == 6
    assert found.basis.sources == ["lists"]
    told = {omission.what: (omission.reason, omission.count) for omission in found.basis.left_out}
    assert told["entries of lists"] == ("without a title", 2)
    assert told["source feed"] == ("is away", None)
    assert "NOVA_OWN_CHANNELS" in told["our channels"][0]
    assert told["projected earnings"][0] == "no revenue of our channels is known"
    assert told["topics"][1] == 1, "dogs do not rise"
    assert found.projection is None
    assert [source.not_counted for source in found.sources] == [None, "is away"]


def test_long_lists_are_cut_and_counted() -> None:
    """Topics of two letters each, so that none is like another; all begin on the last day."""
    letters = "bcdfghjklmnpqrstvwxz"
    words = [f"{a}{b}{a}{b}q" for a in letters for b in letters if a != b][: TOPICS_SHOWN + 10]
    titles = [f"{word} {side}" for word in words for side in ("left", "right")]
    titles += [f"{words[0]} more {number}" for number in range(TITLES_SHOWN)]
    found = report(listing(["dogs"], titles), own=NOBODY, days=2)
    assert len(found.opportunities) == TOPICS_SHOWN < found.opportunities_total
    [first] = [topic for topic in found.opportunities if topic.name == words[0]]
    assert len(first.evidence) == TITLES_SHOWN < first.titles == TITLES_SHOWN + 2


@settings(deadline=None)
@given(st.lists(st.lists(st.sampled_from(["cats", "dogs", "my cats", "robots"]), max_size=5)))
def test_the_same_data_gives_the_same_report_and_it_survives_storing(days: list[list[str]]) -> None:
    found = listing(*days, ["cats"])
    assert report(found) == report(found)
    assert TrendReport.model_validate_json(report(found).model_dump_json()) == report(found)


def test_people_see_topics_basis_and_what_was_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    """Square brackets in titles are no markup."""
    with terminal.console.capture() as captured:
        print_report(report(RISING, listing(error="is [away]")), 5)
    text = " ".join(captured.get().split())
    assert "Opportunities: 1 of 1" in text
    assert "Rising topics that we cover: 1 of 1" in text
    assert "is [away]" in text
    assert "cats [b]" in text
    assert "rpm 3.00 USD: 6 USD of 2,000 views, 2026-01-01 to 2026-02-01" in text
