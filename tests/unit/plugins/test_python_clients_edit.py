# SPDX-License-Identifier: GPL-3.0-or-later
"""What python_clients makes of the files of pip, twine and uv, as tables of texts."""

from __future__ import annotations

from typing import Any

import pytest
from unit.plugins.client_texts import (
    BOTH,
    ELSEWHERE,
    HOST,
    INDEX,
    OTHER,
    PRIVATE,
    PUBLISH,
    SECOND,
    TEXTS,
    edited,
)

from ansible_collections.devbox.artifact_registry.plugins.module_utils._clients_files import Wanted
from ansible_collections.devbox.artifact_registry.plugins.module_utils._clients_urls import masked
from ansible_collections.devbox.artifact_registry.plugins.module_utils._home_file import FileProblem
from ansible_collections.devbox.artifact_registry.plugins.module_utils._validate import Repository

ADDED = "# added by devbox.artifact_registry\n"
REPLACED = "# replaced by devbox.artifact_registry: "
PIP = f"{ADDED}[global]\nkeyring-provider = subprocess\nextra-index-url =\n    {INDEX}\n"
TWINE_SECTION = f"[private-repo]\nrepository = {PUBLISH}\nusername = oauth2accesstoken\n"
TWINE = f"{ADDED}[distutils]\nindex-servers =\n    pypi\n    testpypi\n    private-repo\n\n{TWINE_SECTION}"
UV_TABLE = f'[[index]]\nname = "private-repo"\nurl = "{INDEX}"\nauthenticate = "always"\n'
UV_PROVIDER = f'{ADDED}keyring-provider = "subprocess"\n'
UV_ENTRY = f'{{name = "private-repo", url = "{INDEX}", authenticate = "always"}}'
MOVED = INDEX.replace("europe-west1", "us")
MINE = "https://mine.example/simple"


def refusal(client: str, text: str, **options: Any) -> str:
    with pytest.raises(FileProblem) as caught:
        edited(client, text, **options)
    return str(caught.value)


