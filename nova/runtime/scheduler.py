"""The scheduler that beat runs: `celery -A nova.celery_app beat`, on as many hosts as one likes."""

import contextlib
import logging
import threading
import time
from datetime import datetime, timedelta
from typing import Any, get_args

import redis
from celery import beat

from nova.errors import ConfigurationError
from nova.runtime import watchdog
from nova.runtime.claims import RUN_EXPIRES_SECONDS
from nova.runtime.leader import LOOK_SECONDS, Leader, Look
from nova.runtime.messages import PreparedMessage, prepare
from nova.runtime.notify import notify
from nova.runtime.slots import Mark, Plan, Slots, plan, slot_id
from nova.schedule import CatchUp
from nova.settings import get_settings
from nova.store import Keys, connect

logger = logging.getLogger(__name__)

#: A look that hangs for longer is given up and taken again.
SOCKET_TIMEOUT_SECONDS = 3.0
#: A stopping beat does not wait longer for Redis to take the lead from it.
RESIGN_SECONDS = 0.5
#: One look publishes for so long at most; then the lease and the other entries have their turn.
LOOK_BUDGET_SECONDS = 1.0
#: After this a slot that could not be published is looked at again.
RETRY_SECONDS = 0.05
#: What goes on being wrong is said again after so long.
REPEAT_SECONDS = 60.0
#: A clock that was set back by less is not worth a line.
WORTH_TELLING = timedelta(minutes=1)
#: Options of an entry that beat itself decides.
REFUSED_OPTIONS = ("task_id", "producer", "publisher", "connection")


