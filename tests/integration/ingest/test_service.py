"""A file is stored whole, once, and day by day."""

import os
from datetime import date
from math import isnan
from pathlib import Path

import pytest
import redis
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from nova.channels import METRIC_NAMES, load_day
from nova.errors import ConfigurationError, InputError, UnavailableError
from nova.ingest import ingest_file
from nova.settings import Settings
from nova.store import connect
from scripts.local.redis_server import LocalRedis

from .conftest import MakeFile, Stored

ROWS = "day,channel,views,likes\n2025-01-02,A,1,2\n2025-01-01,A,3,\n2025-01-01,B,,4\n"


def test_the_same_file_twice_changes_nothing(
    client: redis.Redis, settings: Settings, make_file: MakeFile, stored: Stored
) -> None:
    """The second result says that all is there already, and Redis is byte for byte the same."""
    file = make_file(ROWS)
    first = ingest_file(file, settings, client)
    assert (first.format, first.rows_read, first.rows_rejected) == ("Nova CSV", 3, 0)
    assert first.days == first.days_changed == [date(2025, 1, 1), date(2025, 1, 2)]
    assert (first.channels_new, first.channels_changed, first.channels_unchanged) == (3, 0, 0)
    before = stored()
    second = ingest_file(file, settings, client)
    assert (second.channels_new, second.channels_changed, second.channels_unchanged) == (0, 0, 3)
    assert second.days_changed == []
    assert stored() == before


def test_a_changed_row_changes_its_day_only(
    client: redis.Redis, settings: Settings, make_file: MakeFile
) -> None:
    """Days that are the same are not among the changed ones."""
    ingest_file(make_file(ROWS), settings, client)
    result = ingest_file(make_file(ROWS.replace("02,A,1,2", "02,A,1,5")), settings, client)
    assert result.days_changed == [date(2025, 1, 2)]
    assert (result.channels_changed, result.channels_unchanged) == (1, 2)


def test_more_channels_than_one_command_takes(
    client: redis.Redis, settings: Settings, make_file: MakeFile
) -> None:
    """A day is put together from several chunks, when it is new and when it is changed."""
    for views in (1, 2):
        rows = "".join(f"2025-01-01,c{number},{views}\n" for number in range(2500))
        ingest_file(make_file("day,channel,views\n" + rows), settings, client)
        names, table = load_day(client, date(2025, 1, 1))
        assert len(set(names)) == 2500
        assert set(table[:, 0].tolist()) == {float(views)}


def test_strict_refuses_a_file_with_a_bad_row(
    client: redis.Redis, settings: Settings, make_file: MakeFile
) -> None:
    """One line names the first problem; nothing is stored. Without strict the rest is stored."""
    file = make_file(ROWS + "2025-01-03,A,many,1\n")
    with pytest.raises(InputError, match=r"has bad rows: 1; nothing was stored; .*line 5, col"):
        ingest_file(file, settings, client, strict=True)
    assert client.dbsize() == 0
    result = ingest_file(file, settings, client)
    assert (result.rows_read, result.rows_rejected, result.channels_new) == (4, 1, 3)
    assert str(result.problems[0]) == "line 5, column views: 'many' is not a number"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("", "has a header and no rows to store"),
        ("x,A\nx,B\n", "has bad rows, and no good one: 2; nothing was stored; the first is line 2"),
    ],
)
def test_a_file_without_a_good_row_is_an_error(
    client: redis.Redis, settings: Settings, make_file: MakeFile, rows: str, message: str
) -> None:
    """Nobody ingests nothing on purpose."""
    with pytest.raises(InputError, match=message):
        ingest_file(make_file("day,channel\n" + rows), settings, client)
    assert client.dbsize() == 0


def test_a_file_that_cannot_be_read_is_one_line(
    client: redis.Redis, settings: Settings, tmp_path: Path
) -> None:
    """A missing file and a folder are named, with what is wrong; `name` replaces the path."""
    with pytest.raises(InputError, match=r"cannot read .*nowhere: No such file or directory"):
        ingest_file(tmp_path / "nowhere", settings, client)
    with pytest.raises(InputError, match="cannot read the upload: Is a directory"):
        ingest_file(tmp_path, settings, client, name="the upload")


def test_a_file_that_fails_while_it_is_read_is_one_line(
    client: redis.Redis, settings: Settings
) -> None:
    """The first page of a process's memory cannot be read, as little as a bad block of a disk."""
    with pytest.raises(InputError, match="cannot read /proc/self/mem: Input/output error"):
        ingest_file(Path("/proc/self/mem"), settings, client)


def test_a_pipe_is_refused_in_one_line(client: redis.Redis, settings: Settings) -> None:
    reader, writer = os.pipe()
    os.close(writer)
    with pytest.raises(InputError, match=f"cannot read /dev/fd/{reader}: it is read twice"):
        ingest_file(Path(f"/dev/fd/{reader}"), settings, client)
    os.close(reader)


