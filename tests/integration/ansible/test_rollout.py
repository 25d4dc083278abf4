"""How a roll asks about the fleet, and what it does when it cannot, or when its lock is lost.

`nova` is a program of the test's own, which notes what it is asked. Whole rolls are for the lab.
"""

import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from nova.cli import app
from tests.integration.ansible.conftest import ANSIBLE, NEW_HOST, run_playbook

Run = Callable[..., str]
Noted = Callable[..., list[str]]
RUNNING = NEW_HOST | {"release": "1.0-old", "releases": ["1.0-old"]}
STEWARDS = [{"name": name, "runs": "1.0-old", "release": "1.0-old"} for name in ("nova1", "nova2")]
HERE = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
#: The first host of the fleet, which nobody reaches: nothing listens on port 1.
CUT_OFF = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}


def stand_in(programs: Path, name: str, note: str) -> Callable[..., list[str]]:
    """Let a program do what a script says; return what it was called with, as `note` tells it."""
    notes = programs / f"{name}.notes"
    notes.touch()

    def answer(script: str = "exit 0") -> list[str]:
        program = programs / name
        program.write_text(f"#!/bin/sh\necho \"{note}\" >> '{notes}'\n{script}\n")
        program.chmod(0o755)
        return notes.read_text().splitlines()

    answer()
    return answer


@pytest.fixture
def asked(programs: Path) -> Callable[..., list[str]]:
    """Let `nova` answer; return what it was asked, each with the release that was asked."""
    return stand_in(programs, "nova", "$NOVA_RELEASE: $*")


@pytest.fixture
def noted(programs: Path) -> Noted:
    """Let `nova-host` do what a script says; return what it was called with."""
    return stand_in(programs, "nova-host", "$*")


LOCKS = f"""case "$2" in lock) echo '{json.dumps({"token": 8})}';; esac"""


def test_hosts_are_rolled_in_the_order_of_the_inventory(tmp_path: Path) -> None:
    """Whoever was compared first: the first host alone tries a release, and the last goes back."""
    hosts = ["nova3", "nova1", "nova2"]
    inventory = {"nova": {"hosts": {name: {"ansible_connection": "local"} for name in hosts}}}
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump(inventory, sort_keys=False))
    compared_in_another_order = {
        "hosts": "nova",
        "gather_facts": False,
        "serial": 1,
        "order": "sorted",
        "tasks": [{"ansible.builtin.group_by": {"key": "roll_due"}}],
    }
    name = {"ansible.builtin.debug": {"msg": "now {{ inventory_hostname }}."}}
    plays = [
        {key: play[key] for key in ("hosts", "order") if key in play}
        | {"gather_facts": False, "serial": 1, "tasks": [name]}
        for play in yaml.safe_load((ANSIBLE / "playbooks" / "roll.yml").read_text())[1:]
    ]
    playbook = tmp_path / "order.yml"
    playbook.write_text(yaml.safe_dump([compared_in_another_order, *plays]))
    said = run_playbook(f"--inventory={tmp_path / 'hosts.yml'}", playbook)
    # Lock, stage, roll, go back, those that were not reached, end.
    assert re.findall(r"now (\w+)\.", said) == [*hosts * 3, *reversed(hosts), *hosts * 2]


def test_the_primary_comes_after_its_replicas_wherever_it_stands(tmp_path: Path) -> None:
    """The first of redis_hosts leads a new group, and is the first to come to each task."""
    roles = {"redis1": "master", "redis2": "slave", "redis3": "slave"}
    hosts: dict[str, dict[str, Any]] = {
        name: {"ansible_connection": "local", "redis_found": {"server": {"role": role}}}
        for name, role in roles.items()
    }
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": hosts}}))
    roll = ANSIBLE / "roles" / "redis" / "tasks" / "roll.yml"
    (tmp_path / "roll.yml").write_text(roll.read_text())
    name = {"ansible.builtin.debug": {"msg": "now {{ inventory_hostname }}."}}
    (tmp_path / "roll_one.yml").write_text(yaml.safe_dump([name]))
    tasks = [{"ansible.builtin.include_tasks": "roll.yml"}]
    playbook = tmp_path / "play.yml"
    playbook.write_text(yaml.safe_dump([{"hosts": "all", "gather_facts": False, "tasks": tasks}]))
    said = run_playbook(f"--inventory={tmp_path / 'hosts.yml'}", playbook)
    found = re.findall(r"now (\w+)\.", said)
    assert (sorted(found), found[-1]) == (sorted(roles), "redis1")


def test_another_host_is_asked_when_the_first_is_not_reached(
    run: Run, asked: Callable[..., list[str]]
) -> None:
    """And from then on: the lock is taken, renewed and freed though the first host is gone."""
    asked(LOCKS)
    hosts: dict[str, Any] = {"nova1": CUT_OFF, "nova2": {}}
    said = run("begin", "renew", hosts=hosts, base_survey=RUNNING)
    assert "exit 0" in said, said[-1500:]
    check, void, lock, renew = asked()
    assert check == "1.0-old: fleet check"
    assert void == "1.0-old: release check 2.0-new"
    assert lock.startswith("1.0-old: fleet lock --owner=me@here --reason=deploy 2.0-new")
    assert renew.startswith("1.0-old: fleet renew 8 ")


