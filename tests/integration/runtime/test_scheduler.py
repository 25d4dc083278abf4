"""Real beats on a real Redis: one leads, every slot fires once, whatever happens to them."""

import json
import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import pytest
import redis

from nova.runtime.leader import LEASE_SECONDS, Leader, LeaderInfo, read_leader, read_marks
from nova.runtime.slots import EPOCH, Mark, slot_id
from nova.schedule import SCHEDULE
from nova.store import Keys
from scripts.local.redis_server import LocalRedis
from tests.conftest import CELERY, wait_until

#: The queue of tests/integration/runtime/beat_app.py.
QUEUE = "slots"
TAKEOVER_SECONDS = 10.0
STOP_SECONDS = 2.0

StartBeat = Callable[..., "Beat"]


class Beat:
    """One process of beat."""

    def __init__(self, entries: dict[str, Any], environment: dict[str, str], log: Path) -> None:
        self.log = log
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [CELERY, "-A", "tests.integration.runtime.beat_app", "beat", "--loglevel=INFO"],
                env=environment | {"BEAT_ENTRIES": json.dumps(entries)},
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    def says(self, what: str) -> bool:
        """Whether its output has a text; a beat that ended by itself is a failure."""
        assert self.process.poll() is None, self.log.read_text()
        return what in self.log.read_text()

    def stop(self) -> float:
        """Stop it as systemd does; return the seconds that it took.

        Those for which it waited for a processor, of a machine that does much else, do not count.
        """
        begin, waited = time.monotonic(), self.waited_for_processor()
        self.process.terminate()
        os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)  # it can still be asked
        seconds = time.monotonic() - begin - (self.waited_for_processor() - waited)
        assert self.process.wait() == 0, self.log.read_text()
        return seconds

    def waited_for_processor(self) -> float:
        """Seconds so far in which its main thread could have run and did not."""
        nanoseconds = Path(f"/proc/{self.pid}/schedstat").read_text().split()[1]
        return int(nanoseconds) / 1e9

    def kill(self) -> None:
        """End it without warning."""
        self.process.kill()
        self.process.wait()


@pytest.fixture
def start_beat(process_environment: dict[str, str], tmp_path: Path) -> Iterator[StartBeat]:
    """Start a beat with some entries; environment variables may be added."""
    beats: list[Beat] = []

    def start(entries: dict[str, Any], **environment: str) -> Beat:
        log = tmp_path / f"beat-{len(beats)}.log"
        beats.append(Beat(entries, process_environment | environment, log))
        return beats[-1]

    yield start
    for beat in beats:
        beat.kill()


def published(client: redis.Redis) -> list[dict[str, Any]]:
    """The messages in the queue, oldest first."""
    raw = cast(list[bytes], client.lrange(QUEUE, 0, -1))
    return [json.loads(text) for text in reversed(raw)]


def fired(client: redis.Redis, entry: str, every: float) -> list[datetime]:
    """The slots of an entry that were published, in order, told from the ids of their tasks."""
    now = datetime.now(UTC)
    number = (now - EPOCH) // timedelta(seconds=every) + 2
    slots = [EPOCH + (number - back) * timedelta(seconds=every) for back in range(3000)]
    by_id = {slot_id(entry, slot): slot for slot in slots}
    ids = [message["headers"]["id"] for message in published(client)]
    return [by_id[task_id] for task_id in ids if task_id in by_id]


def assert_each_once(slots: list[datetime], every: float) -> None:
    """No slot twice, none left out."""
    assert [count for count in Counter(slots).values() if count > 1] == []
    gaps = {later - earlier for earlier, later in pairwise(slots)}
    assert gaps == {timedelta(seconds=every)}


def leader(client: redis.Redis) -> int | None:
    """Process id of the beat that leads."""
    info = read_leader(client)
    return info.pid if info else None


def redis_now(client: redis.Redis) -> datetime:
    seconds, microseconds = client.time()
    return EPOCH + timedelta(seconds=seconds, microseconds=microseconds)


