"""Analytics on a real file: a daily trending list of 754 channels on 26 days.

The numbers were found without Nova. The file has exactly one row for each channel and day, so awk
finds most of them; the others were worked out with Python's csv and statistics modules from the
same rows. Commas in quotes stand in titles only, which awk's field separator has to mind:

    awk -v FPAT='([^,]*)|("([^"]|"")*")' '$2 == "17.08.12" { n[$5]++; v[$5] += $7 }
        END { for (c in n) print c, n[c], v[c] }' youtube_trending_us.csv
"""

import csv
import math
import statistics
from collections import Counter
from datetime import date
from pathlib import Path

import pytest
import redis

from nova.analytics.models import AnalyticsReport, Period
from nova.analytics.reading import get_categories, get_leaderboard
from nova.analytics.service import process_day
from nova.ingest.service import ingest_file
from nova.settings import Settings

#: The last day of which the list is whole: of 9 December it has 13 channels.
DAY = date(2017, 12, 8)
FILE = "youtube_trending_us.csv"


@pytest.fixture
def report(client: redis.Redis, settings: Settings, shared_data: Path) -> AnalyticsReport:
    """The report of 8 December, with all of the file in Redis."""
    ingest_file(shared_data / FILE, settings, client)
    found = process_day(client, settings, "real", DAY)
    assert found is not None
    return found


def views_of(shared_data: Path, trending_date: str) -> dict[str, int]:
    """Read a day's views from the file with the csv module alone."""
    with (shared_data / FILE).open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["trending_date"] == trending_date]
    return {row["channel_title"]: int(row["views"]) for row in rows}


def test_the_spans_count_the_days_and_channels_of_the_file(report: AnalyticsReport) -> None:
    """4 to 9 December are in the file, 1 to 9, and all of 14 November to 9 December."""
    assert [
        (span.period, span.start, span.end, span.days, span.channels, span.rows)
        for span in report.spans
    ] == [
        ("day", DAY, DAY, 1, 198, 198),
        ("week", date(2017, 12, 4), date(2017, 12, 10), 6, 311, 998),
        ("month", date(2017, 12, 1), date(2017, 12, 31), 9, 382, 1598),
        ("all", date(2017, 11, 14), date(2017, 12, 9), 26, 754, 4998),
    ]
    assert len(report.basis.days_used) == 9
    assert report.basis.rows == 1598
    assert report.notes[0].startswith("198 of the day's channels come from a trending list")


def test_the_days_views_are_spread_as_in_the_file(report: AnalyticsReport) -> None:
    """Sorted, the 99th and 100th of 198 numbers have 247,088 in their middle."""
    views = report.spans[0].distributions[0]
    assert (views.metric, views.channels) == ("views", 198)
    assert (views.low, views.percentiles["p50"], views.high) == (1107, 247_088, 91_933_007)


def test_every_channel_day_of_the_file_has_a_category(
    report: AnalyticsReport, client: redis.Redis
) -> None:
    """Rows and views by category, as awk adds them up; no channel has two on one day."""
    day = {found.category: found.metrics[0] for found in report.categories}
    assert {number: (found.days, found.total) for number, found in day.items()} == {
        1: (8, 6_003_889), 2: (1, 20_188), 10: (23, 111_974_601), 15: (2, 1_068_215),
        17: (13, 15_371_509), 19: (2, 638_345), 20: (3, 1_554_365), 22: (22, 10_047_676),
        23: (16, 11_441_178), 24: (52, 187_807_306), 25: (17, 1_890_697), 26: (21, 40_977_718),
        27: (10, 4_118_523), 28: (7, 2_793_660), 29: (1, 1_967),
    }  # fmt: skip
    page = get_categories(client, Period.ALL)
    assert (page.rows, page.rows_without_category) == (4998, 0)
    entertainment, music = (
        next(found for found in page.categories if found.name == name)
        for name in ("Entertainment", "Music")
    )
    assert (entertainment.metrics[0].days, entertainment.metrics[0].total) == (1199, 1_924_051_506)
    assert (music.metrics[0].days, music.metrics[0].total) == (884, 2_467_654_124)


