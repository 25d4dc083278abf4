"""A clock that can be set while the processes that use it run."""

import struct
import subprocess
from pathlib import Path

from tests.fault.processes import HarnessError

SOURCE = Path(__file__).with_suffix(".c")


class SettableClock:
    """Give its `variables` to the environment of a process, and set it whenever you like."""

    def __init__(self, folder: Path) -> None:
        library = folder / "clock.so"
        command = ["cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(SOURCE)]
        try:
            subprocess.run(command, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise HarnessError(f"no clock: {error}; apt install gcc libc6-dev") from None
        self.file = folder / "clock"
        self.file.write_bytes(struct.pack("=q", 0))
        self.variables = {"LD_PRELOAD": str(library), "NOVA_FAULT_CLOCK": str(self.file)}

    def set(self, seconds: int) -> None:
        """Set the clock to the true time and so many seconds."""
        with self.file.open("r+b") as file:  # in place: the processes have it mapped
            file.write(struct.pack("=q", seconds))