def wait_for_slots(client: redis.Redis, beat: Beat, count: int) -> None:
    """Wait until so many slots more have been published."""
    wanted = len(published(client)) + count
    wait_until(lambda: len(published(client)) >= wanted, beat.log.read_text)


def pair(client: redis.Redis, start_beat: StartBeat, entries: dict[str, Any]) -> tuple[Beat, Beat]:
    """Two beats, the leader first, the other standing by."""
    first = start_beat(entries)
    wait_until(lambda: leader(client) == first.pid, first.log.read_text)
    second = start_beat(entries)
    wait_until(lambda: second.says("standing by"), second.log.read_text)
    return first, second


def test_a_slot_carries_all_that_its_entry_says(client: redis.Redis, start_beat: StartBeat) -> None:
    """Task, arguments, options, the header of beat, the note of the run, and the id of the slot."""
    options = {"queue": QUEUE, "expires": 60, "headers": {"mine": "yes"}}
    beat = start_beat({"tick": {"every": 1, "options": options}})
    wait_for_slots(client, beat, 2)
    message = published(client)[0]
    headers = message["headers"]
    assert headers["task"] == "tests.slot"
    assert (headers["argsrepr"], headers["kwargsrepr"]) == ("['argument']", "{'keyword': 1}")
    assert (headers["mine"], headers["celery_beat_task"]) == ("yes", True)
    assert message["properties"]["expiration"] == "60000"
    note = cast(dict[bytes, bytes], client.hgetall(Keys.issued_task(headers["id"])))
    assert (note[b"name"], note[b"queue"]) == (b"tests.slot", QUEUE.encode())
    late = datetime.fromisoformat(note[b"published_at"].decode()) - fired(client, "tick", 1)[0]
    assert timedelta(0) <= late < timedelta(seconds=1)
    assert client.ttl(Keys.issued_task(headers["id"])) > 0
    assert read_marks(client)["tick"] == fired(client, "tick", 1)[-1]
    info = read_leader(client)
    assert isinstance(info, LeaderInfo)
    assert info.pid == beat.pid


def test_a_killed_leader_is_replaced_in_time(client: redis.Redis, start_beat: StartBeat) -> None:
    """kill -9: the other leads within 10 s, and no slot is missing or there twice."""
    first, second = pair(client, start_beat, {"tick": {"every": 0.5}})
    wait_for_slots(client, first, 2)
    first.kill()
    begin = time.monotonic()
    wait_until(lambda: leader(client) == second.pid, second.log.read_text)
    assert time.monotonic() - begin < TAKEOVER_SECONDS
    wait_for_slots(client, second, 3)
    assert_each_once(fired(client, "tick", 0.5), 0.5)


def test_a_frozen_leader_that_wakes_fires_nothing(
    client: redis.Redis, start_beat: StartBeat
) -> None:
    """SIGSTOP past the lease, SIGCONT: it finds another leading and stands by."""
    first, second = pair(client, start_beat, {"tick": {"every": 0.5}})
    wait_for_slots(client, first, 2)
    first.process.send_signal(signal.SIGSTOP)
    begin = time.monotonic()
    wait_until(lambda: leader(client) == second.pid, second.log.read_text)
    assert time.monotonic() - begin < TAKEOVER_SECONDS
    first.process.send_signal(signal.SIGCONT)
    wait_until(lambda: first.says("standing by"), first.log.read_text)
    wait_for_slots(client, second, 3)
    assert leader(client) == second.pid
    assert_each_once(fired(client, "tick", 0.5), 0.5)


def test_a_stopped_leader_hands_over_at_once(client: redis.Redis, start_beat: StartBeat) -> None:
    """A clean stop does not cost the lease."""
    first, second = pair(client, start_beat, {"tick": {"every": 0.5}})
    wait_for_slots(client, first, 1)
    first.process.terminate()
    begin = time.monotonic()
    wait_until(lambda: leader(client) == second.pid, second.log.read_text)
    assert time.monotonic() - begin < LEASE_SECONDS / 2
    assert first.process.wait(timeout=30) == 0
    wait_for_slots(client, second, 2)
    assert_each_once(fired(client, "tick", 0.5), 0.5)


