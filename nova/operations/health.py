"""Whether the fleet is well enough to be worked on."""

from collections.abc import Collection
from dataclasses import dataclass

import redis
from pydantic import BaseModel, Field

from nova.queues import QUEUES
from nova.runtime.fleet import Fleet, read_fleet
from nova.runtime.transient import is_transient
from nova.settings import Settings
from nova.store import Keys

#: Milliseconds for the replicas to confirm a write, less than the socket timeout.
CONFIRM_MS = 2000
#: The write that they confirm is gone after so many seconds.
WRITE_EXPIRES_SECONDS = 60


class Finding(BaseModel):
    """One thing that is not as it should be."""

    part: str = Field(description="worker NAME@HOST, queue NAME, beat, redis or releases.")
    detail: str
    is_refused: bool = Field(
        default=True, description="Whether the fleet must not be worked on; else it is only told."
    )

    def line(self) -> str:
        """Return it as one line for people."""
        return f"{self.part}: {self.detail}"


class FleetCheck(BaseModel):
    """What was found."""

    passed: bool
    findings: list[Finding]


@dataclass(frozen=True)
class Expected:
    """What the fleet should be like."""

    workers: Collection[str] = ()
    #: The release that everything should run; None if they may differ.
    release: str | None = None
    beat: bool = True


def check_fleet(client: redis.Redis, settings: Settings, expected: Expected) -> FleetCheck:
    """Look at workers, queues, beat and the replicas of Redis.

    Raises:
        redis.RedisError: Redis does not answer.
    """
    findings = [*judge(read_fleet(client), expected), *_check_redis(client, settings)]
    return FleetCheck(passed=not any(finding.is_refused for finding in findings), findings=findings)


def judge(fleet: Fleet, expected: Expected) -> list[Finding]:
    """Return what is wrong with a fleet, by what it says about itself."""
    findings = []
    online = {worker.name: worker for worker in fleet.workers}
    for name in sorted(set(expected.workers)):
        state = online[name].state if name in online else "not online"
        if state != "working":
            # Who drains a host does so on purpose; whether its queues have another is asked below.
            is_meant = state in ("draining", "drained")
            findings.append(
                Finding(part=f"worker {name}", detail=f"it is {state}", is_refused=not is_meant)
            )
    for queue in QUEUES:
        if not any(
            queue in worker.queues and worker.state == "working" for worker in fleet.workers
        ):
            findings.append(Finding(part=f"queue {queue}", detail="no worker takes tasks from it"))
    if expected.beat and fleet.beat is None:
        findings.append(Finding(part="beat", detail="none leads; the schedule stands still"))
    return [*findings, *_judge_releases(fleet, expected.release)]


def _judge_releases(fleet: Fleet, wanted: str | None) -> list[Finding]:
    running = {f"worker {worker.name}": worker.release for worker in fleet.workers}
    if fleet.beat is not None:
        running["beat"] = fleet.beat.release
    if wanted is not None:
        return [
            Finding(part=part, detail=f"it runs release {release}, not {wanted}")
            for part, release in running.items()
            if release != wanted
        ]
    if len(set(running.values())) < 2:
        return []
    parts = {
        release: sorted(part for part, its in running.items() if its == release)
        for release in sorted(set(running.values()))
    }
    detail = "; ".join(f"{release} on {', '.join(names)}" for release, names in parts.items())
    return [Finding(part="releases", detail=f"they differ: {detail}", is_refused=False)]


def _check_redis(client: redis.Redis, settings: Settings) -> list[Finding]:
    """Let Redis and its replicas take a write: that they are connected would say less."""
    wanted = settings.redis_group_size - 1
    try:
        # WAIT is about the connection that it comes on: a pipeline has only one.
        with client.pipeline(transaction=False) as pipe:
            pipe.set(Keys.FLEET_CHECK, "written", ex=WRITE_EXPIRES_SECONDS)
            pipe.wait(wanted, CONFIRM_MS)
            _, confirmed = pipe.execute()
    except redis.ResponseError as error:
        if not is_transient(error):
            raise
        return [Finding(part="redis", detail=f"it takes no writes: {error}")]
    if confirmed >= wanted:
        return []
    detail = f"{confirmed} of {wanted} replicas confirm a write within {CONFIRM_MS // 1000} s"
    return [Finding(part="redis", detail=detail)]
