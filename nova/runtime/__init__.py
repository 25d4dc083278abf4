"""The one seam between Nova and Celery: base task, bootsteps, signals."""
