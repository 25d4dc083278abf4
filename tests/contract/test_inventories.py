"""What stands beside an inventory does not disturb it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("role", ["redis", "frontend"])
def test_keys_that_a_role_makes_are_not_read_as_an_inventory(role: str, tmp_path: Path) -> None:
    """In the folder that the role's defaults name, within that of the inventory."""
    inventory = tmp_path / "inventory"
    shutil.copytree(ROOT / "ansible/inventories/lab", inventory)
    defaults = yaml.safe_load((ROOT / f"ansible/roles/{role}/defaults/main.yml").read_text())
    folder = Path(defaults[f"{role}_tls_folder"].replace("{{ inventory_dir }}", str(inventory)))
    folder.mkdir()
    (folder / "ca.crt").write_text("-----BEGIN CERTIFICATE-----\n")
    done = subprocess.run(
        [str(Path(sys.executable).parent / "ansible-inventory"), "-i", str(inventory), "--list"],
        env=os.environ | {"ANSIBLE_CONFIG": str(ROOT / "ansible/ansible.cfg")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
