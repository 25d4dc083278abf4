"""Roles agree with their documentation, with the application, and with the units."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from jinja2 import Environment

from nova.operations.commands import LOCK_LOST_EXIT_CODE
from nova.queues import QUEUES
from nova.settings import PLACEHOLDER_WORDS, Settings
from scripts.local.redis_server import KEEPING

ROOT = Path(__file__).resolve().parents[2]
ANSIBLE = ROOT / "ansible"
UNITS = ROOT / "deployment" / "systemd"
ROLES = sorted(path.name for path in (ANSIBLE / "roles").iterdir())
INVENTORIES = sorted(path.name for path in (ANSIBLE / "inventories").iterdir())

#: Settings that an operator gives in another place than settings_environment.
GIVEN_ELSEWHERE = {
    "NOVA_API_HOST": "the socket unit, and api_address",
    "NOVA_API_PORT": "the socket unit, and api_port",
    "NOVA_API_TLS_CERT_FILE": "a drop-in of the API's unit, and api_tls_certificate",
    "NOVA_API_TLS_KEY_FILE": "a drop-in of the API's unit, and api_tls_key",
    "NOVA_LOG_DIR": "the units",
    "NOVA_REDIS_USERNAME": "the template of nova.env",
    "NOVA_SCHEDULER": "settings_scheduler",
    "NOVA_WORKER_METRICS_PORT": "the template of a worker's file",
    "NOTIFY_SOCKET": "systemd",
    "LISTEN_FDS": "systemd",
    "LISTEN_PID": "systemd",
    "WATCHDOG_USEC": "systemd",
}


def load(path: Path) -> Any:
    """Read a YAML file."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def options(role: str) -> dict[str, dict[str, Any]]:
    """The inputs of a role, as its argument_specs say."""
    specs = load(ANSIBLE / "roles" / role / "meta" / "argument_specs.yml")["argument_specs"]
    found: dict[str, dict[str, Any]] = specs["main"].get("options", {})
    return found


def defaults_text(role: str) -> str:
    """The defaults file of a role."""
    path = ANSIBLE / "roles" / role / "defaults" / "main.yml"
    return path.read_text(encoding="utf-8")


@pytest.mark.parametrize("role", ROLES)
def test_defaults_are_the_specified_ones(role: str) -> None:
    """Optional inputs have their default in defaults/, required ones stand there as a comment."""
    defaults = yaml.safe_load(defaults_text(role)) or {}
    specified = options(role)
    assert set(defaults) == {name for name, spec in specified.items() if not spec.get("required")}
    for name, spec in specified.items():
        if spec.get("required"):
            assert re.search(rf"^# {name}:", defaults_text(role), re.MULTILINE), name
        elif "{{" not in str(defaults[name]):
            assert defaults[name] == spec["default"], name


@pytest.mark.parametrize("part", ["api", "flower"])
def test_a_host_that_loses_a_part_loses_its_files(part: str) -> None:
    """All that the role writes, secrets too."""
    text = (ANSIBLE / "roles" / part / "vars" / "main.yml").read_text()
    lost = load(ANSIBLE / "playbooks" / "vars" / "roll.yml")[f"roll_{part}_files"]
    assert set(lost) == set(re.findall(r"(?<!\w)/etc/\w[\w./-]*", text))


def test_hosts_need_the_python_that_nova_needs() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    oldest = load(ANSIBLE / "roles" / "base" / "vars" / "main.yml")["__base_oldest_python"]
    assert project["requires-python"] == f">={oldest}"


def test_a_local_redis_keeps_what_those_of_the_fleet_keep() -> None:
    """Else tests and benchmarks would tell of another Redis."""
    role = load(ANSIBLE / "roles/redis/vars/main.yml")["__redis_base_options"]
    role["appendfsync"] = options("redis")["redis_appendfsync"]["default"]
    assert role.items() >= KEEPING.items()


@pytest.mark.parametrize("role", ROLES)
def test_inputs_carry_the_name_of_the_role(role: str) -> None:
    """A variable's name says which role it is for."""
    assert all(name.startswith(f"{role}_") for name in options(role))


