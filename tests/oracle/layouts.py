# SPDX-License-Identifier: GPL-3.0-or-later
"""Files as people write them by hand, each in its own way, all with the same meaning."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["LAYOUTS", "THEIRS", "THEIR_LOGIN", "Layout"]

#: What `poetry config --list` shows of each config.toml, and the login in each auth.toml.
THEIRS = {
    "repositories.theirs.url": "https://example.com/theirs/",
    "virtualenvs.create": False,
    "virtualenvs.options.no-pip": True,
    "virtualenvs.prompt": "# [repositories.ours]\n",
}
THEIR_LOGIN = {"username": "me", "password": "it's [theirs]"}


@dataclass(frozen=True)
class Layout:
    """One way to write both files."""

    name: str
    config: str
    auth: str
    #: Whether both are the same text again, but for line breaks at the end, once ours is removed.
    comes_back: bool = True


LAYOUTS = [
    Layout(
        "comments everywhere",
        config="""\
# My settings. [virtualenvs]

# about repositories
[repositories]  # of others
# about theirs
[repositories.theirs]
url = "https://example.com/theirs/" # why

[virtualenvs]
# never
create = false # really
prompt = "# [repositories.ours]\\n"
# about options

[virtualenvs.options]
no-pip = true
# the end
""",
        auth="""\
# secret!
[http-basic.theirs] # mine
username = "me"
# keep
password = "it's [theirs]" # old
# the end
""",
    ),
    Layout(
        "inline tables",
        config="""\
repositories = { theirs = { url = "https://example.com/theirs/" } } # theirs
virtualenvs = {create = false, prompt = "# [repositories.ours]\\n", options = {no-pip = true}}
""",
        auth="""http-basic = { theirs = { username = "me", password = "it's [theirs]" } }\n""",
    ),
    Layout(
        "inline tables in tables",
        config="""\
[repositories]
theirs = { url = "https://example.com/theirs/" }
[virtualenvs]
create = false
prompt = "# [repositories.ours]\\n"
options = { no-pip = true }
""",
        auth="""[http-basic]\ntheirs = {username = "me", password = "it's [theirs]"}""",
    ),
    Layout(
        "dotted keys",
        config="""\
repositories.theirs.url = "https://example.com/theirs/"

virtualenvs.create = false
virtualenvs.options.no-pip = true
virtualenvs.prompt = "# [repositories.ours]\\n"
""",
        auth="""http-basic.theirs.username = "me"\nhttp-basic.theirs.password = "it's [theirs]"\n""",
    ),
    Layout(
        "dotted keys in tables",
        config="""\
[repositories]
theirs.url = 'https://example.com/theirs/'

[virtualenvs]
options.no-pip = true
create = false
prompt = "# [repositories.ours]\\n"
""",
        auth="""[http-basic]\ntheirs.username = "me"\ntheirs.password = "it's [theirs]"\n""",
    ),
    Layout(
        "subtables first, and apart",
        config="""\
[virtualenvs.options]
no-pip = true

[repositories.theirs]
url = "https://example.com/theirs/"

[virtualenvs]
create = false
prompt = "# [repositories.ours]\\n"
""",
        auth="""\
[http-basic.theirs]
password = "it's [theirs]"
username = "me"
""",
    ),
    Layout(
        "strings over several lines, no line break at the end",
        config="""\
[virtualenvs]
create = false
options.no-pip = true
prompt = '''# [repositories.ours]
'''
[repositories.theirs]
url = \"""\\
    https://example.com/\\
    theirs/\"""\
""",
        auth="""[http-basic.theirs]\nusername = 'me'\npassword = '''it's [theirs]'''""",
    ),
    Layout(
        "quoted keys and odd spaces",
        config="""\
  [ "virtualenvs" ]
\tcreate=false
\t'prompt'   =   "# [repositories.ours]\\n"
\t"options" . 'no-pip' = true


  [ repositories . "theirs" ]
\turl = "https://example.com/theirs/"


""",
        auth="""\n\n['http-basic'."theirs"]\n  username="me"\n  password="it's [theirs]"\n\n""",
    ),
    Layout(
        "line breaks of another system",
        config="""\
# mine\r
[virtualenvs]\r
create = false\r
prompt = "# [repositories.ours]\\n"\r
options.no-pip = true\r
\r
[repositories.theirs]\r
url = "https://example.com/theirs/"\r
""",
        auth="""[http-basic.theirs]\r\nusername = "me"\r\npassword = "it's [theirs]"\r\n""",
    ),
    Layout(
        "the tables that Poetry left empty",
        config="""\
[repositories]
[repositories.theirs]
url = "https://example.com/theirs/"

[repositories.ours]

[virtualenvs]
create = false
prompt = "# [repositories.ours]\\n"

[virtualenvs.options]
no-pip = true

[installer]
""",
        auth="""\
[http-basic]
[http-basic.theirs]
username = "me"
password = "it's [theirs]"

[pypi-token]

[certificates.ours]
""",
        comes_back=False,
    ),
]
