"""A person goes through docs/guide.md, types every command, and gets what it says.

The tests run in the guide's order, and each leaves the machine as the next one expects it: once
Quick Start is done, what `start_celery.sh start` starts is running.
"""

import ast
import json

import pytest

from nova.queues import QUEUES
from nova.settings import Settings
from tests.guide.machine import Terminal

section = pytest.mark.section
#: Before the script has provided the command.
NOVA = "python3 -m nova"
WORKERS = {f"celery-worker-{queue}" for queue in QUEUES}
#: What `start_celery.sh start` starts.
PROCESSES = WORKERS | {"celery-beat", "api", "flower"}


def names_before(words: str, output: str) -> set[str]:
    """Return the first words of the lines that have certain others."""
    return {line.split()[0] for line in output.splitlines() if words in line}


def is_said(output: str) -> bool:
    return bool(output.strip())


def has_workers(status: str) -> bool:
    return bool(json.loads(status)["workers"])


def online(terminal: Terminal) -> dict[str, list[str]]:
    """Return the workers that are online, by the part of their names before the @."""
    fleet = json.loads(terminal.run("nova status --json"))
    return {worker["name"].partition("@")[0]: worker["queues"] for worker in fleet["workers"]}


def python(terminal: Terminal, program: str) -> str:
    return terminal.run(f"python3 - <<'END'\n{program}\nEND")


def from_api(terminal: Terminal, command: str) -> dict[str, object]:
    answer: dict[str, object] = json.loads(terminal.run(command))
    return answer


@section("Environment Variables")
def test_the_variables_of_the_guide_are_settings(terminal: Terminal, commands: list[str]) -> None:
    for assignment in commands:
        terminal.export(assignment)
    names = {assignment.partition("=")[0] for assignment in commands}
    assert names <= {field.alias for field in Settings.model_fields.values()}


@section("1. Install Dependencies")
def test_requirements_can_be_installed(terminal: Terminal, commands: list[str]) -> None:
    [install] = commands
    terminal.run(install, online=True)
    assert "celery==5." in terminal.run("pip list --format=freeze")


def test_the_placeholder_of_the_guide_is_no_key(terminal: Terminal, secret: str) -> None:
    """It is public, so whoever reads the guide could make tokens; the script says what to do."""
    refusal = terminal.run("./scripts/start_celery.sh start", code=1)
    assert refusal.startswith("start_celery.sh: JWT_SECRET_KEY is a placeholder")
    assert len(refusal.splitlines()) == 1
    terminal.export(f"JWT_SECRET_KEY={secret}")


@section("3. Start Celery Services")
def test_services_start_by_the_script_or_by_hand(terminal: Terminal, commands: list[str]) -> None:
    start, worker, beat = commands
    terminal.run(worker)
    terminal.run(beat)
    status = terminal.wait_until(f"{NOVA} status --json", has_workers)
    [by_hand] = json.loads(status)["workers"]
    assert by_hand["name"].startswith("celery@")
    assert set(QUEUES) <= set(by_hand["queues"])
    leader = json.loads(terminal.wait_until("redis-cli GET nova:beat:leader", is_said))
    terminal.run(f"kill {by_hand['pid']} {leader['pid']}")
    terminal.wait_until(f"{NOVA} status --json", lambda output: not has_workers(output))
    assert names_before("ready after", terminal.run(start)) == PROCESSES


@section("4. Verify Operation")
def test_the_script_shows_how_things_are(terminal: Terminal, commands: list[str]) -> None:
    status, test, logs = commands
    shown = terminal.run(status)
    assert {name for name in PROCESSES if name in shown} == PROCESSES
    assert shown.count("running") >= len(PROCESSES)
    assert names_before("healthy in", terminal.run(test)) == set(QUEUES)
    shown = terminal.run(logs)
    assert all(f"==> logs/{name}.log <==" in shown for name in PROCESSES)