@pytest.mark.parametrize("role", ROLES)
def test_readme_lists_every_input(role: str) -> None:
    """The table in a role's README has exactly the inputs, and what each means."""
    readme = (ANSIBLE / "roles" / role / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| .* \| (.*) \|$", readme, re.MULTILINE)
    assert dict(rows) == {name: spec["description"] for name, spec in options(role).items()}


@pytest.mark.parametrize("role", ROLES)
def test_roles_name_no_inventory_group(role: str) -> None:
    """What a role needs to know about other hosts is an input; groups are the playbook's matter."""
    for path in (ANSIBLE / "roles" / role).rglob("*.yml"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"\bgroups\[|\bgroups\.|group_names", text), path


@pytest.mark.parametrize("role", ROLES)
def test_only_builtin_modules_are_used(role: str) -> None:
    """The roles need no collection."""
    for path in (ANSIBLE / "roles" / role).rglob("*.yml"):
        modules = re.findall(
            r"^ +((?:ansible|community)\.\w+)\.\w+:", path.read_text(encoding="utf-8"), re.MULTILINE
        )
        assert set(modules) <= {"ansible.builtin"}, path


def apt_tasks(role: str) -> list[dict[str, Any]]:
    """The tasks of a role that call apt's module, those in blocks too."""
    files = (ANSIBLE / "roles" / role / "tasks").glob("*.yml")
    left = [task for path in files for task in load(path) or []]
    found = []
    while left:
        task = left.pop()
        left += [inner for part in ("block", "rescue", "always") for inner in task.get(part, [])]
        found += [task] if "ansible.builtin.apt" in task else []
    return found


@pytest.mark.parametrize("role", ROLES)
def test_no_mirror_is_asked_for_what_a_host_has(role: str) -> None:
    """A host that is as it should be is converged although its mirror is down."""
    for task in apt_tasks(role):
        installs = "name" in task["ansible.builtin.apt"]
        known = "base_survey.packages|redis_found.missing" if installs else ""
        assert "when" in task, task["name"]
        assert re.search(known, str(task["when"])), task["name"]


def test_hosts_are_asked_with_the_ca_file_that_they_get() -> None:
    """The role writes it and names it in the settings; a roll asks by it before that."""
    role = ANSIBLE / "roles" / "settings"
    path = load(role / "vars" / "main.yml")["__settings_ca_file"]["path"]
    settings = (role / "templates" / "etc/nova/nova.env.j2").read_text()
    assert f"NOVA_REDIS_CA_FILE='{path}'" in settings
    roll = load(ANSIBLE / "playbooks" / "vars" / "roll.yml")
    assert f"'{path}'" in roll["roll_redis_settings"]["NOVA_REDIS_CA_FILE"]


@pytest.mark.parametrize("role", ROLES)
def test_every_file_of_tasks_is_used(role: str) -> None:
    """By another one of the role, or with `tasks_from` by whoever includes the role."""
    folder = ANSIBLE / "roles" / role / "tasks"
    own = "".join(path.read_text(encoding="utf-8") for path in folder.glob("*.yml"))
    everything = "".join(path.read_text(encoding="utf-8") for path in ANSIBLE.rglob("*.yml"))
    for name in sorted({path.stem for path in folder.glob("*.yml")} - {"main"}):
        includes = rf"name: {role}\n +tasks_from: {name}$"
        if role == "rollout":  # round.yml includes one that its importer chooses
            includes += rf"|rollout_action: {name}$"
        assert f"_tasks: {name}.yml\n" in own or re.search(includes, everything, re.MULTILINE), name


def test_an_uninstall_removes_all_files_of_redis() -> None:
    """What files there are depends on the host; what is removed does not."""
    variables = load(ANSIBLE / "roles" / "redis" / "vars" / "main.yml")
    written = re.findall(r"'path': '([^']+)'", variables["__redis_files"])
    folder = re.findall(r'FOLDER = Path\("(.+)"\)', redis_host_text())
    assert len(written) >= 6
    assert sorted(written + folder) == sorted(variables["__redis_paths"])


def redis_host_text() -> str:
    """The program that sets up Redis on a host."""
    path = ANSIBLE / "roles" / "redis" / "files" / "redis_host.py"
    return path.read_text(encoding="utf-8")


def test_operators_may_set_every_setting_that_is_for_them() -> None:
    """The role knows each non-secret setting of nova/settings.py, and no other."""
    settings = {
        field.alias for field in Settings.model_fields.values() if "Secret" not in str(field)
    }
    known = load(ANSIBLE / "roles" / "settings" / "vars" / "main.yml")["__settings_names"]
    assert set(known) == settings - set(GIVEN_ELSEWHERE)
    assert known == sorted(known)


def test_the_environment_file_holds_only_settings() -> None:
    """What the template of nova.env writes is read by nova/settings.py."""
    template = ANSIBLE / "roles" / "settings" / "templates" / "etc" / "nova" / "nova.env.j2"
    text = Environment(autoescape=False, trim_blocks=True).from_string(  # noqa: S701 - no HTML
        template.read_text(encoding="utf-8").replace("| dictsort", ".items()")
    )
    rendered = text.render(
        settings_environment={"REDIS_URL": "redis://localhost:6379/0"}, settings_scheduler="celery"
    )
    names = {line.partition("=")[0] for line in rendered.splitlines() if not line.startswith("#")}
    assert "REDIS_URL" in names
    assert names <= {field.alias for field in Settings.model_fields.values()}


def test_a_roll_knows_a_lost_lock_by_its_exit_code() -> None:
    """The role, `nova fleet renew` and `nova-host` mean the same by it."""
    code = load(ANSIBLE / "roles" / "rollout" / "vars" / "main.yml")["__rollout_lock_lost"]
    program = (ANSIBLE / "roles" / "base" / "files" / "nova_host.py").read_text(encoding="utf-8")
    assert code == LOCK_LOST_EXIT_CODE
    assert f"\nLOCK_LOST_EXIT_CODE = {code}\n" in program


def test_who_does_it_is_found_out_in_one_way() -> None:
    """The lock, the audit of a roll and that of a restore name the same person."""
    said = {
        load(ANSIBLE / "roles" / role / "defaults" / "main.yml")[f"{role}_by"]
        for role in ("rollout", "backup")
    }
    assert len(said) == 1


def test_sample_secrets_are_known_to_the_role() -> None:
    """The role refuses the same sample words as the application, only earlier."""
    words = load(ANSIBLE / "roles" / "api" / "vars" / "main.yml")["__api_placeholder_words"]
    assert set(words) == set(PLACEHOLDER_WORDS)


def test_the_workers_read_the_queue_table() -> None:
    """The role takes the queues from nova/queues.yml and repeats none of their names."""
    role = ANSIBLE / "roles" / "worker"
    table = load(role / "defaults" / "main.yml")["worker_queue_table"]
    assert "nova/queues.yml" in table
    tasks = "".join(path.read_text(encoding="utf-8") for path in (role / "tasks").glob("*.yml"))
    assert not [name for name in QUEUES if name in tasks]


def test_the_worker_file_uses_options_of_celery() -> None:
    """The variables of a worker's file are those that Celery's `worker` command reads."""
    from celery.bin.worker import worker as command

    template = ANSIBLE / "roles" / "worker" / "templates/etc/nova/workers/worker.env.j2"
    names = re.findall(r"^CELERY_WORKER_(\w+)=", template.read_text(encoding="utf-8"), re.MULTILINE)
    assert names
    assert {name.lower() for name in names} <= {parameter.name for parameter in command.params}


def test_the_api_role_knows_the_address_in_the_unit() -> None:
    """The role writes a drop-in only for another address than the socket unit has."""
    listen = load(ANSIBLE / "roles" / "api" / "vars" / "main.yml")["__api_unit_listen"]
    assert f"\nListenStream={listen}\n" in (UNITS / "nova-api.socket").read_text(encoding="utf-8")


@pytest.mark.parametrize("inventory", INVENTORIES)
def test_group_variables_belong_to_a_role(inventory: str) -> None:
    """group_vars/<group>/<role>.yml sets inputs of that role and nothing else."""
    for path in (ANSIBLE / "inventories" / inventory / "group_vars").glob("*/*.yml"):
        if path.name != "vault.yml":
            assert set(load(path)) <= set(options(path.stem)), path


def test_the_example_secrets_are_refused() -> None:
    """Every value of the example vault has the word that the roles' preflights look for."""
    vault = load(ANSIBLE / "inventories" / "production" / "group_vars" / "nova" / "vault.yml")
    assert vault
    assert all("example" in value for value in vault.values())
