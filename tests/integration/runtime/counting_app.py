"""Nova's app with tasks that end in every way, and a little hard time limit."""

import os
import signal
import time

from celery.exceptions import Ignore, Reject

from nova.celery_app import app
from nova.runtime.ledger import Run
from nova.runtime.task import NovaTask
from nova.settings import get_settings
from nova.store import connect
from tests.integration.runtime.counting import DIED, EFFECT


@app.task(name="nova.trends.end", bind=True)  # type: ignore[untyped-decorator]
def end(self: NovaTask, how: str) -> str:
    """End in a way."""
    match how:
        case "fails":
            raise KeyError(how)
        case "rejects":
            raise Reject(how)
        case "ignores":
            raise Ignore(how)
        case "retries" if not self.request.retries:
            raise self.retry(countdown=0)
        case "dies once":
            with connect(get_settings()) as client:
                if client.incr(DIED) == 1:
                    os.kill(os.getpid(), signal.SIGKILL)
        case "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        case "commits":
            with connect(get_settings()) as client:
                run = Run(self, client)
                effects = run.effects()
                effects.incr(EFFECT)
                run.publish(effects, "nova.trends.end", ("works",), key="next")
                run.commit(effects, how)
    return how


@app.task(name="nova.trends.endless")  # type: ignore[untyped-decorator]
def endless() -> None:
    """Run into the hard time limit."""
    time.sleep(600)


endless.soft_time_limit, endless.time_limit = None, 1
