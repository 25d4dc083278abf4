"""What was measured, in a file: a size that was measured is kept, others are added to it."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.figures import Spread, spread
from bench.fleet import BenchError

#: Runs of playbooks that are measured: on bare hosts, with nothing to do, and so on.
BARE, NOOP, DEPLOY, RESTART = "bare", "noop", "deploy", "restart"
#: Parts of the run on bare hosts.
INSTALL, INSTALL_ON_HOSTS = "install", "install on hosts"


@dataclass(frozen=True)
class Result:
    """The measurements of one side with one number of hosts."""

    side: str
    hosts: int
    #: Digest of the code that was measured.
    digest: str
    #: Versions of what ran the playbooks.
    versions: dict[str, str]
    day: str
    #: Measure -> its runs, as `Run.to_json` has them.
    runs: dict[str, list[dict[str, Any]]]
    #: Seconds of the tasks that install the program on bare hosts, and those on the controller.
    install: float
    build: float
    #: Gibibytes of the machine's memory that the running fleet takes.
    memory: float
    #: Digest of what `end_state.look` returned.
    state: str

    def seconds(self, measure: str) -> Spread:
        """Return how long something took; the median where it ran several times."""
        if measure == INSTALL:
            return spread([self.install])
        if measure == INSTALL_ON_HOSTS:
            return spread([self.install - self.build])
        return spread([run["seconds"] for run in self.runs[measure]])


class Results:
    """All results of a file."""

    def __init__(self, path: Path) -> None:
        """Read the file, if it is there.

        Raises:
            BenchError: it is not a file of results.
        """
        self.path = path
        self._all: dict[tuple[str, int], Result] = {}
        if path.exists():
            try:
                found = [Result(**entry) for entry in json.loads(path.read_text())["results"]]
            except (ValueError, TypeError, KeyError) as error:
                raise BenchError(f"{path} has no results that can be read; remove it") from error
            self._all = {(result.side, result.hosts): result for result in found}

    def get(self, side: str, hosts: int) -> Result | None:
        """Return a result, None if there is none."""
        return self._all.get((side, hosts))

    def put(self, result: Result) -> None:
        """Keep a result, in the file too; it replaces an older one."""
        self._all[result.side, result.hosts] = result
        self.path.parent.mkdir(parents=True, exist_ok=True)
        ordered = [vars(self._all[key]) for key in sorted(self._all)]
        new = self.path.with_name(f".{self.path.name}.new")
        new.write_text(json.dumps({"results": ordered}, indent=1) + "\n", encoding="utf-8")
        new.replace(self.path)

    def sizes(self) -> list[int]:
        """Return the numbers of hosts that were measured."""
        return sorted({hosts for _, hosts in self._all})