def test_the_leaders_of_the_day_and_their_ranks_of_the_day_before(report: AnalyticsReport) -> None:
    assert [
        (place.rank, place.previous_rank, place.channel, place.value)
        for place in report.leaders[:5]
    ] == [
        (1, 1, "Marvel Entertainment", 91_933_007),
        (2, 3, "YouTube Spotlight", 52_611_730),
        (3, 2, "Ed Sheeran", 36_101_955),
        (4, 5, "5-Minute Crafts", 26_221_058),
        (5, 4, "DemiLovatoVEVO", 26_144_104),
    ]


def test_the_leaderboard_of_a_week_beside_the_week_before(
    report: AnalyticsReport, client: redis.Redis, settings: Settings
) -> None:
    """Sums over 27 November to 3 December, and ranks by those over 20 to 26 November.

    Marvel's trailer came out on 29 November: the channel was not on the list the week before.
    """
    process_day(client, settings, "week", date(2017, 12, 3))
    board = get_leaderboard(client, "views", Period.WEEK, date(2017, 12, 3))
    assert (board.start, board.end, board.ranked) == (date(2017, 11, 27), date(2017, 12, 3), 382)
    assert [(one.channel, one.value, one.previous_rank) for one in board.standings[:6]] == [
        ("Marvel Entertainment", 236_772_541, None),
        ("ibighit", 153_541_159, 4),
        ("PinkVEVO", 74_519_491, 11),
        ("Disney•Pixar", 70_195_244, 2),
        ("OK Go", 34_212_851, 52),
        ("DemiLovatoVEVO", 32_850_058, 41),
    ]


def test_the_leaderboard_of_all_time(report: AnalyticsReport, client: redis.Redis) -> None:
    board = get_leaderboard(client, "views", Period.ALL)
    assert (board.ranked, board.total) == (754, 754)
    assert [(one.channel, one.value) for one in board.standings[:3]] == [
        ("Marvel Entertainment", 670_727_492),
        ("LuisFonsiVEVO", 534_738_794),
        ("Ed Sheeran", 280_306_563),
    ]
    counted = Counter(one.rank for one in get_leaderboard(client, "views", limit=1000).standings)
    assert counted == Counter(range(1, 199)), "each rank once"


def test_changes_from_the_day_before(report: AnalyticsReport) -> None:
    """151 of the 198 channels were on the list of 7 December too."""
    views = report.changes[0]
    assert (views.channels, views.before, views.now) == (151, 335_069_162, 382_924_225)
    assert views.median_percent == pytest.approx(7.7271, abs=1e-4)
    assert [(one.channel, one.now - one.before) for one in report.rises[:3]] == [
        ("YouTube Spotlight", 27_829_572),
        ("5-Minute Crafts", 10_093_297),
        ("Ed Sheeran", 3_342_154),
    ]
    assert [(one.channel, one.now - one.before) for one in report.falls[:2]] == [
        ("Saturday Night Live", -4_280_127),
        ("The Late Late Show with James Corden", -3_767_271),
    ]


def test_outliers_are_those_that_the_formula_names(
    report: AnalyticsReport, shared_data: Path
) -> None:
    """The formula anew, with the statistics module and without numpy: 34 channels' views jumped.

    Most of them put another video on the list, which has other views: E! fell from 958,901 to
    6,181, First We Feast rose from 99,432 to 1,458,368. By their level nobody stands out.
    """
    before, now = (views_of(shared_data, day) for day in ("17.07.12", "17.08.12"))
    steps = {c: math.log1p(now[c]) - math.log1p(before[c]) for c in now.keys() & before.keys()}
    median = statistics.median(steps.values())
    spread = statistics.median(abs(step - median) for step in steps.values())
    scores = {channel: 0.6745 * (step - median) / spread for channel, step in steps.items()}
    expected = {channel: score for channel, score in scores.items() if abs(score) > 3.5}
    assert len(expected) == 34
    of_views = [one for one in report.outliers if one.metric == "views"]
    assert {one.kind for one in of_views} == {"change"}
    for one in of_views:
        assert one.score == pytest.approx(expected[one.channel])
    farthest = of_views[0]
    assert (farthest.channel, farthest.before, farthest.value) == (
        "E! Entertainment",
        958_901,
        6_181,
    )
    assert farthest.score == pytest.approx(-58.846, abs=1e-3)
