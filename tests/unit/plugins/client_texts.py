# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of python_clients share: repositories, and the clients' files as people write them."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st

from ansible_collections.devbox.artifact_registry.plugins.module_utils import _clients_ini as ini
from ansible_collections.devbox.artifact_registry.plugins.module_utils._clients_files import Wanted
from ansible_collections.devbox.artifact_registry.plugins.module_utils._validate import Repository

HOST = "europe-west1-python.pkg.dev"
PUBLISH = f"https://{HOST}/my-project/python/"
INDEX = f"https://oauth2accesstoken@{HOST}/my-project/python/simple/"
OTHER = f"https://oauth2accesstoken@{HOST}/my-project/other/simple/"
PRIVATE = Repository("private-repo", PUBLISH, f"{PUBLISH}simple/")
SECOND = Repository("other", f"https://{HOST}/my-project/other/", f"https://{HOST}/my-project/other/simple/")
BOTH = (PRIVATE, SECOND)
ELSEWHERE = Repository("elsewhere", "https://pypi.example.com/", None)


def edited(
    client: str,
    text: str,
    repositories: Sequence[Repository] = BOTH,
    *,
    present: bool = True,
    purge: bool = False,
) -> str:
    return Wanted(client, repositories, present=present, purge=purge).edited(text)


#: Client -> texts that it accepts and in which nothing of ours is.
TEXTS = {
    "pip": (
        "",
        "\n",
        "# only a comment\n",
        "[global]\n",
        "[global]",
        "[global]\ntimeout = 60\n",
        "[global]\ntimeout = 60",
        "[global]\r\ntimeout = 60\r\n\r\n[install]\r\nno-deps = yes\r\n",
        "[global]\nextra-index-url = https://mine.example/simple https://two.example/simple\n",
        "[global]\nextra-index-url =\n    https://mine.example/simple\n    # why\n\n    https://two.example/\n",
        "[global]\nextra_index_url: https://mine.example/simple\n\n; end\n",
        "[global]\nextra-index-url =\n",
        "[global]\nextra-index-url =   \n  # nothing yet\n",
        "[global]\nkeyring-provider = subprocess\n",
        "[global]\nkeyring-provider = disabled\nindex-url = https://dev:hunter2@mine.example/simple\n",
        "[global]\n  keyring-provider =   import\n\n  # indented\n  timeout=2\n  [install]\n no-deps=1",
        "[install]\nextra-index-url = https://mine.example/simple\n",
        "[DEFAULT]\ntimeout = 5\n[global]\n",
    ),
    "twine": (
        "",
        "# only a comment",
        "[distutils]\n",
        "[distutils]\nindex-servers =\n",
        "[distutils]\nindex-servers =\n    pypi\n    testpypi\n",
        "[distutils]\nindex-servers = pypi a\n\n[a]\nrepository: https://a.example/\npassword: hunter2\n",
        "[distutils]\r\nindex-servers =\r\n\tpypi\r\n\r\n[pypi]\r\nusername = dev\r\npassword = hunter2",
        "[pypi]\nusername = __token__\npassword = hunter2\n\n\n# end\n",
        f"[private-repo]\nrepository: {PUBLISH}\n",
        f"[distutils]\nindex-servers =\n    private-repo\n\n[private-repo]\nrepository: {PUBLISH[:-1]}\n",
    ),
    "uv": (
        "",
        "\n",
        "# only a comment",
        "# head\n\n[pip]\nno-deps = true\n",
        'keyring-provider = "subprocess"\n',
        'keyring-provider = "disabled" # why\noffline = false\n',
        'keyring-provider = """\\\n  disabled"""\n[pip]\n',
        "index = []\n",
        "index = [\n  # nothing yet\n]\n",
        'index = [{ name = "mine", url = "https://dev:hunter2@mine.example/simple" }]',
        'index = [\n  { name = "mine", url = "https://mine.example/simple" }, # why ]\n]\n',
        '[[index]]\nname = "mine"\nurl = "https://mine.example/simple"\ndefault = true\n\n# end\n',
        'offline = false\r\n\r\n[[ "index" ]]\r\nurl = "https://mine.example/simple"\r\n\r\n[pip]\r\n',
        "offline = false",
    ),
}

