"""The loops: one for each entry of the beat table, in the event loop of the API.

Each waits for its next slot, runs it in a thread, and waits again. Of several API processes one
runs them: the one that leads. With `NOVA_SCHEDULER=legacy` the lead is that of beat, with the marks
of beat: whatever some hosts are still set to, one scheduler runs a slot, and the next one goes on
where it ended. With `parallel` it is one of the loops' own, and what passed is not caught up.
"""

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar

import redis
from celery import Celery, beat

from nova.legacy.runs import KEPT, Planned, execute, note_end
from nova.runtime.leader import LEGACY_PLACE, LOOK_SECONDS, SCHEDULE_PLACE, Leader, Look
from nova.runtime.slots import Mark, Slots, plan
from nova.schedule import CatchUp
from nova.settings import Settings
from nova.store import Keys, connect

logger = logging.getLogger(__name__)

#: Of Redis, for looks and notes; a look that hangs is taken again.
SOCKET_TIMEOUT_SECONDS = 3.0
#: A stopping API waits so long for runs. systemd stops it 5 s after its last request is done.
STOP_SECONDS = 3.0

T = TypeVar("T")


@dataclass(frozen=True)
class _Loop:
    """What one loop runs."""

    entry: beat.ScheduleEntry
    slots: Slots
    policy: CatchUp


