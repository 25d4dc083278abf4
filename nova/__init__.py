"""Nova: content-channel jobs on Celery and Redis."""

import sys
import tomllib
from importlib import metadata
from pathlib import Path

DISTRIBUTION = "nova-agent"


def _version() -> str:
    """Read the version from the installed distribution, or from the checkout beside this package.

    The guide's `pip install -r requirements.txt` installs what Nova needs but not Nova itself;
    then the commands run from a checkout and pyproject.toml is there.
    """
    try:
        return metadata.version(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        pyproject = Path(__file__).resolve().parent.parent / "pyproject.toml"
        version: str = tomllib.loads(pyproject.read_text())["project"]["version"]
        return version


def _release() -> str:
    """Read the release id that the release role leaves in a host's virtual environment."""
    marker = Path(sys.prefix) / "nova-release"
    return marker.read_text().strip() if marker.is_file() else __version__


__version__ = _version()
__release__ = _release()