def test_twenty_stops_and_starts_under_load(client: redis.Redis, start_beat: StartBeat) -> None:
    """A beat that is stopped in the middle of anything exits with 0, and no slot suffers."""
    entries = {"tick": {"every": 0.2}}
    for _ in range(20):
        beat = start_beat(entries)
        wait_for_slots(client, beat, 5)
        assert beat.stop() < STOP_SECONDS
        assert leader(client) is None
    assert_each_once(fired(client, "tick", 0.2), 0.2)


def test_slots_of_a_redis_outage_fire_after_it(start_beat: StartBeat, tmp_path: Path) -> None:
    """Redis restarts across slots: with `all` each fires, with `latest` the last one does."""
    entries = {"all": {"every": 0.5}, "last": {"every": 0.5, "catch_up": "latest"}}
    with LocalRedis.create(tmp_path / "own") as server:
        beat = start_beat(entries, REDIS_URL=server.url)
        with redis.Redis.from_url(server.url) as client:
            wait_for_slots(client, beat, 4)
            server.stop()
            wait_until(lambda: beat.says("waiting for Redis"), beat.log.read_text)
            time.sleep(2)  # the outage itself: several slots long
            server.start()
            wait_for_slots(client, beat, 8)
            assert_each_once(fired(client, "all", 0.5), 0.5)
            last = fired(client, "last", 0.5)
            assert last == sorted(set(last))
            assert any(
                later - earlier > timedelta(seconds=1.5) for earlier, later in pairwise(last)
            )
        assert beat.says("is back")
        assert beat.stop() < STOP_SECONDS


def test_slots_that_passed_without_a_beat_follow_the_policy(
    client: redis.Redis, start_beat: StartBeat
) -> None:
    """No beat for five hours: `all` fires five slots, `latest` one, `skip` none."""
    half_an_hour_ago = redis_now(client) - timedelta(minutes=30)
    last = half_an_hour_ago.replace(second=0, microsecond=0)
    identity = f"cron {last.minute} * * * *"
    policies = ("all", "latest", "skip")
    for policy in policies:
        mark = Mark(last - timedelta(hours=5), identity)
        client.hset(Keys.BEAT_SLOTS, policy, str(mark))
    beat = start_beat(
        {policy: {"cron": f"{last.minute} * * * *", "catch_up": policy} for policy in policies}
    )
    wait_until(lambda: min(read_marks(client).values()) >= last, beat.log.read_text)
    ids = [message["headers"]["id"] for message in published(client)]
    missed = [slot_id("all", last - timedelta(hours=hours)) for hours in (4, 3, 2, 1, 0)]
    assert [task_id for task_id in ids if task_id in missed] == missed
    assert set(ids) - set(missed) == {slot_id("latest", last)}
    assert len(ids) == len(missed) + 1
    assert beat.says("is passed over: only the latest is caught up")
    assert beat.says("is passed over: it is not caught up")


def test_new_and_changed_entries_start_now(client: redis.Redis, start_beat: StartBeat) -> None:
    """Neither an entry without a mark nor one with another schedule fires what lies back."""
    old = Mark(redis_now(client) - timedelta(days=3), "cron 0 2 * * *")
    client.hset(Keys.BEAT_SLOTS, "changed", str(old))
    begin = redis_now(client)
    beat = start_beat({"new": {"every": 1}, "changed": {"every": 1}})
    wait_until(lambda: fired(client, "new", 1) and fired(client, "changed", 1), beat.log.read_text)
    assert fired(client, "new", 1)[0] >= begin
    assert fired(client, "changed", 1)[0] >= begin


