"""The real files beside the checkout give the numbers that were counted without Nova.

Counted with awk and with Python's csv module alone, on the files in shared/data.
"""

import csv
import re
from collections import Counter
from datetime import UTC, date, datetime
from math import isnan
from pathlib import Path

import numpy as np
import pytest
import redis
from numpy.typing import NDArray

from nova.channels import METRIC_NAMES, load_day
from nova.ingest import IngestResult, ingest_file
from nova.ingest.values import find_date_order, last_day, studio_day
from nova.settings import Settings
from nova.topics import Topic, find_topics
from nova.videos import Video, VideoSource, load_videos


def channel(client: redis.Redis, day: date, name: str) -> dict[str, float]:
    """Return the metrics that are known of a channel on a day."""
    names, table = load_day(client, day)
    named = zip(METRIC_NAMES, table[names.index(name.encode())].tolist(), strict=True)
    return {metric: value for metric, value in named if not isnan(value)}


def everything(client: redis.Redis, result: IngestResult) -> NDArray[np.float64]:
    """Return all records of all days of a result."""
    return np.concatenate([load_day(client, day)[1] for day in result.days])


def test_trending_list(client: redis.Redis, settings: Settings, shared_data: Path) -> None:
    """4,998 rows, 26 days, 754 channels; no row is bad; sums and gaps are those counted."""
    result = ingest_file(shared_data / "youtube_trending_us.csv", settings, client)
    assert (result.format, result.rows_read, result.rows_rejected) == ("trending list", 4998, 0)
    assert (len(result.days), result.channels_new) == (26, 4998)
    assert (result.days[0], result.days[-1]) == (date(2017, 11, 14), date(2017, 12, 9))
    names = {name for day in result.days for name in load_day(client, day)[0]}
    assert len(names) == 754
    table = everything(client, result)
    assert np.nansum(table[:, :3], axis=0).tolist() == [6666820154, 249714497, 28273815]
    # 32 rows with ratings disabled and 2 without likes; 116 with comments disabled.
    assert np.isnan(table[:, :3]).sum(axis=0).tolist() == [0, 34, 116]
    assert np.isnan(table[:, 3:]).all()
    assert channel(client, date(2017, 11, 14), "CaseyNeistat") == {
        "views": 748374,
        "likes": 57527,
        "comments": 15954,
    }


def test_studio_export(client: redis.Redis, settings: Settings, shared_data: Path) -> None:
    """223 videos on 222 days beside the Total row; no row is bad; sums are those counted."""
    file = shared_data / "youtube_studio_export.csv"
    result = ingest_file(file, settings, client, channel="Ken Jee")
    assert (result.format, result.rows_read) == ("YouTube Studio export", 224)
    assert (result.rows_rejected, result.rows_skipped) == (0, {"row of totals": 1})
    assert (len(result.days), result.channels_new) == (222, 222)
    assert (result.days[0], result.days[-1]) == (date(2017, 6, 6), date(2022, 1, 17))
    sums = dict(zip(METRIC_NAMES, np.nansum(everything(client, result), axis=0), strict=True))
    counted = {"views": 5567998, "likes": 224977, "comments": 14195, "shares": 39639}
    counted |= {"subscribers": 128013, "impressions": 100949961}
    assert {name: sums[name] for name in counted} == counted
    assert sums["watch_hours"] == pytest.approx(317597.0274)
    assert sums["revenue"] == pytest.approx(29067.733)
    # "How I Would Learn Data Science", the row with 08-05-2020: 8 May, not 5 August.
    assert channel(client, date(2020, 5, 8), "Ken Jee")["views"] == 1253559
    # The one day with two videos.
    two = channel(client, date(2019, 3, 3), "Ken Jee")
    assert (two["views"], two["likes"], two["subscribers"]) == (664 + 1225, 28 + 30, 4 + 47)
    assert two["rpm"] == pytest.approx(4.494966649)
    assert two["ctr"] == pytest.approx(1.219698826)


def every_video(client: redis.Redis, result: IngestResult) -> list[Video]:
    """Return all videos of all days of a result, one for each day that it lies under."""
    return [video for day in result.days for video in load_videos(client, day)]


def topics_of(videos: list[Video]) -> dict[str, Topic]:
    """Return the topics of videos."""
    return find_topics((video.id, video.channel, video.title) for video in videos)


