"""What `make fleet` prints of its steps, on the console that Nova's reports are printed on."""

import time

from nova.terminal import console


def done(step: str, what: str, started: float) -> None:
    """Print that a step is done, and how many seconds it took since `started` (monotonic)."""
    console.print(f"[green]done[/green] {step:11} {what} ({time.monotonic() - started:.0f} s)")
