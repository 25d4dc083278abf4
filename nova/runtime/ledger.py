"""The ledger: a task's effects happen once, however often and wherever the task is started.

A task records what it is to change as Redis commands, and commits them together with its result.
The commit compares the token of the task's claim with the holder of the run; a worker that was
declared dead changes nothing, and a run that is done is not started again. In a Redis group a
commit counts once enough replicas have it: the worker still knows of it after a failover, and would
acknowledge what Redis has forgotten. For example:

    @shared_task(name="nova.trends.scan_task", bind=True, base=NovaTask)
    def scan_task(self):
        settings = get_settings()
        with open_redis(settings) as client:
            run = Run(self, client)
            topics = find_topics(client)
            effects = run.effects()
            effects.set(Keys.trend_report(run.task_id), topics.model_dump_json())
            return run.commit(effects, {"topics": len(topics)})
"""

import time
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, cast

import redis
from celery import Celery, states
from celery.exceptions import Ignore
from redis.client import Pipeline

from nova.errors import UnavailableError
from nova.runtime.claims import RUN_EXPIRES_SECONDS, ClaimCalls, ScriptCall, Word
from nova.runtime.deliveries import queue_label
from nova.runtime.issued import note_recent
from nova.runtime.messages import prepare
from nova.runtime.scripts import load, run_confirmed
from nova.settings import get_settings
from nova.store import Keys, execute_watched

#: Header under which a task finds the token of its claim; the transport puts it there.
TOKEN_HEADER = "nova_token"  # noqa: S105  # no secret
#: Of a run that is to change nothing: name under which its request has a function that is given the
#: commands of its end, in place of Redis.
DIVERT = "nova_divert"
Divert = Callable[[list[list[Word]]], None]
#: Names the ids of the tasks that runs publish.
OUTBOX_NAMESPACE = uuid.UUID("5f0e3c1a-9d0b-4b7e-8f53-6a1f2c7d9b40")
#: Words of one command, which Lua passes on through its stack.
WORDS_LIMIT = 4000
#: Most seconds for the replicas to confirm a commit; less than the socket timeout.
WAIT_SECONDS = 2.0
#: What is written behind a commit expires by itself.
CHECK_EXPIRES_SECONDS = 60


class StaleRunError(Ignore):  # type: ignore[misc]  # celery ships no types
    """Another worker has this run by now; nothing of what this one did is visible.

    Celery stores no result for it: that is up to the other worker.
    """


