"""Runs the fault scenarios and prints the ledger: `python -m tests.fault --help`."""

import argparse
import dataclasses
import functools
import json
import signal
import sys
from pathlib import Path

from rich.console import Console
from rich.status import Status

from tests.fault.harness import NOVA, STOCK, Outcome, Side, run
from tests.fault.processes import ROOT
from tests.fault.report import PAGE, machine, page, screen_table
from tests.fault.scenarios import SCENARIOS

console = Console(highlight=False, stderr=True)


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.fault", description=__doc__)
    parser.add_argument("--stock", action="store_true", help="stock Celery in place of Nova")
    parser.set_defaults(long=False)
    parser.add_argument("--long", action="store_true", help="the long forms: hours")
    parser.add_argument(
        "--short", dest="long", action="store_false", help="the short forms: minutes (default)"
    )
    parser.add_argument(
        "--only", nargs="+", metavar="NAME", choices=SCENARIOS, help="these scenarios only"
    )
    parser.add_argument(
        "--page", action="store_true", help="run both sides and write docs/reliability.md"
    )
    parser.add_argument("--json", action="store_true", help="print the ledger as JSON")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep the logs there")
    parser.add_argument(
        "--resume",
        type=Path,
        metavar="FOLDER",
        help="keep each outcome there, and run only what has none there yet",
    )
    options = parser.parse_args()
    if options.page and (options.only or options.stock):
        parser.error("--page runs all scenarios on both sides")
    return options


def run_all(side: Side, names: list[str], options: argparse.Namespace) -> list[Outcome]:
    """Run scenarios one after the other and say how it goes."""
    outcomes = []
    for index, name in enumerate(names):
        title = f"{side.name} {index + 1}/{len(names)} {name}"
        outcome = run_or_recall(side, name, title, options)
        verdict = "pass" if outcome.passed else "FAIL: " + ", ".join(outcome.failures)
        console.print(f"{title}: {verdict} ({outcome.seconds:.0f} s)")
        outcomes.append(outcome)
    return outcomes


def run_or_recall(side: Side, name: str, title: str, options: argparse.Namespace) -> Outcome:
    """Run a scenario, unless an earlier run has kept its outcome."""
    form = "long" if options.long else "short"
    kept = options.resume / f"{side.name}-{form}-{name}.json" if options.resume else None
    if kept is not None and kept.exists():
        return Outcome(**json.loads(kept.read_text()))
    with console.status(title) as status:
        say = functools.partial(_say, status, title)
        outcome = run(name, SCENARIOS[name], side, is_long=options.long, say=say, keep=options.keep)
    if kept is not None:
        kept.write_text(json.dumps(dataclasses.asdict(outcome), indent=2) + "\n")
    return outcome


def write_page(names: list[str], options: argparse.Namespace) -> int:
    """Run both sides and write docs/reliability.md; the exit code is about Nova alone."""
    results = {side.name: run_all(side, names, options) for side in (NOVA, STOCK)}
    PAGE.write_text(page(results, options.long))
    console.print(f"written: {PAGE.relative_to(ROOT)}")
    return 0 if all(outcome.passed for outcome in results[NOVA.name]) else 1


def _say(status: Status, title: str, text: str) -> None:
    status.update(f"{title}: {text}")


def main() -> int:
    """Run what was asked for and return the exit code."""
    options = parse()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(130))  # everything is ended on the way out
    for folder in filter(None, (options.keep, options.resume)):
        folder.mkdir(parents=True, exist_ok=True)
    names = options.only or list(SCENARIOS)
    if options.page:
        return write_page(names, options)
    side = STOCK if options.stock else NOVA
    outcomes = run_all(side, names, options)
    if options.json:
        print(json.dumps([dataclasses.asdict(outcome) for outcome in outcomes], indent=2))
    else:
        screen = Console(highlight=False)
        if not screen.is_terminal:
            screen.width = 200
        screen.print(screen_table(machine(), outcomes))
    return 0 if all(outcome.passed for outcome in outcomes) else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("stopped; nothing is left running")
