"""Drives the real scripts of claims and effects on a real Redis, in any order of events.

A hypothesis state machine publishes, claims, commits, settles, crashes and freezes workers, lets
time pass, takes Redis away and fails over to a replica that lags. After every step nothing that
was acknowledged may be in no place, no effect may have happened twice, and no stale token may have
changed anything. At the end everything must still come to its end.
"""

import json
from dataclasses import dataclass, field
from typing import Any

import redis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from nova.runtime.claims import (
    PRIORITY_SUFFIXES,
    STARTS_ALLOWED,
    ClaimCalls,
    ClaimedMessage,
    Claims,
    Outcome,
    Owner,
    Settlement,
)
from nova.runtime.deadletters import all_letters, drop, replay
from nova.store import Keys

QUEUES = ("trends", 'a "direct" queue@host.dq2')
LEASE = ClaimCalls().lease_seconds
RENEW = ClaimCalls().renew_seconds
WORKERS = 3
#: Of what stands in Redis, the times by its clock. To shift them back is to let time pass.
TIMES_IN_SETS = (Keys.HELD_INDEX, Keys.INBOXES)
TIMES_IN_SWEEP = ("seen", "swept", "not_before")


def message(task_id: str, tag: str, *, eta: bool = False) -> bytes:
    """A message in kombu's wire form, with text that a careless script would trip over."""
    headers = {"id": task_id, "task": "nova.trends.scan", "stamps": ["a", "", "b"], "group": []}
    if eta:
        headers["eta"] = "2030-01-01T00:00:00+00:00"
    text = json.dumps(
        {"headers": headers, "properties": {"delivery_tag": tag}}, separators=(",", ":")
    )
    return text.encode()


@dataclass
class Worker:
    """A worker process as the machine sees it; a crash makes it another one."""

    claims: Claims
    is_frozen: bool = False
    #: Queues on which a blocking move of this worker is under way.
    waiting: set[str] = field(default_factory=set)
    held: dict[str, ClaimedMessage] = field(default_factory=dict)


@dataclass
class Backup:
    """What a replica has, and what publishers and the machine knew at that moment."""

    keys: dict[bytes, bytes]
    acknowledged: set[str]