def test_a_fleet_that_nobody_can_ask_about_is_left_alone(
    run: Run, asked: Callable[..., list[str]]
) -> None:
    hosts: dict[str, Any] = {"nova1": CUT_OFF, "nova2": CUT_OFF}
    said = run("begin", hosts=hosts, base_survey=RUNNING)
    assert "nothing was changed: no host that knows the fleet was reached" in said
    assert "exit 0" not in said
    assert asked() == []


def test_a_fleet_that_was_left_in_the_middle_of_a_roll_need_not_be_healthy(
    run: Run, asked: Callable[..., list[str]]
) -> None:
    """The next roll is the way out of that, without force, which would waive more than this."""
    asked(f'case "$2" in check) [ "$1" = release ];; *) {LOCKS};; esac')
    assert "exit 0" in run("begin", base_survey=RUNNING | {"pending": True})
    said = run("begin", base_survey=RUNNING)
    assert "the fleet is not healthy, nothing was changed" in said


def test_the_lock_is_above_what_hosts_have_seen(
    run: Run, asked: Callable[..., list[str]], tmp_path: Path
) -> None:
    """A Redis that began anew gives low tokens, with which hosts would refuse every run."""
    asked(f"echo $NOVA_LOCK_ABOVE >> {tmp_path}/above; {LOCKS}")
    run("begin", base_survey=RUNNING | {"lock_token": 41})
    assert "41" in (tmp_path / "above").read_text().split()


def test_each_try_for_the_lock_is_known_as_the_same_run(
    run: Run, asked: Callable[..., list[str]], tmp_path: Path
) -> None:
    """Redis may have given it at one whose answer was lost. The next run is another."""
    runs = tmp_path / "runs"
    tries = f"""echo $NOVA_LOCK_RUN >> {runs}; [ $(wc -l < {runs}) -ge 3 ] || exit 75"""
    locks = f"""case "$2" in lock) {tries}; echo '{json.dumps({"token": 8})}';; esac"""
    asked(locks)
    for _ in range(2):
        said = run("begin", base_survey=RUNNING, options=("-e", "__rollout_seconds_between=0"))
        assert "exit 0" in said, said[-1500:]
    first, second, third, of_another_run = runs.read_text().split()
    assert first == second == third != of_another_run


def test_a_redis_that_has_moved_is_asked_where_it_is_now(
    run: Run, asked: Callable[..., list[str]], tmp_path: Path
) -> None:
    """Hosts have the settings of before, with which nobody could be asked for the lock."""
    asked(f'echo "$NOVA_REDIS_SETTINGS" >> {tmp_path}/settings; {LOCKS}')
    now = {"REDIS_URL": "rediss://[fd00::1]:6379/0", "NOVA_REDIS_CA_FILE": ""}
    run("begin", base_survey=RUNNING, rollout_redis_settings=now)
    said = (tmp_path / "settings").read_text().splitlines()
    words = {" ".join(sorted(line.split(" "))) for line in said}
    assert words == {"NOVA_REDIS_CA_FILE= REDIS_URL=rediss://[fd00::1]:6379/0"}


@pytest.mark.parametrize(
    ("before", "moved"),
    [
        ({"REDIS_URL": "redis://a:6379/0", "NOVA_REDIS_TLS": "False"}, False),
        ({"REDIS_URL": "redis://a:6379/0"}, False),
        ({"REDIS_URL": "rediss://a:6379/0"}, True),
        ({"REDIS_URL": "redis://a:6379/0", "NOVA_REDIS_TLS": "True"}, True),
        ({}, False),
    ],
    ids=["as it is", "without a word of TLS", "TLS", "TLS of a group", "a new host"],
)
def test_a_host_that_reaches_redis_no_more_is_told_from_others(
    tmp_path: Path, before: dict[str, str], moved: bool
) -> None:
    """All of them follow at once, behind the first: until then they do nothing.

    Redis is asked as it is wanted, but by a check, which has not moved it.
    """
    settings = {"REDIS_URL": "redis://a:6379/0", "NOVA_REDIS_TLS": False}
    compared = {
        "hosts": "all",
        "gather_facts": False,
        "vars": {"rollout_action": "site"},
        "vars_files": [str(ANSIBLE / "playbooks" / "vars" / "roll.yml")],
        "tasks": [
            {"ansible.builtin.set_fact": {"base_survey": {"redis_settings": before}}},
            {"ansible.builtin.group_by": {"key": "roll_running"}},
            {
                "ansible.builtin.group_by": {
                    "key": "roll_redis_{{ 'moved' if roll_redis_has_moved else 'stayed' }}"
                }
            },
        ],
    }
    asked_at = "rollout_redis_settings.REDIS_URL | default('as before')"
    rolled = {
        "hosts": "all",
        "gather_facts": False,
        "vars_files": compared["vars_files"],
        "vars": compared["vars"],
        "tasks": [
            {"ansible.builtin.debug": {"msg": "batches {{ roll_batches | join(' ') }}."}},
            {"ansible.builtin.debug": {"msg": f"asks {{{{ {asked_at} }}}}."}},
        ],
    }
    playbook = tmp_path / "play.yml"
    playbook.write_text(yaml.safe_dump([compared, rolled]))
    fleet = {"hosts": {"nova1": HERE}, "vars": {"settings_environment": settings}}
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump({"nova": fleet}))
    options = (f"--inventory={tmp_path / 'hosts.yml'}", playbook)
    said = run_playbook(*options)
    assert f"batches 1 {'100%' if moved else '25%'}." in said
    assert "asks redis://a:6379/0." in said
    assert "asks as before." in run_playbook(*options, "--check")