class Run:
    """One run of a task, as its claim lets it be.

    A task that was called directly, or that came over the stock transport, has no claim. Its
    commit is a plain transaction. A task of the API's loops beside beat has its end diverted: what
    it would change is looked at, and dropped (`nova/legacy/runs.py`).
    """

    def __init__(self, task: Any, client: redis.Redis) -> None:
        self.task_id: str = task.request.id
        self._app: Celery = task.app
        self._client = client
        # Over the stock transport there are no claims; a token would be one of an earlier start.
        settings = get_settings()
        is_stock = bool({"ledger", "transport"} & settings.stock_parts)
        self._wait_replicas = settings.wait_replicas
        self._token: str | None = None if is_stock else task.request.get(TOKEN_HEADER)
        self._divert: Divert | None = task.request.get(DIVERT)

    def effects(self) -> "Pipeline":
        """Return a pipeline to record commands on. It is not for sending: give it to `commit`."""
        return self._client.pipeline()

    def publish(
        self,
        effects: "Pipeline",
        name: str,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        key: str,
    ) -> str:
        """Record a task to be published by the commit: the outbox for effects outside Redis.

        The task is published exactly once and delivered at least once. Its id is the same
        however often this run starts: what it does outside Redis can use it as idempotency key.

        Args:
            effects: where to record it.
            name: the task to publish, which does the work outside.
            args: its arguments.
            kwargs: its keyword arguments.
            key: names this message among those of the run, such as the channel that it is about.

        Returns:
            The id of the published task.
        """
        task_id = str(uuid.uuid5(OUTBOX_NAMESPACE, f"{self.task_id} {key}"))
        message = prepare(self._app, name, args, dict(kwargs or {}), task_id=task_id)
        note = Keys.issued_task(task_id)
        effects.hset(note, "name", name)
        effects.hset(note, "queue", message.queue)
        effects.hset(note, "published_at", datetime.now(UTC).isoformat())
        # By the clock of this host: when the commit will come Redis alone knows.
        effects.hset(note, "queued_at", f"{time.time():.6f}")
        effects.expire(note, RUN_EXPIRES_SECONDS)
        note_recent(effects, task_id)
        effects.hincrby(Keys.LEDGER_COUNTS, f"outbox|{queue_label(message.queue)}", 1)
        effects.lpush(message.list_key, message.payload)
        return task_id

    def commit(
        self, effects: "Pipeline", result: Any, *, transaction: "Pipeline | None" = None
    ) -> Any:
        """Make the effects visible, store the result and mark the run done, all in one step.

        Args:
            effects: the recorded commands.
            result: what the task returns; whoever asks for the result of a copy gets the same.
            transaction: a pipeline that watches keys, where the effects were computed from them.
                The commit goes into its transaction and happens if none of them has changed.

        Returns:
            The result, for the task to return.

        Raises:
            StaleRunError: another worker has this run by now. Let it end the task.
            UnavailableError: too few replicas confirmed it in time, a failover may forget it. Let
                the task be retried: where the commit stands, the retry is dropped as a copy.
            redis.WatchError: a watched key has changed; nothing happened, compute anew.
            redis.RedisError: Redis did not take it, or its answer was lost. The task may be
                retried: what was committed is not committed again.
        """
        commands = _recorded(effects) + self._result_commands(result)
        if self._divert is None:
            self._execute(commands, "", transaction)
        else:
            self._divert(commands)
        return result

    def commit_slice(self, name: str, effects: "Pipeline") -> bool:
        """Make the effects of one slice of the work visible, once in the life of the run.

        Returns:
            Whether it happened now; False if an earlier start of this run had done this slice.

        Raises:
            StaleRunError: another worker has this run by now.
            UnavailableError: too few replicas confirmed it in time, a failover may forget it.
        """
        return self._execute(_recorded(effects), name, None) == "committed"

    def _execute(
        self, commands: list[list[Word]], slice_name: str, transaction: "Pipeline | None"
    ) -> str:
        if self._token is None:
            self._run_unfenced(commands, transaction)
            return "committed"
        call = ClaimCalls().commit(self._token, self.task_id, commands, slice_name)
        status = self._run_script(call, transaction)
        if status == "stale":
            raise StaleRunError(f"another worker has the run {self.task_id} by now")
        return status

    def _run_unfenced(self, commands: list[list[Word]], transaction: "Pipeline | None") -> None:
        if transaction is None:
            transaction = self._client.pipeline()
        else:
            transaction.multi()
        for command in commands:
            transaction.execute_command(*command)  # type: ignore[no-untyped-call]
        execute_watched(transaction)

    def _run_script(self, call: ScriptCall, transaction: "Pipeline | None") -> str:
        script = load(self._client, call.name)
        confirmed = wanted = self._wait_replicas
        if transaction is not None:
            transaction.multi()
            script(keys=call.keys, args=call.args, client=transaction)
            answer = transaction.execute()[-1]
            if wanted and answer != b"stale":
                confirmed = self._look_again()
        elif wanted:
            answer, confirmed = run_confirmed(
                self._client,
                script,
                keys=call.keys,
                args=call.args,
                replicas=wanted,
                seconds=WAIT_SECONDS,
            )
        else:
            answer = script(keys=call.keys, args=call.args)
        status = cast(bytes, answer).decode()
        # Of a run that is another's there is nothing to confirm.
        if status != "stale" and confirmed < wanted:
            raise UnavailableError(
                f"a commit of the run {self.task_id} may be forgotten: {confirmed} of {wanted} "
                f"replicas confirmed it in {WAIT_SECONDS:.0f} s; the task tries again"
            )
        return status

    def _look_again(self) -> int:
        """Return how many replicas have the end of the run, which a transaction has committed.

        The transaction has given its connection back, and WAIT is about what its own connection
        wrote. So this looks whether the commit is on the server that answers now, and writes
        something behind it: who confirms that has the commit as well.
        """
        with self._client.pipeline(transaction=False) as pipeline:
            pipeline.hget(Keys.issued_task(self.task_id), "done_by")
            pipeline.set(Keys.FLEET_CHECK, "written", ex=CHECK_EXPIRES_SECONDS)
            pipeline.wait(self._wait_replicas, round(WAIT_SECONDS * 1000))
            done_by, _, confirmed = pipeline.execute()
        return int(confirmed) if done_by == str(self._token).encode() else 0

    def _result_commands(self, result: Any) -> list[list[Word]]:
        """Return the commands by which Celery would store a result and tell who waits for it."""
        backend = self._app.backend
        meta: Mapping[str, Any] = {
            "status": states.SUCCESS,
            "result": backend.encode_result(result, states.SUCCESS),
            "traceback": None,
            "children": [],
            "date_done": self._app.now().isoformat(),
            "task_id": self.task_id,
        }
        key = backend.get_key_for_task(self.task_id)
        value = backend.encode(meta)
        return [["SETEX", key, int(backend.expires), value], ["PUBLISH", key, value]]


def _recorded(effects: "Pipeline") -> list[list[Word]]:
    commands = [list(arguments) for arguments, _ in effects.command_stack]
    for command in commands:
        if len(command) > WORDS_LIMIT:
            raise ValueError(f"{command[0]} with {len(command)} words: write it to a staging key")
    return cast(list[list[Word]], commands)
