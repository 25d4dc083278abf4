"""Competitors in the real trending list of November and December 2017, and our real Studio export.

The findings are facts that were counted without Nova: the numbers stand here as awk and a look at
the files gave them, and Python's csv and statistics modules count them again from the files.
"""

import csv
import re
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from math import isclose
from pathlib import Path
from statistics import median, quantiles

import pytest
import redis

from nova import terminal
from nova.analysis.commands import print_report
from nova.analysis.models import AnalysisReport, ChannelProfile, Measure, Origin, Outcome
from nova.analysis.reports import STORE
from nova.analysis.service import analyse
from nova.ingest import ingest_file
from nova.settings import Settings

NOW = datetime(2026, 3, 14, tzinfo=UTC)
US = "Ken Jee"
FOUND = ("Marques Brownlee", "SciShow", "Tom Scott", "Vox", "WIRED")
SEEDS = (*FOUND, "Kurzgesagt", "CHRIS LEE")
OLDEST_LIST = date(2017, 11, 14)
#: The last day of the first half of the 25 days whose new videos are known, 15 November to 9
#: December: the 13th of them.
FIRST_HALF = date(2017, 11, 27)

#: Of a channel: video -> its rows of the file by day.
Rows = dict[str, dict[date, dict[str, str]]]


@pytest.fixture(scope="session")
def rows(shared_data: Path) -> dict[str, Rows]:
    """The trending list by channel; `trending_date` is YY.DD.MM."""
    found: dict[str, Rows] = defaultdict(lambda: defaultdict(dict))
    with (shared_data / "youtube_trending_us.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            year, day, month = map(int, row["trending_date"].split("."))
            videos = found[row["channel_title"]]
            videos[row["video_id"]][date(2000 + year, month, day)] = row
    return found


@pytest.fixture
def ingested(client: redis.Redis, settings: Settings, shared_data: Path) -> None:
    """Both files, ingested."""
    ingest_file(shared_data / "youtube_trending_us.csv", settings, client)
    ingest_file(shared_data / "youtube_studio_export.csv", settings, client, channel=US)


@pytest.fixture
def report(client: redis.Redis, settings: Settings, ingested: None) -> AnalysisReport:
    """The report on everything there is."""
    found = analyse(client, settings, "real", now=NOW, seeds=SEEDS)
    assert found is not None
    return found


def profile(report: AnalysisReport, channel: str) -> ChannelProfile:
    [one] = [one for one in [*report.own, *report.competitors] if one.channel == channel]
    return one


def test_both_files_count_each_with_its_own_window(report: AnalysisReport) -> None:
    """The list has 4,998 rows on 26 days, so two days of the 28 are missing; the newest video of
    the export is of 17 January 2022, and four more were published in the 27 days before it: on
    14, 10 and 3 January, which the file writes 1-14-2022, 10-01-2022 and 03-01-2022, and on
    12-27-2021.
    """
    windows = {window.origin: window for window in report.windows}
    lists, export = windows[Origin.LISTS], windows[Origin.STUDIO]
    assert (lists.first, lists.last) == (date(2017, 11, 12), date(2017, 12, 9))
    assert (lists.days, lists.rows) == (26, 4998)
    assert (export.first, export.last) == (date(2021, 12, 21), date(2022, 1, 17))
    assert (export.days, export.rows) == (5, 5)
    assert report.basis.days_missing == [date(2017, 11, 12), date(2017, 11, 13)]
    assert report.basis.rows == 5003
    assert any("have no day in common" in caveat for caveat in report.caveats)
    assert any("first day there" in caveat for caveat in report.caveats)


def test_seeds_without_a_channel_say_what_there_is(report: AnalysisReport) -> None:
    """`Chris Lee` and `chris lee` are two channels of the list; the other is written longer."""
    notes = {note.seed: note for note in report.seeds}
    assert notes["CHRIS LEE"].outcome is Outcome.AMBIGUOUS
    assert notes["CHRIS LEE"].near == ["Chris Lee", "chris lee"]
    assert notes["Kurzgesagt"].outcome is Outcome.NOT_FOUND
    assert notes["Kurzgesagt"].near == ["Kurzgesagt \u2013 In a Nutshell"]
    assert {note.outcome for note in report.seeds if note.seed in FOUND} == {Outcome.FOUND}


def test_vox_is_what_its_rows_say(report: AnalysisReport) -> None:
    """awk counts 13 videos on 25 days, 12 of them not on the oldest list: 12 x 7 / 25 a week. Of
    the 13 last numbers of views the seventh is 651,781, the fourth 533,940, the tenth 703,631.
    """
    vox = profile(report, "Vox")
    assert (vox.count, vox.days_listed) == (13, 25)
    assert vox.views
    assert (vox.views.lower, vox.views.median, vox.views.upper) == (533940, 651781, 703631)
    assert vox.cadence
    assert (vox.cadence.videos, vox.cadence.days, vox.cadence.day_unknown) == (12, 25, 1)
    assert vox.cadence.videos_per_week == 3.36
    assert isclose(vox.growth or 0, (515577 - 480587.5) / (515577 + 480587.5))


@pytest.mark.parametrize("channel", FOUND)
def test_a_competitor_is_what_is_counted_from_the_file_alone(
    report: AnalysisReport, rows: dict[str, Rows], channel: str
) -> None:
    """Numbers are those of a video's last day on the list; growth compares those of first days."""
    found = profile(report, channel)
    videos = rows[channel].values()
    last = [days[max(days)] for days in videos]
    views = [int(row["views"]) for row in last]
    assert found.views
    assert [found.views.lower, found.views.median, found.views.upper] == quantiles(
        views, n=4, method="inclusive"
    )
    assert {row["comments_disabled"] + row["ratings_disabled"] for row in last} == {"FALSEFALSE"}
    engaged = [(int(row["likes"]) + int(row["comment_count"])) / int(row["views"]) for row in last]
    assert found.engagement == median(engaged)
    new = {min(days): days[min(days)] for days in videos if min(days) > OLDEST_LIST}
    assert found.cadence
    assert found.cadence.videos == sum(min(days) > OLDEST_LIST for days in videos)
    assert found.days_listed == len({day for days in videos for day in days})
    if channel != "Vox":
        early = [row for day, row in new.items() if day <= FIRST_HALF]
        assert min(len(early), len(new) - len(early)) < 2
        assert found.growth is None, "fewer than two videos in one of the halves"


def test_we_are_last_by_views_and_first_by_engagement(report: AnalysisReport) -> None:
    """Our five videos of the window have 2,401, 4,383, 10,277, 11,808 and 79,283 views; the list
    only shows competitors' most seen videos. (likes + comments) / views of the five are, from the
    lowest, 90 / 2,401, 657 / 11,808, 4,522 / 79,283, 304 / 4,383 and 784 / 10,277: the third is
    5.7 %. Competitors have 3.4 to 5.1 %.
    """
    us = profile(report, US)
    assert us.views
    assert (us.origin, us.count, us.views.median) == (Origin.STUDIO, 5, 10277)
    assert us.cadence
    assert us.cadence.videos_per_week == 1.25
    assert us.ranks[Measure.VIEWS] == report.ranked[Measure.VIEWS] == 6
    assert us.engagement == 4522 / 79283
    assert us.ranks[Measure.ENGAGEMENT] == 1
    assert us.ranks[Measure.CADENCE] == 3, "after Vox with 3.36 and Marques Brownlee with 1.4"
    assert us.days_listed == 0
    by_views = [one.channel for one in report.competitors]
    assert by_views == ["Marques Brownlee", "WIRED", "Vox", "Tom Scott", "SciShow"]


def carrying(rows: dict[str, Rows], word: str) -> Iterator[tuple[str, str]]:
    """Return channel and video of each title of the competitors with a word, or its plural.

    The title is that of the video's last day: on 7 December Vox turned "The rise of bad jobs,
    explained" into "The fight to make bad jobs better".
    """
    for channel in FOUND:
        for video, days in rows[channel].items():
            if re.search(rf"\b{word}s?\b", days[max(days)]["title"], re.I):
                yield channel, video


@pytest.mark.parametrize("word", ["robot", "rise", "american"])
def test_a_missed_topic_is_in_their_titles_and_in_none_of_ours(
    report: AnalysisReport, rows: dict[str, Rows], shared_data: Path, word: str
) -> None:
    """What a search for the word in both files finds."""
    [topic] = [topic for topic in report.missed_topics if topic.name == word]
    found = set(carrying(rows, word))
    assert topic.videos == len(found) >= 2
    assert set(topic.channels) == {channel for channel, _ in found}
    export = (shared_data / "youtube_studio_export.csv").read_text("utf-8", errors="replace")
    assert f" {word}" not in export.lower()


def test_a_shared_topic_is_in_titles_of_ours(
    report: AnalysisReport, rows: dict[str, Rows], shared_data: Path
) -> None:
    [topic] = [topic for topic in report.shared_topics if topic.name == "job"]
    assert topic.covered_by == [US]
    assert topic.videos == len(set(carrying(rows, "job")))
    export = (shared_data / "youtube_studio_export.csv").read_text("utf-8", errors="replace")
    assert "data science job" in export.lower()


def test_a_week_later_the_change_is_that_of_the_week(
    client: redis.Redis, settings: Settings, report: AnalysisReport
) -> None:
    """On 2 December Vox had 10 videos and 19 days on the list, six fewer than a week later."""
    first = analyse(client, settings, "first", now=NOW, seeds=SEEDS, day=date(2017, 12, 2))
    assert first is not None
    before = profile(first, "Vox")
    assert (before.count, before.days_listed) == (10, 19)
    effects = client.pipeline()
    STORE.record(effects, first, timedelta(days=90))
    effects.execute()
    second = analyse(client, settings, "second", now=NOW, seeds=SEEDS, day=date(2017, 12, 9))
    assert second is not None
    assert second.compared_with
    assert second.compared_with.report_id == "first"
    change = profile(second, "Vox").change
    assert change
    assert change.days_listed == 6
    assert before.views
    assert change.median_views == 651781 - before.views.median


def test_people_see_it(report: AnalysisReport) -> None:
    with terminal.console.capture() as capture:
        print_report(report, 3)
    text = " ".join(capture.get().split())
    assert "Ken Jee is 6 of 6 by median views" in text
    assert "651,781" in text
