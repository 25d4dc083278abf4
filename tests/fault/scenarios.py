"""The scenarios. Each says what it proves; `SCENARIOS` has them all, by name."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any
from unittest import mock

import httpx

from nova.api.security import Role, TokenIssuer
from nova.errors import UnavailableError
from nova.settings import Settings
from scripts.local.redis_server import LocalRedis, free_port
from tests.fault.group import ProxiedGroup
from tests.fault.harness import Lab, Outcome, Scenario
from tests.fault.network import Network
from tests.fault.preload import SettableClock, SlowDisk
from tests.fault.processes import HarnessError, Program, wait_for
from tests.fault.slots import PERIOD_SECONDS

#: Starts that a task is allowed, before it is put aside.
MAX_STARTS = 5

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


def start_heir(lab: Lab, name: str, processes: int = 2) -> tuple[Program, float]:
    """Start a worker; return it, and how many seconds it took until it was ready.

    The bound is about a fleet that has other workers; here they come after the fault, and how long
    that takes says something of the machine alone.
    """
    begin = time.monotonic()
    heir = lab.worker(name, processes=processes).wait_ready()
    return heir, time.monotonic() - begin


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
    lab.order(publisher, 10_000_000, ahead=1000)
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
    slowest_start = 0.0
    for round_number in range(lab.size(short=1, long=10)):
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
        heir, seconds = start_heir(lab, f"heir-{round_number}")
        slowest_start = max(slowest_start, seconds)
        lab.settle(redelivery_bound(lab) + 4)
        heir.signal(signal.SIGTERM)
        heir.wait(20)
    return lab.outcome("freeze-kill", bound_seconds=redelivery_bound(lab) + slowest_start)


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
    task_seconds = 2.0
    lab.start_redis()
    publisher = lab.publisher()
    sleeper = lab.worker("sleeper", processes=1).wait_ready()
    heir = None
    slowest_start = 0.0
    for round_number in range(lab.size(short=1, long=10)):
        lab.say(f"round {round_number + 1}")
        if heir is not None:
            heir.signal(signal.SIGTERM)
            heir.wait(20)
        (number,) = lab.publish(publisher, 1, arguments=[task_seconds])
        lab.wait_started(number)
        sleeper.signal_all(signal.SIGSTOP)
        lab.mark_fault()
        heir, seconds = start_heir(lab, f"heir-{round_number}", processes=1)
        slowest_start = max(slowest_start, seconds)
        lab.wait_started(number, times=2, seconds=3 * lab.lease_seconds)
        if round_number % 2:  # one wakes when all is over, one while the other runs
            lab.wait_finished(number)
        sleeper.signal_all(signal.SIGCONT)
        lab.settle(redelivery_bound(lab) + 10)
        time.sleep(2.5)  # the sleeper's own end of the task
    bound = redelivery_bound(lab) + slowest_start + task_seconds
    return lab.outcome("freeze-wake", bound_seconds=bound)


@scenario("sigterm")
def stop_under_load(lab: Lab) -> Outcome:
    """SIGTERM under load, again and again, as a rolling restart does: when the others are back.

    Each stop ends by itself within five seconds, what ran is finished, what was claimed is given
    back, nothing runs twice. Few tasks wait: what was not given back runs a lease later, and how
    long a queue takes says something of the machine alone.
    """
    lab.lease_seconds = 10
    lab.start_redis()
    workers = lab.workers(2)
    publisher = lab.publisher()
    stops, durations = lab.size(short=10, long=100), []
    lab.order(publisher, 10_000_000, ahead=20, arguments=[0.02])
    for stop in range(stops):
        lab.say(f"stop {stop + 1} of {stops}")
        for worker in workers:
            worker.wait_ready()
        worker = workers[stop % 2]
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


# --- Redis


@scenario("client-kill")
def kill_connections(lab: Lab) -> Outcome:
    """CLIENT KILL cuts every connection in the middle of tasks, again and again.

    The worker takes its running tasks up again instead of giving them to others beside it.
    """
    lab.lease_seconds = 10
    lab.start_redis()
    workers = lab.workers(2)
    publisher = lab.publisher()
    lab.order(publisher, 10_000_000, rate=20, arguments=[0.4], ahead=20)
    rounds = lab.size(short=4, long=50)
    for round_number in range(rounds):
        lab.say(f"round {round_number + 1} of {rounds}")
        time.sleep(2.5)
        with lab.broker() as client:
            client.client_kill_filter(_type="normal", skipme=True)
    lab.mark_fault()
    lab.stop_publisher(publisher)
    lab.settle(redelivery_bound(lab) + 15)
    return none_ended(lab.outcome("client-kill", bound_seconds=redelivery_bound(lab) + 5), workers)


@scenario("redis-restart")
def restart_redis(lab: Lab) -> Outcome:
    """Redis is stopped, or killed, under load, and comes back with its append-only file."""
    lab.lease_seconds = 6
    server = lab.start_redis()
    workers = lab.workers(2)
    publisher = lab.publisher()
    lab.order(publisher, 10_000_000, rate=50, arguments=[0.05], ahead=50)
    rounds = lab.size(short=2, long=20)
    for round_number in range(rounds):
        lab.say(f"round {round_number + 1} of {rounds}")
        time.sleep(3)
        if round_number % 2:
            server.kill()
        else:
            server.stop()
        time.sleep(2)
        server.start()
        lab.mark_fault()
        back_at_work(lab, seconds=30)
    return after_outage(lab, "redis-restart", publisher, workers)


@scenario("disk-stall")
def kill_redis_while_its_disk_stalls(lab: Lab) -> Outcome:
    """The disk takes two seconds for whatever is forced to it, and Redis is killed meanwhile.

    Redis answers nothing that is not on the disk: what it answered survives, a power failure too.
    """
    lab.lease_seconds = 6
    disk = SlowDisk(lab.folder)
    lab.stack.enter_context(mock.patch.dict(os.environ, disk.variables))  # Redis alone inherits all
    server = lab.start_redis()
    workers = lab.workers(2)
    publisher = lab.publisher()
    lab.order(publisher, 10_000_000, rate=50, arguments=[0.05], ahead=50)
    rounds, stalls = lab.size(short=1, long=10), []
    for round_number in range(rounds):
        lab.say(f"round {round_number + 1} of {rounds}")
        time.sleep(3)
        begin = time.time()
        disk.set(2000)
        time.sleep(1.8)  # a flush that comes once a second has begun, and has not ended
        server.kill()
        stalls.append((begin, time.time()))
        disk.set(0)
        server.start()
        lab.mark_fault()
        back_at_work(lab, seconds=30)
    outcome = after_outage(lab, "disk-stall", publisher, workers)
    moments = lab.witness.times("acknowledged").values()
    answered = max(sum(begin < moment < end for moment in moments) for begin, end in stalls)
    if answered > 5:  # some were under way
        outcome.problems.append(f"{answered} acknowledged while nothing could reach the disk")
    return outcome


@scenario("redis-freeze")
def freeze_redis(lab: Lab) -> Outcome:
    """Redis answers nothing for half a minute (eight seconds in the short form), then goes on."""
    lab.lease_seconds = 6
    server = lab.start_redis()
    workers = lab.workers(2)
    publisher = lab.publisher()
    lab.order(publisher, 10_000_000, rate=50, arguments=[0.05], ahead=50)
    time.sleep(2)
    server.freeze()
    time.sleep(lab.size(short=8, long=30))
    server.resume()
    lab.mark_fault()
    back_at_work(lab, seconds=30)
    return after_outage(lab, "redis-freeze", publisher, workers)


def after_outage(lab: Lab, name: str, publisher: Program, workers: list[Program]) -> Outcome:
    """Draw the balance of an outage of Redis that is over."""
    lab.stop_publisher(publisher)
    lab.settle(redelivery_bound(lab) + 20)
    return none_ended(lab.outcome(name, bound_seconds=15 + redelivery_bound(lab)), workers)


def none_ended(outcome: Outcome, workers: list[Program]) -> Outcome:
    """Make it a failure that a worker has ended: no fault of Redis may end one."""
    ended = [worker.name for worker in workers if not worker.is_alive()]
    if ended:
        outcome.problems.append(f"{', '.join(ended)} ended")
    return outcome


def back_at_work(lab: Lab, seconds: float) -> float | None:
    """Wait until something was published, and something done, after the fault; return the seconds.

    None: not in time.
    """

    def works() -> bool:
        events = (lab.witness.times("acknowledged"), lab.witness.times("finished"))
        return all(max(times.values(), default=0.0) > lab.fault_at for times in events)

    try:
        wait_for(works, "back at work", seconds, pause_seconds=0.1)
    except HarnessError:
        return None
    return time.time() - lab.fault_at


@scenario("redis-full")
def fill_memory(lab: Lab) -> Outcome:
    """Redis is at maxmemory while tasks wait.

    Publishers are refused. Workers go on: they drain tasks that write nothing to Redis, and none
    of them ends. Tasks whose effect needs memory there have it once there is some.
    """
    lab.lease_seconds = 6
    lab.start_redis()
    publisher = lab.publisher()
    workers = lab.workers(2)
    for worker in workers:
        worker.signal(signal.SIGSTOP)  # so that all of it waits when the memory is full
    number = lab.size(short=150, long=1500)
    outside = lab.publish(publisher, number, task="nova.fault.outside")
    lab.publish(publisher, lab.size(short=20, long=100))
    lab.order(publisher, 10_000_000, rate=20)
    with lab.broker() as client:
        client.config_set("maxmemory", 1)
        for worker in workers:
            worker.signal(signal.SIGCONT)
        time.sleep(lab.size(short=6, long=40))
        finished = lab.witness.times("finished")
        drained = sum(str(task) in finished for task in outside)
        client.config_set("maxmemory", 0)
    lab.mark_fault()
    back_at_work(lab, seconds=20)
    lab.stop_publisher(publisher)
    lab.settle(50)
    outcome = lab.outcome("redis-full", bound_seconds=45)
    outcome.notes.append(f"{drained} of {number} tasks that write nothing done while full")
    if drained < number:
        outcome.problems.append("not drained while full")
    return none_ended(outcome, workers)


@scenario("disk-full")
def fill_the_disk(lab: Lab) -> Outcome:
    """The disk under the append-only file is full for a while.

    Redis ends at the first write that it cannot keep, and is started again every two seconds, as
    systemd does. Nothing that it acknowledged is lost, no worker ends.
    """
    lab.lease_seconds = 6
    disk = lab.stack.enter_context(small_disk(lab.folder / "disk", megabytes=32))
    log = lab.folder / "redis.log"  # not on the full disk
    server = lab.start_redis(f'logfile "{log}"', folder=disk / "redis")
    workers = lab.workers(2)
    publisher = lab.publisher()
    lab.order(publisher, 10_000_000, rate=50, ahead=50)
    with started_again(server):
        for _ in range(lab.size(short=1, long=5)):
            time.sleep(2)
            ballast = disk / "ballast"
            with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
                while True:
                    file.write(bytes(4096))
            time.sleep(lab.size(short=6, long=20))
            ballast.unlink()
            lab.mark_fault()
            back_at_work(lab, seconds=30)
        outcome = after_outage(lab, "disk-full", publisher, workers)
    if "Can't recover from AOF write error" not in log.read_text():
        outcome.problems.append("Redis never ended for the full disk")
    return outcome


@contextlib.contextmanager
def started_again(server: LocalRedis, pause_seconds: float = 2.0) -> Iterator[None]:
    """Start a Redis again whenever it has ended by itself, as its unit does."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(pause_seconds):
            if server.process is None or server.process.poll() is not None:
                with contextlib.suppress(UnavailableError):  # there is still no room
                    server.start()

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()


