"""Videos of the lists that have them are stored by day, found, loaded and forgotten."""

from datetime import UTC, date, datetime

import redis

from nova.channels import load_day
from nova.ingest import ingest_file
from nova.settings import Settings
from nova.videos import (
    Video,
    VideoSource,
    days_before,
    days_in_window,
    forget_days,
    load_videos,
    newest_day,
    newest_days,
)

from .conftest import MakeFile, Stored

DAY = date(2017, 11, 14)
TRENDING = (
    "video_id,trending_date,title,channel_title,category_id,publish_time,views,likes,dislikes,"
    "comment_count,comments_disabled,ratings_disabled\n"
)
STUDIO = "Video,Video title,Video publish time,Video views,Dislikes,Your estimated revenue (USD)\n"


def test_without_data_there_are_no_videos(client: redis.Redis) -> None:
    """An empty Redis has no day and no video."""
    assert newest_day(client) is None
    assert days_in_window(client, DAY, 28) == days_before(client, DAY) == []
    assert load_videos(client, DAY) == []


def test_a_trending_list_leaves_what_it_says_of_each_video(
    client: redis.Redis, settings: Settings, make_file: MakeFile
) -> None:
    """Numbers that were switched off, and a time without its day, are not known."""
    rows = (
        'v2,17.14.11,"a,  title",A,22,17:13:01,100,10,1,3,FALSE,FALSE\n'
        "v1,17.14.11,Other,A,10,2017-11-13T17:13:01.000Z,5,0,0,0,TRUE,TRUE\n"
        "v1,17.15.11,Other,A,x,,9,4,?,2,FALSE,FALSE\n"
    )
    result = ingest_file(make_file(TRENDING + rows), settings, client)
    assert (result.rows_rejected, result.channels_new, result.videos_new) == (0, 2, 3)
    source = VideoSource.TRENDING
    published = datetime(2017, 11, 13, 17, 13, 1, tzinfo=UTC)
    assert load_videos(client, DAY) == [
        Video("v1", source, "Other", "A", published, category=10, views=5),
        Video("v2", source, "a, title", "A", None, 22, 100, 10, 1, 3),
    ]
    next_day = date(2017, 11, 15)
    assert load_videos(client, next_day) == [
        Video("v1", source, "Other", "A", views=9, likes=4, comments=2)
    ]
    assert newest_day(client) == next_day
    assert days_in_window(client, next_day, 2) == [DAY, next_day]


def test_the_newest_day_of_a_source_is_found_below_newer_days_of_others(
    client: redis.Redis, settings: Settings, make_file: MakeFile
) -> None:
    listed = "v1,17.14.11,Other,A,10,,5,0,0,0,TRUE,TRUE\n"
    ingest_file(make_file(TRENDING + listed), settings, client)
    assert newest_day(client, VideoSource.STUDIO) is None
    ingest_file(make_file(STUDIO + "s1,Ours,2020-01-02,5,0,1.0\n"), settings, client, channel="Us")
    assert newest_day(client) == newest_day(client, VideoSource.STUDIO) == date(2020, 1, 2)
    assert newest_day(client, VideoSource.TRENDING) == DAY
    assert newest_days(client) == [DAY, date(2020, 1, 2)]
    assert newest_days(client, 1) == [date(2020, 1, 2)]


def test_columns_that_only_describe_may_be_missing(
    client: redis.Redis, settings: Settings, make_file: MakeFile
) -> None:
    """A list with the columns it is recognised by, and no more, is taken as before."""
    header = "video_id,trending_date,channel_title,views,likes,comment_count\n"
    ingest_file(make_file(header + "v,17.14.11,A,1,2,3\n"), settings, client)
    assert load_videos(client, DAY) == [
        Video("v", VideoSource.TRENDING, "", "A", views=1, likes=2, comments=3)
    ]