@section("Task Status")
def test_the_api_shows_the_fleet_and_a_task(terminal: Terminal, commands: list[str]) -> None:
    status, task = commands
    terminal.environment["ADMIN_TOKEN"] = terminal.run("nova token create --role admin").strip()
    fleet = json.dumps(from_api(terminal, status))
    assert all(f'"{queue}@' in fleet for queue in QUEUES)
    program = "from nova.celery_app import health_check; print(health_check.delay().id)"
    terminal.environment["TASK_ID"] = python(terminal, program).strip()
    done = terminal.wait_until(task, lambda output: json.loads(output)["state"] == "SUCCESS")
    assert json.loads(done)["result"]["status"] == "healthy"


@section("Manual Triggers")
def test_the_api_triggers_governance_and_cleanup(terminal: Terminal, commands: list[str]) -> None:
    terminal.run("nova ingest config/samples/channel_metrics.csv")
    for command in commands:
        accepted = from_api(terminal, command)
        terminal.environment["TASK_ID"] = str(accepted["task_id"])
        done = terminal.wait_until(
            'curl -H "Authorization: Bearer $ADMIN_TOKEN"'
            " http://localhost:8000/api/celery/task/$TASK_ID",
            lambda output: json.loads(output)["state"] in ("SUCCESS", "FAILURE"),
        )
        assert json.loads(done)["state"] == "SUCCESS", done
        assert terminal.run(f"nova report show {accepted['task_id']}")


@section("Worker Scaling")
def test_workers_take_the_queues_of_the_command_line(
    terminal: Terminal, commands: list[str]
) -> None:
    governance, maintenance, data, start = commands
    terminal.run("./scripts/start_celery.sh stop")
    workers = [terminal.start(command) for command in (governance, maintenance, data)]
    terminal.wait_until("nova status --json", lambda output: output.count('"started_at"') == 3)
    served = {name: set(queues) & set(QUEUES) for name, queues in online(terminal).items()}
    assert served == {
        "gov": {"governance"},
        "maint": {"maintenance"},
        "data": {"analytics", "trends"},  # the guide forgets `analysis`
    }
    assert [worker.stop()[0] for worker in workers] == [0, 0, 0]
    assert names_before("ready after", terminal.run(start)) == PROCESSES


@section("Monitoring with Flower")
def test_flower_starts_by_its_own_name(terminal: Terminal, commands: list[str]) -> None:
    install, flower, open_page = commands
    terminal.run(install, online=True)
    refusal = terminal.run(flower, code=1)
    assert "nova: the port that Flower is to listen on is taken" in refusal  # by the script's
    assert "Traceback" not in refusal
    terminal.run("kill $(head -n 1 .nova/processes/flower.pid)")
    terminal.wait_until(f"{open_page} || echo gone", lambda output: output == "gone\n")
    program = terminal.start(flower)
    terminal.wait_until(f"{open_page} || true", lambda page: "Flower</title>" in page)
    for queue in QUEUES:
        terminal.wait_until(open_page, lambda page, name=f"{queue}@": name in page)  # type: ignore[misc]
    program.stop()


def test_the_script_starts_what_is_gone_and_leaves_the_rest(terminal: Terminal) -> None:
    """Flower was killed: its pid file is stale."""
    assert "flower" in terminal.run("./scripts/start_celery.sh status", code=1).splitlines()[-1]
    started = terminal.run("./scripts/start_celery.sh start")
    assert names_before("its pid file", started) == {"flower"}
    assert names_before("ready after", started) == {"flower"}
    assert names_before("runs already", started) == PROCESSES - {"flower"}


@section("Health Checks")
def test_the_health_check_says_what_the_guide_says(terminal: Terminal, commands: list[str]) -> None:
    """And a little more: which worker, which release."""
    [program] = commands
    assert "{'status': 'healthy', 'worker': True}" in program
    answer = ast.literal_eval(python(terminal, program))
    assert {name: answer[name] for name in ("status", "worker")} == {
        "status": "healthy",
        "worker": True,
    }