def test_videos_of_the_trending_list(
    client: redis.Redis, settings: Settings, shared_data: Path
) -> None:
    """Each row is one video on one day: 4,998 of 1,260 videos, 200 a day until lists get shorter.

    `cut -d, -f1 | sort -u | wc -l` counts the videos and `awk` the rows by trending_date: 200 on
    20 days, then 197, 196, 197, 197, 198 and 13. `grep -c ^ZJDMWVZta3M,` finds that video on 10
    days, the most of all. With csv.DictReader: 1,199 rows have category 24, dislikes sum to
    9,295,409, and the 32 rows with ratings disabled have none. The file has no title that is
    empty, and in publish_time the time of day only, so no time of publishing is known.
    """
    result = ingest_file(shared_data / "youtube_trending_us.csv", settings, client)
    videos = every_video(client, result)
    assert (result.videos_new, len(videos)) == (4998, 4998)
    assert len({video.id for video in videos}) == 1260
    sizes = [len(load_videos(client, day, VideoSource.TRENDING)) for day in result.days]
    assert sizes == [200] * 20 + [197, 196, 197, 197, 198, 13]
    days_on_the_list = Counter(video.id for video in videos)
    assert (days_on_the_list["ZJDMWVZta3M"], max(days_on_the_list.values())) == (10, 10)
    assert sum(video.category == 24 for video in videos) == 1199
    assert sum(video.dislikes or 0 for video in videos) == 9295409
    assert sum(video.dislikes is None for video in videos) == 32
    assert all(video.title for video in videos)
    assert not any(video.published_at for video in videos)
    (pixar,) = [v for v in load_videos(client, date(2017, 11, 28)) if v.id == "ZJDMWVZta3M"]
    title = "Incredibles 2 Official Teaser Trailer"
    assert pixar == Video(
        id="ZJDMWVZta3M",
        source=VideoSource.TRENDING,
        title=title,
        channel="Disney\u2022Pixar",
        category=1,
        views=36152111,
        likes=444698,
        dislikes=15434,
        comments=48348,
    )


def test_videos_of_the_studio_export(
    client: redis.Redis, settings: Settings, shared_data: Path
) -> None:
    """Each of the 223 videos lies under the day it was published, with its title and dislikes.

    Line 76 of the file has four characters U+FFFD where an emoji was lost before it was exported.
    The id " -pdXWmj9xxU" has a blank before it. Its date 04-09-2020 is 4 September, not
    9 April: it tells how #66DaysOfData goes, and "6 Lessons from #66DaysOfData" came on 11-13-2020,
    70 days after that. Dislikes sum to 3,902 with csv.DictReader, without the row of totals.
    """
    result = ingest_file(
        shared_data / "youtube_studio_export.csv", settings, client, channel="Ken Jee"
    )
    videos = every_video(client, result)
    assert (result.videos_new, len(videos), len({video.id for video in videos})) == (223, 223, 223)
    assert {(video.source, video.channel) for video in videos} == {("studio", "Ken Jee")}
    assert sum(video.dislikes or 0 for video in videos) == 3902
    by_id = {video.id: video for video in videos}
    title = "\ufffd\ufffd\ufffd\ufffd Hot Topics in Tech: Data Science Explained #SHORTS"
    assert by_id["OtqQYqRNDGI"].title == title
    assert by_id["-pdXWmj9xxU"].published_at == datetime(2020, 9, 4, tzinfo=UTC)
    start_over = by_id["4OZip0cgOho"]
    assert (start_over.views, start_over.dislikes, start_over.revenue) == (1253559, 942, 7959.533)


def test_topics_of_the_real_titles(
    client: redis.Redis, settings: Settings, shared_data: Path
) -> None:
    """Known topics have the videos and channels that a plain search of the titles finds.

    `grep -iE "star[ -]?wars"` and so on, then `cut -d, -f1 | sort -u | wc -l`, counts the videos;
    channels were counted with csv.DictReader and the same patterns. Late in 2017 these were the
    film Justice League (17 November), the film Star Wars: The Last Jedi (15 December), the
    candidate Roy Moore and the engagement of Meghan Markle (27 November). The words "justice" and
    "league" are in the same 16 videos, and so go; "star" is in others too, and stays.
    """
    listed = ingest_file(shared_data / "youtube_trending_us.csv", settings, client)
    topics = topics_of(every_video(client, listed))
    counted = {
        "justice league": (16, 11),
        "star wars": (9, 8),
        "roy moore": (7, 7),
        "meghan markle": (8, 7),
    }
    assert counted == {
        name: (len(topics[name].videos), len(topics[name].channels)) for name in counted
    }
    assert not {"justice", "league", "markle"} & topics.keys()
    assert "star" in topics
    client.flushall()
    export = shared_data / "youtube_studio_export.csv"
    own = ingest_file(export, settings, client, channel="Ken Jee")
    topics = topics_of(every_video(client, own))
    assert len(topics["data science"].videos) == 143


def test_a_numbered_series_proves_the_order_of_the_dates(shared_data: Path) -> None:
    """The podcast's episodes 2 to 17 were published in their order, read as Nova reads dates."""
    text = (shared_data / "youtube_studio_export.csv").read_bytes().decode("utf-8-sig", "replace")
    rows = list(csv.DictReader(text.splitlines()))
    order = find_date_order(row["Video publish time"] for row in rows)
    episodes = {
        int(match[1]): studio_day(
            row["Video publish time"], "Video publish time", last_day(), order.day_first
        )
        for row in rows
        if (match := re.search(r"KNN EP\. ([0-9]+)", row["Video title"]))
    }
    assert len(episodes) == 16
    days = [episodes[number] for number in sorted(episodes)]
    assert days == sorted(days)


def test_both_files_a_second_time_change_nothing(
    client: redis.Redis, settings: Settings, shared_data: Path
) -> None:
    """Real data is idempotent too."""
    for name, channel_name in (
        ("youtube_trending_us.csv", None),
        ("youtube_studio_export.csv", "Ken Jee"),
    ):
        first = ingest_file(shared_data / name, settings, client, channel=channel_name)
        again = ingest_file(shared_data / name, settings, client, channel=channel_name)
        assert again.days_changed == []
        assert again.channels_unchanged == first.channels_new
        assert again.videos_unchanged == first.videos_new
