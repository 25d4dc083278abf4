"""Nova's app as it is deployed, with the tasks of the bench."""

from bench.contenders.celery_tasks import CelerySystem
from nova.celery_app import app

system = CelerySystem(app)