def test_what_needs_no_lock_waits_for_who_has_it(run: Run, asked: Callable[..., list[str]]) -> None:
    """And goes on where nobody can be asked: Redis may be what has to be mended."""
    held = {"lock": {"owner": "bob@there", "reason": "deploy 3.0"}}
    asked(f"echo '{json.dumps(held)}'")
    said = run("held", base_survey=RUNNING)
    assert "nothing was changed: bob@there works on the fleet, for deploy 3.0; wait" in said
    assert "exit 2" in said
    asked(f"""echo '{json.dumps({"lock": None})}'""")
    assert "exit 0" in run("held", base_survey=RUNNING)
    asked("exit 75")
    assert "exit 0" in run("held", base_survey=RUNNING)
    assert "exit 0" in run("held")
    asked(f"[ \"$NOVA_REDIS_SETTINGS\" = REDIS_URL=there ] && echo '{json.dumps(held)}' || exit 75")
    moved = {"rollout_redis_settings": {"REDIS_URL": "there"}}
    assert "exit 2" in run("held", base_survey=RUNNING, **moved)


@pytest.mark.parametrize("limit", ["nova1", "front1"])
def test_a_new_host_waits_too_and_a_host_that_is_lost_keeps_it_from_nothing(
    tmp_path: Path, programs: Path, asked: Callable[..., list[str]], limit: str
) -> None:
    """By the play of site.yml, where one asks for all and an error is that of all.

    Of the hosts that are left out the first is lost, the second knows the fleet.
    """
    inventory = inventory_with_frontend("nova1", "nova2", "nova3", lost="nova2")
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump(inventory))
    site = yaml.safe_load((ANSIBLE / "playbooks" / "site.yml").read_text())
    play = next(play for play in site if "held" in json.dumps(play)) | {
        "become": False,
        "environment": {"PATH": f"{programs}:{os.environ['PATH']}"},
        "vars_files": [str(ANSIBLE / "playbooks" / "vars" / "roll.yml")],
    }
    survey = {"base_survey": NEW_HOST}
    survey_new = {"ansible.builtin.set_fact": survey, "when": "'nova' in group_names"}
    play["tasks"].insert(0, survey_new)
    (tmp_path / "play.yml").write_text(yaml.safe_dump([play]))
    stand_in(programs, "readlink", "$*")("echo /opt/nova/releases/1.0-old")
    run = (f"--inventory={tmp_path / 'hosts.yml'}", f"--limit={limit}", tmp_path / "play.yml")
    held = f"""echo '{json.dumps({"lock": {"owner": "bob@there", "reason": "deploy 3.0"}})}'"""
    where_it_is_wanted = f"case $NOVA_REDIS_SETTINGS in *//there:*) {held};; *) exit 75;; esac"
    answers = (held, where_it_is_wanted) if limit == "nova1" else (held,)
    for answer in answers:
        asked(answer)
        refused = run_playbook(*run)
        assert "nothing was changed: bob@there works on the fleet, for deploy 3.0; wait" in refused
        assert "failed=1" in refused
    asked(f"""echo '{json.dumps({"lock": None})}'""")
    assert "failed=0" in run_playbook(*run)
    assert len(asked()) == (4 if limit == "nova1" else 2)
    assert set(asked()) == {"1.0-old: fleet show --json"}


@pytest.mark.parametrize(
    ("due", "options", "freed"),
    [
        ([], ("-e", "take_over=true"), True),
        ([], ("-e", "take_over=true", "--limit=front1"), True),
        # The roll itself takes the lock, and frees it.
        (["nova2"], ("-e", "take_over=true"), False),
        ([], (), False),
    ],
    ids=["nothing is due", "a frontend", "a host is due", "nobody asked for it"],
)
def test_a_lock_is_taken_over_and_freed_though_nothing_is_due(
    tmp_path: Path,
    programs: Path,
    asked: Callable[..., list[str]],
    noted: Noted,
    due: list[str],
    options: tuple[str, ...],
    freed: bool,
) -> None:
    """A run that died before it had changed anything leaves nothing but its lock.

    Hosts are told the new token, and what the lock was held for is said: a restart leaves no trace.
    """
    held = json.dumps({"lock": {"owner": "bob@there", "reason": "restart 1.0-old"}})
    answers = f"""case "$2" in show) echo '{held}';; *) {LOCKS};; esac"""
    asked(answers)
    noted("echo token $NOVA_LOCK_TOKEN")
    stand_in(programs, "readlink", "$*")("echo /opt/nova/releases/1.0-old")
    survey = {
        "hosts": "nova",
        "gather_facts": False,
        "tasks": [
            {"ansible.builtin.set_fact": {"base_survey": RUNNING}},
            {
                "ansible.builtin.group_by": {"key": "roll_due"},
                "when": f"inventory_hostname in {due}",
            },
        ],
    }
    roll = ANSIBLE / "playbooks" / "roll.yml"
    play = next(play for play in yaml.safe_load(roll.read_text()) if "Take over" in play["name"])
    path = {"PATH": f"{programs}:{os.environ['PATH']}"}
    play |= {
        "become": False,
        "environment": [path, play["environment"]],
        "vars_files": [str(roll.parent / file) for file in play["vars_files"]],
        "vars": {"rollout_action": "site", "release_id": "1.0-old"},
    }
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump(inventory_with_frontend("nova1", "nova2")))
    (tmp_path / "play.yml").write_text(yaml.safe_dump([survey, play]))
    arguments = (f"--inventory={tmp_path / 'hosts.yml'}", tmp_path / "play.yml", *options)
    said = run_playbook("-v", *arguments)
    assert "failed=1" not in said, said
    words = [line.split()[2] for line in asked()]
    assert words == (["show", "lock", "note", "unlock"] if freed else [])
    assert not freed or "--take-over" in asked()[1]
    told = "bob@there had the lock, for restart 1.0-old, and nothing is due that a roll would do"
    assert (told in said) is freed
    hosts_are_told = freed and "--limit=front1" not in options
    assert noted() == (["settle", "settle"] if hosts_are_told else [])
    assert said.count("token 8") == (2 if hosts_are_told else 0)


