"""Starts and stops the stack's processes in the background, and waits for them."""

import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import redis

from nova.errors import ConfigurationError, UnavailableError
from nova.runtime.heartbeat import read_workers
from nova.runtime.leader import read_leader
from nova.settings import Settings
from nova.store import connect
from scripts.local.background import Background
from scripts.local.processes import LOOPBACK, ROOT, Process, check_port

READY_SECONDS = 60
POLL_SECONDS = 0.1
#: Seconds between two words on how a stop goes on.
TELL_SECONDS = 5.0
#: Seconds between two signals to a process that is not to wait for its tasks.
HURRY_SECONDS = 1.0
#: Seconds after which such a process is killed.
KILL_SECONDS = 15.0
#: Seconds after which a beat that leads nobody is taken for one that works.
RESTING_SECONDS = 3.0
#: Lines of a log that are shown when its process did not start.
TAIL_LINES = 12
#: Of a question about workers that stop: the stop must not wait for a Redis that is away.
ASK_SECONDS = 1.0
#: Width of the column of names.
NAME_WIDTH = 26

#: By process that listens: what to call it, and what to do when its port is taken.
PORT_ADVICE = {
    "api": ("the API", "set NOVA_API_PORT, or start without it: --no-api"),
    "flower": ("Flower", "give --flower-port, or start without it: --no-flower"),
}

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Starting:
    """A process that was started, and is not ready yet."""

    process: Process
    child: subprocess.Popen[bytes]
    log: Path
    #: Bytes that the log had before.
    log_size: int
    #: When it was started, by the monotonic clock.
    began: float = field(default_factory=time.monotonic)

    def last_lines(self) -> str:
        """Return the end of what it has printed so far."""
        with self.log.open("rb") as file:
            file.seek(self.log_size)
            lines = file.read().decode(errors="replace").splitlines()
        return "\n".join(lines[-TAIL_LINES:])


