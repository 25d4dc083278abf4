"""A process that publishes numbered tasks, as it is told on standard input, one order a line.

    python -m tests.fault.publisher APP_MODULE

An order is JSON: task, first, count, rate (tasks a second, 0: no pause), queue, arguments (after
the number), countdown (seconds), give_up (seconds for one task), ahead (most tasks that are
published and not finished). A number that could not be
published is published again, with the same task id, until it is acknowledged or given up. SIGTERM
ends the order under way.
"""

import importlib
import json
import logging
import signal
import sys
import time
from typing import Any

from celery import Celery
from celery.result import denied_join_result

from tests.fault.witness import task_id, witness

logger = logging.getLogger(__name__)
RETRY_SECONDS = 0.2


class Publisher:
    """Publishes for one app."""

    def __init__(self, app: Celery) -> None:
        self.app = app
        self.notes = witness()
        self.stopped = False

    def stop(self, *_: object) -> None:
        """End the order under way."""
        self.stopped = True

    def obey(self, order: dict[str, Any]) -> None:
        """Publish what one order asks for."""
        rate = order.get("rate", 0)
        begin = time.monotonic()
        for index in range(order["count"]):
            if self.stopped:
                return
            self.publish(order["first"] + index, order)
            while index % 10 == 0 and self.is_ahead(order) and not self.stopped:
                time.sleep(0.05)
            if rate:
                time.sleep(max(0.0, begin + (index + 1) / rate - time.monotonic()))

    def is_ahead(self, order: dict[str, Any]) -> bool:
        """Tell whether as much as allowed waits already."""
        client = self.notes.client
        waiting = client.hlen("acknowledged") - client.hlen("finished")
        return bool(waiting > order.get("ahead", waiting))

    def publish(self, number: int, order: dict[str, Any]) -> None:
        """Publish a number until it is acknowledged."""
        self.notes.publishing(number)
        deadline = time.monotonic() + order.get("give_up", 60)
        while not self.stopped and time.monotonic() < deadline:
            try:
                self.app.send_task(
                    order.get("task", "nova.fault.work"),
                    (number, *order.get("arguments", ())),
                    task_id=task_id(number),
                    queue=order.get("queue", "maintenance"),
                    countdown=order.get("countdown"),
                )
            except Exception as error:  # whatever it is, a caller would try again
                logger.warning("%d not published: %s: %s", number, type(error).__name__, error)
                time.sleep(RETRY_SECONDS)
                continue
            self.notes.acknowledged(number)
            return


def main() -> None:
    """Obey until standard input ends."""
    logging.basicConfig(format="%(asctime)s %(message)s")
    publisher = Publisher(importlib.import_module(sys.argv[1]).app)
    signal.signal(signal.SIGTERM, publisher.stop)
    print("ready", flush=True)  # the harness waits for it
    # Nobody here waits for results. Else Celery would subscribe to each of them.
    with denied_join_result():
        for line in sys.stdin:
            publisher.obey(json.loads(line))
            if publisher.stopped:
                return


if __name__ == "__main__":
    main()