def inventory_with_frontend(*names: str, lost: str = "") -> dict[str, Any]:
    """An inventory of hosts on this machine, and a frontend; one of the hosts may be lost."""
    hosts = {name: CUT_OFF if name == lost else HERE for name in names}
    settings = {"settings_environment": {"REDIS_URL": "redis://there:6379/0"}}
    fleet = {"hosts": hosts, "vars": settings}
    return {"nova": fleet, "frontend": {"hosts": {"front1": HERE}}}


def test_a_new_host_is_locked_for_and_gets_what_the_others_run(
    run: Run, asked: Callable[..., list[str]], programs: Path
) -> None:
    """`site.yml --limit nova2`, with a checkout ahead of the fleet, of which a host is lost."""
    asked(LOCKS)
    program = programs / "readlink"
    program.write_text("#!/bin/sh\necho releases/1.0-old\n")
    program.chmod(0o755)
    site = {"options": ("--limit=nova2",), "rollout_action": "site"}
    hosts: dict[str, Any] = {"nova0": CUT_OFF, "nova1": {}, "nova2": {}}
    fleet: dict[str, Any] = {"rollout_fleet": list(hosts), "hosts": hosts, "fatal": True}
    said = run("begin", **site, **fleet)
    assert "the fleet runs 1.0-old, and nova2 would get 2.0-new" in said
    assert "-e release=1.0-old" in said
    assert asked(LOCKS) == []
    said = run("begin", **site, **fleet, rollout_release_is_named=True)
    assert "exit 0" in said, said[-1500:]
    assert [line for line in asked() if line.startswith("1.0-old: fleet lock ")]


def test_a_new_host_brings_no_new_release_to_those_that_let_it_in(
    run: Run, asked: Callable[..., list[str]]
) -> None:
    """`site.yml --limit nova2,redis`: the host of Redis would run what the others do not."""
    asked(LOCKS)
    hosts: dict[str, Any] = {
        "nova0": {},
        "nova1": {"survey": RUNNING},
        "nova2": {"survey": NEW_HOST},
    }
    site = {"rollout_action": "site", "rollout_fleet": list(hosts), "hosts": hosts}
    said = run("begin", options=("--limit=nova1,nova2",), base_survey="{{ survey }}", **site)
    assert "the fleet runs 1.0-old, and nova2 would get 2.0-new" in said
    assert asked() == []


@pytest.mark.parametrize("code", [1, 3])
def test_only_a_lock_that_is_lost_forbids_to_go_back(
    run: Run, asked: Callable[..., list[str]], code: int
) -> None:
    """Exit code 3 of `nova fleet renew`; after any other failure the roll is taken back."""
    asked(f"echo 'bob took it' >&2; exit {code}")
    said = run("renew", rollout_token=7, rollout_stewards=STEWARDS)
    assert "exit 2" in said
    assert "bob took it" in said
    lost: dict[str, Any] = {"rollout_failed_in": "roll", "rollout_failure": "bob took it"}
    lost["rollout_lock_is_lost"] = code == 3
    asked()
    said = run("end", rollout_token=7, rollout_stewards=STEWARDS, rollout_from="1.0-old", **lost)
    ends = [line.partition(": ")[2] for line in asked() if "renew" not in line]
    assert ("fleet unlock 7" in ends) == (code != 3)
    assert ("for another run has taken the lock" in said) == (code == 3)
    outcome = "interrupted" if code == 3 else "rolled-back"
    assert [line for line in ends if f"--result={outcome}" in line], said[-1500:]


@pytest.mark.parametrize(
    ("facts", "is_voided"),
    [
        ({"rollout_release_failed": True}, True),
        ({"rollout_release_failed": False}, False),
        ({"rollout_release_failed": True, "rollout_action": "rollback"}, False),
    ],
    ids=["the gate", "a host that is cut off, or a hook", "a rollback to it"],
)
def test_a_release_is_voided_for_its_own_failures(
    run: Run, asked: Callable[..., list[str]], facts: dict[str, Any], is_voided: bool
) -> None:
    failure = {"rollout_failed_in": "roll", "rollout_failure": "it failed", "rollout_token": 7}
    run("end", rollout_stewards=STEWARDS, rollout_from="1.0-old", **failure, **facts)
    assert bool([line for line in asked() if "release void 2.0-new" in line]) == is_voided
    assert [line for line in asked() if "--result=rolled-back" in line]


