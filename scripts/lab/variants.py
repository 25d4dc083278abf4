"""Releases that differ from this checkout in a few lines: copies of it, patched.

All of them have a task more than the checkout, which counts: its effects are numbers in a list.
"""

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from scripts.lab.docker import ROOT, LabError

#: List of the numbers that the counting task was given, each once for each effect.
EFFECTS_KEY = "nova:test:effects"
COUNTING_TASK = f'''

@shared_task(name="nova.maintenance.count_task", bind=True, base=NovaTask)
def count_task(self: NovaTask, number: int, seconds: float = 0) -> int:
    """Leave a number in a list."""
    import time

    time.sleep(seconds)
    with open_redis(get_settings()) as client:
        run = Run(self, client)
        effects = run.effects()
        effects.rpush("{EFFECTS_KEY}", number)
        result: int = run.commit(effects, number)
    return result
'''


@dataclass(frozen=True)
class Patch:
    """One change of a file: `new` for `old`, or `new` at its end without `old`."""

    path: str
    new: str
    old: str = ""

    def apply(self, folder: Path) -> None:
        """Change the file.

        Raises:
            LabError: the text that is to be replaced is not there any more.
        """
        file = folder / self.path
        text = file.read_text(encoding="utf-8")
        if self.old not in text:
            raise LabError(f"{self.path} has no {self.old!r} any more")
        text = text.replace(self.old, self.new, 1) if self.old else text + self.new
        file.write_text(text, encoding="utf-8")


COUNTING = Patch("nova/maintenance/tasks.py", COUNTING_TASK)
#: Releases that must not stay, by what is wrong with them.
BROKEN = {
    "does not start": Patch(
        "nova/celery_app.py", '\nraise RuntimeError("broken on purpose: does not start")\n'
    ),
    "starts but is deaf": Patch(
        "nova/runtime/claimer.py",
        "    def _room(self) -> int:\n        return 0\n",
        "    def _room(self) -> int:\n",
    ),
    "says another version": Patch("nova/__init__.py", '\n__release__ = "0.0.0-wrong"\n'),
    "fails on the second host": Patch(
        "nova/celery_app.py",
        "\nimport socket\n\nif socket.gethostname().endswith('2'):\n"
        '    raise RuntimeError("broken on purpose: fails on the second host")\n',
    ),
    "cannot import in one queue": Patch(
        "nova/trends/tasks.py",
        "\nimport os\n\nif os.environ.get('CELERY_WORKER_QUEUES') == 'trends':\n"
        '    raise ImportError("broken on purpose: no trends")\n',
    ),
}


def make(folder: Path, patches: Sequence[Patch] = ()) -> Path:
    """Make a copy of the checkout with the counting task and the patches; return its folder."""
    names = subprocess.run(
        ["git", "ls-files", "-z", "nova", "deployment", "scripts", "*.txt", "*.toml", "*.md"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    ).stdout
    for name in filter(None, names.decode().split("\0")):
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, target)
    for patch in (COUNTING, *patches):
        patch.apply(folder)
    return folder