def test_a_standby_changes_nothing(client: redis.Redis, start_beat: StartBeat) -> None:
    """Also one of another release, whose schedule is another."""
    other = Leader(client)
    assert other.look().leads
    other.set_mark("tick", "", Mark(redis_now(client), "every 0.5 s"))

    def contents() -> dict[bytes, bytes]:
        # The leader notes when it looked; here that is this test.
        client.hdel(Keys.BEAT_STATE, "tick")
        keys = cast(list[bytes], client.keys())
        return {key: cast(bytes, client.dump(key)) for key in keys}

    before = contents()
    beat = start_beat({"tick": {"every": 0.2}, "more": {"every": 0.2}})
    wait_until(lambda: beat.says("standing by"), beat.log.read_text)
    deadline = time.monotonic() + 3
    while time.monotonic() < deadline:  # over many of its slots
        assert other.look().leads
        assert contents() == before
        time.sleep(0.1)


@pytest.mark.parametrize("away", ["stopped", "frozen"])
def test_sigterm_ends_beat_while_redis_is_away(
    away: str, start_beat: StartBeat, tmp_path: Path
) -> None:
    """Within 2 s, with exit code 0."""
    with LocalRedis.create(tmp_path / "own") as server:
        beat = start_beat({"tick": {"every": 0.5}}, REDIS_URL=server.url)
        with redis.Redis.from_url(server.url) as client:
            wait_for_slots(client, beat, 1)
        server.stop() if away == "stopped" else server.freeze()
        wait_until(lambda: beat.says("waiting for Redis"), beat.log.read_text)
        assert beat.stop() < STOP_SECONDS


def refuses_scripts(client: redis.Redis) -> bool:
    """Whether a script may not write now."""
    try:
        client.eval("redis.call('SET', 'probe', '1')", 0)
    except redis.ResponseError:
        return True
    return False


@pytest.mark.parametrize(
    ("bad", "good", "said"),
    [
        (
            lambda client: client.config_set("maxmemory", "1"),
            lambda client: client.config_set("maxmemory", "0"),
            "used memory > 'maxmemory'",
        ),
        (
            lambda client: client.config_set("min-replicas-to-write", "1"),
            lambda client: client.config_set("min-replicas-to-write", "0"),
            "Not enough good replicas to write",
        ),
        (
            lambda client: client.replicaof("127.0.0.1", "1"),
            lambda client: client.replicaof("NO", "ONE"),
            "read only replica",
        ),
    ],
    ids=["OOM", "NOREPLICAS", "READONLY"],
)
def test_a_redis_that_refuses_is_waited_for(
    bad: Callable[[redis.Redis], object],
    good: Callable[[redis.Redis], object],
    said: str,
    client: redis.Redis,
    start_beat: StartBeat,
) -> None:
    """Beat lives, says what is wrong, and fires every slot in the end."""
    beat = start_beat({"tick": {"every": 0.5}})
    wait_for_slots(client, beat, 1)
    bad(client)
    try:
        if refuses_scripts(client):
            wait_until(lambda: beat.says(said), beat.log.read_text)
            count = len(published(client))
            refused_until = redis_now(client) + timedelta(seconds=1.5)
            wait_until(lambda: redis_now(client) > refused_until)
            assert len(published(client)) == count
        else:  # Redis 6 asks for replicas outside scripts only
            assert "replicas" in said
            assert client.info("server")["redis_version"].startswith("6.")
    finally:
        good(client)
    wait_for_slots(client, beat, 5)
    assert_each_once(fired(client, "tick", 0.5), 0.5)


def test_a_full_redis_still_has_a_leader(client: redis.Redis) -> None:
    """The lease needs no free memory: the lead goes on, and goes over, at the limit."""
    first, second = Leader(client), Leader(client)
    client.config_set("maxmemory", "1")
    try:
        assert first.look().leads
        assert not second.look().leads
        first.resign(client)
        assert second.look().leads
    finally:
        client.config_set("maxmemory", "0")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda client: client.pexpire(Keys.BEAT_LEADER, 24 * 3_600_000),
        lambda client: client.persist(Keys.BEAT_LEADER),
        lambda client: client.set(Keys.BEAT_LEADER, "not of Nova"),
    ],
    ids=["from before the clock was set back", "without an end", "of somebody else"],
)
def test_a_lease_that_nobody_would_outlive_is_no_lease(
    spoil: Callable[[redis.Redis], object], client: redis.Redis
) -> None:
    gone, other = Leader(client), Leader(client)
    assert gone.look().leads
    spoil(client)
    assert other.look().leads
    assert not gone.look().leads