def test_what_could_not_be_noted_is_said_and_fails(
    run: Run, asked: Callable[..., list[str]]
) -> None:
    """The roll went well, but nobody knows: a rollback would not find the release."""
    asked("case $2 in good) echo 'Redis is full' >&2; exit 1;; esac")
    said = run("end", rollout_stewards=STEWARDS, rollout_token=7)
    assert "exit 2" in said
    assert "this could not be noted: Redis is full" in said
    assert "sudo nova release good 2.0-new" in said
    assert "1.0-old: fleet unlock 7" in asked()


def test_a_release_that_could_not_be_voided_is_voided_by_hand(
    run: Run, asked: Callable[..., list[str]]
) -> None:
    """The command that is printed can be typed: nova wants a reason."""
    asked("case $2 in void) echo 'Redis is full' >&2; exit 1;; esac")
    failure = {"rollout_failed_in": "roll", "rollout_failure": "deaf", "rollout_token": 7}
    facts = {
        "rollout_stewards": STEWARDS,
        "rollout_from": "1.0-old",
        "rollout_release_failed": True,
    }
    said = run("end", **failure, **facts)
    assert "sudo nova release void --reason REASON 2.0-new" in said
    command = ["release", "void", "--reason", "REASON", "2.0-new", "--help"]
    assert CliRunner().invoke(app, command).exit_code == 0


def test_a_host_on_which_all_was_stopped_on_purpose_passes_the_gate(
    run: Run, programs: Path
) -> None:
    """Without names `nova-host await` would wait for all units that are enabled."""
    program = programs / "nova-host"
    program.write_text("#!/bin/sh\necho 'not up within 120 s' >&2\nexit 1\n")
    program.chmod(0o755)
    assert "exit 0" in run("gate", rollout_units=[], rollout_workers=[])
    said = run("gate", rollout_units=["celery-beat.service"], rollout_workers=[])
    assert "not up within 120 s" in said


@pytest.mark.parametrize(
    ("unit", "is_stopped"),
    [
        ("flower.service", True),
        ("celery-worker@trends.service", True),
        ("celery-worker@somebodys-own.service", False),
        ("celery-beat.service", False),
    ],
)
def test_what_is_enabled_and_not_wanted_is_stopped_unless_it_is_somebodys_own(
    run: Run, noted: Noted, unit: str, is_stopped: bool
) -> None:
    """The scheduler is wanted; one of the workers has no file of Nova's."""
    noted()
    running = {"enabled": True, "state": "active", "stale": False}
    survey = RUNNING | {
        "workers": ["trends"],
        "units": dict.fromkeys(("celery-beat.service", unit), running),
    }
    run("host", hosts={"nova1": {}}, base_survey=survey, rollout_units=["celery-beat.service"])
    assert [line for line in noted() if line.startswith("stop ")] == [f"stop {unit}"] * is_stopped


def test_a_host_that_is_lost_while_it_stops_what_is_not_wanted_is_not_switched(
    run: Run, noted: Noted, tmp_path: Path
) -> None:
    """What runs there would lose its settings, and serve every queue."""
    (tmp_path / "connection").write_text("local")
    noted(f"[ $1 = save ] && printf ssh > '{tmp_path}/connection'; exit 0")
    connection = f"{{{{ lookup('ansible.builtin.file', '{tmp_path}/connection') }}}}"
    flower = {"flower.service": {"enabled": True, "state": "active", "stale": False}}
    survey = RUNNING | {"workers": [], "units": flower}
    hosts = {"nova1": CUT_OFF | {"ansible_connection": connection}}
    said = run("leave", "host", hosts=hosts, base_survey=survey)
    assert "exit 2" in said
    assert "Check that it was stopped" in said
    assert "Switch the release" not in said
    assert noted() == ["save"]


def test_a_host_that_is_lost_before_it_was_saved_is_not_switched(run: Run) -> None:
    """It could not go back: what stands there as saved is of an earlier roll."""
    said = run("leave", "host", hosts={"nova1": CUT_OFF}, base_survey=RUNNING)
    assert "exit 2" in said
    assert "Check that it was saved" in said
    assert "Switch the release" not in said


@pytest.mark.parametrize("action", ["deploy", "restart"])
def test_a_host_is_saved_before_its_api_is_taken_out_of_service(
    run: Run, noted: Noted, action: str
) -> None:
    """The next roll then finds it due, and puts it back. A restart has nothing to go back to."""
    noted()
    frontend: dict[str, Any] = {"hosts": {"nova1": {}, "front1": CUT_OFF}}
    facts = {"rollout_action": action, "rollout_frontends": ["front1"], "base_survey": RUNNING}
    said = run("leave", options=("--limit=nova1",), **frontend, **facts)
    assert "front1 cannot be reached" in said
    assert noted() == (["save"] if action == "deploy" else [])


def test_a_host_that_its_hook_refuses_is_not_left_in_the_middle_of_a_roll(
    run: Run, noted: Noted, hooks: Path
) -> None:
    noted()
    (hooks / "before-host").write_text("#!/bin/sh\necho 'not now' >&2; exit 1\n")
    (hooks / "before-host").chmod(0o755)
    assert "not now" in run("leave", hosts={"nova1": {}}, base_survey=RUNNING)
    assert noted() == []


