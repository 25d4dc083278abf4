"""One day is stored all at once or not at all, and nobody else's work is lost."""

from collections.abc import Callable, Iterator
from datetime import date

import pytest
import redis

from nova.channels import pack
from nova.errors import UnavailableError
from nova.ingest.commit import (
    ATTEMPTS,
    STAGING_TTL_SECONDS,
    Chunks,
    Outcome,
    channel_hash,
    store_day,
    video_hash,
)
from nova.store import Keys

from .conftest import Stored

DAY = date(2025, 1, 1)
KEY = Keys.metric_day(DAY).encode()
STAGING = Keys.metric_staging("x")
ONE, TWO, THREE = (pack({"views": views}) for views in (1, 2, 3))


def chunks(*parts: dict[str, bytes]) -> Chunks:
    return list(parts)


def store_channels(
    client: redis.Redis, read: Callable[[], Chunks], *, dry_run: bool = False
) -> Outcome:
    """Store a day that has channels only."""
    (outcome,) = store_day(client, DAY, [channel_hash(DAY, "x", read)], dry_run=dry_run)
    return outcome


def test_a_row_replaces_its_channel_and_leaves_the_others(
    client: redis.Redis, stored: Stored
) -> None:
    """New, changed and unchanged channels are told apart; the rest of the day stays."""
    first = store_channels(client, lambda: chunks({"A": ONE, "B": ONE}, {"C": ONE}))
    assert first == Outcome(new=3)
    second = store_channels(client, lambda: chunks({"A": ONE}, {"B": TWO}, {"D": THREE}))
    assert second == Outcome(new=1, changed=1, unchanged=1)
    assert stored() == {
        KEY: {b"A": ONE, b"B": TWO, b"C": ONE, b"D": THREE},
        Keys.METRIC_DAYS.encode(): {b"2025-01-01": 20250101.0},
        Keys.DAY_WRITES.encode(): {KEY: b"2"},
    }
    assert client.ttl(KEY) == -1


def test_what_is_there_already_is_not_written(client: redis.Redis) -> None:
    """A second time there is no write at all."""
    store_channels(client, lambda: chunks({"A": ONE}))
    before = client.info("persistence")["rdb_changes_since_last_save"]
    assert store_channels(client, lambda: chunks({"A": ONE})) == Outcome(unchanged=1)
    assert client.info("persistence")["rdb_changes_since_last_save"] == before


def test_a_dry_run_compares_and_writes_nothing(client: redis.Redis, stored: Stored) -> None:
    """The outcome is that of a real run; Redis stays as it was."""
    store_channels(client, lambda: chunks({"A": ONE}))
    before = stored()
    outcome = store_channels(client, lambda: chunks({"A": TWO, "B": ONE}), dry_run=True)
    assert outcome == Outcome(new=1, changed=1)
    assert stored() == before


def test_a_crash_halfway_changes_nothing_and_leaves_nothing_for_ever(
    client: redis.Redis, stored: Stored
) -> None:
    """Whoever reads the day sees the old one; the staging key expires, and is not taken up."""
    store_channels(client, lambda: chunks({"A": ONE}))

    def crash() -> Iterator[dict[str, bytes]]:
        yield {"A": TWO, "B": TWO}
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store_channels(client, crash)
    assert stored()[KEY] == {b"A": ONE}
    assert 0 < client.ttl(STAGING) <= STAGING_TTL_SECONDS
    store_channels(client, lambda: chunks({"C": THREE}))
    assert stored()[KEY] == {b"A": ONE, b"C": THREE}
    assert not client.exists(STAGING)


@pytest.mark.parametrize("exists", [True, False], ids=["a day that exists", "a new day"])
def test_a_write_by_others_meanwhile_is_not_lost(
    client: redis.Redis, stored: Stored, exists: bool
) -> None:
    """The day is compared again, and both writes are in it."""
    if exists:
        store_channels(client, lambda: chunks({"A": ONE}))
    attempts: list[int] = []

    def disturbed() -> Iterator[dict[str, bytes]]:
        yield {"B": TWO}
        if not attempts:
            client.hset(KEY, "C", THREE)
        attempts.append(1)
        yield {"D": ONE}

    assert store_channels(client, disturbed).new == 2
    others = {b"A": ONE} if exists else {}
    assert stored()[KEY] == others | {b"B": TWO, b"C": THREE, b"D": ONE}
    assert len(attempts) == 2


def test_a_day_that_is_never_left_alone_is_given_up(client: redis.Redis, stored: Stored) -> None:
    """After some attempts a clear error, and nothing of ours in the day."""
    attempts: list[int] = []

    def disturbed() -> Iterator[dict[str, bytes]]:
        attempts.append(1)
        client.hset(KEY, "C", pack({"views": len(attempts)}))
        yield {"B": TWO}

    with pytest.raises(UnavailableError, match=r"2025-01-01 was written to by others"):
        store_channels(client, disturbed)
    assert len(attempts) == ATTEMPTS
    assert list(stored()[KEY]) == [b"C"]


def test_videos_and_channels_of_a_day_become_visible_together(
    client: redis.Redis, stored: Stored
) -> None:
    """A reader between both never sees one alone; when only one differs, only that is written."""
    seen: list[set[bytes]] = []

    def look() -> Iterator[dict[str, bytes]]:
        yield {"trending:v": b"1"}
        seen.append(set(stored()))

    def store(views: bytes) -> list[Outcome]:
        hashes = [
            channel_hash(DAY, "x", lambda: chunks({"A": views})),
            video_hash(DAY, "x", look),
        ]
        return store_day(client, DAY, hashes)

    assert store(ONE) == [Outcome(new=1), Outcome(new=1)]
    videos = Keys.video_day(DAY).encode()
    assert seen == [{STAGING.encode(), Keys.video_staging("x").encode()}]
    assert stored() == {
        KEY: {b"A": ONE},
        Keys.METRIC_DAYS.encode(): {b"2025-01-01": 20250101.0},
        videos: {b"trending:v": b"1"},
        Keys.VIDEO_DAYS.encode(): {b"2025-01-01": 20250101.0},
        Keys.DAY_WRITES.encode(): {KEY: b"1", videos: b"1"},
    }
    assert (client.ttl(KEY), client.ttl(videos)) == (-1, -1)
    assert store(TWO) == [Outcome(changed=1), Outcome(unchanged=1)]
    assert stored()[KEY] == {b"A": TWO}
    assert stored()[Keys.DAY_WRITES.encode()] == {KEY: b"2", videos: b"1"}


def test_videos_that_others_wrote_meanwhile_are_not_lost(
    client: redis.Redis, stored: Stored
) -> None:
    """Both hashes are watched, not the first only."""
    attempts: list[int] = []

    def disturbed() -> Iterator[dict[str, bytes]]:
        if not attempts:
            client.hset(Keys.video_day(DAY), "studio:w", "2")
        attempts.append(1)
        yield {"trending:v": b"1"}

    hashes = [
        channel_hash(DAY, "x", lambda: chunks({"A": ONE})),
        video_hash(DAY, "x", disturbed),
    ]
    assert store_day(client, DAY, hashes) == [Outcome(new=1), Outcome(new=1)]
    assert stored()[Keys.video_day(DAY).encode()] == {b"studio:w": b"2", b"trending:v": b"1"}
    assert len(attempts) == 2