_INI_LINES = (
    "",
    "",
    "   ",
    "# comment",
    "    ; deeper comment",
    "[global]",
    "  [global]",
    "[install]",
    "[distutils]",
    "[mine]",
    "[DEFAULT]",
    "timeout = 60",
    "    timeout = 5",
    "extra-index-url = https://mine.example/simple",
    "extra_index_url=",
    "  extra-index-url : https://a.example/ https://b.example/",
    "    https://more.example/simple",
    "\thttps://tab.example/",
    "keyring-provider = subprocess",
    "Keyring_Provider : import",
    "  keyring-provider =",
    "      disabled",
    "index-servers =",
    "index-servers = pypi",
    "    testpypi",
    "  mine",
    "repository = https://mine.example/",
    "password = hunter2 # no comment",
    "username:dev",
    "x =\u00a0y \u2028 z",
    "%(x)s = [no header",
)


@st.composite
def ini_texts(draw: st.DrawFn) -> str:
    """A text that configparser accepts."""
    lines: list[str] = []
    for line in draw(st.lists(st.sampled_from(_INI_LINES), max_size=14)):
        try:
            ini.values("\n".join([*lines, line]))
        except ini.IniProblem:
            continue
        lines.append(line)
    end = draw(st.sampled_from(["\n", "\n", "\n", "\r\n", "\r"]))
    text = end.join(lines) + draw(st.sampled_from(["", end]))
    return text if lines else ""


@st.composite
def uv_texts(draw: st.DrawFn) -> str:
    """A uv.toml in any layout."""
    loose = st.sampled_from(["", "", "# why\n", "\n", "\n# [[index]]\n\n", "  # a\n"])
    url = st.sampled_from(
        ["'https://mine.example/a'", '"https://mine.example/[]{}#"', '"""https://mine.example/\\"x"""']
    )

    def entry(number: int) -> list[str]:
        found = [f'name = "mine{number}"', f"url = {draw(url)}", "default = true", "explicit=false"]
        return found[draw(st.integers(0, 1)) : draw(st.integers(2, 4))]

    top = draw(
        st.lists(
            st.sampled_from(
                [
                    "offline = true # x\n",
                    "  no-cache=false\n",
                    "find-links = [\n  'a', # ]\n]\n",
                    'keyring-provider = "disabled"\n',
                    "'keyring-provider' = '''\nsubprocess''' # z\n",
                ]
            ),
            unique_by=lambda line: line.strip("' ")[:3],
        )
    )
    entries = [entry(number) for number in range(draw(st.integers(0, 3)))]
    blocks = []
    if draw(st.booleans()):
        between = draw(st.sampled_from([", ", ",", "  ,\n  # }, {\n  "]))
        inside = between.join(f"{{ {', '.join(one)} }}" for one in entries)
        comma = draw(st.sampled_from(["", ",", " ,\n"])) if entries else ""
        around = draw(st.sampled_from(["", " ", "\n", "\n  # ]\n"]))
        top.append(f"index = [{around}{inside}{comma}{around}]\n")
    else:
        blocks = [f"[[ index ]]{draw(loose) or chr(10)}" + "\n".join(one) + "\n" for one in entries]
    for table in ('[pip]\nkeyring-provider = "disabled"\n', "[config-settings]\nindex = ['x']\n"):
        if draw(st.booleans()):
            blocks.append(table)
    parts = [*draw(st.permutations(top)), *draw(st.permutations(blocks))]
    text = "".join(draw(loose) + part for part in parts) + draw(loose)
    if draw(st.integers(0, 3)) == 0:
        text = text.rstrip("\n")
    return text.replace("\n", "\r\n") if draw(st.integers(0, 4)) == 0 else text