def test_a_host_that_went_back_is_settled_when_its_api_is_in_service(
    run: Run, noted: Noted
) -> None:
    """A run that is killed in between leaves a host that the next one finds due."""
    noted()
    frontend: dict[str, Any] = {"hosts": {"nova1": {}, "front1": CUT_OFF}}
    facts = {"rollout_frontends": ["front1"], "base_survey": RUNNING}
    said = run("back_host", options=("--limit=nova1",), **frontend, **facts)
    assert noted() == ["back", "settle"]
    assert said.index("Resume this host at each frontend") < said.index("Take it as good again")


@pytest.mark.parametrize("action", ["deploy", "restart", "reboot"])
def test_only_a_roll_says_that_what_runs_is_good(
    run: Run, asked: Callable[..., list[str]], noted: Noted, action: str
) -> None:
    """Else a restart ends a roll that was interrupted, and a rollback goes one release too far."""
    asked("case $2 in note) echo 'Redis is full' >&2; exit 1;; esac")
    noted()
    said = run("end", rollout_action=action, rollout_stewards=STEWARDS, rollout_token=7)
    asks = [line.partition(": ")[2] for line in asked()]
    is_roll = action == "deploy"
    assert noted() == ["settle", "settle"] * is_roll
    assert bool([line for line in asks if line.startswith("release good")]) == is_roll
    assert "this could not be noted: Redis is full" in said
    assert ("sudo nova release good" in said) == is_roll
    assert "fleet unlock 7" in asks


@pytest.mark.parametrize("lost", ["nova2", "nova0"])
def test_tasks_are_compared_though_the_first_steward_is_lost(
    run: Run, asked: Callable[..., list[str]], lost: str
) -> None:
    """If it is the first host of the play too, that is said, and no host drops out unheard."""
    changes = """cat > /dev/null; echo '{"changes": []}'"""
    asked(f"case $2 in manifest) echo '{{}}';; compare) {changes};; esac")
    stewards = [{"name": lost, "runs": "1.0-old", "release": "1.0-old"}, STEWARDS[0]]
    hosts: dict[str, Any] = {"nova1": {}, lost: CUT_OFF}
    said = run("skew", hosts=hosts, rollout_stewards=stewards, rollout_from="1.0-old")
    if lost == "nova2":
        assert "exit 0" in said, said[-1500:]
        assert asked() == ["1.0-old: release manifest", "2.0-new: release compare --json -"]
    else:
        assert "exit 2" in said
        assert "2.0-new cannot even list its tasks: " in said
        assert "port 1: Connection refused" in said


@pytest.mark.parametrize(
    ("action", "kind", "force", "is_refused"),
    [
        ("deploy", "task", False, True),
        ("deploy", "task", True, False),
        ("deploy", "data", False, True),
        ("rollback", "task", False, False),
        ("rollback", "data", False, True),
    ],
)
def test_a_release_that_does_not_fit_is_refused_unless_it_is_forced(
    run: Run,
    asked: Callable[..., list[str]],
    action: str,
    kind: str,
    force: bool,
    is_refused: bool,
) -> None:
    """The screen says why. A rollback removes tasks; only data that it cannot read counts."""
    change = {"kind": kind, "what": "that", "is_compatible": False, "detail": "unknown to it"}
    answer = f"""cat > /dev/null; echo '{json.dumps({"changes": [change]})}'; exit 1"""
    asked(f"case $2 in manifest) echo '{{}}';; compare) {answer};; esac")
    facts = {"rollout_stewards": STEWARDS, "rollout_from": "1.0-old", "rollout_force": force}
    said = run("skew", rollout_action=action, **facts)
    assert ("2.0-new does not fit 1.0-old" in said) == is_refused, said[-1500:]
    words = "queues and data: that: unknown to it; release the change in two steps"
    assert (words in said) == is_refused
    assert ("exit 2" in said) == is_refused


def test_a_fleet_is_found_behind_hosts_that_are_new_too(
    run: Run, asked: Callable[..., list[str]], programs: Path, tmp_path: Path
) -> None:
    """`site.yml --limit nova6`, and the first four that are asked have no release."""
    asked(LOCKS)
    program = programs / "readlink"
    program.write_text(
        f"#!/bin/sh\necho >> {tmp_path}/reads\n"
        f"[ $(wc -l < {tmp_path}/reads) -gt 4 ] && echo releases/1.0-old\n"
    )
    program.chmod(0o755)
    hosts: dict[str, Any] = {f"nova{number}": {} for number in range(1, 7)}
    fleet = {"options": ("--limit=nova6",), "rollout_fleet": list(hosts), "hosts": hosts}
    said = run("begin", rollout_action="site", **fleet)
    assert "the fleet runs 1.0-old, and nova6 would get 2.0-new" in said


def test_a_fleet_of_which_a_host_is_lost_is_not_taken_for_new(
    run: Run, asked: Callable[..., list[str]], programs: Path
) -> None:
    """The lost one may know of a lock. What was said with force is up to who says it."""
    asked(LOCKS)
    (programs / "readlink").write_text("#!/bin/sh\nexit 1\n")
    (programs / "readlink").chmod(0o755)
    hosts: dict[str, Any] = {"nova1": CUT_OFF, "nova2": {}, "nova3": {}}
    fleet = {"options": ("--limit=nova3",), "rollout_fleet": list(hosts), "hosts": hosts}
    said = run("begin", rollout_action="site", **fleet)
    assert "exit 2" in said
    assert "nothing was changed: nova1 was not reached" in said
    assert "exit 0" in run("begin", rollout_action="site", rollout_force=True, **fleet)


