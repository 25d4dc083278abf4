"""Show a unit's last lines from all hosts: python -m scripts.fleet_logs -i INVENTORY --unit UNIT.

Runs ansible/playbooks/logs.yml, which reads and merges them. What follows `--` goes to
ansible-playbook, such as `-- --limit nova2`.
"""

import argparse
import json
import sys
from typing import Any

from scripts.fleet_answers import ask, parser_of, tell


def show(found: dict[str, Any]) -> None:
    """Print the lines, and on standard error which hosts said nothing."""
    for line in found["lines"]:
        print("{time} {host} {unit} {program}: {text}".format_map(line))
    for host, problem in found["problems"].items():
        print(f"{host}: nothing read: {problem}", file=sys.stderr)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = parser_of("fleet_logs", __doc__)
    parser.add_argument("--unit", help="one unit; else those that should be up and are not")
    parser.add_argument("--lines", type=int, help="of each unit and host")
    return parser.parse_args(arguments)


def main() -> int:
    """Show them; exit 1 if a host said nothing."""
    options = parse()
    asked = {"unit": options.unit, "lines": options.lines}
    given = {name: value for name, value in asked.items() if value is not None}
    found = ask("logs.yml", options, "-e", json.dumps(given))
    return tell(found, options, show)


if __name__ == "__main__":
    sys.exit(main())
