"""Run scenarios of the lab one after the other, and show what they proved.

    python -m scripts.scenarios default fleet
    python -m scripts.scenarios --page ha upgrade restore frontend

Each is `molecule test`: from bare hosts to destroyed ones. The first that fails is the last. With
`--page` the outcome of each is kept in docs/scenarios.md; those that were not run stay as they
are there. Whatever happens, Ctrl-C included, the hosts of a scenario go.
"""

import argparse
import os
import platform
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree

from rich.table import Table

from nova.terminal import console
from scripts.lab.docker import ROOT, LabError, docker_command
from scripts.lab.hosts import Lab, destroy

STATE = ROOT / ".nova" / "scenarios"
PAGE = ROOT / "docs" / "scenarios.md"
HEADING = "## "


@dataclass(frozen=True)
class Finding:
    """One test of a scenario's verification."""

    subject: str
    sentence: str
    seconds: float
    passed: bool


@dataclass(frozen=True)
class Outcome:
    """What came of one scenario."""

    scenario: str
    passed: bool
    seconds: float
    tests: tuple[Finding, ...]


def run(scenario: str) -> Outcome:
    """Run a scenario from bare hosts to destroyed ones.

    Raises:
        LabError: its hosts could not be removed.
    """
    STATE.mkdir(parents=True, exist_ok=True)
    report = STATE / f"{scenario}.xml"
    report.unlink(missing_ok=True)
    binaries = Path(sys.executable).parent
    environment = os.environ | {
        "PATH": f"{binaries}:{os.environ['PATH']}",
        "PYTEST_ADDOPTS": f"--junitxml={report} {os.environ.get('PYTEST_ADDOPTS', '')}",
    }
    begin = time.monotonic()
    try:
        done = subprocess.run(
            [binaries / "molecule", "test", "--no-command-borders", "-s", scenario],
            cwd=ROOT,
            env=environment,
            check=False,
        )
    finally:
        destroy(Lab(f"molecule-{scenario}"))
    seconds = time.monotonic() - begin
    return Outcome(scenario, done.returncode == 0, seconds, read_report(report))


def read_report(path: Path) -> tuple[Finding, ...]:
    """Return the tests of a report that pytest wrote; none if there is no report."""
    if not path.exists():
        return ()
    tests = []
    for case in ElementTree.parse(path).getroot().iter("testcase"):  # noqa: S314  # pytest's own
        subject = case.get("classname", "").rpartition(".")[2].removeprefix("test_")
        failed = case.find("failure") is not None or case.find("error") is not None
        tests.append(
            Finding(
                subject.replace("_", " "),
                sentence_of(case.get("name", "")),
                float(case.get("time", "0")),
                not failed,
            )
        )
    return tuple(tests)


def sentence_of(name: str) -> str:
    """Return what a test's name says: `test_it_works[ansible://h]` is `it works (h)`."""
    words, _, parameter = name.removeprefix("test_").partition("[")
    sentence = words.replace("_", " ")
    parameter = parameter.removesuffix("]").replace("ansible://", "")
    return f"{sentence} ({parameter})" if parameter else sentence


def section(outcome: Outcome) -> str:
    """Return what the page says of a scenario."""
    ran = f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores, {platform.machine()}"
    failed = sum(not test.passed for test in outcome.tests)
    verdict = "passed" if outcome.passed else "FAILED"
    lines = [
        f"{HEADING}{outcome.scenario}\n",
        f"{verdict}: {len(outcome.tests)} tests, {failed} failed; "
        f"{outcome.seconds / 60:.0f} minutes from bare hosts to destroyed ones ({ran}).\n",
        "| subject | what was seen | seconds |",
        "| --- | --- | ---: |",
    ]
    lines += [
        f"| {test.subject} | {test.sentence}{'' if test.passed else ': **failed**'} "
        f"| {test.seconds:.1f} |"
        for test in outcome.tests
    ]
    return "\n".join(lines) + "\n"


def write_page(outcomes: list[Outcome]) -> None:
    """Put the outcomes into the page; what it says of other scenarios stays."""
    text = PAGE.read_text(encoding="utf-8")
    intro, *kept = text.split(f"\n{HEADING}")
    sections = {part.partition("\n")[0]: f"{HEADING}{part}" for part in kept}
    sections |= {outcome.scenario: section(outcome) for outcome in outcomes}
    parts = [intro.rstrip(), *(sections[name].rstrip() for name in sorted(sections))]
    PAGE.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def show(outcomes: list[Outcome]) -> None:
    """Print a line for each scenario."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for heading in ("scenario", "tests", "failed", "minutes", "verdict"):
        table.add_column(heading, justify="left" if heading in ("scenario", "verdict") else "right")
    for outcome in outcomes:
        table.add_row(
            outcome.scenario,
            str(len(outcome.tests)),
            str(sum(not test.passed for test in outcome.tests)),
            f"{outcome.seconds / 60:.1f}",
            "passed" if outcome.passed else "FAILED",
        )
    console.print(table)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    known = sorted(path.parent.name for path in (ROOT / "molecule").glob("*/molecule.yml"))
    parser = argparse.ArgumentParser(
        prog="python -m scripts.scenarios",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "scenario", nargs="+", choices=known, metavar="SCENARIO", help=", ".join(known)
    )
    parser.add_argument("--page", action="store_true", help="write docs/scenarios.md")
    return parser.parse_args(arguments)


def main() -> int:
    """Run the scenarios; return 1 if one failed."""
    options = parse()
    outcomes: list[Outcome] = []
    try:
        docker_command()
        for scenario in options.scenario:
            outcomes.append(run(scenario))
            if options.page:
                write_page(outcomes[-1:])
            if not outcomes[-1].passed:
                break
    except LabError as error:
        print(f"scenarios: {error}", file=sys.stderr)
        return 1
    finally:
        if outcomes:
            show(outcomes)
    return 0 if all(outcome.passed for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