def test_a_lease_that_says_nothing_of_its_holder_is_respected(client: redis.Redis) -> None:
    """Another release may write something else there."""
    client.set(Keys.BEAT_LEADER, "[1]", px=5000)
    look = Leader(client).look()
    assert not look.leads
    assert look.other == LeaderInfo("unknown", 0, "unknown")


def test_too_few_replicas_are_told_and_the_slot_stays(
    client: redis.Redis, start_beat: StartBeat
) -> None:
    """Of a group of three one replica is to confirm, and there is none."""
    beat = start_beat({"tick": {"every": 2}}, NOVA_REDIS_GROUP_SIZE="3")
    wait_until(lambda: beat.says("has reached 0 of the 1 replicas"), beat.log.read_text)
    wait_for_slots(client, beat, 1)
    assert_each_once(fired(client, "tick", 2), 2)


def test_one_entry_that_fails_does_not_stop_the_others(
    client: redis.Redis, start_beat: StartBeat
) -> None:
    """A key of the wrong type in the place of one queue."""
    client.set("broken", "not a list")
    entries = {"bad": {"every": 1, "options": {"queue": "broken"}}, "good": {"every": 1}}
    beat = start_beat(entries)
    wait_until(lambda: beat.says("cannot publish bad"), beat.log.read_text)
    wait_until(lambda: len(fired(client, "good", 1)) > 2, beat.log.read_text)
    assert_each_once(fired(client, "good", 1), 1)


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ({"every": 1, "options": {"queue": "nowhere"}}, "Queue 'nowhere' missing"),
        ({"every": 1, "options": {"task_id": "1"}}, "beat itself decides the option task_id"),
        ({"every": 1, "options": {"exchange": "x"}}, "takes a queue, and no exchange"),
        ({"every": 1, "options": {"priority": 3}}, "takes no priority; send it to another queue"),
        ({"every": 1, "catch_up": "some"}, "catch_up is some; it can be all, latest, skip"),
        ({"every": 0}, "its interval must be longer than 0 s"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_entry_that_cannot_be_kept_is_refused_in_one_line(
    entry: dict[str, Any], problem: str, client: redis.Redis, start_beat: StartBeat
) -> None:
    beat = start_beat({"tick": entry})
    assert beat.process.wait(timeout=30) == 1
    output = beat.log.read_text()
    assert f"nova: entry tick of the beat schedule: {problem}" in output.replace('"', "")
    assert "Traceback" not in output
    assert client.dbsize() == 0


def test_celerys_own_scheduler_can_be_switched_back_on(
    client: redis.Redis, process_environment: dict[str, str], tmp_path: Path
) -> None:
    """NOVA_STOCK_PARTS=scheduler: with its file, and without a lead."""
    log = tmp_path / "beat.log"
    environment = process_environment | {
        "NOVA_STOCK_PARTS": "scheduler",
        "PYTHONPATH": str(Path.cwd()),
    }
    with log.open("wb") as output:
        process = subprocess.Popen(
            [CELERY, "-A", "nova.celery_app", "beat"],
            env=environment,
            cwd=tmp_path,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_until(
            lambda: (
                f"scheduling {len(SCHEDULE)} entries" in log.read_text()
                or process.poll() is not None
            ),
            log.read_text,
        )
        assert process.poll() is None, log.read_text()
        process.terminate()
        assert process.wait(timeout=30) == 0
    finally:
        process.kill()
        process.wait()
    assert list(tmp_path.glob("celerybeat-schedule*"))
    assert read_leader(client) is None