def test_a_file_that_was_missed_is_a_failure_of_the_host(tmp_path: Path) -> None:
    """Not in a roll either, where a host that is not reached goes on with the next task."""
    hosts = {"nova1": CUT_OFF}
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": hosts}}))
    wanted = [{"path": str(tmp_path / "file"), "content": "new"}]
    survey = {"base_survey": {"files": {}}, "base_changed_files": []}
    write = {"ansible.builtin.include_role": {"name": "base", "tasks_from": "files"}}
    play = {
        "hosts": "all",
        "gather_facts": False,
        "ignore_unreachable": True,
        "tasks": [{"ansible.builtin.set_fact": survey}, write | {"vars": {"base_files": wanted}}],
    }
    (tmp_path / "play.yml").write_text(yaml.safe_dump([play]))
    said = run_playbook(f"--inventory={tmp_path / 'hosts.yml'}", tmp_path / "play.yml")
    assert "nova1 was not reached, and some of its files are those of before" in said
    assert "failed=1" in said


def test_a_host_that_is_lost_while_a_release_is_brought_fails_there(tmp_path: Path) -> None:
    """Not later, at the switch, where it would be the release that failed, and be voided."""
    archive = tmp_path / "2.0-new.tar.gz"
    archive.touch()
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": {"nova1": CUT_OFF}}}))
    facts = {
        "base_survey": RUNNING,
        "release_id": "2.0-new",
        "release_built": {"archive": str(archive), "sha256": "0", "changed": False},
    }
    bring = {"ansible.builtin.include_role": {"name": "release", "tasks_from": "install"}}
    play = {"hosts": "all", "gather_facts": False, "ignore_unreachable": True}
    play["tasks"] = [{"ansible.builtin.set_fact": facts}, bring]
    (tmp_path / "play.yml").write_text(yaml.safe_dump([play]))
    said = run_playbook(f"--inventory={tmp_path / 'hosts.yml'}", tmp_path / "play.yml")
    assert "nova1 was not reached, and has no 2.0-new" in said, said
    assert "failed=1" in said


def test_a_hosts_own_files_and_packages_are_compared_too(run: Run) -> None:
    """Though no part of Nova that runs there has changed: site.yml brings them."""
    survey = RUNNING | {"drained": [], "missing_folders": [], "packages": ["python3-apt"]}
    given = {"base_changed_files": [], "rollout_release": "1.0-old", "rollout_configure_roles": []}
    said = run(
        "compare", options=("-v",), base_survey=survey | {"files": {}, "workers": []}, **given
    )
    assert "exit 0" in said, said[-1500:]
    for path in ("/usr/local/sbin/nova-host", "/etc/tmpfiles.d/nova.conf", "/etc/logrotate.d/nova"):
        assert f"- {path}" in said
    missing = said.split("base_missing_packages: ")[1].split(" changed: ")[0]
    assert set(missing.split()) == {"-", "logrotate", "procps"}
    assert "rollout_is_due: true" in said


def test_secrets_that_a_host_should_not_have_are_files_that_differ(run: Run) -> None:
    """Those of a part that was taken from it; a file of somebody else's beside them is not."""
    survey = RUNNING | {"drained": [], "missing_folders": [], "packages": [], "workers": []}
    given = {"base_changed_files": [], "rollout_release": "1.0-old", "rollout_configure_roles": []}
    absent = {"rollout_absent_files": ["/etc/nova/credentials/flower.conf"]}
    files: dict[str, Any] = {
        "/etc/nova/credentials/flower.conf": {},
        "/etc/nova/credentials/mine": {},
    }
    said = run("compare", options=("-v",), base_survey=survey | {"files": files}, **given, **absent)
    assert "- /etc/nova/credentials/flower.conf" in said.split("base_changed_files")[-1]
    assert "- /etc/nova/credentials/mine" not in said


def test_a_round_waits_for_what_runs_or_should_and_for_nothing_else(tmp_path: Path) -> None:
    """A unit that hung at its last stop stays failed, and is wanted no more."""
    units = {
        "nova-api.service": ("active", True),
        "flower.service": ("failed", False),
        "celery-beat.service": ("inactive", True),
        "celery-worker@failed.service": ("failed", True),
        "celery-worker@mine.service": ("active", False),
        "celery-worker@drained.service": ("inactive", True),
    }
    survey = {
        "drained": ["celery-worker@drained.service"],
        "units": {name: {"state": s, "enabled": e} for name, (s, e) in units.items()},
    }
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": {"nova1": {}}}}))
    play = {
        "hosts": "all",
        "gather_facts": False,
        "vars_files": [str(ANSIBLE / "playbooks" / "vars" / "round.yml")],
        "tasks": [
            {"ansible.builtin.set_fact": {"base_survey": survey}},
            {"ansible.builtin.debug": {"msg": "units={{ rollout_units | join('+') }}."}},
        ],
    }
    (tmp_path / "play.yml").write_text(yaml.safe_dump([play]))
    said = run_playbook(f"--inventory={tmp_path / 'hosts.yml'}", tmp_path / "play.yml")
    found = said.partition("units=")[2].partition(" ")[0].rstrip(".").split("+")
    assert set(found) == {
        "nova-api.service",
        "celery-worker@failed.service",
        "celery-worker@mine.service",
        "celery-worker@drained.service",
    }


