"""Speed of the playbooks at fleet size: Nova's, with and without Mitogen, and the baseline's.

python -m bench fleet [--hosts 1,3,6,12,20] [--rounds N] [--only baseline,nova,mitogen] [--page]

For each number of hosts and each side: bare lab hosts, site.yml, site.yml again with nothing to
do, deploy.yml with another release, rolling-restart.yml; then the hosts go. On 12 hosts also Nova's
site.yml with one setting at a time as Ansible has it. What was measured is
kept in a file and not measured again, unless playbooks, roles or program have changed; the file is
committed, for a page with 20 hosts takes longer than most sittings.
Needs a Docker engine (scripts/bootstrap.sh --tools fleet).
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

import nova
from bench import interrupts
from bench.fleet import ROOT, BenchError
from bench.fleet_size import end_state, sides
from bench.fleet_size.fleet import WORKERS, Fleet, fleet_of, inventory_text
from bench.fleet_size.playbook import Run
from bench.fleet_size.results import BARE, DEPLOY, NOOP, RESTART, Result, Results
from bench.fleet_size.sides import (
    ALL,
    BASELINE,
    BY_DEFAULT,
    BY_DEFAULT_HOSTS,
    DEBIAN,
    HOST_PYTHON,
    Side,
)
from bench.fleet_size.tables import count, tables
from bench.page import PAGE, with_section
from nova.errors import NovaError
from scripts.lab.docker import LabError
from scripts.lab.variants import Patch, make

HOSTS = (1, 3, 6, 12, 20)
ROUNDS = 3
FILE = ROOT / "bench" / "results" / "fleet-size.json"
COMMAND = "make bench-fleet"
GIBIBYTE = 2**30
#: Side and number of hosts -> the end state, of what this run has measured.
States = dict[tuple[str, int], dict[str, Any]]


def another_release(folder: Path) -> Path:
    """Return the folder of a copy of this checkout with another version, and a task more."""
    version = f'version = "{nova.__version__}'
    return make(folder, [Patch("pyproject.toml", f"{version}.1", version)])


def measure(side: Side, number: int, rounds: int) -> tuple[Result, dict[str, Any]]:
    """Measure one side with one number of hosts, on hosts of its own; return its end state too.

    Raises:
        LabError, BenchError: what the message says.
    """
    digest = sides.digest(side, inventory_text(number))
    before = psutil.virtual_memory().available
    with fleet_of(side, number) as fleet, tempfile.TemporaryDirectory() as folder:
        bare = step(fleet, BARE, "site")
        end_state.check_that_it_works(fleet)
        runs = {BARE: [bare], NOOP: [noop(fleet) for _ in range(rounds)]}
        memory = (before - psutil.virtual_memory().available) / GIBIBYTE
        state = end_state.look(fleet)
        if side.name not in BY_DEFAULT:
            runs[DEPLOY] = [step(fleet, DEPLOY, "deploy", another_release(Path(folder)))]
            runs[RESTART] = [step(fleet, RESTART, "rolling-restart")]
        end_state.check_that_it_works(fleet)
    result = Result(
        side=side.name,
        hosts=number,
        digest=digest,
        versions=sides.versions(side),
        day=f"{datetime.now(UTC):%Y-%m-%d}",
        runs={name: [run.to_json() for run in found] for name, found in runs.items()},
        install=round(bare.seconds_in(side.install), 3),
        build=round(bare.seconds_in([side.build]), 3),
        memory=round(memory, 2),
        state=end_state.digest(state),
    )
    return result, state


def noop(fleet: Fleet) -> Run:
    """Run site.yml with nothing to do.

    Raises:
        BenchError: it did something all the same.
    """
    run = step(fleet, NOOP, "site")
    changed = [host for host, number in run.changed.items() if number]
    if changed:
        raise BenchError(f"a second site.yml changed {', '.join(changed)}; see {fleet.log}")
    return run


def step(fleet: Fleet, name: str, playbook: str, source: Path | None = None) -> Run:
    """Run one playbook, and say how long it took."""
    run = fleet.play(playbook, source)
    say(f"{count(fleet.number)}, {fleet.side.label}: {name} {run.seconds:.1f} s")
    return run


def say(text: str) -> None:
    """Print a line of progress."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def measure_all(results: Results, options: argparse.Namespace) -> None:
    """Measure what is asked for and not there yet."""
    states: States = {}
    for number in options.hosts:
        for side in (ALL[name] for name in options.only):
            if side.name in BY_DEFAULT and number != BY_DEFAULT_HOSTS:
                say(f"{count(number)}, {side.label}: only with {count(BY_DEFAULT_HOSTS)}")
                continue
            known = results.get(side.name, number)
            if known and not options.again and is_of_now(known):
                say(f"{count(number)}, {side.label}: kept, measured on {known.day}")
                continue
            result, states[side.name, number] = measure(side, number, options.rounds)
            results.put(result)
            check_end_states(results, number, states)


