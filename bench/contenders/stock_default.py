"""Celery as it comes: acknowledged before the task runs, four messages fetched ahead per process.

Results are stored, which Celery does only when it is told where.
"""

from celery import Celery

from bench.contenders.celery_tasks import QUEUE, CelerySystem
from bench.contenders.work import redis_url

app = Celery("stock_default", broker=redis_url(), backend=redis_url())
app.conf.task_default_queue = QUEUE
system = CelerySystem(app)
