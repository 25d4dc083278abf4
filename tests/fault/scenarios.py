"""The scenarios. Each says what it proves; `SCENARIOS` has them all, by name."""

import signal
import time
from collections.abc import Callable
from typing import Any

from tests.fault.harness import Lab, Outcome, Scenario
from tests.fault.processes import Program, wait_for

SCENARIOS: dict[str, Scenario] = {}


def scenario(name: str) -> Callable[[Scenario], Scenario]:
    """Give a scenario its name in the table."""

    def register(function: Scenario) -> Scenario:
        SCENARIOS[name] = function
        return function

    return register


def redelivery_bound(lab: Lab) -> float:
    """Seconds within which a dead worker's task runs again: 75 at the default lease of 60.

    On top come two seconds for a machine that starts workers at the same time.
    """
    return lab.lease_seconds * 1.25 + 2


# --- Workers


@scenario("kill-9")
def kill_under_load(lab: Lab) -> Outcome:
    """kill -9 of main processes and of pool children in turn, under load.

    The moment of a kill is any: between the claim and its record, in a task, between the effect
    and the acknowledgement. Nothing acknowledged may be lost, no effect may come twice.
    """
    lab.lease_seconds = 6
    lab.start_redis()
    workers = lab.workers(3)
    publisher = lab.publisher()
    kills = lab.size(short=30, long=1000)
    lab.order(publisher, 10_000_000, rate=250)
    for kill in range(kills):
        lab.say(f"kill {kill + 1} of {kills}")
        victim = workers[kill % len(workers)]
        victim.wait_ready()
        time.sleep(0.3)
        children = victim.children()
        if kill % 2 and children:
            children[0].kill()
        else:
            victim.kill()
            victim.start()
    lab.mark_fault()
    lab.stop_publisher(publisher)
    for worker in workers:
        worker.wait_ready()
    lab.settle(redelivery_bound(lab) + 30)
    return lab.outcome("kill-9", bound_seconds=redelivery_bound(lab) + 10)


@scenario("freeze-kill")
def freeze_then_kill(lab: Lab) -> Outcome:
    """Workers freeze while they wait for work, tasks come, the workers die.

    A message that Redis has sent to a frozen process must be found again.
    """
    lab.lease_seconds = 4
    lab.start_redis()
    publisher = lab.publisher()
    for round_number in range(lab.size(short=1, long=20)):
        lab.say(f"round {round_number + 1}")
        frozen = [lab.worker(f"frozen-{round_number}-{index}") for index in range(3)]
        for worker in frozen:
            worker.wait_ready()
        wait_until_idle(lab, frozen)
        for worker in frozen:
            worker.signal_all(signal.SIGSTOP)
        lab.publish(publisher, 3)
        time.sleep(0.2)
        for worker in frozen:
            worker.crash()
        lab.mark_fault()
        heir = lab.worker(f"heir-{round_number}").wait_ready()
        lab.settle(redelivery_bound(lab) + 4)
        heir.signal(signal.SIGTERM)
        heir.wait(20)
    return lab.outcome("freeze-kill", bound_seconds=redelivery_bound(lab) + 2)


def wait_until_idle(lab: Lab, workers: list[Program]) -> None:
    """Wait until each worker has a connection that waits for messages."""

    def are_waiting() -> bool:
        with lab.broker() as client:
            clients = client.client_list()
        return sum("b" in line["flags"] for line in clients) >= len(workers)

    wait_for(are_waiting, "workers wait for messages")


@scenario("freeze-wake")
def freeze_past_the_lease(lab: Lab) -> Outcome:
    """A worker freezes in a task for longer than its lease, and wakes.

    Another one has run the task by then: what the first one finishes late must have no effect,
    and its acknowledgement must not remove anything of the other's.
    """
    lab.lease_seconds = 4
    lab.start_redis()
    publisher = lab.publisher()
    sleeper = lab.worker("sleeper", processes=1).wait_ready()
    heir = None
    for round_number in range(lab.size(short=1, long=10)):
        lab.say(f"round {round_number + 1}")
        if heir is not None:
            heir.signal(signal.SIGTERM)
            heir.wait(20)
        (number,) = lab.publish(publisher, 1, arguments=[2.0])
        lab.wait_started(number)
        sleeper.signal_all(signal.SIGSTOP)
        lab.mark_fault()
        heir = lab.worker(f"heir-{round_number}", processes=1).wait_ready()
        lab.wait_started(number, times=2, seconds=3 * lab.lease_seconds)
        if round_number % 2:  # one wakes when all is over, one while the other runs
            lab.wait_finished(number)
        sleeper.signal_all(signal.SIGCONT)
        lab.settle(redelivery_bound(lab) + 10)
        time.sleep(2.5)  # the sleeper's own end of the task
    return lab.outcome("freeze-wake", bound_seconds=redelivery_bound(lab) + 4)


@scenario("sigterm")
def stop_under_load(lab: Lab) -> Outcome:
    """SIGTERM under load, again and again, as a rolling restart does.

    Each stop ends by itself within five seconds, what ran is finished, what was claimed is given
    back, nothing runs twice.
    """
    lab.lease_seconds = 10
    lab.start_redis()
    workers = lab.workers(2)
    publisher = lab.publisher()
    stops, durations = lab.size(short=10, long=100), []
    lab.order(publisher, 10_000_000, rate=20, arguments=[0.1])
    for stop in range(stops):
        lab.say(f"stop {stop + 1} of {stops}")
        worker = workers[stop % 2]
        worker.wait_ready()
        time.sleep(0.5)
        begin = time.monotonic()
        worker.signal(signal.SIGTERM)
        if not worker.wait(40):
            worker.crash()
        durations.append(time.monotonic() - begin)
        worker.start()
    lab.mark_fault()
    lab.stop_publisher(publisher)
    lab.settle(redelivery_bound(lab) + 20)
    outcome = lab.outcome("sigterm", bound_seconds=5)
    outcome.notes.append(f"stops took up to {max(durations):.1f} s")
    if max(durations) > 5:
        slow = sum(duration > 5 for duration in durations)
        outcome.problems.append(f"{slow} of {stops} stops took longer than 5 s")
    if outcome.repeated:
        outcome.problems.append(f"{outcome.repeated} ran twice, without any crash")
    return outcome


# --- Time


@scenario("long-task")
def task_longer_than_the_lease(lab: Lab) -> Outcome:
    """A task takes three times the lease, or visibility timeout. It is started once."""
    lab.lease_seconds = 4
    return outlive_the_lease(lab, "long-task", arguments=[3.0 * lab.lease_seconds])


@scenario("long-eta")
def eta_beyond_the_lease(lab: Lab) -> Outcome:
    """A task waits in a worker for its ETA for three times the lease. It is started once."""
    lab.lease_seconds = 4
    return outlive_the_lease(lab, "long-eta", countdown=3.0 * lab.lease_seconds)


def outlive_the_lease(lab: Lab, name: str, **order: Any) -> Outcome:
    """Publish one task that is held for three times the lease, with two workers about."""
    lab.start_redis()
    lab.workers(2)
    publisher = lab.publisher()
    lab.publish(publisher, 1, **order)
    lab.fault_at = time.time() + 3 * lab.lease_seconds  # its end, if all goes well
    lab.settle(8 * lab.lease_seconds)
    if any(times > 1 for times in lab.witness.counts("starts").values()):
        time.sleep(3 * lab.lease_seconds)  # what started late has its effect late
    outcome = lab.outcome(name, bound_seconds=2)
    if outcome.repeated:
        outcome.problems.append(f"started {outcome.repeated + 1} times")
    return outcome
