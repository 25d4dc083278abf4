"""The scheduler that beat runs."""

import logging
from typing import Any

from celery.beat import PersistentScheduler

from nova.runtime.notify import notify

logger = logging.getLogger(__name__)


class NotifyingScheduler(PersistentScheduler):  # type: ignore[misc]  # celery ships no types
    """Celery's own scheduler, which tells systemd READY after its first look at the schedule.

    Not earlier: a SIGTERM in the middle of that look makes beat close its file twice and fail.
    """

    looked = False

    def tick(self, *args: Any, **kwargs: Any) -> float:
        """Publish what is due; return the seconds until the next look."""
        interval: float = super().tick(*args, **kwargs)
        if not self.looked:
            self.looked = True
            scheduling = f"scheduling {len(self.schedule)} entries"
            logger.info(scheduling)
            notify("READY=1", f"STATUS={scheduling}")
        return interval