@contextlib.contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Path]:
    """Mount a small disk, in memory; needs root, or sudo that asks for nothing."""
    folder.mkdir(mode=0o700)
    as_root = [] if os.geteuid() == 0 else ["sudo", "-n"]
    options = f"size={megabytes}m,mode=0700,uid={os.geteuid()}"
    mount = [*as_root, "mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    found = subprocess.run(mount, capture_output=True, text=True, check=False)
    if found.returncode:
        raise HarnessError(f"no disk to fill, it needs root: {found.stderr.strip()}")
    try:
        yield folder
    finally:
        # Lazily: a process that ends at this moment may still have a file open.
        subprocess.run([*as_root, "umount", "--lazy", str(folder)], check=True)


# --- Sentinel

#: Takes a primary away; is given the processes on the side of the network that it is on.
Fault = Callable[[ProxiedGroup, LocalRedis, list[Program]], None]


def fail_over(lab: Lab, name: str, fault: Fault, *, heals_before_work: bool = False) -> Outcome:
    """Take the primary away in some manner while two publishers publish, and bring it back."""
    lab.lease_seconds = 6
    found = lab.start_group()
    workers = lab.workers(2, processes=1)
    publishers = [lab.publisher(f"publisher-{index}") for index in range(2)]
    # A little more than the workers can do: something always waits, but never much.
    for publisher in publishers:
        lab.order(publisher, 1_000_000, rate=10, arguments=[0.15], ahead=60, give_up=90)
    slowest: float | None = 0.0
    for round_number in range(lab.size(short=1, long=5)):
        lab.say(f"failover {round_number + 1}")
        time.sleep(3)
        old = found.group.primary()
        fault(found, old, [workers[0], publishers[0]])
        lab.say(f"new primary after {found.wait_for_failover(old):.1f} s")
        if heals_before_work:
            time.sleep(3)
            mend(found, old)
        lab.mark_fault()
        back = back_at_work(lab, seconds=40)
        slowest = None if back is None or slowest is None else max(slowest, back)
        mend(found, old)
    for publisher in publishers:
        lab.stop_publisher(publisher)
    lab.settle(redelivery_bound(lab) + 30)
    outcome = lab.outcome(name, bound_seconds=15 + 2 * redelivery_bound(lab))
    if slowest is None:
        outcome.problems.append("not at work within 40 s of the failover")
    else:
        outcome.notes.append(f"at work {slowest:.1f} s after the failover")
        if slowest > 15:
            outcome.problems.append("at work later than 15 s after the failover")
    return none_ended(outcome, workers)


def mend(found: ProxiedGroup, server: LocalRedis) -> None:
    """Bring a server back, from whatever was done to it."""
    server.resume()
    if server.process is None:
        server.start()
    found.proxy(server).heal()
    found.group.wait_until_complete(60)


@scenario("failover-kill")
def failover_by_kill(lab: Lab) -> Outcome:
    """The primary is killed; Sentinel promotes a replica; publishers and workers follow."""
    return fail_over(lab, "failover-kill", lambda _, primary, __: primary.kill())


@scenario("failover-freeze")
def failover_by_freeze(lab: Lab) -> Outcome:
    """The primary freezes with its connections open: only time-outs can tell."""
    return fail_over(lab, "failover-freeze", lambda _, primary, __: primary.freeze())


@scenario("failover-partition")
def failover_by_partition(lab: Lab) -> Outcome:
    """The primary is cut off from the other servers, together with a worker and a publisher.

    It takes their writes for a while, and throws them away when it comes back as a replica. What
    it took must not have been acknowledged.
    """

    def cut(found: ProxiedGroup, primary: LocalRedis, same_side: list[Program]) -> None:
        ports = {port for program in same_side for port in program.ports()}
        found.proxy(primary).cut(keeps=ports.__contains__)

    return fail_over(lab, "failover-partition", cut, heals_before_work=True)


# --- Publishing and queues


@scenario("api-kill")
def kill_the_api(lab: Lab) -> Outcome:
    """The API is killed again and again while clients trigger runs.

    Whatever it has answered with 202 runs. Stock Celery has no API: there the publishing process
    is killed.
    """
    lab.start_redis()
    lab.worker("worker", queues="governance,maintenance" if lab.is_nova else "maintenance")
    kills = lab.size(short=4, long=50)
    if lab.is_nova:
        trigger_and_kill(lab, kills)
    else:
        for kill in range(kills):
            publisher = lab.publisher(f"publisher-{kill}")
            lab.order(publisher, 1_000_000, rate=100, ahead=100)
            time.sleep(1)
            publisher.crash()
    lab.mark_fault()
    lab.settle(20)
    return lab.outcome("api-kill", bound_seconds=10)


def trigger_and_kill(lab: Lab, kills: int) -> None:
    """Trigger governance runs through an API that is killed from time to time."""
    port = free_port()
    command = [sys.executable, "-m", "nova", "api"]
    api = lab.program("api", command, NOVA_API_PORT=str(port), NOVA_API_RATE_LIMIT="0")
    settings = Settings.model_validate(lab.environment())
    token = TokenIssuer(settings).issue("fault", Role.OPERATOR, timedelta(hours=2)).text
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=5) as client:
        for kill in range(kills):
            lab.say(f"kill {kill + 1} of {kills}")
            wait_for(lambda: _answers(client), "the API answers")
            killer = threading.Timer(0.7, api.crash)
            killer.start()
            try:
                while True:  # ends with an error, as the API does
                    answer = client.post("/api/celery/governance/run")
                    lab.witness.acknowledged(answer.raise_for_status().json()["task_id"])
            except httpx.HTTPError:
                killer.join()
            api.start()


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/healthz").is_success
    except httpx.TransportError:
        return False


