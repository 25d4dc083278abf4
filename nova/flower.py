"""The command `flower`, which the guide uses: Flower on Nova's app, with Nova's log file.

Flower itself installs no command of its own; it is a subcommand of Celery's.
"""

import argparse
import errno
import os
import sys

from nova import logs
from nova.errors import ConfigurationError, NovaError
from nova.settings import get_settings

APP = "nova.celery_app"


def run(options: list[str], app: str = APP) -> None:
    """Run Flower until SIGTERM or Ctrl-C; it ends the process.

    Without a password Flower lets everybody who reaches it cancel tasks and stop workers. So it
    listens on loopback, unless `--address` or FLOWER_ADDRESS says otherwise.

    Raises:
        ConfigurationError: its port is taken, or its log file cannot be written.
    """
    from flower.__main__ import main as flower_main

    logs.configure(get_settings(), "flower")
    os.environ.setdefault("FLOWER_ADDRESS", "127.0.0.1")
    sys.argv = ["celery", "-A", app, "flower", *options]
    try:
        flower_main()
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        raise ConfigurationError(
            "the port that Flower is to listen on is taken; stop what listens there, or choose "
            "another with --port"
        ) from None


def main() -> None:
    """Run the command: `flower -A nova.celery_app --port=5555`."""
    parser = argparse.ArgumentParser(prog="flower", add_help=False, allow_abbrev=False)
    parser.add_argument("-A", "--app", default=APP)
    known, options = parser.parse_known_args()
    try:
        run(options, known.app)
    except NovaError as error:
        sys.exit(f"nova: {error}")