class ClaimMachine(RuleBasedStateMachine):
    """The events. `client` is set by the test."""

    #: The answers of redis-py are typed for two protocols at once, which helps nobody here.
    client: Any

    def __init__(self) -> None:
        super().__init__()
        self.client.flushdb()
        self.workers = [self.new_worker(number) for number in range(WORKERS)]
        self.dead: list[Worker] = []
        self.acknowledged: set[str] = set()
        self.published = 0
        self.backup = self.take_backup()

    def new_worker(self, number: int) -> Worker:
        return Worker(Claims(self.client, Owner(f"w{number}@host")))

    def take_backup(self) -> Backup:
        keys = {key: self.client.dump(key) for key in self.client.scan_iter()}
        return Backup(keys, set(self.acknowledged))

    @initialize()
    def somebody_sweeps(self) -> None:
        self.workers[0].claims.sweep()
        self.let_pass(LEASE + RENEW, renewing=self.workers)

    # --- Events

    @rule(queue=st.sampled_from(QUEUES), eta=st.booleans(), confirmed=st.booleans())
    def publish(self, queue: str, eta: bool, confirmed: bool) -> None:
        """A confirmed publish has waited for the replica."""
        self.published += 1
        task_id = f"task-{self.published}"
        self.client.lpush(queue, message(task_id, f"tag-{self.published}", eta=eta))
        self.acknowledge(task_id, confirmed)

    @precondition(lambda self: self.published)
    @rule(queue=st.sampled_from(QUEUES), confirmed=st.booleans(), data=st.data())
    def publish_again(self, queue: str, confirmed: bool, data: st.DataObject) -> None:
        """The publisher did not learn that its publish succeeded, and repeats it."""
        number = data.draw(st.integers(1, self.published))
        tag = f"again-{number}-{data.draw(st.integers(0, 2))}"
        self.client.lpush(queue, message(f"task-{number}", tag))
        self.acknowledge(f"task-{number}", confirmed)

    def acknowledge(self, task_id: str, confirmed: bool) -> None:
        self.acknowledged.add(task_id)
        if confirmed:
            self.backup = self.take_backup()

    @rule(
        number=st.integers(0, WORKERS - 1),
        queues=st.permutations(QUEUES),
        wanted=st.integers(1, 3),
    )
    def claim(self, number: int, queues: list[str], wanted: int) -> None:
        worker = self.workers[number]
        if worker.is_frozen:
            return
        items = [item for other in self.workers + self.dead for item in other.held.values()]
        running = {item.task_id for item in items if self.is_current(item)}
        claimed, _ = worker.claims.claim(queues, wanted)
        assert len(claimed) <= wanted
        worker.held |= {item.token: item for item in claimed}
        for item in claimed:
            assert item.starts <= STARTS_ALLOWED
            assert not self.is_done(item.task_id), "a copy of a task that is done was started"
            assert item.task_id not in running, "a copy of a task that runs was started"
            running.add(item.task_id)

    @rule(number=st.integers(0, WORKERS - 1), queue=st.sampled_from(QUEUES))
    def wait_for_message(self, number: int, queue: str) -> None:
        """An idle worker makes its inbox known, then sends the blocking move."""
        worker = self.workers[number]
        if not worker.is_frozen:
            worker.claims.renew([], [worker.claims.owner.inbox(queue)])
            worker.waiting.add(queue)

    @rule(data=st.data())
    def blocking_move_arrives(self, data: st.DataObject) -> None:
        """Redis serves a waiting worker: a living one, a frozen one, or one that is dead."""
        waiting = [
            (worker, queue)
            for worker in self.workers + self.dead
            for queue in sorted(worker.waiting)
        ]
        if waiting:
            worker, queue = data.draw(st.sampled_from(waiting))
            worker.waiting.discard(queue)
            self.client.lmove(queue, worker.claims.owner.inbox(queue), "RIGHT", "LEFT")

    @rule(number=st.integers(0, WORKERS - 1))
    def leave(self, number: int) -> None:
        """A worker has no room, or stops: its moves have ended, what came with them goes back."""
        worker = self.workers[number]
        if not worker.is_frozen:
            # Not the moves: one may be under way on a connection that was lost.
            inboxes = [worker.claims.owner.inbox(queue) for queue in QUEUES]
            worker.claims.leave(inboxes)

    @rule(data=st.data())
    def commit(self, data: st.DataObject) -> None:
        """A run makes its effect visible: of a living worker, or of one that lost its claim."""
        worker, item = self.draw_claim(data)
        if item is not None:
            self.commit_and_check(worker, item)
            self.commit_and_check(worker, item)

    @rule(data=st.data(), number=st.integers(1, 2))
    def commit_slice(self, data: st.DataObject, number: int) -> None:
        """A run makes the effect of one slice visible, which is there once whoever does it."""
        worker, item = self.draw_claim(data)
        if item is None:
            return
        may = self.is_current(item) and not self.is_done(item.task_id)
        key = f"slice:{item.task_id}:{number}"
        before = int(self.client.get(key) or 0)
        status = worker.claims.commit(item.token, item.task_id, [["INCR", key]], f"n{number}")
        assert (status == "committed") == (may and not before)
        assert int(self.client.get(key) or 0) == (1 if may else before)

    def commit_and_check(self, worker: Worker, item: ClaimedMessage) -> None:
        run = self.run_key(item.task_id)
        if self.is_done(item.task_id):
            is_own = self.client.hget(run, "done_by") == item.token.encode()
            expected = "before" if is_own else "stale"
        else:
            expected = "committed" if self.is_current(item) else "stale"
        effect = ["INCR", f"effect:{item.task_id}"]
        assert worker.claims.commit(item.token, item.task_id, [effect]) == expected

    @rule(
        data=st.data(),
        outcome=st.sampled_from([outcome for outcome in Outcome if outcome is not Outcome.RELEASE]),
    )
    def settle(self, data: st.DataObject, outcome: Outcome) -> None:
        """A claim ends. DONE comes after the commit, as a worker that lives does it."""
        worker, item = self.draw_claim(data)
        if item is None:
            return
        if outcome is Outcome.DONE:
            self.commit_and_check(worker, item)
        self.settle_and_check(worker, item, outcome)

    @rule(number=st.integers(0, WORKERS - 1))
    def work_off(self, number: int) -> None:
        """What a worker does most of the time: claim, run, commit, settle."""
        worker = self.workers[number]
        if not worker.is_frozen:
            self.claim(number, list(QUEUES), wanted=3)
            for item in list(worker.held.values()):
                self.commit_and_check(worker, item)
                self.settle_and_check(worker, item, Outcome.DONE)

    @rule(number=st.integers(0, WORKERS - 1), queue=st.sampled_from(QUEUES))
    def freeze_past_the_lease(self, number: int, queue: str) -> None:
        """A worker claims, is silent while the others live on, and wakes."""
        worker = self.workers[number]
        if not worker.is_frozen:
            self.claim(number, [queue], wanted=1)
            others = [w for w in self.workers if w is not worker and not w.is_frozen]
            self.let_pass(LEASE + 2 * RENEW, renewing=others)

    @rule(number=st.integers(0, WORKERS - 1), queue=st.sampled_from(QUEUES))
    def wait_and_leave(self, number: int, queue: str) -> None:
        """A message comes for a worker that has no room any more, or stops."""
        self.wait_for_message(number, queue)
        if queue in self.workers[number].waiting:
            self.client.lmove(
                queue, self.workers[number].claims.owner.inbox(queue), "RIGHT", "LEFT"
            )
            self.leave(number)

    @rule(number=st.integers(0, WORKERS - 1), queue=st.sampled_from(QUEUES))
    def die_with_a_message_in_the_inbox(self, number: int, queue: str) -> None:
        """Redis moved a message, and the worker never came to know."""
        self.wait_for_message(number, queue)
        if queue in self.workers[number].waiting:
            self.crash(number)
            worker = self.dead[-1]
            self.client.lmove(queue, worker.claims.owner.inbox(queue), "RIGHT", "LEFT")
            worker.waiting.discard(queue)

    @rule(number=st.integers(0, WORKERS - 1), queue=st.sampled_from(QUEUES))
    def children_die_again_and_again(self, number: int, queue: str) -> None:
        """A task kills its process whenever it starts."""
        for _ in range(STARTS_ALLOWED + 1):
            self.claim(number, [queue], wanted=1)
            for item in list(self.workers[number].held.values()):
                if not self.workers[number].is_frozen:
                    self.settle_and_check(self.workers[number], item, Outcome.REQUEUE)

    @rule(number=st.integers(0, WORKERS - 1), queue=st.sampled_from(QUEUES))
    def die_in_two_copies(self, number: int, queue: str) -> None:
        """A task and its copy are given up one after the other."""
        self.publish(queue, eta=False, confirmed=False)
        task_id = f"task-{self.published}"
        self.children_die_again_and_again(number, queue)
        self.client.lpush(queue, message(task_id, f"copy-{self.published}"))
        self.children_die_again_and_again(number, queue)

    @rule(data=st.data(), is_replay=st.booleans())
    def somebody_reads_a_dead_letter(self, data: st.DataObject, is_replay: bool) -> None:
        """An operator replays or drops one, perhaps a copy of a task that runs or is done."""
        letters = all_letters(self.client)
        if not letters:
            return
        letter = data.draw(st.sampled_from(letters))
        task_id = letter.task_id
        was_dropped = self.is_dropped(task_id)
        was_over = self.is_done(task_id) and not was_dropped
        was_dead = self.starts(task_id) >= STARTS_ALLOWED
        runs_before = self.running(task_id)
        (replay if is_replay else drop)(self.client, letter)
        assert letter.id not in {other.id for other in all_letters(self.client)}
        assert self.running(task_id) == runs_before, "a run was cut off"
        assert (self.is_done(task_id) and not self.is_dropped(task_id)) == was_over
        if is_replay and not runs_before and not was_over:
            assert not self.is_done(task_id)
            assert not self.starts(task_id)
        if not is_replay and not was_dead:
            assert self.is_dropped(task_id) == was_dropped, "a run that lives was dropped"

    def starts(self, task_id: str) -> int:
        return int(self.client.hget(self.run_key(task_id), "starts") or 0)

    def running(self, task_id: str) -> set[str]:
        """Tokens that the task runs under; there is one at most."""
        items = [item for worker in self.workers + self.dead for item in worker.held.values()]
        return {i.token for i in items if i.task_id == task_id and self.is_current(i)}

    @rule(data=st.data())
    def retry(self, data: st.DataObject) -> None:
        """A task publishes itself again, then its claim ends without the run being done."""
        worker, item = self.draw_claim(data)
        if item is None or not self.is_current(item):
            return
        self.client.lpush(item.queue, message(item.task_id, f"retry-{item.token}", eta=True))
        self.settle_and_check(worker, item, Outcome.RELEASE)

    def settle_and_check(self, worker: Worker, item: ClaimedMessage, outcome: Outcome) -> None:
        is_current = self.is_current(item)
        before = None if is_current else self.take_backup().keys
        detail = {
            Outcome.RETURN: "counted",
            Outcome.DEFER: str(RENEW),
            Outcome.POSTPONE: str(RENEW),
        }.get(outcome, "ok")
        [held] = worker.claims.settle(Settlement(item.token, item.task_id, outcome, detail))
        assert held == is_current
        if before is not None:
            assert self.take_backup().keys == before, "a stale token changed something"
        if outcome is not Outcome.START:
            worker.held.pop(item.token, None)

    @rule(number=st.integers(0, WORKERS - 1))
    def crash(self, number: int) -> None:
        self.dead.append(self.workers[number])
        self.workers[number] = self.new_worker(number)

    @rule(number=st.integers(0, WORKERS - 1))
    def freeze_or_wake(self, number: int) -> None:
        self.workers[number].is_frozen = not self.workers[number].is_frozen

    @rule(seconds=st.integers(1, 150))
    def time_passes(self, seconds: int) -> None:
        self.let_pass(seconds, renewing=[w for w in self.workers if not w.is_frozen])

    @rule(seconds=st.integers(1, 200))
    def redis_is_away(self, seconds: int) -> None:
        """Time passes in which nobody renews; then each looks again, in any order."""
        self.shift_times(seconds)
        for worker in self.workers:
            if not worker.is_frozen:
                assert not worker.claims.sweep() or seconds < 2 * RENEW
                self.renew(worker)

    @rule(seconds=st.integers(-4000, -1))
    def clock_is_set_back(self, seconds: int) -> None:
        self.shift_times(seconds)

    @rule()
    def replica_catches_up(self) -> None:
        self.backup = self.take_backup()

    @rule()
    def fail_over(self) -> None:
        """The primary is lost, and with it everything that the replica does not have yet.

        The blocking moves end with its connections: to wait at the replica that took over, a
        worker makes its inbox known there.
        """
        for worker in self.workers + self.dead:
            worker.waiting.clear()
        self.client.flushdb()
        for key, value in self.backup.keys.items():
            self.client.restore(key, 0, value)
        self.acknowledged = set(self.backup.acknowledged)

    # --- What always holds

    @invariant()
    def nothing_acknowledged_is_in_no_place(self) -> None:
        in_place = self.ids_in_place()
        for task_id in self.acknowledged:
            assert self.is_done(task_id) or task_id in in_place, f"{task_id} is lost"

    @invariant()
    def no_effect_happened_twice(self) -> None:
        for number in range(1, self.published + 1):
            task_id = f"task-{number}"
            effects = int(self.client.get(f"effect:{task_id}") or 0)
            assert effects == int(self.is_done(task_id) and not self.is_dropped(task_id)), task_id

    @invariant()
    def every_held_message_will_be_looked_at(self) -> None:
        assert set(self.client.hkeys(Keys.HELD)) == set(self.client.zrange(Keys.HELD_INDEX, 0, -1))

    def teardown(self) -> None:
        """However it was left: one healthy worker brings everything to its end."""
        self.dead += self.workers
        worker = self.new_worker(9)
        for _ in range(40):
            self.let_pass(RENEW, renewing=[worker])
            claimed, _ = worker.claims.claim(QUEUES, wanted=10)
            for item in claimed:
                worker.claims.commit(item.token, item.task_id, [["INCR", f"effect:{item.task_id}"]])
                assert worker.claims.settle(
                    Settlement(item.token, item.task_id, Outcome.DONE, "ok")
                )
        dead = self.ids_in_dead_letters()
        for task_id in self.acknowledged:
            assert self.is_done(task_id) or task_id in dead, f"{task_id} never came to its end"
        assert self.client.hlen(Keys.HELD) == 0

    # --- Help

    def draw_claim(self, data: st.DataObject) -> tuple[Worker, ClaimedMessage | None]:
        """A claim that some worker believes to have; frozen ones do nothing, dead ones neither."""
        workers = [worker for worker in self.workers if worker.held and not worker.is_frozen]
        if not workers:
            return self.workers[0], None
        worker = data.draw(st.sampled_from(workers))
        return worker, worker.held[data.draw(st.sampled_from(sorted(worker.held)))]

    def is_done(self, task_id: str) -> bool:
        return bool(self.client.hexists(self.run_key(task_id), "done"))

    def is_dropped(self, task_id: str) -> bool:
        return b" dropped" in (self.client.hget(self.run_key(task_id), "done") or b"")

    def is_current(self, item: ClaimedMessage) -> bool:
        holder = self.client.hget(self.run_key(item.task_id), "holder")
        is_held = bool(self.client.hexists(Keys.HELD, item.token))
        return holder == item.token.encode() and is_held

    def renew(self, worker: Worker) -> None:
        owner = worker.claims.owner
        worker.claims.renew(list(worker.held), [owner.inbox(queue) for queue in QUEUES])

    def let_pass(self, seconds: float, renewing: list[Worker]) -> None:
        while seconds > 0:
            step = min(seconds, RENEW)
            self.shift_times(step)
            seconds -= step
            for worker in renewing:
                self.renew(worker)
                worker.claims.sweep()

    def shift_times(self, seconds: float) -> None:
        for name in TIMES_IN_SETS:
            for member in self.client.zrange(name, 0, -1):
                self.client.zincrby(name, -seconds, member)
        for name in TIMES_IN_SWEEP:
            if self.client.hexists(Keys.SWEEP, name):
                self.client.hincrbyfloat(Keys.SWEEP, name, -seconds)

    @staticmethod
    def run_key(task_id: str) -> str:
        return f"{Keys.RUN_PREFIX}{task_id}"

    def ids_in_place(self) -> set[str]:
        lists = [queue + suffix for queue in QUEUES for suffix in PRIORITY_SUFFIXES]
        lists += [inbox.decode() for inbox in self.client.zrange(Keys.INBOXES, 0, -1)]
        texts = [text for name in lists for text in self.client.lrange(name, 0, -1)]
        messages = [json.loads(text) for text in texts]
        messages += [json.loads(value)[0] for value in self.client.hvals(Keys.HELD)]
        return {item["headers"]["id"] for item in messages} | self.ids_in_dead_letters()

    def ids_in_dead_letters(self) -> set[str]:
        queues = [queue.decode() for queue in self.client.smembers(Keys.DEAD_LETTER_QUEUES)]
        letters = [
            x for queue in queues for x in self.client.lrange(Keys.dead_letters(queue), 0, -1)
        ]
        return {json.loads(letter)["task_id"] for letter in letters}


def test_claims_keep_the_promise_in_any_order_of_events(client: redis.Redis) -> None:
    """Thousands of events in random order on the real scripts; the invariants hold throughout."""
    machine = type("Machine", (ClaimMachine,), {"client": client})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=80,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