@scenario("poison")
def poison_task(lab: Lab) -> Outcome:
    """A task kills every process that runs it.

    After five starts it lies among the dead letters, and the tasks beside it have run.
    """
    lab.lease_seconds = 6
    lab.start_redis()
    publisher = lab.publisher()
    lab.workers(2)
    poisons = lab.publish(publisher, lab.size(short=1, long=20), task="nova.fault.poison")
    lab.publish(publisher, lab.size(short=50, long=1000))
    lab.mark_fault()
    dead = None
    with contextlib.suppress(HarnessError):
        dead = wait_for(lambda: dead_letters(lab) >= len(poisons), "dead letters", 30)
    names = [str(number) for number in poisons]
    starts = lab.witness.counts("starts")
    for event in ("published", "acknowledged"):  # the ledger is about the others
        lab.witness.client.hdel(event, *names)
    lab.settle(10)
    outcome = lab.outcome("poison", bound_seconds=20)
    most = max(starts.get(name, 0) for name in names)
    outcome.notes.append(f"poison started {most} times")
    if dead is None:
        outcome.problems.append("no dead letter")
    if most > MAX_STARTS:
        outcome.problems.append(f"started more than {MAX_STARTS} times")
    return outcome


def dead_letters(lab: Lab) -> int:
    """Count the dead letters of the queue of the harness."""
    with lab.broker() as client:
        return client.llen("nova:deadletter:maintenance")