class LeaderScheduler(beat.Scheduler):  # type: ignore[misc]  # celery ships no types
    """Publishes every slot of the schedule once, however many beats run and whatever stops them.

    The beat that leads looks once a second. What is due follows from the time of Redis and from
    each entry's mark in Redis; nothing is kept in the process or on the host. Publishing a slot and
    marking it is one step of Redis. What was missed - no beat, no Redis - is found from the mark
    and treated by the entry's policy, which stands in the app's setting `nova_beat_catch_up`
    (entry -> all, latest or skip; latest unless said otherwise).
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._leader: Leader | None = None
        self._slots: dict[str, Slots] = {}
        self._status = ""
        self._last_role = ""
        self._said: dict[str, float] = {}
        self._closed = False
        super().__init__(*args, **kwargs)

    def setup_schedule(self) -> None:
        """Read the app's beat table, and refuse what cannot be kept.

        Raises:
            SystemExit: a setting or an entry is wrong; the message says which, and why.
        """
        super().setup_schedule()
        try:
            self._settings = get_settings()
        except ConfigurationError as error:
            raise SystemExit(f"nova: {error}") from None
        self._policies: dict[str, CatchUp] = dict(self.app.conf.get("nova_beat_catch_up") or {})
        for name, entry in self.schedule.items():
            try:
                self._slots[name] = Slots(entry.schedule)
                self._check(entry)
            except Exception as error:
                raise SystemExit(f"nova: entry {name} of the beat schedule: {error}") from None
        client = connect(self._settings, SOCKET_TIMEOUT_SECONDS)
        self._leader = Leader(client, mode=self._settings.scheduler)

    def _check(self, entry: beat.ScheduleEntry) -> None:
        policy = self._policies.get(entry.name, "latest")
        if policy not in get_args(CatchUp):
            raise ValueError(f"catch_up is {policy}; it can be {', '.join(get_args(CatchUp))}")
        if refused := [option for option in REFUSED_OPTIONS if option in entry.options]:
            raise ValueError(f"beat itself decides the option {refused[0]}; take it out")
        values = [*(entry.args or ()), *entry.kwargs.values()]
        if not any(isinstance(value, beat.BeatLazyFunc) for value in values):
            self._prepare(entry, task_id="")

    def tick(self, *_: Any, **__: Any) -> float:
        """Publish what is due, if this beat leads; return the seconds until the next look."""
        watchdog.progress()
        if self._closed:  # the exception that was to stop the process got lost on its way
            raise SystemExit
        try:
            pause = self._look()
        except (redis.RedisError, OSError) as error:
            waiting = f"waiting for Redis at {self._settings.redis_location}: {error}"
            self._complain("redis", waiting)
            if self._status:  # else it is not READY yet
                self._tell(waiting)
            pause = LOOK_SECONDS
        return min(pause, float(self.max_interval))

    def _look(self) -> float:
        assert self._leader is not None  # noqa: S101  # set up before the first tick
        look = self._leader.look()
        if self._said.pop("redis", None):
            logger.info("Redis at %s is back", self._settings.redis_location)
        role = self._role(look)
        if role != self._last_role:
            self._last_role = role
            logger.info(role)
        self._tell(role)
        if not look.leads:
            return LOOK_SECONDS
        pauses = [self._serve(entry, look) for entry in self.schedule.values()]
        return max(0.0, min([LOOK_SECONDS, *pauses]))

    def _role(self, look: Look) -> str:
        if look.other:
            return f"standing by: {look.other.host}, process {look.other.pid}, leads"
        return f"scheduling {len(self.schedule)} entries"

    def _serve(self, entry: beat.ScheduleEntry, look: Look) -> float:
        """Do what is to be done for one entry; return the seconds until its next slot."""
        try:
            return self._serve_or_raise(entry, look)
        except (redis.ConnectionError, redis.TimeoutError):
            raise
        except Exception as error:
            # One entry that fails is not to keep the others from their slots.
            self._complain(
                _about(entry.name), f"cannot publish {entry.name}, trying again: {error}"
            )
            return LOOK_SECONDS

    def _serve_or_raise(self, entry: beat.ScheduleEntry, look: Look) -> float:
        assert self._leader is not None  # noqa: S101  # set up before the first tick
        name, slots = entry.name, self._slots[entry.name]
        looked_at = look.marks.get(name, "")
        mark = Mark.parse(looked_at) if looked_at else None
        todo = plan(slots, mark, look.now, self._policies.get(name, "latest"))
        if todo.ahead > WORTH_TELLING:
            self._complain(
                _about(name),
                f"{name} is settled up to {todo.ahead} from now and rests until then: the clock of "
                f"Redis was set back; if it was wrong before: redis-cli HDEL {Keys.BEAT_SLOTS} "
                f"{name}",
            )
        if todo.mark:
            settled = self._leader.set_mark(name, looked_at, todo.mark, todo.missed)
            if settled == "fired":
                self._explain(name, todo)
        give_up = time.monotonic() + LOOK_BUDGET_SECONDS
        for slot in todo.fire:
            new = Mark(slot, slots.identity)
            missed = todo.missed if slot == todo.fire[0] else 0
            if not self._fire(entry, looked_at, new, look.now, missed):
                return RETRY_SECONDS
            if slot == todo.fire[0]:
                self._explain(name, todo)
            if time.monotonic() > give_up:
                return 0.0
            looked_at = str(new)
        return (slots.following(look.now) - look.now).total_seconds()

    def _fire(
        self, entry: beat.ScheduleEntry, looked_at: str, mark: Mark, now: datetime, missed: int
    ) -> bool:
        """Publish one slot; tell whether to go on with the next."""
        assert self._leader is not None  # noqa: S101  # set up before the first tick
        task_id = slot_id(entry.name, mark.slot)
        replicas = self._settings.wait_replicas
        fired = self._leader.fire(
            entry.name,
            looked_at,
            mark,
            self._prepare(entry, task_id),
            published_at=now,
            expires_seconds=RUN_EXPIRES_SECONDS,
            replicas=replicas,
            missed=missed,
        )
        if fired.status != "fired":
            logger.info("%s is not published: %s", entry.name, fired.status)
            return False
        self._said.pop(_about(entry.name), None)
        late = (now - mark.slot).total_seconds()
        logger.info("published %s of %s, %.1f s late: %s", entry.name, mark.slot, late, task_id)
        if fired.replicas < replicas:
            logger.warning(
                "%s of %s has reached %d of the %d replicas that are to have it; if the primary is "
                "lost now, its mark is lost too and it is published again",
                *(entry.name, mark.slot, fired.replicas, replicas),
            )
        return True

    def _prepare(self, entry: beat.ScheduleEntry, task_id: str) -> PreparedMessage:
        options = dict(entry.options)
        options["headers"] = {**options.get("headers", {}), "celery_beat_task": True}
        args = [_value(value) for value in entry.args or ()]
        kwargs = {name: _value(value) for name, value in entry.kwargs.items()}
        return prepare(self.app, entry.task, args, kwargs, task_id=task_id, **options)

    def _explain(self, name: str, done: Plan) -> None:
        if done.passed_over:
            logger.warning("%s of %s is passed over: %s", name, done.passed_over, done.reason)
        elif done.mark:
            logger.info("%s starts at %s: %s", name, done.mark.slot, done.reason)

    def _complain(self, about: str, problem: str) -> None:
        """Log a problem, once in a while as long as it lasts."""
        now = time.monotonic()
        if now - self._said.get(about, -REPEAT_SECONDS) >= REPEAT_SECONDS:
            self._said[about] = now
            logger.warning(problem)

    def _tell(self, status: str) -> None:
        """Tell systemd what this beat does; READY the first time."""
        if status != self._status:
            notify(*([] if self._status else ["READY=1"]), f"STATUS={status}")
            self._status = status

    def close(self) -> None:
        """Hand over the lead. Runs in the handler of SIGTERM, in the middle of anything."""
        was_closed, self._closed = self._closed, True
        if self._leader and self._leader.leads and not was_closed:
            # A thread, so that its end need not be waited for: Redis may be away.
            resigning = threading.Thread(target=self._resign, daemon=True)
            resigning.start()
            resigning.join(RESIGN_SECONDS)
        super().close()

    def _resign(self) -> None:
        assert self._leader is not None  # noqa: S101  # asked for by the caller
        # A client of its own: the other may be in the middle of a command.
        with (
            contextlib.suppress(redis.RedisError, OSError),
            connect(self._settings, RESIGN_SECONDS) as client,
        ):
            self._leader.resign(client)


class NotifyingScheduler(beat.PersistentScheduler):  # type: ignore[misc]
    """Celery's own scheduler, for `NOVA_STOCK_PARTS=scheduler`; one beat may run.

    It tells systemd READY after its first look at the schedule. Not earlier: a SIGTERM in the
    middle of that look makes beat close its file twice and fail.
    """

    looked = False

    def tick(self, *args: Any, **kwargs: Any) -> float:
        """Publish what is due; return the seconds until the next look."""
        watchdog.progress()
        interval: float = super().tick(*args, **kwargs)
        if not self.looked:
            self.looked = True
            scheduling = f"scheduling {len(self.schedule)} entries"
            logger.info(scheduling)
            notify("READY=1", f"STATUS={scheduling}")
        return interval


class IdleScheduler(beat.Scheduler):  # type: ignore[misc]
    """Publishes nothing, and says why: with `NOVA_SCHEDULER=legacy` the API runs the schedule.

    The marks in Redis are moved by the API's loops meanwhile, so that a later beat goes on where
    they ended.
    """

    REASON = "publishing nothing: NOVA_SCHEDULER is legacy, the API's loops run the schedule"
    looked = False

    def setup_schedule(self) -> None:
        """Keep no schedule."""

    def tick(self, *_: Any, **__: Any) -> float:
        """Do nothing; return the seconds until the next time."""
        watchdog.progress()
        if not self.looked:
            self.looked = True
            logger.warning(self.REASON)
            notify("READY=1", f"STATUS={self.REASON}")
        return LOOK_SECONDS


def _value(value: Any) -> Any:
    return value() if isinstance(value, beat.BeatLazyFunc) else value


def _about(entry: str) -> str:
    """Key of an entry's problems, which is not that of Redis' own, whatever the entry's name."""
    return f"entry {entry}"