def test_nobody_is_told_to_call_a_release_good_that_failed(
    run: Run, asked: Callable[..., list[str]]
) -> None:
    asked("case $2 in note) echo 'Redis is full' >&2; exit 1;; esac")
    failure = {"rollout_failed_in": "roll", "rollout_failure": "the hook refused"}
    said = run("end", rollout_stewards=STEWARDS, rollout_token=7, **failure)
    assert "this could not be noted: Redis is full; the lock expires by itself" in said
    assert "nova release good" not in said


def test_the_workers_of_the_fleet_are_asked_for_but_for_those_that_were_stopped(
    run: Run, asked: Callable[..., list[str]]
) -> None:
    asked(LOCKS)
    states = {"trends": "active", "maintenance": "failed", "analytics": "inactive"}
    units = {
        f"celery-worker@{name}.service": {"enabled": True, "state": state}
        for name, state in states.items()
    }
    run("begin", hosts={"nova1": {}}, base_survey=RUNNING | {"units": units, "hostname": "one"})
    assert asked()[0] == "1.0-old: fleet check --worker=maintenance@one --worker=trends@one"


def test_what_is_no_roll_is_locked_and_noted(run: Run, asked: Callable[..., list[str]]) -> None:
    """scale-in.yml and redis-upgrade.yml; the hosts stand in the reason and in the audit."""
    asked(LOCKS)
    action = {"rollout_action": "scale-in", "rollout_result": "failed"}
    assert "exit 0" in run("claim", "note", base_survey=RUNNING, **action)
    lock, note, unlock = asked()
    assert "fleet lock --owner=me@here --reason=scale-in nova1 nova2 " in lock
    assert "--action=scale-in --result=failed --detail=nova1 nova2" in note
    assert unlock == "1.0-old: fleet unlock 8"


def test_hosts_that_were_lost_are_not_noted_as_done(
    run: Run, asked: Callable[..., list[str]], programs: Path
) -> None:
    """`resume.yml` goes on with those that are left; here `gate` is what finds one lost."""
    (programs / "nova-host").write_text("#!/bin/sh\n")
    (programs / "nova-host").chmod(0o755)
    hosts: dict[str, Any] = {"nova1": {}, "nova2": CUT_OFF}
    action: dict[str, Any] = {"rollout_action": "resume", "rollout_result": "ok"}
    action["rollout_units"] = ["celery-beat.service"]
    run("gate", "note", hosts=hosts, goes_on=False, base_survey=RUNNING, **action)
    [note] = asked()
    assert "--action=resume --result=ok --detail=nova1" in note
    assert "nova2" not in note


def test_passwords_that_a_lock_keeps_speak_of_no_lock_that_their_run_had_before(
    tmp_path: Path, programs: Path, asked: Callable[..., list[str]]
) -> None:
    """By the play of rotate-passwords.yml: site.yml has had a lock, and has freed it."""
    asked("case $2 in lock) echo 'ann holds the lock' >&2; exit 1;; esac")
    file = ANSIBLE / "playbooks" / "rotate-passwords.yml"
    play = yaml.safe_load(file.read_text())[-1] | {
        "become": False,
        "environment": {"PATH": f"{programs}:{os.environ['PATH']}"},
    }
    facts = {"base_survey": RUNNING, "rollout_token": 7}
    play["tasks"].insert(0, {"ansible.builtin.set_fact": facts})
    inventory = {"nova": {"children": {"redis": {"hosts": {"nova1": HERE}}}}}
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump(inventory))
    (tmp_path / "play.yml").write_text(yaml.safe_dump([play]))
    said = run_playbook(f"--inventory={tmp_path / 'hosts.yml'}", tmp_path / "play.yml")
    assert "nothing was changed: ann holds the lock" in said
    assert "the lock is still held" not in said
    assert [line.split()[2] for line in asked()] == ["lock", "note"]


@pytest.mark.parametrize("end", ["note", "end"], ids=["what is no roll", "a roll"])
def test_a_lock_that_could_not_be_freed_is_said(
    run: Run, asked: Callable[..., list[str]], end: str
) -> None:
    asked(f"case $2 in unlock) echo 'Redis is away' >&2; exit 1;; *) {LOCKS};; esac")
    action = {"rollout_action": "scale-in", "rollout_result": "failed"}
    said = run("claim", end, base_survey=RUNNING, **action)
    assert "another run needs -e take_over=true: Redis is away" in said


def test_a_scale_in_that_was_overtaken_leaves_the_lock_and_says_so(
    run: Run, asked: Callable[..., list[str]]
) -> None:
    asked()
    lost = {"rollout_lock_is_lost": True, "rollout_token": 8}
    run("note", base_survey=RUNNING, rollout_action="scale-in", rollout_result="failed", **lost)
    [note] = asked()
    assert "--action=scale-in --result=interrupted" in note


def test_what_another_holds_the_lock_for_comes_first(
    run: Run, asked: Callable[..., list[str]]
) -> None:
    asked("echo 'ann holds the lock' >&2; exit 1")
    said = run("claim", base_survey=RUNNING, rollout_action="scale-in")
    assert "exit 0" not in said
    assert "nothing was changed: ann holds the lock" in said