def test_a_studio_export_and_a_list_do_not_overwrite_each_other(
    client: redis.Redis, settings: Settings, make_file: MakeFile
) -> None:
    """One video on one day from two sources: both are kept, and can be told apart."""
    ingest_file(
        make_file(TRENDING + "v,17.14.11,T,A,22,,100,10,1,3,FALSE,FALSE\n"), settings, client
    )
    export = STUDIO + " v,T now,2017-11-14,500,2,-0.5\nTotal,,,500,2,0\n"
    result = ingest_file(make_file(export), settings, client, channel="A")
    assert (result.videos_new, result.videos_changed) == (1, 0)
    (studio,) = load_videos(client, DAY, VideoSource.STUDIO)
    midnight = datetime(2017, 11, 14, tzinfo=UTC)
    assert studio == Video(
        "v", VideoSource.STUDIO, "T now", "A", midnight, views=500, dislikes=2, revenue=-0.5
    )
    (trending,) = load_videos(client, DAY, VideoSource.TRENDING)
    assert (trending.title, trending.views) == ("T", 100)
    assert load_videos(client, DAY) == [studio, trending]


def test_a_new_title_changes_its_day_and_its_channels_stay(
    client: redis.Redis, settings: Settings, make_file: MakeFile, stored: Stored
) -> None:
    """A dry run says so first and writes nothing; the same file again changes nothing."""
    text = STUDIO + "v,Old,2017-11-14,5,0,\nw,W,2017-11-15,5,0,\n"
    ingest_file(make_file(text), settings, client, channel="A")
    before = stored()
    file = make_file(text.replace("Old", "New"))
    for dry_run in (True, False):
        result = ingest_file(file, settings, client, channel="A", dry_run=dry_run)
        assert result.days_changed == [DAY]
        assert (result.channels_changed, result.channels_unchanged) == (0, 2)
        assert (result.videos_new, result.videos_changed, result.videos_unchanged) == (0, 1, 1)
        assert (stored() == before) == dry_run
    assert load_videos(client, DAY)[0].title == "New"
    assert ingest_file(file, settings, client, channel="A").days_changed == []


def test_a_video_under_two_channels_on_one_day_is_taken_once(
    client: redis.Redis, settings: Settings, make_file: MakeFile
) -> None:
    """The first by name, in either order of rows; so the same file again changes nothing."""
    row = "v,17.14.11,T,{channel},22,,{views},10,1,3,FALSE,FALSE\n"
    rows = [row.format(channel="B", views=1), row.format(channel="A", views=2)]
    for order in (rows, rows[::-1]):
        client.flushall()
        file = make_file(TRENDING + "".join(order))
        assert ingest_file(file, settings, client).videos_new == 1
        (video,) = load_videos(client, DAY)
        assert (video.channel, video.views) == ("A", 2)
        assert ingest_file(file, settings, client).days_changed == []


def test_more_videos_than_one_command_takes(
    client: redis.Redis, settings: Settings, make_file: MakeFile
) -> None:
    """A day is put together from several chunks, and each video comes once."""
    rows = "".join(f"v{n},17.14.11,T,A,1,,{n},1,1,1,FALSE,FALSE\n" for n in range(2500))
    file = make_file(TRENDING + rows)
    assert ingest_file(file, settings, client).videos_new == 2500
    videos = load_videos(client, DAY)
    assert {video.id: video.views for video in videos} == {f"v{n}": n for n in range(2500)}
    assert ingest_file(file, settings, client).videos_unchanged == 2500


def test_a_nova_csv_has_no_videos(
    client: redis.Redis, settings: Settings, make_file: MakeFile
) -> None:
    """Channels alone: no empty hash, no day in the index."""
    result = ingest_file(make_file("day,channel,views\n2025-01-01,A,1\n"), settings, client)
    assert (result.videos_new, result.videos_changed, result.videos_unchanged) == (0, 0, 0)
    assert not list(client.scan_iter("nova:videos*"))


def test_days_are_forgotten_whole(
    client: redis.Redis, settings: Settings, make_file: MakeFile
) -> None:
    """Days before the first one kept go, the others and all channel metrics stay."""
    days = [date(2016, 12, 31), date(2017, 1, 1), date(2017, 1, 2)]
    rows = "".join(f"v,T,{day},1,0,\n" for day in days)
    ingest_file(make_file(STUDIO + rows), settings, client, channel="A")
    gone = days_before(client, days[2])
    assert gone == days[:2]
    forget_days(client, gone)
    assert days_in_window(client, days[2], 28) == days[2:]
    assert [len(load_videos(client, day)) for day in days] == [0, 0, 1]
    assert all(load_day(client, day)[0] == [b"A"] for day in days)