@pytest.mark.parametrize(
    ("client", "before", "after"),
    [
        pytest.param("pip", "", PIP, id="no pip.conf"),
        pytest.param("pip", "# mine\n", f"# mine\n\n{PIP}", id="a comment only"),
        pytest.param(
            "pip",
            "[global]\ntimeout = 60\n\n[install]\nno-deps = yes\n",
            f"[global]\ntimeout = 60\n{ADDED}keyring-provider = subprocess\nextra-index-url =\n    {INDEX}\n"
            "\n[install]\nno-deps = yes\n",
            id="a section",
        ),
        pytest.param(
            "pip",
            f"[global]\nkeyring-provider = subprocess\nextra-index-url = {MINE}",
            f"[global]\nkeyring-provider = subprocess\nextra-index-url = {MINE}\n    {INDEX}",
            id="an index, and no line break at the end",
        ),
        pytest.param(
            "pip",
            f"[global]\nExtra_Index_URL:\n\t{MINE}\n\nkeyring_provider = import\n",
            f"[global]\nExtra_Index_URL:\n\t{MINE}\n\t{INDEX}\n\n{REPLACED}keyring_provider = import\n"
            "keyring_provider = subprocess\n",
            id="pip's other spelling",
        ),
        pytest.param(
            "pip", PIP.replace("simple/", "simple"), PIP.replace("simple/", "simple"), id="no slash"
        ),
        pytest.param("twine", "", TWINE, id="no .pypirc"),
        pytest.param(
            "twine",
            "[distutils]\nindex-servers = pypi\n\n[pypi]\npassword = hunter2\n",
            "[distutils]\nindex-servers = pypi\n    private-repo\n\n[pypi]\npassword = hunter2\n\n"
            f"{TWINE_SECTION}",
            id="servers",
        ),
        pytest.param(
            "twine",
            TWINE.replace(PUBLISH, "https://us-python.pkg.dev/my-project/python/"),
            TWINE,
            id="a server that moved",
        ),
        pytest.param("uv", "", f"{UV_PROVIDER}\n{UV_TABLE}", id="no uv.toml"),
        pytest.param(
            "uv",
            '# head\n\n# pip\'s\n[pip]\nno-deps = true\n[[index]]\nurl = "https://mine.example/"\n# end\n',
            f"# head\n\n{UV_PROVIDER}# pip's\n[pip]\nno-deps = true\n[[index]]\n"
            f'url = "https://mine.example/"\n# end\n\n{UV_TABLE}',
            id="tables",
        ),
        pytest.param(
            "uv",
            'keyring-provider = "disabled" # why\nindex = [{ url = "https://mine.example/" }, ]\n',
            f'{REPLACED}keyring-provider = "disabled" # why\nkeyring-provider = "subprocess"\n'
            f'index = [{{ url = "https://mine.example/" }}, {UV_ENTRY}, ]\n',
            id="an inline list",
        ),
        pytest.param(
            "uv", f"{UV_PROVIDER}index = []", f"{UV_PROVIDER}index = [{UV_ENTRY}]", id="an empty list"
        ),
        pytest.param(
            "uv",
            f"{UV_PROVIDER}\n{UV_TABLE}explicit = true\n".replace(INDEX, MOVED),
            f"{UV_PROVIDER}\n{UV_TABLE}explicit = true\n",
            id="an index that moved",
        ),
        pytest.param(
            "uv",
            f"{UV_PROVIDER}index = [{UV_ENTRY}]\n".replace(INDEX, MOVED),
            f"{UV_PROVIDER}index = [{UV_ENTRY}]\n",
            id="an inline index that moved",
        ),
    ],
)
def test_a_repository_is_put_in(client: str, before: str, after: str) -> None:
    assert edited(client, before, [PRIVATE]) == after
    assert edited(client, after, [PRIVATE]) == after


@pytest.mark.parametrize("client", TEXTS)
def test_what_was_put_in_is_taken_out_to_the_same_bytes(client: str) -> None:
    for text in TEXTS[client]:
        after = edited(client, text)
        assert after != text
        assert edited(client, after, present=False) == text
        one = edited(client, after, [PRIVATE], present=False)
        assert edited(client, one, [SECOND], present=False) == text
        assert edited(client, after, [], present=False, purge=True) == text


@pytest.mark.parametrize(
    ("client", "before", "after"),
    [
        pytest.param("pip", PIP.removeprefix(ADDED), "[global]\nkeyring-provider = subprocess\n", id="pip"),
        pytest.param(
            "twine",
            TWINE.removeprefix(ADDED),
            "[distutils]\nindex-servers =\n    pypi\n    testpypi\n",
            id="twine",
        ),
        pytest.param(
            "uv",
            f"{UV_PROVIDER}\n{UV_TABLE}".removeprefix(ADDED),
            'keyring-provider = "subprocess"\n',
            id="uv",
        ),
        pytest.param(
            "pip",
            f"[global]\nextra-index-url = {INDEX} {MINE}  {OTHER}\n",
            f"[global]\nextra-index-url = {MINE}  {OTHER}\n",
            id="several on one line",
        ),
        pytest.param("pip", f"[global]\nextra-index-url = {INDEX}\nx = 1\n", "[global]\nx = 1\n", id="last"),
        pytest.param(
            "pip",
            PIP.replace("[global]\n", "[global]\ntimeout = 5\n"),
            "[global]\ntimeout = 5\n",
            id="user's own in our section",
        ),
        pytest.param(
            "pip",
            f"{PIP}    {OTHER}\n",
            PIP.replace(INDEX, OTHER),
            id="the provider stays for another index of ours",
        ),
        pytest.param(
            "twine",
            f"{TWINE}ca_cert = /etc/ca.pem\n",
            "\n[private-repo]\nca_cert = /etc/ca.pem\n",
            id="user's own in a server of ours",
        ),
        pytest.param(
            "uv",
            f"{UV_PROVIDER}\n{UV_TABLE}default = true\n\n[pip]\n",
            "\n[pip]\n",
            id="user's own in an index",
        ),
        pytest.param(
            "uv", f"index = [\n  {UV_ENTRY},\n]\n", "index = [\n  \n]\n", id="the only inline index"
        ),
    ],
)
def test_a_repository_is_taken_out_also_where_the_users_changed_the_file(
    client: str, before: str, after: str
) -> None:
    assert edited(client, before, [PRIVATE], present=False) == after
    assert edited(client, after, [PRIVATE], present=False) == after