@section("Log Files")
def test_logs_are_where_the_guide_says(terminal: Terminal, commands: list[str]) -> None:
    beat, workers, flower = (terminal.run(f"wc -c {path}") for path in commands)
    assert [line.split()[1] for line in workers.splitlines()[:-1]] == sorted(
        f"logs/{worker}.log" for worker in WORKERS
    )
    sizes = [line.split()[0] for line in (beat + workers + flower).splitlines()]
    assert "0" not in sizes


@section("Redis Connection Failed")
def test_redis_answers(terminal: Terminal, commands: list[str]) -> None:
    ping, from_python = commands
    assert terminal.run(ping) == "PONG\n"
    assert terminal.run(from_python) == "True\n"


@section("No Active Workers")
def test_workers_are_processes_and_restart(terminal: Terminal, commands: list[str]) -> None:
    ps, restart = commands
    processes = terminal.run(ps)
    assert all(f"--hostname={queue}@%h" in processes for queue in QUEUES)
    assert names_before("ready after", terminal.run(restart)) == PROCESSES


@section("Tasks Not Executing")
def test_every_worker_tells_its_tasks(terminal: Terminal, commands: list[str]) -> None:
    for command in commands:
        answer = terminal.run(command)
        assert all(f"{queue}@" in answer for queue in QUEUES)
        assert f"{len(QUEUES)} nodes online." in answer


@section("High Memory Usage")
def test_every_worker_tells_its_memory_and_its_limit(
    terminal: Terminal, commands: list[str]
) -> None:
    [stats] = commands
    answer = terminal.run(f"{stats} --json")
    workers = json.loads(answer.splitlines()[-1])
    assert len(workers) == len(QUEUES)
    for worker in workers.values():
        assert worker["rusage"]["maxrss"] > 0
        assert worker["pool"]["max-tasks-per-child"] == 100


AGREES = """
from types import SimpleNamespace
from celery.schedules import crontab
from nova.celery_app import app
celery_app = SimpleNamespace(conf=SimpleNamespace())
{block}
for name, value in {values}.items():
    real = app.conf[name]
    if isinstance(value, dict):
        real = {{key: {{k: real[key][k] for k in value[key]}} for key in value}}
    assert real == value, (name, real, value)
print("agrees")
"""


@section("After (Celery Beat)")
def test_the_schedule_is_that_of_the_guide(terminal: Terminal, commands: list[str]) -> None:
    [block] = commands
    program = AGREES.format(block=block, values="vars(celery_app.conf)")
    assert "agrees" in python(terminal, program)


@section("Concurrency Settings")
def test_the_settings_of_workers_are_those_of_the_guide(
    terminal: Terminal, commands: list[str]
) -> None:
    [block] = commands
    names = "('worker_max_tasks_per_child', 'task_acks_late')"
    program = AGREES.format(block=block, values=f"{{n: globals()[n] for n in {names}}}")
    assert "agrees" in python(terminal, program)


@section("Queue Optimization")
def test_tasks_go_to_the_queues_of_the_guide(terminal: Terminal, commands: list[str]) -> None:
    [block] = commands
    program = AGREES.format(block=block, values="{'task_routes': task_routes}")
    assert "agrees" in python(terminal, program)


def test_the_documentation_that_the_guide_links_to_is_there(terminal: Terminal) -> None:
    assert "<title>Nova" in terminal.run("open http://localhost:8000/docs")


@section("Rollback Plan")
def test_the_script_stops_everything(terminal: Terminal, commands: list[str]) -> None:
    [stop] = commands
    stopped = terminal.run(stop)
    assert {
        line.split()[0] for line in stopped.splitlines() if "stopped after" in line
    } == PROCESSES
    assert "nova.celery_app" not in terminal.run("ps ax -o command")
    assert "nothing runs" in terminal.run(stop)
