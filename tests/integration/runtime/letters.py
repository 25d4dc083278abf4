"""Makes dead letters as they come about: a claim finds a message that was started too often."""

import json
from typing import Any

from nova.runtime.claims import STARTS_ALLOWED, Claims, Owner
from nova.runtime.deadletters import DeadLetter, all_letters
from nova.store import Keys

#: Between the tasks of poison_app.py and their tests: whether they are mended, how often they ran.
MENDED = "test:mended"
STARTS = "test:starts"


def message(task_id: str, **headers: object) -> bytes:
    """Return a message in kombu's wire form."""
    whole = {
        "body": "W1tdLCB7fSwge31d",
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": {
            "id": task_id,
            "task": "nova.trends.scan",
            "argsrepr": "('é',)",
            "kwargsrepr": "{}",
            **headers,
        },
        "properties": {"delivery_tag": f"tag-{task_id}", "body_encoding": "base64"},
    }
    return json.dumps(whole).encode()


def bury(client: Any, task_id: str, queue: str = "trends", text: bytes | None = None) -> DeadLetter:
    """Put a message into a queue, as often started as is allowed, and claim it."""
    client.lpush(queue, text or message(task_id))
    if text is None:
        run = {"starts": STARTS_ALLOWED, "history": "1767225500.000 trends@a\n" * STARTS_ALLOWED}
        client.hset(Keys.issued_task(task_id), mapping=run)
    claimed, [aside] = Claims(client, Owner("test@host")).claim([queue])
    assert (claimed, aside.kind) == ([], "dead")
    return all_letters(client, queue)[-1]
