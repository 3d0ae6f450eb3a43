# SPDX-License-Identifier: GPL-3.0-or-later
"""The look by which gar_auth sees that nothing is to be done: it finds each drift, however many the users."""

from __future__ import annotations

import hashlib
import json
import os
import pwd
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from unit.roles.rendering import IDENTITIES, ROLE, ROOT, machine, template, variables

ROLE_NAME = "devbox.artifact_registry.gar_auth"
LOOK = (ROLE / "files/look.py").read_text(encoding="utf-8")
OURS = (os.getuid(), os.getgid())
ADMIN = list(pwd.getpwnam("root")[5:])
UNITS = ["gar-auth-fetch@default.timer", "gar-auth-write@dev.path"]
SERVICES = ["gar-auth-fetch@default.service", "gar-auth-write@dev.service"]

# A small installation, and a systemctl that prints what was written into states/.
AS_DECLARED = """\
mkdir opt opt/lib etc bin wants run states
printf 'Id=gar-auth-fetch@default.timer\\nNeedDaemonReload=no\\n' > shown
chmod 0755 opt opt/lib
ln -s opt linked
printf text > opt/program
chmod 0755 opt/program
printf text > etc/config.json
chmod 0644 etc/config.json
ln -s /opt/gar-auth/bin/gar-auth bin/gar-auth
touch opt/.complete opt/lib/one.py
ln -s nowhere wants/gar-auth-fetch@default.timer
cat > bin/systemctl << 'end'
#!/bin/sh
[ "$1" != show ] || exec cat "${0%/*}/../shown"
shift
for unit; do cat "${0%/*}/../states/$unit"; done
end
chmod 0755 bin/systemctl
for unit in gar-auth-fetch@default.timer gar-auth-write@dev.path; do echo active > "states/$unit"; done
for unit in gar-auth-fetch@default.service gar-auth-write@dev.service; do echo inactive > "states/$unit"; done
"""


def expected() -> dict[str, Any]:
    """What the role would send for that installation, with a path of each kind."""
    text = hashlib.sha256(b"text").hexdigest()
    return {
        "files": {"opt/program": f"0755 {text}", "etc/config.json": f"0644 {text}"},
        "directories": {"opt": "0755", "opt/lib": "0755", "linked": "0755"},
        "links": {"bin/gar-auth": "/opt/gar-auth/bin/gar-auth"},
        "present": ["opt/.complete", "wants/gar-auth-fetch@default.timer"],
        "absent": ["etc/retiring.json"],
        "only": {"opt/lib/*.py": ["opt/lib/one.py"], "run/*": []},
        "units": UNITS,
        "services": SERVICES,
        "accounts": {"root": ADMIN},
    }


def look(place: Path, wanted: dict[str, Any], *, owner: tuple[int, int] = OURS) -> list[str]:
    """Run the file as the role does, for an owner that need not be root."""
    text = LOOK.replace("OWNER = (0, 0)", f"OWNER = {owner}")
    assert text != LOOK or owner == (0, 0)
    done = subprocess.run(
        [sys.executable, "-I", "-c", text],
        cwd=place,
        env={**os.environ, "PATH": f"{place / 'bin'}:{os.environ['PATH']}"},
        input=json.dumps(wanted),
        capture_output=True,
        text=True,
        check=True,
    )
    return list(json.loads(done.stdout))


@pytest.fixture
def place(tmp_path: Path) -> Path:
    subprocess.run(["sh", "-euc", AS_DECLARED], cwd=tmp_path, check=True)
    return tmp_path


def test_nothing_differs_where_all_is_as_declared(place: Path) -> None:
    assert look(place, expected()) == []


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        ("printf other > opt/program", ["opt/program"]),
        ("chmod 0775 opt/program", ["opt/program"]),
        ("chmod 0600 etc/config.json", ["etc/config.json"]),
        ("rm etc/config.json", ["etc/config.json"]),
        ("mv etc/config.json etc/moved; ln -s moved etc/config.json", ["etc/config.json"]),
        ("rm etc/config.json; mkdir etc/config.json", ["etc/config.json"]),
        ("chmod 0777 opt/lib", ["opt/lib"]),
        ("chmod 01755 opt/lib", ["opt/lib"]),
        ("chmod 0700 opt", ["opt", "linked"]),
        ("rm linked", ["linked"]),
        ("rm linked; touch linked", ["linked"]),
        ("rm bin/gar-auth", ["bin/gar-auth"]),
        ("ln -sf /elsewhere bin/gar-auth", ["bin/gar-auth"]),
        ("rm bin/gar-auth; touch bin/gar-auth", ["bin/gar-auth"]),
        ("rm opt/.complete", ["opt/.complete"]),
        ("rm wants/gar-auth-fetch@default.timer", ["wants/gar-auth-fetch@default.timer"]),
        ("touch etc/retiring.json", ["etc/retiring.json"]),
        ("ln -s nowhere etc/retiring.json", ["etc/retiring.json"]),
        ("touch opt/lib/of_an_earlier_release.py", ["opt/lib/of_an_earlier_release.py"]),
        ("mkdir run/gone run/also-gone", ["run/also-gone", "run/gone"]),
        ("echo failed > states/gar-auth-write@dev.path", ["gar-auth-write@dev.path"]),
        ("echo inactive > states/gar-auth-fetch@default.timer", ["gar-auth-fetch@default.timer"]),
        ("echo failed > states/gar-auth-write@dev.service", ["gar-auth-write@dev.service"]),
        (": > states/gar-auth-write@dev.service", UNITS),
        (
            "printf 'Id=a\\nNeedDaemonReload=no\\n\\nId=b\\nNeedDaemonReload=yes\\n' > shown",
            ["b"],
        ),
        ("chmod 0777 opt/lib; rm bin/gar-auth", ["opt/lib", "bin/gar-auth"]),
    ],
)
def test_each_drift_is_found(place: Path, damage: str, found: list[str]) -> None:
    subprocess.run(["sh", "-euc", damage], cwd=place, check=True)
    assert look(place, expected()) == found


