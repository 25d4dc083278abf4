"""Drives the real scripts of claims and effects on a real Redis, in any order of events.

A hypothesis state machine publishes, claims, commits, stores results, settles, gives up, loses
answers, crashes and freezes workers, lets time pass, takes Redis away and fails over to a replica
that lags. After every step nothing that was acknowledged may be in no place, no effect may have
happened twice or be missing from a run that is done, no success may have been taken back, nothing
may be forgotten before its time, and no stale token may have changed anything. At the end
everything must still come to its end.
"""

import json
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from itertools import islice
from types import SimpleNamespace
from typing import Any

import pytest
import redis
from celery import Celery, states
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
from kombu import Connection

from nova.errors import UnavailableError
from nova.runtime import ledger
from nova.runtime.claims import (
    DONE_EXPIRES_SECONDS,
    PRIORITY_SUFFIXES,
    RUN_EXPIRES_SECONDS,
    STARTS_ALLOWED,
    ClaimCalls,
    ClaimedMessage,
    Claims,
    Outcome,
    Owner,
    SetAside,
    Settlement,
    read_claim,
)
from nova.runtime.deadletters import (
    DeadLetter,
    _tell,
    all_letters,
    drop,
    replay,
    tell_failures,
)
from nova.runtime.ledger import TOKEN_HEADER, Run, StaleRunError
from nova.runtime.publishing import PUBLICATION_HEADER
from nova.runtime.transport import Transport
from nova.settings import Settings
from nova.store import Keys

QUEUES = ("trends", 'a "direct" queue@host.dq2')
LEASE = ClaimCalls().lease_seconds
RENEW = ClaimCalls().renew_seconds
WORKERS = 3
#: Of what stands in Redis, the times by its clock. To shift them back is to let time pass.
TIMES_IN_SETS = (Keys.HELD_INDEX, Keys.INBOXES)
TIMES_IN_SWEEP = ("seen", "swept", "not_before")
#: Of real seconds, what one example takes at most.
EXAMPLE_SECONDS = 600
#: What a run may say about itself.
SAID = {
    states.SUCCESS: "fine",
    states.FAILURE: RuntimeError("failed"),
    states.RETRY: RuntimeError("later"),
}


def message(task_id: str, tag: str, *, eta: bool = False) -> dict[str, Any]:
    """A message as kombu has it, with text that a careless script would trip over."""
    headers = {"id": task_id, "task": "nova.trends.scan", "stamps": ["a", "", "b"], "group": []}
    if eta:
        headers["eta"] = "2030-01-01T00:00:00+00:00"
    return {"headers": headers, "properties": {"delivery_tag": tag}}


def packed(message: dict[str, Any]) -> bytes:
    """The text of a message in a queue."""
    return json.dumps(message, separators=(",", ":")).encode()


#: Who stands among the claims and is none of Nova's: a stock worker's claim, and members of the
#: index that no message belongs to.
STOCK_TAG = b"0f8fad5b-d9cb-469f-a165-70867728950e"
STOCK_CLAIM = b"[" + packed(message("stock", "stock")) + b',"trends","trends"]'
GARBAGE = (b"garbage", b"\xff\x00", b'nov:["')
#: Looks like Nova's; the sweep may take it for a claim whose message is gone.
LEFT_OVER = b"nova:w0@host:00000000:0.0"


@dataclass
class Worker:
    """A worker process as the machine sees it; a crash makes it another one."""

    claims: Claims
    is_frozen: bool = False
    #: Queues on which a blocking move of this worker is under way.
    waiting: set[str] = field(default_factory=set)
    held: dict[str, ClaimedMessage] = field(default_factory=dict)
    #: Tokens of runs that have told it that they are done, and the slices that each counts on.
    #: Neither is forgotten when Redis fails over.
    ended: set[str] = field(default_factory=set)
    #: Numbers of its claims whose answers never came.
    unanswered: set[int] = field(default_factory=set)
    slices: dict[str, set[int]] = field(default_factory=dict)


class WaitingClient(redis.Redis):
    """A client that is told by the machine how many replicas confirm what it writes."""

    confirmed = 0

    def pipeline(self, *args: Any, **options: Any) -> Any:
        pipeline: Any = super().pipeline(*args, **options)
        pipeline.wait = lambda *_: pipeline.echo(self.confirmed)
        return pipeline


