"""A process in which a thread uses TLS for the first time while the main thread forks children.

Prints how many children there were, and how many of them hung when they used TLS themselves.
"""

import os
import signal
import ssl
import threading

from nova.runtime.forking import no_fork

HANG_SECONDS = 8
MOST_CHILDREN = 20


def call(has_begun: threading.Event) -> None:
    """Use OpenSSL, which loads much when it is used first."""
    with no_fork():
        has_begun.set()
        ssl.create_default_context()


def fork_child() -> int:
    """Return the process number of a child that does the same."""
    pid = os.fork()
    if pid == 0:
        signal.alarm(HANG_SECONDS)
        ssl.create_default_context()
        os._exit(0)
    return pid


def main() -> None:
    """Fork while the thread calls, and once more when it has ended."""
    has_begun = threading.Event()
    thread = threading.Thread(target=call, args=(has_begun,))
    thread.start()
    has_begun.wait()
    children: list[int] = []
    while thread.is_alive() and len(children) < MOST_CHILDREN:
        children.append(fork_child())
    thread.join()
    children.append(fork_child())
    print(len(children), sum(os.waitpid(pid, 0)[1] != 0 for pid in children))


if __name__ == "__main__":
    main()