@scenario("uneven-queues")
def uneven_queues(lab: Lab) -> Outcome:
    """One of two queues of a worker is flooded. The other one's tasks hardly wait."""
    lab.start_redis()
    lab.workers(1, queues="maintenance,analytics")
    flood, trickle = lab.publisher("flood"), lab.publisher("trickle")
    lab.publish(flood, lab.size(short=400, long=10_000), arguments=[0.03], wait_seconds=120)
    numbers = lab.publish(
        trickle, lab.size(short=20, long=200), queue="analytics", rate=10, wait_seconds=60
    )
    lab.settle(lab.size(short=60, long=600))
    acknowledged, finished = lab.witness.times("acknowledged"), lab.witness.times("finished")
    names = [str(number) for number in numbers]
    waits = [finished[name] - acknowledged[name] for name in names if name in finished]
    outcome = lab.outcome("uneven-queues", bound_seconds=1)
    outcome.recovery_seconds = max(0.0, *waits) if waits else None
    outcome.notes.append("recovery: longest wait in the quiet queue")
    return outcome


# --- Schedule


@scenario("beat-kill")
def kill_beats(lab: Lab) -> Outcome:
    """Two beats run; each is killed in turn, the one that leads among them, and started again."""

    def kill(beat: Program) -> None:
        beat.crash()

    def start(beat: Program) -> None:
        beat.start()

    return two_beats(lab, "beat-kill", kill, start)


