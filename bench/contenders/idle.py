"""Opens idle consumers of a Celery app's transport: python -m bench.contenders.idle MODULE COUNT.

Each has a connection of its own, as a worker of its own would have, and acknowledges what it
gets. Prints a line when all wait for messages; goes on until it is killed.
"""

import contextlib
import importlib
import sys
import threading
from typing import Any

from bench.contenders.celery_tasks import QUEUE


def consume(app: Any, ready: threading.Barrier) -> None:
    """Wait for messages for ever, and acknowledge them."""
    with (
        app.connection_for_read() as connection,
        connection.Consumer(
            [app.amqp.queues[QUEUE]],
            callbacks=[lambda _body, message: message.ack()],
            accept=["json"],
            prefetch_count=1,
        ),
    ):
        announced = False
        while True:
            with contextlib.suppress(TimeoutError):
                connection.drain_events(timeout=1)
            if not announced:
                announced = True
                ready.wait()


def main() -> None:
    """Open as many as the command line says."""
    app = importlib.import_module(sys.argv[1]).app
    count = int(sys.argv[2])
    ready = threading.Barrier(count + 1)
    for _ in range(count):
        threading.Thread(target=consume, args=(app, ready), daemon=True).start()
    ready.wait()
    print("ready", flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
