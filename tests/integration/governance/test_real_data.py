"""Governance on real metrics: a daily trending list of 754 channels on 26 days."""

from datetime import date
from pathlib import Path

import redis

from nova.governance.models import Flag
from nova.governance.service import list_channels, run_governance
from nova.ingest.service import ingest_file
from nova.settings import Settings


def test_the_trending_list_is_judged_by_the_metrics_that_it_has(
    client: redis.Redis, settings: Settings, shared_data: Path
) -> None:
    ingest_file(shared_data / "youtube_trending_us.csv", settings, client)
    report = run_governance(client, settings, "real")
    assert report is not None
    window = report.window
    assert (window.start, window.end) == (date(2017, 11, 12), date(2017, 12, 9))
    assert window.days_missing == [date(2017, 11, 12), date(2017, 11, 13)]
    # 306 channels are on the list on seven days or more.
    assert (report.channels_seen, report.channels_judged) == (754, 306)
    assert [metric.name for metric in report.metrics] == ["views", "growth", "engagement"]
    assert report.top[0].flag is Flag.PROMOTE
    assert report.bottom[0].flag is Flag.RETIRE
    scores = [v.score for v in list_channels(client, "real", limit=1000).channels if v.score]
    assert len(scores) == 306
    assert scores == sorted(scores, reverse=True)
    assert -0.1 < sum(scores) / len(scores) < 0.3, "the average channel scores 0 plus a bonus"