@pytest.mark.parametrize(
    ("client", "text"),
    [
        ("pip", f"[global]\nextra-index-url = https://dev@{HOST}/my-project/python/simple/\n"),
        ("pip", f"[global]\nextra-index-url = https://oauth2accesstoken:t@{HOST}/my-project/old/simple/\n"),
        ("pip", f"[install]\nextra-index-url = {INDEX}\n"),
        ("twine", f"[private-repo]\nrepository = {PUBLISH}\nusername = oauth2accesstoken\npassword = x\n"),
        ("twine", "[private-repo]\nrepository = https://mine.example/\nusername = oauth2accesstoken\n"),
        ("uv", '[[index]]\nname = "private-repo"\nurl = "https://mine.example/"\n'),
        ("uv", f'[[index]]\nname = "mine"\nurl = "https://dev:x@{HOST}/my-project/old/simple/"\n'),
    ],
)
def test_what_is_not_ours_stays_when_ours_is_taken_out(client: str, text: str) -> None:
    assert edited(client, text, present=False) == text
    assert edited(client, text, [], present=False, purge=True) == text


@pytest.mark.parametrize("client", ["pip", "twine", "uv"])
def test_purge_takes_out_what_is_not_listed(client: str) -> None:
    assert edited(client, edited(client, "", BOTH), [PRIVATE], purge=True) == edited(client, "", [PRIVATE])
    renamed = Repository("renamed", SECOND.publish_url, SECOND.index_url)
    only = edited(client, "", [renamed])
    assert edited(client, edited(client, "", [SECOND]), [renamed], purge=True) == only


def test_another_host_is_for_twine_only() -> None:
    assert edited("pip", "", [ELSEWHERE]) == edited("uv", "", [ELSEWHERE]) == ""
    assert "repository = https://pypi.example.com/\n" in edited("twine", "", [ELSEWHERE])
    assert edited("twine", edited("twine", "", [ELSEWHERE]), [ELSEWHERE], present=False) == ""


