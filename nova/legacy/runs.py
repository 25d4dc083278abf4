"""One run of a loop: the function of the task, in this process, without a claim.

With `NOVA_SCHEDULER=legacy` its effects are as good as those of the task, only that nobody starts
it again when its process dies. With `parallel` beat's task has the effects, and a run here only
reports: what it would change at its end is dropped, but for the report, which is kept apart.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import redis
from celery import Celery

from nova.domains import DOMAINS, Domain
from nova.runtime.claims import Word
from nova.runtime.ending import describe
from nova.runtime.ledger import DIVERT
from nova.runtime.slots import slot_id
from nova.store import Keys

#: So long the notes about a run are kept, and the reports of runs that only report: as long as
#: Redis remembers the runs of tasks that have ended.
KEPT = timedelta(days=7)

#: Arguments with which a domain's task only reports, where it has effects before its end. Slices of
#: a run are not dropped: its end may rest on them, and they are the same whoever makes them.
REPORT_ONLY: Mapping[str, Mapping[str, Any]] = {
    "governance": {"auto_actions": False},
    "maintenance": {"dry_run": True},
}


@dataclass(frozen=True)
class Planned:
    """One slot that a loop is to run."""

    entry: str
    task: str
    slot: datetime
    reports_only: bool
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """Id of its run and its report: the slot's, or one beside it, where beat has the slot."""
        return run_id(self.entry, self.slot, reports_only=self.reports_only)

    @property
    def domain(self) -> Domain | None:
        """The domain whose task it is."""
        return next((domain for domain in DOMAINS.values() if domain.task == self.task), None)

    def note(self, leader: str) -> dict[str, str]:
        """Return what is noted when it begins; `leader` is the token of its process."""
        kind = "report" if self.reports_only else "full"
        return {"entry": self.entry, "slot": self.slot.isoformat(), "kind": kind, "leader": leader}


def run_id(entry: str, slot: datetime, *, reports_only: bool) -> str:
    """Return the id under which the loops run a slot."""
    return slot_id(f"{entry} beside beat" if reports_only else entry, slot)


def execute(app: Celery, client: redis.Redis, planned: Planned) -> dict[str, str]:
    """Run a slot to its end; return how it ended, which is noted with the run.

    Never raises for a run that fails: a loop lives on.
    """
    try:
        result = _call(app, client, planned)
    except Exception as error:
        return _ending("FAILURE", error=describe(error))
    answer = result if isinstance(result, dict) else {}
    report_id = answer.get("report_id")
    return _ending(
        "SUCCESS", message=str(answer.get("message", "")), report_id=str(report_id or "")
    )


def note_end(client: redis.Redis, planned: Planned, ending: Mapping[str, str]) -> None:
    """Note how a run ended.

    Raises:
        redis.RedisError: Redis is away, or refused.
    """
    key = Keys.legacy_run(planned.id)
    with client.pipeline() as pipe:
        for name, value in ending.items():
            pipe.hset(key, name, value)
        pipe.expire(key, KEPT)
        pipe.execute()


def _ending(status: str, **fields: str) -> dict[str, str]:
    return {"status": status, "ended": f"{time.time():.3f}", **fields}


def _call(app: Celery, client: redis.Redis, planned: Planned) -> Any:
    """Call the task as a function, whose request says its id and what becomes of its effects."""
    app.loader.import_default_modules()
    task = app.tasks[planned.task]
    kwargs = dict(planned.kwargs)
    request: dict[str, Any] = {"id": planned.id}
    if planned.reports_only:
        domain = planned.domain
        kwargs |= REPORT_ONLY.get(domain.name, {}) if domain else {}
        request[DIVERT] = lambda commands: _keep_report(client, planned, commands)
    task.push_request(**request)
    try:
        return task.run(*planned.args, **kwargs)
    finally:
        task.pop_request()


def _keep_report(client: redis.Redis, planned: Planned, commands: list[list[Word]]) -> None:
    """Keep the report apart; all other commands are dropped."""
    if planned.domain is None:
        return
    name = planned.domain.name
    for command in commands:
        if command[:2] == ["SET", Keys.report(name, planned.id)]:
            client.set(Keys.legacy_report(name, planned.id), command[2], ex=KEPT)
