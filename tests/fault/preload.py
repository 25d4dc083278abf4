"""What the C library says to a process, changed by a number that may change while it runs."""

import struct
import subprocess
from pathlib import Path

from tests.fault.processes import HarnessError


class Preload:
    """A library for LD_PRELOAD: give its `variables` to the environment of a process."""

    #: Its source is the file of this name here.
    name: str

    def __init__(self, folder: Path) -> None:
        library = folder / f"{self.name}.so"
        source = Path(__file__).with_name(f"{self.name}.c")
        command = ["cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(source)]
        try:
            subprocess.run(command, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise HarnessError(f"no {self.name}: {error}; apt install gcc libc6-dev") from None
        self.file = folder / self.name
        self.file.write_bytes(struct.pack("=q", 0))
        self.variables = {
            "LD_PRELOAD": str(library),
            f"NOVA_FAULT_{self.name.upper()}": str(self.file),
        }

    def set(self, number: int) -> None:
        """Change the number; the processes see it at once."""
        with self.file.open("r+b") as file:  # in place: they have it mapped
            file.write(struct.pack("=q", number))


class SettableClock(Preload):
    """A clock that shows the true time and so many seconds."""

    name = "clock"


class SlowDisk(Preload):
    """A disk that takes so many milliseconds more for what is forced to it."""

    name = "disk"
