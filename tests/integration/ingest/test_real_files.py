"""The real files beside the checkout give the numbers that were counted without Nova.

Counted with awk and with Python's csv module alone, on the files in shared/data.
"""

import csv
import re
from datetime import date
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
