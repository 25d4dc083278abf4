"""The tables of docs/benchmarks.md, from results."""

from collections.abc import Mapping, Sequence

from bench.figures import Spread, slope
from bench.fleet_size.results import (
    BARE,
    DEPLOY,
    INSTALL,
    INSTALL_ON_HOSTS,
    NOOP,
    RESTART,
    Result,
)
from bench.fleet_size.sides import BASELINE, BY_DEFAULT, BY_DEFAULT_HOSTS, NOVA, SIDES, Side

#: Measure -> what it is.
MEASURES = {
    NOOP: "`site.yml` with nothing to do",
    DEPLOY: "`deploy.yml` with another release",
    RESTART: "`rolling-restart.yml`",
    BARE: "`site.yml` on bare hosts",
    INSTALL: "The install step of it: build the program, bring it to the hosts, install it",
    INSTALL_ON_HOSTS: "The install step without what is built once on the controller",
}
#: Rows of a table of tasks.
TASKS = 6
MISSING = "-"


def tables(results: Sequence[Result]) -> str:
    """Return all tables, with blank lines between them."""
    compared = [result for result in results if result.side in SIDES]
    parts = [measure_table(compared, measure) for measure in MEASURES]
    parts += [task_table(compared, side) for side in sides_of(compared)]
    parts += [memory_table(compared), *settings_table(results)]
    return "\n\n".join(parts)


def sides_of(results: Sequence[Result]) -> list[Side]:
    """Return the sides that were measured."""
    return [side for side in SIDES.values() if any(r.side == side.name for r in results)]


def sizes_of(results: Sequence[Result]) -> list[int]:
    """Return the numbers of hosts that were measured."""
    return sorted({result.hosts for result in results})


def measure_table(results: Sequence[Result], measure: str) -> str:
    """Return the table of one measure: a row for each number of hosts, and one for the slopes."""
    sides = sides_of(results)
    heads = ["hosts"]
    for side in sides:
        heads += [side.label] if side is BASELINE else [side.label, "of the baseline"]
    rows = []
    for hosts in sizes_of(results):
        found = {r.side: r.seconds(measure) for r in results if r.hosts == hosts}
        rows.append([str(hosts), *cells(sides, found, digits=1)])
    slopes = {side.name: slope_of(results, side, measure) for side in sides}
    if any(slopes.values()):
        known = {name: Spread(v, v, v) for name, v in slopes.items() if v is not None}
        rows.append(["each added host", *cells(sides, known, digits=2)])
    return f"{MEASURES[measure]}: seconds\n\n{markdown(heads, rows)}"


def slope_of(results: Sequence[Result], side: Side, measure: str) -> float | None:
    """Return the seconds that each added host costs; None of fewer than two numbers of hosts."""
    return slope([(r.hosts, r.seconds(measure).median) for r in results if r.side == side.name])


def cells(sides: Sequence[Side], found: Mapping[str, Spread], digits: int) -> list[str]:
    """Return a row's cells: seconds of each side, and which part of the baseline's they are."""
    row = []
    base = found.get(BASELINE.name)
    for side in sides:
        here = found.get(side.name)
        row.append(here.show(digits) if here else MISSING)
        if side is not BASELINE:
            row.append(f"{here.median / base.median:.2f}" if here and base else MISSING)
    return row


def task_table(results: Sequence[Result], side: Side) -> str:
    """Return where the time of a run with nothing to do goes, on the largest fleet."""
    result = max((r for r in results if r.side == side.name), key=lambda r: r.hosts)
    runs = sorted(result.runs[NOOP], key=lambda run: run["seconds"])
    run = runs[(len(runs) - 1) // 2]
    longest = sorted(run["tasks"].items(), key=lambda item: -item[1])
    rows = [[name.replace("|", "/"), f"{seconds:.1f}"] for name, seconds in longest[:TASKS]]
    others = longest[TASKS:]
    rows.append([f"{len(others)} others", f"{sum(seconds for _, seconds in others):.1f}"])
    title = (
        f"{side.label}: tasks of a `site.yml` with nothing to do, {count(result.hosts)}: seconds"
    )
    return f"{title}\n\n{markdown(['task', 'seconds'], rows)}"


def settings_table(results: Sequence[Result]) -> list[str]:
    """Return what Nova's settings of Ansible are worth; nothing before that was measured."""
    found = {r.side: r for r in results if r.hosts == BY_DEFAULT_HOSTS}
    nova = found.get(NOVA.name)
    if not nova or not BY_DEFAULT.keys() & found.keys():
        return []
    rows = []
    for side in (NOVA, *BY_DEFAULT.values()):
        row = [side.label]
        for measure in (NOOP, BARE):
            here = found[side.name].seconds(measure) if side.name in found else None
            base = nova.seconds(measure)
            row += [here.show(1), f"{here.median / base.median:.2f}"] if here else [MISSING] * 2
        rows.append(row)
    heads = ["", MEASURES[NOOP], "of Nova's", MEASURES[BARE], "of Nova's"]
    title = (
        f"What settings are worth, {count(BY_DEFAULT_HOSTS)}: seconds with Nova's, and with one "
        "at a time as Ansible has it by default"
    )
    return [f"{title}\n\n{markdown(heads, rows)}"]


def memory_table(results: Sequence[Result]) -> str:
    """Return what the fleets take of the machine's memory."""
    sides = sides_of(results)
    rows = []
    for hosts in sizes_of(results):
        found = {r.side: f"{r.memory:.1f}" for r in results if r.hosts == hosts}
        rows.append([str(hosts), *(found.get(side.name, MISSING) for side in sides)])
    heads = ["hosts", *(side.label for side in sides)]
    return f"Memory of the running fleet, GiB of the machine\n\n{markdown(heads, rows)}"


def count(hosts: int) -> str:
    """Return `1 host`, `3 hosts`."""
    return f"{hosts} host{'s' if hosts > 1 else ''}"


def markdown(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table; all columns but the first are numbers."""
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
