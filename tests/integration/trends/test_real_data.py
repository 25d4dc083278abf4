"""Trends in the real trending list of November and December 2017, and our real Studio export.

The findings are facts that were counted without Nova: here again with Python's csv module and
regular expressions alone, on the files in shared/data.
"""

import csv
import random
import re
import time
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from math import isclose, log2
from pathlib import Path
from statistics import median

import pytest
import redis

from nova import terminal
from nova.ingest import ingest_file
from nova.own_channels import OwnChannels
from nova.settings import Settings
from nova.sources import Source
from nova.trends.commands import print_report
from nova.trends.listings import Listed, Listing, Window
from nova.trends.models import RisingTopic, TrendReport
from nova.trends.service import build_report, scan_trends

NOW = datetime(2026, 3, 14, tzinfo=UTC)
WINDOW = timedelta(days=13)
CHANNEL = "Ken Jee"
#: A day's rows of the file, as it has them.
Rows = dict[date, list[dict[str, str]]]


@pytest.fixture(scope="session")
def rows(shared_data: Path) -> Rows:
    """The trending list by day; `trending_date` is YY.DD.MM."""
    found: Rows = defaultdict(list)
    with (shared_data / "youtube_trending_us.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            year, day, month = map(int, row["trending_date"].split("."))
            found[date(2000 + year, month, day)].append(row)
    return found


@pytest.fixture
def lists(client: redis.Redis, settings: Settings, shared_data: Path) -> None:
    """The trending list, ingested."""
    ingest_file(shared_data / "youtube_trending_us.csv", settings, client)


@pytest.fixture
def export(client: redis.Redis, settings: Settings, shared_data: Path) -> None:
    """The Studio export, ingested."""
    path = shared_data / "youtube_studio_export.csv"
    ingest_file(path, settings, client, channel=CHANNEL)


def scan(client: redis.Redis, settings: Settings, day: date | None = None) -> TrendReport:
    found = scan_trends(client, settings, "real", now=NOW, day=day)
    assert found is not None
    return found.report


def topic(found: Sequence[RisingTopic], name: str) -> RisingTopic:
    [one] = [one for one in found if one.name == name]
    return one


def count(rows: Rows, day: date, pattern: str) -> tuple[dict[date, int], set[str]]:
    """Return titles that match on each day of the window, and their channels on the last."""
    matching = {
        day: [row["channel_title"] for row in listed if re.search(pattern, row["title"], re.I)]
        for day, listed in rows.items()
    }
    first = day - WINDOW
    window = {other: len(found) for other, found in matching.items() if first <= other <= day}
    return window, set(matching[day])


def check(found: RisingTopic, rows: Rows, day: date, pattern: str) -> None:
    """Compare a topic's numbers with what the pattern counts in the file."""
    counts, channels = count(rows, day, pattern)
    past = sum(counts.values()) - counts[day]
    past_rows = sum(len(rows[other]) for other in counts if other != day)
    expected = past * len(rows[day]) / past_rows
    assert {one.day: one.titles for one in found.history} == counts
    assert found.titles == counts[day]
    assert set(found.channels) == channels
    assert isclose(found.expected, expected)
    assert isclose(found.growth, log2((counts[day] + 1) / (expected + 1)))
    score = found.growth * log2(1 + len(channels)) * found.value
    assert isclose(found.score, score)


@pytest.mark.usefixtures("lists")
def test_on_28_november_a_royal_engagement_rises_above_all(
    client: redis.Redis, settings: Settings, rows: Rows
) -> None:
    """Prince Harry's engagement to Meghan Markle was announced on 27 November 2017.

    grep finds "meghan markle" in no title of the 2,600 rows of 15 to 27 November, and in four of
    the 200 of the 28th: BBC News, CNN, TODAY, The View. Each names the prince too, and no other
    title does in those words, so he is told under her. Growth is log2(5 / 1), four channels give
    log2(5), so the score is log2(5) squared.
    """
    day = date(2017, 11, 28)
    report = scan(client, settings, day)
    assert report.basis.rows == 2800
    assert report.basis.days_missing == []
    first = report.opportunities[0]
    assert first.name == "meghan markle"
    assert first.also == ["prince harry", "prince", "harry", "engaged"]
    assert first.channels == ["BBC News", "CNN", "TODAY", "The View"]
    assert isclose(first.score, log2(5) ** 2)
    assert report.opportunities[1].score < first.score * 2 / 3
    check(first, rows, day, "meghan markle")


@pytest.mark.usefixtures("lists")
def test_on_22_november_awards_a_holiday_and_a_resignation_rise(
    client: redis.Redis, settings: Settings, rows: Rows
) -> None:
    """Three events of those days, each counted in the file by a pattern.

    The American Music Awards were given on 19 November 2017, Thanksgiving was on the 23rd, and
    Robert Mugabe resigned on the 21st. The file begins on the 14th, so that five days of the
    window are missing, and are named.
    """
    day = date(2017, 11, 22)
    report = scan(client, settings, day)
    assert report.basis.days_missing == [date(2017, 11, 9) + timedelta(days=n) for n in range(5)]
    assert report.opportunities[0].name == "amas"
    check(report.opportunities[0], rows, day, r"\bama('?s)?\b")
    check(topic(report.opportunities, "thanksgiving"), rows, day, "thanksgiving")
    resigns = topic(report.opportunities, "mugabe resigns")
    assert {one.title for one in resigns.evidence} == {
        "BREAKING NEWS: Zimbabwe's President Mugabe resigns- BBC News",
        "Celebrations in Zimbabwe after Robert Mugabe resigns",
    }
    assert {"mugabe", "zimbabwe"} <= set(resigns.also)


@pytest.mark.usefixtures("lists", "export")
def test_the_newest_list_is_scanned_though_our_videos_are_newer(
    client: redis.Redis, settings: Settings, rows: Rows
) -> None:
    """The file breaks off on 9 December 2017, with 13 rows; our export reaches into 2022.

    The Zelda trailers of The Game Awards (7 December) rise: grep finds "zelda" in no earlier title
    and in two of these 13. "wild" is in three, of which only Nintendo's is on Zelda, so the two
    topics stay apart.
    """
    report = scan(client, settings)
    assert report.day == date(2017, 12, 9)
    assert [source.titles for source in report.sources] == [13]
    assert [one.name for one in report.opportunities] == ["wild", "zelda"]
    check(topic(report.opportunities, "wild"), rows, report.day, r"\bwild\b")
    check(topic(report.opportunities, "zelda"), rows, report.day, "zelda")


@pytest.mark.usefixtures("lists", "export")
def test_what_our_export_is_about_is_covered_and_no_opportunity(
    client: redis.Redis, settings: Settings, shared_data: Path
) -> None:
    """Of our 223 titles one has "AMA", so the awards of 22 November are covered - by their word.

    That it meant "ask me anything" no count of words can tell. The other way round, no title of
    ours has the words of any opportunity.
    """
    report = scan(client, settings, date(2017, 11, 22))
    assert (report.own.channels, report.own.videos) == ([CHANNEL], 223)
    path = shared_data / "youtube_studio_export.csv"
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        titles = [row["Video title"] for row in csv.DictReader(file)]
    awards = report.covered[0]
    assert awards.covered_by == [CHANNEL]
    assert all(re.search(r"\bama('?s)?\b", one.title, re.I) for one in awards.evidence)
    assert [title for title in titles if re.search(r"\bamas?\b", title, re.I)] == [
        "100K Channel Update + AMA Stream!"
    ]
    assert report.opportunities_total > 20
    for one in report.opportunities:
        pattern = re.compile(rf"\b{re.escape(one.name)}\b", re.I)
        assert not [title for title in titles if pattern.search(title)], one.name


def studio_day(text: str) -> date:
    """Return a day of the export: two digits each and both at most 12 were written day first."""
    first, second, year = text.split("-")
    is_day_first = len(first) == len(second) == 2 and int(first) <= 12 >= int(second)
    day, month = (first, second) if is_day_first else (second, first)
    return date(int(year), int(month), int(day))


@pytest.mark.usefixtures("lists", "export")
def test_earnings_are_projected_from_the_export(
    client: redis.Redis, settings: Settings, shared_data: Path, rows: Rows
) -> None:
    """Its newest 90 days with videos, of 222, brought 7,194.13 USD with 1,435,640 views: 5.01.

    Each of the 200 titles of 28 November counts with the views of its first day on the list since
    the 15th. With their median a video would earn that many thousands times 5.01 USD; one on the
    engagement, with the median of its four titles, which were new that day, and of that.
    """
    earned: dict[date, list[tuple[float, int]]] = defaultdict(list)
    path = shared_data / "youtube_studio_export.csv"
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        for row in csv.DictReader(file):
            if row["Video"] != "Total":
                revenue = float(row["Your estimated revenue (USD)"])
                day = studio_day(row["Video publish time"])
                earned[day].append((revenue, int(row["Video views"])))
    newest = sorted(earned)[-90:]
    revenue = sum(usd for day in newest for usd, _ in earned[day])
    views = sum(seen for day in newest for _, seen in earned[day])
    assert (round(revenue, 2), views) == (7194.13, 1435640)

    report = scan(client, settings, date(2017, 11, 28))
    basis = report.projection
    assert basis is not None
    assert isclose(basis.rpm_usd, 1000 * revenue / views)
    assert (basis.first_day, basis.last_day) == (newest[0], newest[-1])
    assert basis.rpm_by_category == {}, "an export has no categories"
    listed = rows[report.day]
    first_views: dict[tuple[str, str], int] = {}
    for day in sorted(day for day in rows if report.day - WINDOW <= day <= report.day):
        for row in rows[day]:
            first_views.setdefault((row["video_id"], row["title"]), int(row["views"]))
    typical = median(first_views[row["video_id"], row["title"]] for row in listed)
    assert basis.typical_views == typical
    royal = [int(row["views"]) for row in listed if "Meghan Markle" in row["title"]]
    projected = basis.rpm_usd * median([*royal, typical]) / 1000
    markle = topic(report.opportunities, "meghan markle")
    assert markle.projected_usd is not None
    assert isclose(markle.projected_usd, projected)
    assert isclose(markle.value, log2(1 + projected / basis.typical_usd))


@pytest.mark.usefixtures("lists", "export")
def test_the_same_data_gives_the_same_report(client: redis.Redis, settings: Settings) -> None:
    day = date(2017, 11, 28)
    assert scan(client, settings, day) == scan(client, settings, day)


@pytest.mark.usefixtures("lists", "export")
def test_the_documents_sample_is_what_the_commands_print(
    client: redis.Redis, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the line of the report's id and time."""
    monkeypatch.setattr(terminal.console, "_width", 100)
    report = scan(client, settings, date(2017, 11, 28))
    with terminal.console.capture() as captured:
        print_report(report, 3)
    document = Path(__file__).resolve().parents[3] / "docs" / "trends.md"
    [sample] = re.findall(r"```text\n(.*?)\n```", document.read_text(encoding="utf-8"), re.DOTALL)
    _task, headline, _id, *told = sample.splitlines()
    assert headline == report.headline
    assert told == [line.rstrip() for line in captured.get().splitlines()[1:]]


def test_20_000_titles_take_seconds(rows: Rows) -> None:
    """All of them different, of the words of the real titles: the worst that topics can meet.

    About six seconds of the processor's time; the bound is for a slower one.
    """
    words = [word for listed in rows.values() for row in listed for word in row["title"].split()]
    chance = random.Random(1)  # noqa: S311  # test data
    days = [date(2017, 11, 28) - WINDOW + timedelta(days=number) for number in range(14)]
    lists = {
        day: [
            Listed("l", day, f"{day} {number}", " ".join(chance.choices(words, k=8)), f"C{number}")
            for number in range(1429)
        ]
        for day in days
    }
    listing = Listing(Source(name="l", kind="trending"), lists, days[-1])
    nobody = OwnChannels(frozenset(), "nobody", {})
    started = time.process_time()
    report = build_report("r", NOW, Window(days, [listing]), nobody)
    seconds = time.process_time() - started
    assert report.basis.rows == 20_006
    assert report.topics_seen > 1000
    assert seconds < 30