@scenario("beat-freeze")
def freeze_beats(lab: Lab) -> Outcome:
    """Two beats run; each freezes in turn. The one that led fires nothing late when it wakes."""
    return two_beats(
        lab,
        "beat-freeze",
        lambda beat: beat.signal(signal.SIGSTOP),
        lambda beat: beat.signal(signal.SIGCONT),
    )


@scenario("beat-partition")
def partition_beats(lab: Lab) -> Outcome:
    """Two beats run; each is cut off from Redis in turn, with its connections left open."""
    server = lab.start_redis()
    network = lab.stack.enter_context(Network())
    proxies, variables = {}, {}
    for name in BEATS:
        port = free_port()
        proxies[name] = network.proxy(port, server.port)
        variables[name] = {"REDIS_URL": server.url.replace(str(server.port), str(port))}
    return two_beats(
        lab,
        "beat-partition",
        lambda beat: proxies[beat.name].cut(),
        lambda beat: proxies[beat.name].heal(),
        variables,
    )


@scenario("beat-restart")
def restart_beat(lab: Lab) -> Outcome:
    """The only beat is killed, and comes back later: the slots in between are caught up."""
    lab.start_redis()
    lab.workers(1)
    beat = lab.beat("beat").wait_ready()
    start = first_slot(lab)
    for _ in range(lab.size(short=2, long=20)):
        time.sleep(2 * PERIOD_SECONDS)
        beat.crash()
        time.sleep(2 * PERIOD_SECONDS)
        beat.start()
    time.sleep(2 * PERIOD_SECONDS)
    return slot_outcome(lab, "beat-restart", start, bound_seconds=2 * PERIOD_SECONDS + 10)