@dataclass
class Backup:
    """What a replica has, and what the machine knew at that moment."""

    keys: dict[bytes, bytes]
    milliseconds_left: dict[bytes, int]
    known: "Known"


@dataclass
class Known:
    """What must be so on the history that Redis has."""

    acknowledged: set[str] = field(default_factory=set)
    #: The last publication of each task that Nova published.
    publications: dict[str, str] = field(default_factory=dict)
    #: Letters whose failure is to be told, by task; results of tasks that succeeded.
    untold: dict[str, str] = field(default_factory=dict)
    successes: dict[str, bytes] = field(default_factory=dict)


@dataclass
class RunSeen:
    """What stands in Redis about one task."""

    fields: dict[bytes, bytes]
    seconds_left: int
    effects: int
    result: bytes | None
    result_seconds_left: int

    @property
    def is_done(self) -> bool:
        """Whether it is done, dropped included."""
        return b"done" in self.fields

    @property
    def is_dropped(self) -> bool:
        """Whether an operator ended it."""
        return b" dropped" in self.fields.get(b"done", b"")


class ClaimMachine(RuleBasedStateMachine):
    """The events. The test sets `client`, `app`, and `channel`, on which Nova publishes."""

    #: The answers of redis-py are typed for two protocols at once, which helps nobody here.
    client: Any
    app: Celery
    channel: Any

    def __init__(self) -> None:
        super().__init__()
        self.client.flushdb()
        self.waiting_client = WaitingClient(connection_pool=self.client.connection_pool)
        self.client.hset(Keys.HELD, STOCK_TAG, STOCK_CLAIM)
        self.client.zadd(Keys.HELD_INDEX, dict.fromkeys([STOCK_TAG, *GARBAGE, LEFT_OVER], 1))
        self.workers = [self.new_worker(number) for number in range(WORKERS)]
        self.dead: list[Worker] = []
        self.known = Known()
        #: Failures to be told, as some worker read them that is slow to tell.
        self.looked_at: dict[bytes, bytes] = {}
        self.published = 0
        self.backup = self.take_backup()

    def new_worker(self, number: int) -> Worker:
        return Worker(Claims(self.client, Owner(f"w{number}@host")))

    def take_backup(self) -> Backup:
        keys = self.client.keys()
        with self.client.pipeline(transaction=False) as pipe:
            for key in keys:
                pipe.dump(key)
                pipe.pttl(key)
            answers = pipe.execute()
        values, left = answers[::2], answers[1::2]
        known = deepcopy(self.known)
        return Backup(
            dict(zip(keys, values, strict=True)), dict(zip(keys, left, strict=True)), known
        )

    @initialize()
    def somebody_sweeps(self) -> None:
        self.workers[0].claims.sweep()
        self.let_pass(LEASE + RENEW, renewing=self.workers)

    # --- Events

    @rule(
        queue=st.sampled_from(QUEUES),
        eta=st.booleans(),
        confirmed=st.booleans(),
        is_stock=st.booleans(),
    )
    def publish(self, queue: str, eta: bool, confirmed: bool, is_stock: bool) -> None:
        """A confirmed publish has waited for the replica. A stock client leaves no note."""
        self.published += 1
        task_id = f"task-{self.published}"
        self.push(queue, message(task_id, f"first-{task_id}", eta=eta), is_stock=is_stock)
        self.acknowledge(task_id, confirmed)

    @precondition(lambda self: self.published)
    @rule(
        queue=st.sampled_from(QUEUES),
        confirmed=st.booleans(),
        is_stock=st.booleans(),
        data=st.data(),
    )
    def publish_again(
        self, queue: str, confirmed: bool, is_stock: bool, data: st.DataObject
    ) -> None:
        """Somebody publishes a task again, or did not learn that its publish succeeded."""
        task_id = f"task-{data.draw(st.integers(1, self.published))}"
        which = data.draw(st.sampled_from(["first", "second", "third"]))
        self.push(queue, message(task_id, f"{which}-{task_id}"), is_stock=is_stock)
        self.acknowledge(task_id, confirmed)

    def push(self, queue: str, message: dict[str, Any], *, is_stock: bool = True) -> None:
        """Publish as a stock client does, or as Nova does: each publication once, with a note."""
        if is_stock:
            self.client.lpush(queue, packed(message))
            return
        task_id, publication = message["headers"]["id"], message["properties"]["delivery_tag"]
        message["headers"][PUBLICATION_HEADER] = publication
        before = self.client.llen(queue)
        self.channel._put(queue, message)
        is_repeated = self.known.publications.get(task_id) == publication
        assert self.client.llen(queue) - before == (0 if is_repeated else 1)
        self.known.publications[task_id] = publication
        if not is_repeated and not self.holder(task_id):
            left = self.client.ttl(self.run_key(task_id))
            assert left > RUN_EXPIRES_SECONDS - EXAMPLE_SECONDS, "forgotten before its message"

    def acknowledge(self, task_id: str, confirmed: bool) -> None:
        self.known.acknowledged.add(task_id)
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
        claimed, set_aside = worker.claims.claim(queues, wanted)
        assert len(claimed) <= wanted
        self.note_failures(set_aside)
        worker.held |= {item.token: item for item in claimed}
        for item in claimed:
            assert item.starts <= STARTS_ALLOWED
            assert not self.is_done(item.task_id), "a copy of a task that is done was started"
            assert item.task_id not in running, "a copy of a task that runs was started"
            running.add(item.task_id)

    def note_failures(self, set_aside: list[SetAside]) -> None:
        for aside in set_aside:
            if aside.kind == "dead":
                self.known.untold[aside.task_id] = aside.detail.rpartition(" ")[2]

    @rule(
        number=st.integers(0, WORKERS - 1),
        queues=st.permutations(QUEUES),
        wanted=st.integers(1, 3),
        is_executed=st.booleans(),
    )
    def lose_the_answer_of_a_claim(
        self, number: int, queues: list[str], wanted: int, is_executed: bool
    ) -> None:
        """A connection ends when Redis has executed a claim, or before that."""
        worker = self.workers[number]
        if worker.is_frozen:
            return
        owner = worker.claims.owner
        call = owner.next_call()
        worker.unanswered.add(call)
        if is_executed:
            claim = worker.claims.calls.claim(owner, queues, wanted, call)
            self.note_failures(read_claim(worker.claims._run(claim))[1])

    @rule(number=st.integers(0, WORKERS - 1))
    def abandon(self, number: int) -> None:
        """A worker gives back what claims without an answer have taken: that was no start."""
        worker = self.workers[number]
        if worker.is_frozen:
            return
        owner, held = worker.claims.owner, self.client.hgetall(Keys.HELD)
        prefixes = tuple(f"{owner.token_prefix}{call}.".encode() for call in worker.unanswered)
        given_back = {}
        for token, text in held.items():
            headers = json.loads(text)[0]["headers"]
            if token.startswith(prefixes) and self.holder(headers["id"]) == token:
                counted = int("eta" not in headers)
                given_back[headers["id"]] = max(0, self.starts(headers["id"]) - counted)
        assert worker.claims.abandon(sorted(worker.unanswered)) == len(given_back)
        worker.unanswered.clear()
        for task_id, starts in given_back.items():
            assert self.holder(task_id) is None
            assert self.starts(task_id) == starts, "a claim without an answer was a start"

    @rule(number=st.integers(0, WORKERS - 1), queue=st.sampled_from(QUEUES), eta=st.booleans())
    def lose_an_answer_and_go_on(self, number: int, queue: str, eta: bool) -> None:
        """What happens when a connection is lost: the worker comes again, and gives back first."""
        self.publish(queue, eta, confirmed=False, is_stock=False)
        self.lose_the_answer_of_a_claim(number, [queue], wanted=1, is_executed=True)
        self.abandon(number)
        self.claim(number, [queue], wanted=1)

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

    @rule(data=st.data(), number=st.integers(1, 2), is_confirmed=st.booleans())
    def commit_slice(self, data: st.DataObject, number: int, is_confirmed: bool) -> None:
        """A run makes the effect of one slice visible, which is there once whoever does it."""
        worker, item = self.draw_claim(data)
        if item is not None:
            self.commit_slice_and_check(worker, item, number, is_confirmed)

    def commit_slice_and_check(
        self, worker: Worker, item: ClaimedMessage, number: int, is_confirmed: bool
    ) -> None:
        may = self.is_current(item) and not self.is_done(item.task_id)
        key = f"slice:{item.task_id}:{number}"
        before = int(self.client.get(key) or 0)
        status = self.commit_by_ledger(item, key, is_confirmed, f"n{number}")
        if status != "unconfirmed":
            assert (status == "committed") == (may and not before)
        assert int(self.client.get(key) or 0) == (1 if may else before)
        if may and status in ("committed", "before"):
            worker.slices.setdefault(item.token, set()).add(number)

    @rule(data=st.data(), is_confirmed=st.booleans())
    def end_run(self, data: st.DataObject, is_confirmed: bool) -> None:
        """A run commits as a task does, and its worker learns that it is done."""
        worker, item = self.draw_claim(data)
        if item is not None:
            self.end_run_and_check(worker, item, is_confirmed)

    def end_run_and_check(self, worker: Worker, item: ClaimedMessage, is_confirmed: bool) -> None:
        status = self.commit_by_ledger(item, f"effect:{item.task_id}", is_confirmed)
        if status in ("committed", "before"):
            worker.ended.add(item.token)
            for number in worker.slices.get(item.token, ()):
                assert self.client.get(f"slice:{item.task_id}:{number}") == b"1", "a slice is lost"

    def commit_by_ledger(
        self, item: ClaimedMessage, key: str, is_confirmed: bool, slice_name: str = ""
    ) -> str:
        """Increase a key, as the code of a task does; replicas confirm it in time, or do not.

        Returns what the script answered, `stale` and `before` included; `unconfirmed` where the
        task is to be tried again.
        """
        self.waiting_client.confirmed = int(is_confirmed)
        request = SimpleNamespace(id=item.task_id, get={TOKEN_HEADER: item.token}.get)
        run = Run(SimpleNamespace(request=request, app=self.app), self.waiting_client)
        try:
            status = run._execute([["INCR", key]], slice_name, None)
        except StaleRunError:
            return "stale"
        except UnavailableError:
            assert not is_confirmed
            return "unconfirmed"
        if is_confirmed:
            self.backup = self.take_backup()
        return status

    def commit_and_check(self, worker: Worker, item: ClaimedMessage) -> None:
        run = self.run_key(item.task_id)
        if self.is_done(item.task_id):
            is_own = self.client.hget(run, "done_by") == item.token.encode()
            expected = "before" if is_own else "stale"
        else:
            expected = "committed" if self.is_current(item) else "stale"
        effect = ["INCR", f"effect:{item.task_id}"]
        assert worker.claims.commit(item.token, item.task_id, [effect]) == expected

    @rule(data=st.data(), said=st.lists(st.sampled_from(sorted(SAID)), min_size=1, max_size=2))
    def store_result(self, data: st.DataObject, said: list[str]) -> None:
        """A run says how it stands: that of a holder, or of one that lost its claim."""
        _, item = self.draw_claim(data)
        if item is not None:
            for state in said:
                self.store_and_check(item.task_id, state)

    def store_and_check(self, task_id: str, state: str) -> None:
        self.app.backend.store_result(task_id, SAID[state], state)
        if task_id not in self.known.successes:
            stored = self.client.get(Keys.result(task_id))
            assert json.loads(stored)["status"] == state
            if state == states.SUCCESS:
                self.known.successes[task_id] = stored

    @rule(
        data=st.data(),
        outcome=st.sampled_from(
            [outcome for outcome in Outcome if outcome not in (Outcome.DONE, Outcome.RELEASE)]
        ),
    )
    def settle(self, data: st.DataObject, outcome: Outcome) -> None:
        """A claim ends otherwise than with its run, or counts a start."""
        worker, item = self.draw_claim(data)
        if item is not None:
            self.settle_and_check(worker, item, outcome)

    @rule(data=st.data())
    def acknowledge_end(self, data: st.DataObject) -> None:
        """A worker acknowledges a run that has ended, perhaps on a server that was lost since."""
        ended = [
            (worker, worker.held[token])
            for worker in self.workers
            if not worker.is_frozen
            for token in sorted(worker.ended & worker.held.keys())
        ]
        if ended:
            worker, item = data.draw(st.sampled_from(ended))
            self.settle_and_check(worker, item, Outcome.DONE)

    @rule(
        number=st.integers(0, WORKERS - 1),
        queue=st.sampled_from(QUEUES),
        is_slice_confirmed=st.booleans(),
        is_confirmed=st.booleans(),
    )
    def fail_over_while_a_run_ends(
        self, number: int, queue: str, is_slice_confirmed: bool, is_confirmed: bool
    ) -> None:
        """Redis fails over between two commits of a run, and before its acknowledgement.

        The replica has the claims.
        """
        worker = self.workers[number]
        if worker.is_frozen:
            return
        self.claim(number, [queue], wanted=1)
        self.replica_catches_up()
        for item in list(worker.held.values()):
            self.commit_slice_and_check(worker, item, 1, is_slice_confirmed)
        self.fail_over()
        for item in list(worker.held.values()):
            self.end_run_and_check(worker, item, is_confirmed)
        self.fail_over()
        for token in worker.ended & worker.held.keys():
            self.settle_and_check(worker, worker.held[token], Outcome.DONE)

    @rule(number=st.integers(0, WORKERS - 1))
    def work_off(self, number: int) -> None:
        """What a worker does most of the time: claim, run, commit, settle."""
        worker = self.workers[number]
        if not worker.is_frozen:
            self.claim(number, list(QUEUES), wanted=3)
            for item in list(worker.held.values()):
                self.commit_and_check(worker, item)
                self.store_and_check(item.task_id, states.SUCCESS)
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

    @rule(
        number=st.integers(0, WORKERS - 1),
        queue=st.sampled_from(QUEUES),
        state=st.sampled_from([None, *sorted(SAID)]),
    )
    def children_die_again_and_again(self, number: int, queue: str, state: str | None) -> None:
        """A task kills its process whenever it starts, perhaps after it has stored a result."""
        for _ in range(STARTS_ALLOWED + 1):
            self.claim(number, [queue], wanted=1)
            for item in list(self.workers[number].held.values()):
                if not self.workers[number].is_frozen:
                    if state is not None:
                        self.store_and_check(item.task_id, state)
                    self.settle_and_check(self.workers[number], item, Outcome.REQUEUE)

    @rule(number=st.integers(0, WORKERS - 1), queue=st.sampled_from(QUEUES))
    def die_in_two_copies(self, number: int, queue: str) -> None:
        """A task and its copy are given up one after the other."""
        self.publish(queue, eta=False, confirmed=False, is_stock=False)
        self.children_die_again_and_again(number, queue, state=None)
        self.push(queue, message(f"task-{self.published}", f"copy-{self.published}"))
        self.children_die_again_and_again(number, queue, state=None)

    @rule(data=st.data(), is_replay=st.booleans())
    def somebody_reads_a_dead_letter(self, data: st.DataObject, is_replay: bool) -> None:
        """An operator replays or drops one, perhaps a copy of a task that runs or is done."""
        letters = all_letters(self.client)
        if letters:
            self.act_and_check(data.draw(st.sampled_from(letters)), is_replay)

    @rule(
        number=st.integers(0, WORKERS - 1), queue=st.sampled_from(QUEUES), is_replay=st.booleans()
    )
    def act_while_a_worker_tells(self, number: int, queue: str, is_replay: bool) -> None:
        """An operator is faster than the worker that has read of the failure."""
        self.publish(queue, eta=False, confirmed=False, is_stock=True)
        self.children_die_again_and_again(number, queue, state=None)
        self.look_for_untold_failures()
        for letter in all_letters(self.client):
            if letter.task_id == f"task-{self.published}":
                self.act_and_check(letter, is_replay)
        self.tell_failures(is_late=True)
        self.tell_failures(is_late=True)

    def act_and_check(self, letter: DeadLetter, is_replay: bool) -> None:
        task_id = letter.task_id
        was_dropped = self.is_dropped(task_id)
        was_over = self.is_done(task_id) and not was_dropped
        was_dead = self.starts(task_id) >= STARTS_ALLOWED
        held_by = self.holder(task_id)
        (replay if is_replay else drop)(self.client, letter)
        assert letter.id not in {other.id for other in all_letters(self.client)}
        assert self.holder(task_id) == held_by, "a run was cut off"
        assert (self.is_done(task_id) and not self.is_dropped(task_id)) == was_over
        if is_replay and not held_by and not was_over:
            assert not self.is_done(task_id)
            assert not self.starts(task_id)
            assert not self.client.exists(Keys.result(task_id))
            self.known.untold.pop(task_id, None)
            self.known.successes.pop(task_id, None)
        if is_replay and not held_by:
            left = self.client.ttl(self.run_key(task_id))
            assert left > RUN_EXPIRES_SECONDS - EXAMPLE_SECONDS, "forgotten before its message"
        if not is_replay and not was_dead:
            assert self.is_dropped(task_id) == was_dropped, "a run that lives was dropped"

    @rule()
    def look_for_untold_failures(self) -> None:
        """A worker reads whose failure is to be told, and is slow to tell it."""
        self.looked_at = self.client.hgetall(Keys.UNTOLD_FAILURES)

    @rule(is_late=st.booleans())
    def tell_failures(self, is_late: bool) -> None:
        """Some worker tells what it reads, or what it has read at some time before."""
        notes = self.looked_at if is_late else self.client.hgetall(Keys.UNTOLD_FAILURES)
        for task_id, note in notes.items():
            self.tell_and_check(task_id.decode(), note)

    def tell_and_check(self, task_id: str, note: bytes) -> None:
        """The failure of a letter is told once, and neither after a replay nor over a success."""
        letter_id = note.decode().split()[0]
        is_untold = self.known.untold.get(task_id) == letter_id
        before = self.client.get(Keys.result(task_id))
        told = _tell(self.client, self.app, task_id, note)
        after = self.client.get(Keys.result(task_id))
        assert told == (is_untold and task_id not in self.known.successes)
        if told:
            assert json.loads(after)["status"] == states.FAILURE
            assert letter_id in after.decode()
        else:
            assert after == before
        if is_untold:
            del self.known.untold[task_id]

    @rule(data=st.data(), is_stock=st.booleans())
    def retry(self, data: st.DataObject, is_stock: bool) -> None:
        """A task publishes itself again, then its claim ends without the run being done."""
        worker, item = self.draw_claim(data)
        if item is None or not self.is_current(item):
            return
        again = message(item.task_id, f"retry-{item.token}", eta=True)
        self.push(item.queue, again, is_stock=is_stock)
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
        with self.client.pipeline(transaction=False) as pipe:
            for key, value in self.backup.keys.items():
                pipe.restore(key, max(0, self.backup.milliseconds_left[key]), value)
            pipe.execute()
        self.known = deepcopy(self.backup.known)

    # --- What always holds

    @invariant()
    def nothing_acknowledged_is_in_no_place(self) -> None:
        in_place, runs = self.ids_in_place(), self.runs()
        for task_id in self.known.acknowledged:
            assert runs[task_id].is_done or task_id in in_place, f"{task_id} is lost"

    @invariant()
    def no_effect_happened_twice(self) -> None:
        for task_id, run in self.runs().items():
            assert run.effects == int(run.is_done and not run.is_dropped), task_id

    @invariant()
    def every_held_message_will_be_looked_at(self) -> None:
        held = set(self.client.hkeys(Keys.HELD))
        index = set(self.client.zrange(Keys.HELD_INDEX, 0, -1))
        assert held - {STOCK_TAG} == index - {STOCK_TAG, *GARBAGE, LEFT_OVER}

    @invariant()
    def strangers_stay(self) -> None:
        assert self.client.hget(Keys.HELD, STOCK_TAG) == STOCK_CLAIM
        assert None not in self.client.zmscore(Keys.HELD_INDEX, [STOCK_TAG, *GARBAGE])

    @invariant()
    def a_success_stays(self) -> None:
        runs = self.runs()
        for task_id, result in self.known.successes.items():
            assert runs[task_id].result == result, f"the success of {task_id} was taken back"

    @invariant()
    def every_failure_waits_to_be_told(self) -> None:
        notes = self.client.hgetall(Keys.UNTOLD_FAILURES).items()
        assert {key.decode(): note.split()[0].decode() for key, note in notes} == self.known.untold

    @invariant()
    def runs_are_remembered_as_long_as_promised(self) -> None:
        """A run that is held has no end; docs/delivery-protocol.md says for how long others are."""
        held = set(self.client.hkeys(Keys.HELD))
        for task_id, run in self.runs().items():
            if task_id in self.known.publications:
                assert run.fields.keys() >= {b"name", b"queue", b"published_at"}, task_id
            if run.fields.get(b"holder") in held:
                assert run.seconds_left == -1, task_id
            elif run.fields:
                least = DONE_EXPIRES_SECONDS if run.is_done else RUN_EXPIRES_SECONDS
                assert least - EXAMPLE_SECONDS < run.seconds_left <= RUN_EXPIRES_SECONDS, task_id

    @invariant()
    def results_expire(self) -> None:
        for task_id, run in self.runs().items():
            assert run.result is None or run.result_seconds_left > 0, task_id

    def teardown(self) -> None:
        """However it was left: one healthy worker brings everything to its end."""
        self.dead += self.workers
        worker = self.new_worker(9)
        for _ in range(40):
            self.let_pass(RENEW, renewing=[worker])
            claimed, _ = worker.claims.claim(QUEUES, wanted=10)
            tell_failures(self.client, self.app)
            for item in claimed:
                worker.claims.commit(item.token, item.task_id, [["INCR", f"effect:{item.task_id}"]])
                assert worker.claims.settle(
                    Settlement(item.token, item.task_id, Outcome.DONE, "ok")
                )
        dead = self.ids_in_dead_letters()
        for task_id in self.known.acknowledged:
            assert self.is_done(task_id) or task_id in dead, f"{task_id} never came to its end"
        assert self.client.hkeys(Keys.HELD) == [STOCK_TAG]
        assert not self.client.exists(Keys.UNTOLD_FAILURES)

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

    def starts(self, task_id: str) -> int:
        return int(self.client.hget(self.run_key(task_id), "starts") or 0)

    def holder(self, task_id: str) -> bytes | None:
        """The token of the live claim on a run."""
        token = self.client.hget(self.run_key(task_id), "holder")
        is_held = token is not None and self.client.hexists(Keys.HELD, token)
        return token if is_held else None

    def is_current(self, item: ClaimedMessage) -> bool:
        return self.holder(item.task_id) == item.token.encode()

    def runs(self) -> dict[str, RunSeen]:
        """All that was ever published, read in one round trip."""
        task_ids = [f"task-{number}" for number in range(1, self.published + 1)]
        with self.client.pipeline(transaction=False) as pipe:
            for task_id in task_ids:
                pipe.hgetall(self.run_key(task_id))
                pipe.ttl(self.run_key(task_id))
                pipe.get(f"effect:{task_id}")
                pipe.get(Keys.result(task_id))
                pipe.ttl(Keys.result(task_id))
            answers = iter(pipe.execute())
        seen = {}
        for task_id in task_ids:
            fields, left, effects, result, result_left = islice(answers, 5)
            seen[task_id] = RunSeen(fields, left, int(effects or 0), result, result_left)
        return seen

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


@pytest.fixture
def channel(client: redis.Redis, redis_url: str) -> Iterator[Any]:
    """A channel of Nova, to publish on."""
    options = {"wait_replicas": 0, "run_expires_seconds": RUN_EXPIRES_SECONDS}
    with Connection(redis_url, transport=Transport, transport_options=options) as connection:
        yield connection.channel()


@pytest.fixture
def app(redis_url: str) -> Celery:
    """An app that stores its results as Nova does."""
    return Celery(backend=f"nova.runtime.results:RedisBackend+{redis_url}", set_as_current=False)


def test_claims_keep_the_promise_in_any_order_of_events(
    client: redis.Redis,
    app: Celery,
    channel: Any,
    make_settings: Callable[..., Settings],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Thousands of events in random order on the real scripts; the invariants hold throughout."""
    group = make_settings(NOVA_REDIS_GROUP_SIZE="3")
    monkeypatch.setattr(ledger, "get_settings", lambda: group)
    machine = type("Machine", (ClaimMachine,), {"client": client, "app": app, "channel": channel})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=80,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