class Loops:
    """The loops of one API process."""

    def __init__(self, settings: Settings, app: Celery) -> None:
        self._settings = settings
        self._app = app
        self._reports_only = settings.scheduler == "parallel"
        self._client = connect(settings, SOCKET_TIMEOUT_SECONDS)
        place = LEGACY_PLACE if self._reports_only else SCHEDULE_PLACE
        self._leader = Leader(self._client, place=place, mode=settings.scheduler)
        #: The last look, and when it was, by this host's clock.
        self._look: Look | None = None
        self._looked_at = 0.0
        self._role = ""
        self._is_stopping = False
        self._running: dict[str, Planned] = {}
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Start one loop for each entry, and the one that keeps the lead."""
        policies = self._app.conf.get("nova_beat_catch_up") or {}
        table = {
            name: beat.ScheduleEntry(name=name, app=self._app, **fields)
            for name, fields in self._app.conf.beat_schedule.items()
        }
        loops = [
            # What passes while nobody runs the loops is missed, and that is what they report.
            _Loop(e, Slots(e.schedule), "skip" if self._reports_only else policies.get(n, "latest"))
            for n, e in table.items()
        ]
        self._tasks = [asyncio.create_task(self._keep_lead())]
        self._tasks += [asyncio.create_task(self._run_loop(loop)) for loop in loops]

    async def stop(self) -> None:
        """Take no more slots, give up the lead, and wait a little for what runs."""
        self._is_stopping = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with contextlib.suppress(redis.RedisError, OSError):
            await _in_thread(lambda: self._leader.resign(self._client))
        deadline = time.monotonic() + STOP_SECONDS
        while self._running and time.monotonic() < deadline:
            await asyncio.sleep(0.05)
        for planned in list(self._running.values()):
            logger.warning(
                "%s of %s did not end before the stop, and is not started again; to run it now: "
                "nova trigger %s",
                *(planned.entry, planned.slot, planned.domain.name if planned.domain else ""),
            )
        self._client.close()

    # --- The lead

    async def _keep_lead(self) -> None:
        """Look once a second, as beat does."""
        while True:
            try:
                self._look = await _in_thread(self._leader.look)
                self._looked_at = time.monotonic()
                self._say(self._describe(self._look))
            except (redis.RedisError, OSError) as error:
                self._look = None
                self._say(f"waiting for Redis at {self._settings.redis_location}: {error}")
            await asyncio.sleep(LOOK_SECONDS)

    def _describe(self, look: Look) -> str:
        if look.other:
            other = look.other
            return f"loops stand by: {other.host}, process {other.pid}, runs the schedule"
        what = "report beside beat" if self._reports_only else "run the schedule"
        return f"loops {what}: NOVA_SCHEDULER is {self._settings.scheduler}"

    def _say(self, role: str) -> None:
        """Log what is new. An error may differ in words each second: its beginning counts."""
        if role.partition(":")[0] != self._role.partition(":")[0]:
            logger.info(role)
        self._role = role

    def _now(self, look: Look) -> datetime:
        """Return the time of Redis."""
        return look.now + timedelta(seconds=time.monotonic() - self._looked_at)

    # --- One entry

    async def _run_loop(self, loop: _Loop) -> None:
        """Wait for the next slot, run it, again."""
        while True:
            pause = LOOK_SECONDS
            try:
                pause = await self._serve(loop)
            except (redis.RedisError, OSError) as error:
                logger.warning("%s waits for Redis: %s", loop.entry.name, error)
            except Exception:
                logger.exception("the loop of %s goes on", loop.entry.name)
            await asyncio.sleep(min(pause, LOOK_SECONDS))

    async def _serve(self, loop: _Loop) -> float:
        """Run what is due; return the seconds until the next slot."""
        look = self._look
        if look is None or not look.leads:
            return LOOK_SECONDS
        name, now = loop.entry.name, self._now(look)
        looked_at = look.marks.get(name, "")
        todo = plan(loop.slots, Mark.parse(looked_at) if looked_at else None, now, loop.policy)
        if todo.passed_over:
            logger.warning("%s of %s is passed over: %s", name, todo.passed_over, todo.reason)
        if todo.mark:
            mark, missed = todo.mark, todo.missed
            await _in_thread(lambda: self._leader.set_mark(name, looked_at, mark, missed))
            look.marks[name] = str(mark)
        for slot in todo.fire:
            missed = todo.missed if slot == todo.fire[0] else 0
            if not await self._run(loop, slot, looked_at, missed):
                return LOOK_SECONDS
            looked_at = str(Mark(slot, loop.slots.identity))
        return (loop.slots.following(now) - now).total_seconds()

    async def _run(self, loop: _Loop, slot: datetime, looked_at: str, missed: int) -> bool:
        """Run one slot, unless somebody else has it; tell whether to go on with the next."""
        entry = loop.entry
        planned = Planned(
            *(entry.name, entry.task, slot, self._reports_only),
            args=tuple(entry.args or ()),
            kwargs=entry.kwargs or {},
        )
        mark = Mark(slot, loop.slots.identity)
        # Both in one thread, which a stop of the loop does not end: it would lose the slot between.
        has_run = await _in_thread(
            lambda: self._take(planned, looked_at, mark, missed) and self._execute(planned)
        )
        if has_run and self._look:  # which may be older than this mark
            self._look.marks[entry.name] = str(mark)
        return has_run

    def _take(self, planned: Planned, looked_at: str, mark: Mark, missed: int) -> bool:
        """Take a slot, if nobody else has it; with a Redis that goes away meanwhile, in the end."""
        tries = 0

        def attempt() -> str:
            nonlocal tries
            tries += 1
            taken: str = self._leader.take(
                *(planned.entry, looked_at, mark, planned.id, planned.note(self._leader.value)),
                expires_seconds=int(KEPT.total_seconds()),
                missed=missed,
            )
            # It may have been taken by a try whose answer was lost.
            return "fired" if tries > 1 and self._is_noted(planned) else taken

        self._running[planned.id] = planned
        taken = "unknown"
        try:
            taken = self._insist(attempt)
        finally:
            if taken != "fired":
                del self._running[planned.id]
        if taken != "fired":
            logger.info("%s of %s is not run: %s", planned.entry, planned.slot, taken)
        return taken == "fired"

    def _is_noted(self, planned: Planned) -> bool:
        """Whether a slot was taken by this process."""
        leader: Any = self._client.hget(Keys.legacy_run(planned.id), "leader")
        return bool(leader == self._leader.value.encode())

    def _insist(self, work: Callable[[], T]) -> T:
        """Do something in Redis, again while Redis is away and this process is not to stop."""
        while True:
            try:
                return work()
            except (redis.ConnectionError, redis.TimeoutError):
                if self._is_stopping:
                    raise
                time.sleep(LOOK_SECONDS)

    def _execute(self, planned: Planned) -> bool:
        """Run a slot and note its end."""
        try:
            logger.info("%s of %s begins in the API: %s", planned.entry, planned.slot, planned.id)
            ending = execute(self._app, self._client, planned)
            problem = ending.get("error")
            outcome = f"failed: {problem}" if problem else f"ended: {ending['message']}"
            level = logging.ERROR if problem else logging.INFO
            logger.log(level, "%s of %s %s", planned.entry, planned.slot, outcome)
            self._insist(lambda: note_end(self._client, planned, ending))
        except redis.RedisError as error:
            logger.error("the end of %s, %s, is not noted: %s", planned.entry, planned.slot, error)
        finally:
            del self._running[planned.id]
        return True


async def _in_thread(work: Callable[[], T]) -> T:
    """Wait for some work in a thread, which does not keep a stopping process from its end.

    Those of `asyncio.to_thread` would.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def tell(set_outcome: Callable[[Any], None], outcome: Any) -> None:
        if not future.done():
            set_outcome(outcome)

    def run() -> None:
        try:
            outcome: Any = work()
            report: Callable[[Any], None] = future.set_result
        except BaseException as error:
            outcome, report = error, future.set_exception
        with contextlib.suppress(RuntimeError):  # the event loop has ended
            loop.call_soon_threadsafe(tell, report, outcome)

    threading.Thread(target=run, name="loop", daemon=True).start()
    return await future


@contextlib.asynccontextmanager
async def running(settings: Settings, app: Celery) -> AsyncIterator[None]:
    """Run the loops meanwhile."""
    loops = Loops(settings, app)
    loops.start()
    try:
        yield
    finally:
        await loops.stop()
