"""Logging: one format, to stderr (the journal) and, with NOVA_LOG_DIR, to a file per process.

Files are opened with WatchedFileHandler: when logrotate renames one, the next line opens a new
one, so rotation needs neither a signal nor a restart and loses no line.
"""

import logging
from logging.handlers import WatchedFileHandler
from typing import Any

from celery import signals

from nova.errors import ConfigurationError
from nova.settings import Settings

#: The level of Celery's commands without `--loglevel`.
CELERY_DEFAULT_LEVEL = logging.WARNING
FORMAT = "%(asctime)s %(levelname)s %(processName)s %(name)s: %(message)s"


def configure(settings: Settings, log_name: str) -> None:
    """Set up logging of a process that is not Celery's, such as the API or Flower.

    `log_name` is the file's name in NOVA_LOG_DIR, without `.log`.

    Raises:
        ConfigurationError: the log file cannot be written.
    """
    logging.basicConfig(level=settings.log_level.upper(), format=FORMAT, force=True)
    add_file(logging.getLogger(), settings, log_name)


def add_file(logger: logging.Logger, settings: Settings, log_name: str) -> None:
    """Make a logger write to `<NOVA_LOG_DIR>/<log_name>.log` too; nothing without the setting.

    Raises:
        ConfigurationError: the file cannot be written.
    """
    if settings.log_dir is None:
        return
    path = settings.log_dir / f"{log_name}.log"
    try:
        handler = WatchedFileHandler(path, encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(
            f"cannot write the log file {path} ({error.strerror}); check NOVA_LOG_DIR"
        ) from None
    handler.setFormatter(logging.Formatter(FORMAT))
    logger.addHandler(handler)


def install(settings: Settings) -> None:
    """Give Celery's workers and beat the level of the settings, and their log files.

    Celery's commands log warnings only unless `--loglevel` says otherwise; here the setting takes
    the place of that default. The files are named as in the guide.
    """

    def on_logger(logger: logging.Logger, loglevel: int, **_: Any) -> None:
        if loglevel == CELERY_DEFAULT_LEVEL:
            logger.setLevel(settings.log_level.upper())

    def on_worker_init(sender: str, **_: Any) -> None:
        """Runs before the worker sets up its logging; `sender` is the node name, `name@host`."""
        log_name = f"celery-worker-{sender.partition('@')[0]}"

        def on_worker_logger(logger: logging.Logger, **_: Any) -> None:
            _add_file_or_exit(logger, settings, log_name)

        signals.after_setup_logger.connect(on_worker_logger, weak=False)

    def on_beat_init(**_: Any) -> None:
        _add_file_or_exit(logging.getLogger(), settings, "celery-beat")

    signals.after_setup_logger.connect(on_logger, weak=False)
    signals.after_setup_task_logger.connect(on_logger, weak=False)
    signals.celeryd_init.connect(on_worker_init, weak=False)
    signals.beat_init.connect(on_beat_init, weak=False)


def _add_file_or_exit(logger: logging.Logger, settings: Settings, log_name: str) -> None:
    """End the process when the file cannot be written: Celery only logs errors of handlers."""
    try:
        add_file(logger, settings, log_name)
    except ConfigurationError as error:
        raise SystemExit(f"nova: {error}") from None