BEATS = ("beat-a", "beat-b")


def two_beats(
    lab: Lab,
    name: str,
    hurt: Callable[[Program], None],
    heal: Callable[[Program], None],
    variables: Mapping[str, Mapping[str, str]] = MappingProxyType({}),
) -> Outcome:
    """Hurt two beats in turn, each for longer than a takeover takes."""
    if lab.redis is None:
        lab.start_redis()
    lab.workers(1)
    beats = [lab.beat(beat, **variables.get(beat, {})) for beat in BEATS]
    for beat in beats:
        beat.wait_ready()
    start = first_slot(lab)
    for round_number in range(lab.size(short=2, long=10)):
        lab.say(f"round {round_number + 1}")
        beat = beats[round_number % 2]
        time.sleep(PERIOD_SECONDS)
        hurt(beat)
        time.sleep(12)  # a takeover is allowed ten
        heal(beat)
    time.sleep(2 * PERIOD_SECONDS)
    return slot_outcome(lab, name, start, bound_seconds=12)


def first_slot(lab: Lab) -> float:
    """Wait for the first slot that is fired; return the time from which on all must be."""
    wait_for(lambda: lab.witness.times("finished"), "a first slot", 30)
    return time.time()


def slot_outcome(lab: Lab, name: str, start: float, bound_seconds: float) -> Outcome:
    """Draw the balance of the slots since `start`; recovery is the latest one's lateness."""
    slots = lab.slots(start, time.time() - PERIOD_SECONDS)
    lab.settle(bound_seconds, expected=slots)
    outcome = lab.outcome(name, bound_seconds, expected=slots)
    finished = lab.witness.times("finished")
    late = [finished[slot] - planned for slot, planned in slots.items() if slot in finished]
    outcome.recovery_seconds = max(late) if late and not outcome.lost else None
    return outcome


# --- Clocks


@scenario("clock-worker")
def step_the_clock_of_a_worker(lab: Lab) -> Outcome:
    """A worker's clock jumps an hour ahead, and back, while another one runs a task.

    Whose lease is over is no matter of any worker's clock.
    """
    lab.lease_seconds = 6
    lab.start_redis()
    clock = SettableClock(lab.folder)
    lab.worker("honest", processes=1).wait_ready()
    publisher = lab.publisher()
    for _ in range(lab.size(short=1, long=5)):
        (number,) = lab.publish(publisher, 1, arguments=[8.0])
        lab.wait_started(number)
        wrong = lab.worker("wrong", processes=1, **clock.variables).wait_ready()
        clock.set(3600)
        time.sleep(3)
        clock.set(-3600)
        time.sleep(1)
        clock.set(0)
        lab.mark_fault()
        lab.settle(30)
        wrong.signal(signal.SIGTERM)
        wrong.wait(30)
    return started_once(lab.outcome("clock-worker", bound_seconds=10))


@scenario("clock-step")
def step_the_clock_of_everything(lab: Lab) -> Outcome:
    """The clock of Redis, a worker and beat jumps 20 s ahead, and back again.

    No slot is missed or fired twice, and no running task is taken from its worker.
    """
    lab.lease_seconds = 6
    clock = SettableClock(lab.folder)
    with mock.patch.dict(os.environ, clock.variables):
        lab.start_redis()
    lab.variables |= clock.variables
    lab.workers(2)
    publisher = lab.publisher()
    lab.beat("beat").wait_ready()
    start = first_slot(lab)
    for _ in range(lab.size(short=1, long=5)):
        (number,) = lab.publish(publisher, 1, arguments=[5.0])
        lab.wait_started(number)
        time.sleep(1)
        clock.set(20)
        time.sleep(6)
        clock.set(0)
        time.sleep(22)
    lab.mark_fault()
    slots = lab.slots(start, time.time() - PERIOD_SECONDS)
    lab.settle(20, expected=slots)
    names = [*slots, *map(str, lab.witness.times("acknowledged"))]
    outcome = started_once(lab.outcome("clock-step", 10, expected=names))
    if not outcome.lost:
        outcome.recovery_seconds = time.time() - lab.fault_at  # their clocks tell nothing
    return outcome


def started_once(outcome: Outcome) -> Outcome:
    """Make it a failure that a task was started again."""
    if outcome.repeated:
        outcome.problems.append(f"{outcome.repeated} started again")
    return outcome