def test_a_dry_run_tells_what_would_change(
    client: redis.Redis, settings: Settings, make_file: MakeFile
) -> None:
    """The counts are those of a real run; nothing is stored."""
    result = ingest_file(make_file(ROWS), settings, client, dry_run=True)
    assert (result.dry_run, result.channels_new, len(result.days_changed)) == (True, 3, 2)
    assert client.dbsize() == 0


def test_progress_goes_up_to_the_size_of_the_file(
    client: redis.Redis, settings: Settings, make_file: MakeFile
) -> None:
    """Bytes while reading, then days while storing."""
    file = make_file("day,channel\n" + "".join(f"2025-01-01,c{n}\n" for n in range(25_000)))
    seen: list[int] = []
    days: list[tuple[int, int]] = []
    ingest_file(
        file,
        settings,
        client,
        progress=seen.append,
        stored=lambda done, total: days.append((done, total)),
    )
    assert seen == sorted(seen)
    assert len(seen) == 3
    assert seen[-1] == file.stat().st_size
    assert days == [(1, 1)]


def test_a_wrong_password_is_a_matter_of_configuration(
    client: redis.Redis, settings: Settings, make_file: MakeFile
) -> None:
    """The line says which settings to check, and nothing of the password."""
    wrong = settings.model_copy(update={"redis_url": settings.redis_url.replace("//:", "//:un")})
    with connect(wrong) as stranger, pytest.raises(ConfigurationError) as error:
        ingest_file(make_file(ROWS), wrong, stranger)
    assert "check REDIS_URL" in str(error.value)
    assert "@" not in str(error.value)


def test_redis_dying_while_the_file_is_read_leaves_nothing(
    tmp_path: Path, settings: Settings, make_file: MakeFile
) -> None:
    """The error says so; before any reading a Redis that is away is an error at once."""
    with LocalRedis.create(tmp_path / "redis") as server:
        own = settings.model_copy(update={"redis_url": server.url})
        file = make_file(ROWS)
        with connect(own) as client:
            with pytest.raises(UnavailableError, match=r"\(nothing of the file was stored\)"):
                ingest_file(file, own, client, progress=lambda _bytes: server.stop())
            seen: list[int] = []
            with pytest.raises(UnavailableError, match=r"Redis at redis://127\.0\.0\.1:[0-9]+/0 "):
                ingest_file(file, own, client, progress=seen.append)
    assert seen == []


def test_redis_dying_between_two_days_leaves_whole_days(
    tmp_path: Path, settings: Settings, make_file: MakeFile
) -> None:
    """The error says which days are in; the same file again completes it."""
    rows = "".join(f"2025-01-{day:02},A,{day}\n" for day in range(1, 6))
    file = make_file("day,channel,views\n" + rows)
    with LocalRedis.create(tmp_path / "redis") as server:
        own = settings.model_copy(update={"redis_url": server.url})

        def stop_after_three(done: int, _total: int) -> None:
            if done == 3:
                server.stop()

        with connect(own) as client:
            with pytest.raises(UnavailableError) as error:
                ingest_file(file, own, client, stored=stop_after_three)
            assert (
                "of the file's 5 days, 2025-01-01 to 2025-01-03 (3) are stored, "
                "2025-01-04 and later are not; ingest the file again" in str(error.value)
            )
            server.start()
            result = ingest_file(file, own, client)
        assert (result.channels_unchanged, result.channels_new) == (3, 2)


NUMBER = st.one_of(st.none(), st.floats(0, 1e15), st.integers(0, 10**15))
TABLE = st.dictionaries(
    st.tuples(st.sampled_from(["2025-01-01", "2025-01-02"]), st.sampled_from("ABC")),
    st.fixed_dictionaries({"views": NUMBER, "rpm": NUMBER}),
    min_size=1,
)


@given(TABLE)
@hypothesis_settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_numbers_arrive_bit_for_bit_and_a_second_time_changes_nothing(
    client: redis.Redis,
    settings: Settings,
    make_file: MakeFile,
    table: dict[tuple[str, str], dict[str, float | None]],
) -> None:
    """Whatever the numbers are, what is loaded equals what was written in the file."""
    client.flushall()
    rows = [
        f"{day},{name},{'' if v['views'] is None else v['views']},"
        f"{'' if v['rpm'] is None else v['rpm']}\n"
        for (day, name), v in table.items()
    ]
    file = make_file("day,channel,views,rpm\n" + "".join(rows))
    assert ingest_file(file, settings, client).channels_new == len(table)
    assert ingest_file(file, settings, client).days_changed == []
    for text in {day for day, _ in table}:
        names, numbers = load_day(client, date.fromisoformat(text))
        for name, row in zip(names, numbers.tolist(), strict=True):
            for metric, value in table[text, name.decode()].items():
                loaded = row[METRIC_NAMES.index(metric)]
                assert isnan(loaded) if value is None else loaded == value