@dataclass(frozen=True)
class Services:
    """The processes that one checkout runs in the background.

    `state` is the folder of their pid files, `logs` that of their logs; `tell` gets each line that
    a person is to read. Every method raises `redis.RedisError` when Redis does not answer, but
    `stop`, which needs none.
    """

    settings: Settings
    state: Path
    logs: Path
    tell: Tell
    #: What this object started and has not seen the end of, by process id.
    children: dict[int, subprocess.Popen[bytes]] = field(default_factory=dict)

    def background(self, name: str) -> Background:
        """Return the process of a name, whether it runs or not."""
        return Background(self.state / f"{name}.pid")

    def known(self) -> list[Background]:
        """Return the processes that have a pid file, by name."""
        return [Background(path) for path in sorted(self.state.glob("*.pid"))]

    def log(self, name: str) -> Path:
        """Return the log file of a process."""
        return self.logs / f"{name}.log"

    def _tell(self, name: str, what: str) -> None:
        self.tell(f"{name:<{NAME_WIDTH}} {what}")

    def _was_gone(self, one: Background) -> bool:
        """Notice a stale pid file, and remove it."""
        is_stale = one.state == "stale"
        if is_stale:
            self._tell(one.name, f"was gone; its pid file, of process {one.pid}, is removed")
            self._clear(one)
        return is_stale

    def _clear(self, one: Background) -> None:
        child = self.children.pop(one.pid or 0, None)
        if child is not None:
            child.wait()
        one.clear()

    # --- Start

    def start(self, processes: Iterable[Process]) -> None:
        """Start what does not run, and wait until all of it is ready.

        If something does not get ready, what this call started is stopped again.

        Raises:
            ConfigurationError: a port is taken, or such a worker runs that was started elsewhere.
            UnavailableError: a process ended at once or did not get ready.
        """
        wanted = [process for process in processes if not self._runs_already(process)]
        with connect(self.settings) as client:
            self._check(wanted, client)
            started: list[Starting] = []
            try:
                for process in wanted:
                    started.append(self._launch(process))
                self._wait_until_ready(started, client)
            except BaseException:  # Ctrl-C too: nobody else would stop them
                self.stop([self.background(one.process.name) for one in started])
                raise

    def _runs_already(self, process: Process) -> bool:
        background = self.background(process.name)
        if self._was_gone(background):
            return False
        state = background.state
        if state in ("stopping", "lost"):
            raise UnavailableError(
                f"{process.name} has not ended yet; wait for it with: stop, or end it with: "
                "stop --now"
            )
        if state == "running":
            self._tell(process.name, f"runs already (process {background.pid})")
        return state == "running"

    def _check(self, wanted: list[Process], client: redis.Redis) -> None:
        online = {worker.name: worker.pid for worker in read_workers(client)}
        for process in wanted:
            if process.port is not None:
                check_port(process.port, *PORT_ADVICE[process.name])
            name = f"{process.label}@{socket.gethostname()}"
            if process.is_worker and psutil.pid_exists(online.get(name, -1)):
                raise ConfigurationError(
                    f"a worker {name} is online already, and was not started from here; stop it "
                    f"first (process {online[name]})"
                )

    def _launch(self, process: Process) -> Starting:
        for folder in (self.state, self.logs):
            folder.mkdir(parents=True, exist_ok=True)
        log = self.log(process.name)
        size = log.stat().st_size if log.exists() else 0
        child = self.background(process.name).start(process.command, ROOT, log, _environment())
        self.children[child.pid] = child
        return Starting(process, child, log, size)

    def _wait_until_ready(self, started: list[Starting], client: redis.Redis) -> None:
        waiting, begin = list(started), time.monotonic()
        while waiting:
            seconds = time.monotonic() - begin
            for one in list(waiting):
                if self._is_ready(one, client):
                    waiting.remove(one)
                    what = f"ready after {seconds:.1f} s (process {one.child.pid})"
                    self._tell(one.process.name, what)
                else:
                    self._check_progress(one, is_late=seconds > READY_SECONDS)
            time.sleep(POLL_SECONDS)

    def _is_ready(self, one: Starting, client: redis.Redis) -> bool:
        if one.process.is_worker:
            return any(worker.pid == one.child.pid for worker in read_workers(client))
        if one.process.port is not None:
            with socket.socket() as probe:
                return probe.connect_ex((LOOPBACK, one.process.port)) == 0
        settings = self.settings
        if settings.scheduler == "legacy" or "scheduler" in settings.stock_parts:
            # Beat rests, or is stock's: nobody leads.
            return one.child.poll() is None and time.monotonic() > one.began + RESTING_SECONDS
        return read_leader(client) is not None  # it leads, or stands by while another does

    def _check_progress(self, one: Starting, *, is_late: bool) -> None:
        code = one.child.poll()
        if code is None and not is_late:
            return
        what = f"is not ready after {READY_SECONDS} s" if code is None else "ended at once"
        self.tell(one.last_lines())
        raise UnavailableError(f"{one.process.name} {what}; the lines above are from {one.log}")

    # --- Stop

    def stop(self, processes: Iterable[Background], *, now: bool = False) -> None:
        """Ask processes to stop, and wait until they have; workers finish what they run.

        With `now` they are asked again and again, until workers kill what they run and give it back
        to its queue; what does not end then, or is left of a process that was killed, is killed.
        """
        begin = time.monotonic()
        waiting = [one for one in processes if not self._was_gone(one)]
        for one in waiting:
            if one.state == "running":
                one.ask_to_stop()
        interval = HURRY_SECONDS if now else TELL_SECONDS
        told = begin
        while waiting := [one for one in waiting if not self._has_ended(one, begin)]:
            if time.monotonic() > told + interval:
                told = time.monotonic()
                self._tell_progress(waiting)
                is_late = told > begin + KILL_SECONDS
                for one in waiting if now else ():
                    if is_late or one.state == "lost":
                        one.kill()
                    else:
                        one.ask_to_stop()
            time.sleep(POLL_SECONDS)

    def _has_ended(self, one: Background, begin: float) -> bool:
        if one.state in ("running", "stopping", "lost"):
            return False
        self._tell(one.name, f"stopped after {time.monotonic() - begin:.1f} s")
        self._clear(one)
        return True

    def _tell_progress(self, waiting: list[Background]) -> None:
        try:
            with connect(self.settings, ASK_SECONDS) as client:
                active = {worker.pid: worker.active for worker in read_workers(client)}
        except redis.RedisError:
            active = {}
        for one in waiting:
            tasks = active.get(one.pid or 0)
            what = f"finishes what it runs ({tasks})" if tasks else "is about to end"
            self._tell(one.name, what)


def _environment() -> Mapping[str, str]:
    """Return what the processes inherit.

    Their output is their log, with what they print before they can log; a log file of their own
    would say it all again.
    """
    return {name: text for name, text in os.environ.items() if name != "NOVA_LOG_DIR"}