@pytest.mark.parametrize(
    ("client", "text", "message"),
    [
        ("pip", "hunter2\n", "line 1 comes before the first [section]"),
        ("pip", "[global]\na = 1\nhunter2\n", "line 3 is neither a [section] nor an option = value"),
        ("pip", "[a]\n[a]\n", "line 2 repeats a section or an option"),
        ("pip", "[a]\nx = 1\nX: hunter2\n", "line 3 repeats a section or an option"),
        ("pip", "[DEFAULT]\ntimeout = 5\n", "there is a [DEFAULT] and no [global]; rename it to [global]"),
        (
            "pip",
            "[DEFAULT]\nextra_index_url = x\n[global]\n",
            "[DEFAULT] has extra-index-url; move it to [global]",
        ),
        (
            "twine",
            "[DEFAULT]\npassword = hunter2\n",
            "[DEFAULT] has password; move it to the sections that need it",
        ),
        (
            "twine",
            f"[private-repo]\nrepository = {PUBLISH}\npassword = hunter2\n",
            "[private-repo] has a password, which twine would send instead of a token; CURE",
        ),
        (
            "twine",
            f"[private-repo]\nrepository = {PUBLISH}\nusername = dev\n",
            "[private-repo] has another username than oauth2accesstoken; CURE",
        ),
        (
            "twine",
            "[private-repo]\nrepository = https://mine.example/\n",
            "[private-repo] is another repository; CURE",
        ),
        (
            "uv",
            '[[index]]\nname = "private-repo"\nurl = "https://mine.example/"\n',
            "the index private-repo is there already with another URL; ELSE",
        ),
        ("uv", "index = 1\n", "index is no list of tables, which uv needs; repair it"),
        ("uv", "a = hunter2\n", "invalid TOML: Invalid value (at line 1, column 5)"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_without_quoting_it(
    client: str, text: str, message: str
) -> None:
    cure = "remove the section [private-repo], or name the repository otherwise"
    message = message.replace("CURE", cure).replace("ELSE", "remove it, or name the repository otherwise")
    assert refusal(client, text) == message


@pytest.mark.parametrize("name", ["distutils", "server-login", "testpypi"])
def test_names_that_mean_something_else_to_twine_are_refused(name: str) -> None:
    repositories = [Repository(name, PUBLISH, None)]
    assert refusal("twine", "", repositories=repositories) == (
        f"[{name}] means something else to twine; name the repository otherwise"
    )
    text = "[distutils]\nindex-servers = testpypi\n[testpypi]\nusername = dev\n"
    assert edited("twine", text, repositories, present=False) == text


@pytest.mark.parametrize(
    ("client", "text", "warnings"),
    [
        ("pip", PIP, []),
        (
            "pip",
            f"{PIP}[install]\nextra_index_url = {MINE}\nkeyring-provider = disabled\n",
            [
                "[install] has extra-index-url, which pip install takes instead of that of [global]",
                "[install] has keyring-provider, which pip install takes instead of that of [global]",
            ],
        ),
        ("pip", f"{PIP}[download]\nkeyring-provider = subprocess\n", []),
        (
            "twine",
            f"[server-login]\npassword = hunter2\n{TWINE}",
            ["[server-login] has a password, which twine sends to every repository; move it to [pypi]"],
        ),
        ("twine", TWINE, []),
        (
            "uv",
            f'{UV_PROVIDER}{UV_TABLE}[pip]\nkeyring-provider = "disabled"\n',
            ["[pip] has keyring-provider, which uv pip takes instead of that at the top"],
        ),
        ("uv", f"{UV_PROVIDER}{UV_TABLE}[pip]\nno-deps = true\n", []),
    ],
)
def test_what_keeps_the_client_from_using_it_is_told(client: str, text: str, warnings: list[str]) -> None:
    assert Wanted(client, [PRIVATE], present=True).warnings(text) == warnings
    assert Wanted(client, [PRIVATE], present=False).warnings(text) == []


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (TWINE, TWINE),
        (PIP, PIP),
        (UV_TABLE, UV_TABLE),
        ("password = hunter2\nx = 1", "password = ***\nx = 1"),
        (
            "  Password:hunter2\n\n    hunter2 = x\n  # hunter2\n  x = 1",
            "  Password: ***\n\n    ***\n  ***\n  x = 1",
        ),
        ("[a]\rx: y\rpassword: hunter2\r", "[a]\nx: y\npassword: ***\n"),
        ("#password: hunter2\n# hunter2\n\n# why", "#password: ***\n***\n\n# why"),
        (f"a = https://hunter2@{HOST}/ https://x/", f"a = https://***@{HOST}/ https://x/"),
        (f'url = "https://oauth2accesstoken:hunter2@{HOST}/"', f'url = "https://***@{HOST}/"'),
        (f"    https://dev:hun@ter2@{HOST}/", f"    https://***@{HOST}/"),
    ],
)
def test_a_diff_has_no_secret(text: str, shown: str) -> None:
    assert masked(text) == shown