def is_of_now(result: Result) -> bool:
    """Return whether what was measured is what is in this checkout."""
    return result.digest == sides.digest(ALL[result.side], inventory_text(result.hosts))


def check_end_states(results: Results, number: int, states: States) -> None:
    """Compare the end states of the sides with so many hosts.

    In what they differ can be said if this run has measured both.

    Raises:
        BenchError: they differ.
    """
    base = results.get(BASELINE.name, number)
    for side in ALL.values():
        other = results.get(side.name, number)
        if not base or not other or other is base or not (is_of_now(base) and is_of_now(other)):
            continue
        if base.state != other.state:
            one, two = (states.get((found.side, number), {}) for found in (base, other))
            lines = list(end_state.differences(one, two)) if one and two else []
            raise BenchError(
                f"{count(number)}: the end states of baseline and {side.label} differ, so their "
                f"times say nothing: {'; '.join(lines[:10]) or 'measure both, with --again'}"
            )


def section(results: Sequence[Result]) -> str:
    """Return the section of the page."""
    versions = {name: version for r in results for name, version in r.versions.items()}
    days = sorted({result.day for result in results})
    with_what = ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))
    memory = psutil.virtual_memory().total / GIBIBYTE
    return "\n\n".join(
        [
            "## Speed at fleet size",
            "Asked for: with nothing to do at most a third of the baseline's time for each added "
            "host without any plug-in, a fifth with the opt-in strategy Mitogen; an install step "
            "that is at least five times faster.",
            "The [baseline](../bench/baseline/README.md) is the same fleet written the ordinary "
            "way, frozen; the end states were compared and are the same. The first host has Redis "
            f"and all parts, the others workers only, {len(WORKERS)} with a process each, on all. "
            f"They are Debian {DEBIAN} in containers on this machine: its cores are those of all "
            "hosts and of Ansible. *Nothing to do* is the median of several runs, in brackets "
            "lowest and highest; all else ran once. Nova's playbooks also check the hosts "
            "beforehand, lock, drain, gate and audit; the baseline's do not. *Each added host* is "
            "the slope of a line through all numbers of hosts.",
            f"{os.cpu_count()} cores, {memory:.0f} GiB of memory; measured on "
            f"{' and '.join(days)} with {with_what}. Without a Python {HOST_PYTHON} on the "
            "controller each host makes its own bytecode.",
            f"    {COMMAND}",
            tables(results),
        ]
    )


def current(results: Results) -> list[Result]:
    """Return the results of what is in this checkout."""
    found = (results.get(side, hosts) for hosts in results.sizes() for side in ALL)
    return [result for result in found if result and is_of_now(result)]


def numbers(text: str) -> list[int]:
    """Read a list of numbers of hosts."""
    found = sorted({int(word) for word in text.split(",")})
    if found[0] < 1:
        raise argparse.ArgumentTypeError("a fleet has at least one host")
    return found


def rounds(text: str) -> int:
    """Read a number of runs."""
    if int(text) < 1:
        raise argparse.ArgumentTypeError("there is at least one run")
    return int(text)


def names(text: str) -> list[str]:
    """Read a list of sides."""
    asked = text.split(",")
    if unknown := set(asked) - set(ALL):
        raise argparse.ArgumentTypeError(
            f"no side {', '.join(sorted(unknown))}; there are {', '.join(ALL)}"
        )
    return [name for name in ALL if name in asked]


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m bench fleet",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--hosts", type=numbers, default=list(HOSTS), help="numbers of hosts")
    parser.add_argument("--rounds", type=rounds, default=ROUNDS, help="runs with nothing to do")
    parser.add_argument("--only", type=names, default=list(ALL), help="which sides")
    parser.add_argument("--again", action="store_true", help="also what was measured already")
    parser.add_argument("--json", type=Path, default=FILE, help="the file; default %(default)s")
    parser.add_argument("--page", action="store_true", help="write docs/benchmarks.md too")
    return parser.parse_args(arguments)


def run(options: argparse.Namespace) -> None:
    """Measure, print the tables, and write the page if that is asked for."""
    for name in options.only:
        sides.check(ALL[name])
    results = Results(options.json)
    measure_all(results, options)
    for number in results.sizes():
        check_end_states(results, number, {})
    shown = current(results)
    print(tables(shown))
    if options.page:
        PAGE.write_text(with_section(PAGE.read_text(), section(shown)))


def main() -> int:
    """Run it; a failure is one line on standard error."""
    options = parse()
    interrupts.install()
    try:
        run(options)
    except (NovaError, LabError) as error:
        print(f"nova: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("nova: interrupted; what was measured is kept", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