@pytest.mark.parametrize("owner", [(OURS[0] + 1, OURS[1]), (OURS[0], OURS[1] + 1)])
def test_what_belongs_to_another_user_or_group_is_found(place: Path, owner: tuple[int, int]) -> None:
    wanted = expected()
    assert look(place, wanted, owner=owner) == [*wanted["files"], *wanted["directories"]]


def test_an_account_that_is_gone_or_another_one_is_found(place: Path) -> None:
    for name, wanted in (
        ("no-such-user", ADMIN),
        ("root", [ADMIN[0], "/bin/other"]),
        ("root", ["/", ADMIN[1]]),
    ):
        assert look(place, {**expected(), "accounts": {"root": ADMIN, name: wanted}}) == [name]


def run(place: Path, **homes: str) -> list[str]:
    """Let Ansible run look.yml here, for users with these homes: nothing is installed, so all differs."""
    known = variables(__gar_auth_machine=machine(**homes), __gar_auth_users=list(homes))
    resolved = [f"__gar_auth_{name}" for name in ("users", "identities", "repositories", "machine")]
    own = {name: known[name] for name in resolved} | {
        "gar_auth_service_manager": "systemd",
        "ansible_python_interpreter": sys.executable,
        "gar_auth_python": sys.executable,
        "gar_auth_prefix": f"{place}/opt",
        "gar_auth_etc_dir": f"{place}/etc",
        "gar_auth_profile_dir": f"{place}/profile.d",
        "__gar_auth_unit_dir": f"{place}/units",
    }
    tasks = [
        {"include_role": {"name": ROLE_NAME, "tasks_from": "look.yml", "public": True}},
        {
            "copy": {"content": "{{ item.content }}", "dest": f"{place}/{{{{ item.dest }}}}", "mode": "0644"},
            "loop": [
                {"content": "{{ __gar_auth_differs.stdout }}", "dest": "differs.json"},
                {"content": "{{ __gar_auth_expected }}", "dest": "expected.json"},
            ],
            "loop_control": {"label": "{{ item.dest }}"},
            "vars": {"role_path": str(ROLE)},
        },
    ]
    play = {"hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": tasks}
    (place / "templates").symlink_to(ROLE / "templates")
    (place / "play.json").write_text(json.dumps([play]))
    (place / "variables.json").write_text(json.dumps(own))
    ansible_playbook = Path(sys.executable).parent / "ansible-playbook"
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    done = subprocess.run(
        [ansible_playbook, "play.json", "-i", "localhost,", "-e", "@variables.json"],
        cwd=place,
        env={
            **kept,
            "ANSIBLE_HOME": str(place / "home"),
            "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".ansible" / "collections"),
            "ANSIBLE_CONFIG": str(ROOT / ".config" / "ansible.cfg"),
            "ANSIBLE_NOCOLOR": "1",
            "LC_ALL": "C.UTF-8",
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return list(json.loads((place / "differs.json").read_text()))


def test_the_role_looks_for_a_thousand_users(tmp_path: Path) -> None:
    differs = run(tmp_path, **{f"user{number}": f"/home/user{number}" for number in range(1000)})
    assert len(json.dumps(differs)) > 128 * 1024, "more than an argument may have on Linux"
    wants = f"{tmp_path}/units/paths.target.wants/gar-auth-write@user"
    assert {f"{wants}{number}.path" for number in range(1000)} <= set(differs)


def test_the_role_looks_at_each_directory_that_it_makes(tmp_path: Path) -> None:
    differs = set(run(tmp_path, dev="/srv/homes/dev"))
    made = {"opt", "opt/bin", "opt/lib", "opt/lib/gar_auth", "opt/lib/gar_auth_keyring", "etc", "profile.d"}
    made |= {f"units/gar-auth-{kind}@dev.service.d" for kind in ("write", "user")}
    made |= {
        f"units/gar-auth-fetch@{name}.{kind}.d"
        for name, identity in IDENTITIES.items()
        if not identity.get("per_user")
        for kind in ("service", "timer")
    }
    assert {f"{tmp_path}/{path}" for path in made} <= differs


def test_it_expects_of_each_file_what_ansible_writes(tmp_path: Path) -> None:
    run(tmp_path, dev="/srv/homes/dev")
    files = json.loads((tmp_path / "expected.json").read_text())["files"]
    homes = {"__gar_auth_machine": machine(dev="/srv/homes/dev"), "__gar_auth_users": ["dev"]}
    places = {
        "gar_auth_prefix": f"{tmp_path}/opt",
        "gar_auth_etc_dir": f"{tmp_path}/etc",
        "gar_auth_profile_dir": f"{tmp_path}/profile.d",
    }
    written = {
        f"{tmp_path}/etc/config.json": ("config.json", "dev"),
        f"{tmp_path}/profile.d/gar-auth.sh": ("gar-auth.sh", "dev"),
    }
    for path in files:
        unit = path.removeprefix(f"{tmp_path}/units/")
        if path != unit:
            directory, _slash, drop_in = unit.rpartition("/")
            identity = directory.partition("@")[2].removesuffix(".d").removesuffix(".service")
            written[path] = (drop_in, unit if drop_in == "home.conf" else identity.removesuffix(".timer"))
    assert len(written) > 20
    wrong = [
        path
        for path, (name, item) in written.items()
        if files[path] != "0644 " + checksum(template(name, item=item, **homes, **places))
    ]
    assert wrong == []


def checksum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
