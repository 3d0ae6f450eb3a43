# SPDX-License-Identifier: GPL-3.0-or-later
"""The one validator of users, repositories and identities, for the modules and (as filters) for the roles.

Pure: it looks at what was declared, not at the machine, and reports all problems at once.
"""

from __future__ import annotations

import difflib
import re
import typing as t
from dataclasses import asdict, dataclass
from urllib.parse import urlsplit

__all__ = [
    "Credential",
    "InvalidInput",
    "Problem",
    "Repository",
    "parse_credentials",
    "parse_identities",
    "parse_repositories",
    "parse_users",
    "redact",
]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_LOCATION = re.compile(r"[a-z]+(-[a-z]+)*[0-9]*")
# https://cloud.google.com/resource-manager/docs/creating-managing-projects, and the older domain-scoped form
_PROJECT = re.compile(r"([a-z][a-z0-9.-]*:)?[a-z][a-z0-9-]{4,28}[a-z0-9]")
_REPOSITORY = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
_HOST = re.compile(r"[a-z0-9-]+-python\.pkg\.dev")
_FORMAT_HOST = re.compile(r"([a-z0-9-]+)-([a-z]+)\.pkg\.dev")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@-]{0,254}")

# What Poetry replaces in any value by its own settings (Config.process in its sources)
_PLACEHOLDER = re.compile(
    r"\{(cache-dir|data-dir|system-git-client|"
    r"(virtualenvs|installer|solver|keyring|requests|python|repositories|certificates|http-basic)[^}]*)\}"
)

_REPOSITORY_KEYS = {"name", "project", "location", "repository", "url", "ca_cert", "client_cert", "identity"}
_REPOSITORY_EXAMPLE = "{name: private-repo, project: my-project, location: europe-west1, repository: python}"
_NAME_RULE = (
    "a string of letters, digits, '-', '_' and '.', at most 64 characters, starting with a letter or digit"
)
_URL_RULE = "https://LOCATION-python.pkg.dev/PROJECT/REPOSITORY/"
_URL_EXAMPLE = "url: https://europe-west1-python.pkg.dev/my-project/python/"

#: What each type of identity takes -> whether it needs it (not where per_user is true).
_IDENTITY_TYPES: dict[str, dict[str, bool]] = {
    "metadata": {"account": False},
    "service_account_key": {"file": True},
    "external_account": {"file": True, "subject_token_file": False},
    "gcloud": {"account": True, "per_user": False},
    "adc": {"file": True, "per_user": False},
    "token_file": {"file": True},
}
#: What they all take.
_IDENTITY_OPTIONS = {"impersonate_service_account": False, "lifetime": False, "type": True}
_IDENTITY_EXAMPLES = {
    "metadata": "{default: {type: metadata}}",
    "service_account_key": "{default: {type: service_account_key, file: /etc/devbox/key.json}}",
    "external_account": "{default: {type: external_account, file: /etc/devbox/federation.json}}",
    "gcloud": "{default: {type: gcloud, per_user: true}}, or account: dev@example.com instead of per_user",
    "adc": "{default: {type: adc, per_user: true}}, or file: /etc/devbox/adc.json instead of per_user",
    "token_file": "{default: {type: token_file, file: /run/agent/token}}",
}
_ACCOUNT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+@-]{0,254}")
# https://cloud.google.com/iam/docs/service-account-types
_SERVICE_ACCOUNT = re.compile(
    r"[a-z0-9][a-z0-9.-]{0,62}@([a-z0-9.-]+\.iam|developer|appspot)\.gserviceaccount\.com"
)
_LIFETIMES = range(600, 43201)


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: where, what was found (redacted), what is allowed, a valid example."""

    path: str
    found: str
    allowed: str
    example: str = ""

    def __str__(self) -> str:
        text = f"{self.path}: found {self.found}\n  allowed: {self.allowed}"
        return f"{text}\n  example: {self.example}" if self.example else text


class InvalidInput(Exception):
    """All problems of what was declared, as one text."""

    def __init__(self, problems: t.Sequence[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)


@dataclass(frozen=True)
class Repository:
    """One Python repository; in Artifact Registry both URLs end with a slash.

    C(index_url) is None for another host, whose rules are unknown.
    """

    name: str
    publish_url: str
    index_url: str | None
    identity: str = "default"
    ca_cert: str | None = None
    client_cert: str | None = None

    def as_dict(self) -> dict[str, str | None]:
        return asdict(self)


@dataclass(frozen=True)
class Credential:
    """What Poetry sends for a repository: a user name and password, or (only to publish) a token."""

    name: str
    username: str | None = None
    password: str | None = None
    token: str | None = None

    def __repr__(self) -> str:
        return f"Credential(name={self.name!r})"


def parse_repositories(
    declared: object,
    *,
    variable: str = "artifact_registry_repositories",
    allow_other_hosts: bool = False,
    allow_empty: bool = False,
) -> list[Repository]:
    """Check declared repositories and derive both URLs of each.

    :param declared: list of mappings with C(name) and either C(project), C(location) and C(repository)
        (default: the name) or C(url); optionally C(ca_cert) (path on the machine) and C(identity).
    :param variable: name of the variable, for the messages.
    :raises InvalidInput: with every problem found.
    """
    problems: list[Problem] = []
    if not isinstance(declared, list) or not (declared or allow_empty):
        raise InvalidInput(
            [Problem(variable, _show(declared), "a list with one or more repositories", _REPOSITORY_EXAMPLE)]
        )
    repositories = [
        repository
        for number, item in enumerate(declared)
        if (repository := _parse_one(item, f"{variable}[{number}]", problems, allow_other_hosts)) is not None
    ]
    seen: dict[str, Repository] = {}
    for repository in repositories:
        key = _variable(repository.name)
        if key in seen:
            problems.append(
                Problem(
                    variable,
                    f"the names {_show(seen[key].name)} and {_show(repository.name)}",
                    "names that differ in more than case and '-' or '_':"
                    " Poetry's environment variables cannot tell them apart",
                    "name: private-repo-2",
                )
            )
        seen[key] = repository
    if problems:
        raise InvalidInput(problems)
    return repositories


def _parse_one(
    item: object, path: str, problems: list[Problem], allow_other_hosts: bool
) -> Repository | None:
    if not isinstance(item, dict):
        problems.append(Problem(path, _show(item), "a mapping", _REPOSITORY_EXAMPLE))
        return None
    before = len(problems)
    given = {str(key): value for key, value in item.items() if value is not None}
    for key in sorted(set(given) - _REPOSITORY_KEYS):
        problems.append(
            Problem(
                f"{path}.{_plain(key)}",
                "an unknown option",
                ", ".join(sorted(_REPOSITORY_KEYS)),
                _REPOSITORY_EXAMPLE,
            )
        )
    name = _string(given.get("name"), f"{path}.name", _NAME, _NAME_RULE, "name: private-repo", problems)
    if name.lower() == "pypi":
        problems.append(
            Problem(
                f"{path}.name", _show(name), "any other name: Poetry reserves this one", "name: private-repo"
            )
        )
    for key in ("ca_cert", "client_cert"):
        if key in given and not (isinstance(given[key], str) and given[key].startswith("/")):
            problems.append(
                Problem(
                    f"{path}.{key}",
                    _show(given[key]),
                    "an absolute path on the machine",
                    "/etc/ssl/certs/proxy.pem",
                )
            )
    identity = _string(
        given.get("identity", "default"), f"{path}.identity", _NAME, _NAME_RULE, "identity: default", problems
    )
    if "url" in given:
        extra = sorted(set(given) & {"project", "location", "repository"})
        if extra:
            problems.append(
                Problem(
                    path,
                    f"url together with {', '.join(extra)}",
                    "either url, or project, location and repository",
                    _URL_EXAMPLE,
                )
            )
        publish_url = _url(given["url"], f"{path}.url", problems, allow_other_hosts)
    else:
        location = _string(
            given.get("location"),
            f"{path}.location",
            _LOCATION,
            "a location of Artifact Registry",
            "location: europe-west1",
            problems,
        )
        project = _string(
            given.get("project"),
            f"{path}.project",
            _PROJECT,
            "a project ID: 6 to 30 lower case letters, digits and '-'",
            "project: my-project",
            problems,
        )
        repository = _string(
            given.get("repository", name or "x"),
            f"{path}.repository",
            _REPOSITORY,
            "a repository ID: lower case letters, digits and '-', at most 63 characters",
            "repository: python",
            problems,
        )
        publish_url = f"https://{location}-python.pkg.dev/{project}/{repository}/"
    if len(problems) > before:
        return None
    return Repository(
        name=name,
        publish_url=publish_url,
        index_url=f"{publish_url}simple/" if _is_artifact_registry(publish_url) else None,
        identity=identity,
        ca_cert=given.get("ca_cert"),
        client_cert=given.get("client_cert"),
    )


def _string(
    value: object, path: str, pattern: re.Pattern[str], rule: str, example: str, problems: list[Problem]
) -> str:
    if isinstance(value, str) and pattern.fullmatch(value):
        return str(value)
    quote = (
        "" if value is None or isinstance(value, (str, list, dict)) else " (YAML changed its type: quote it)"
    )
    problems.append(Problem(path, "nothing" if value is None else _show(value) + quote, rule, example))
    return ""


def _url(value: object, path: str, problems: list[Problem], allow_other_hosts: bool) -> str:
    """Check a publish URL and return it with a slash at its end."""
    rule, example = _URL_RULE, _URL_EXAMPLE
    if isinstance(value, str) and "@" in value:
        rule = f"{rule} without a user or password"
        problems.append(Problem(path, _show_url(value), rule, example))
        return ""
    try:
        if not isinstance(value, str) or not value.isascii() or not value.isprintable() or " " in value:
            raise ValueError("not a plain string")
        url = urlsplit(value)
        host, port = url.hostname or "", url.port
    except ValueError:
        problems.append(Problem(path, _show_url(value), rule, example))
        return ""
    found = _show_url(value)
    if url.scheme != "https" or not host or url.query or url.fragment or "?" in value or "#" in value:
        rule = f"{rule}: https, no query, no fragment"
    elif allow_other_hosts and not _HOST.fullmatch(host) and not {".", ".."} & set(url.path.split("/")):
        slash = "/" if re.fullmatch(r"/[^/]+/[^/]+", url.path) else ""
        return f"https://{url.netloc.lower().rstrip(':')}{url.path}{slash}"
    elif re.fullmatch(r"/[^/]+/[^/]+/simple/?", url.path):
        corrected = value[: value.rindex("/simple")] + "/"
        found, rule, example = (
            f"the index URL {found}",
            "the publish URL; the index URL is derived from it",
            f"url: {corrected}",
        )
    elif not re.fullmatch(r"/[A-Za-z0-9._:-]+/[A-Za-z0-9._-]+/?", url.path) or {".", ".."} & set(
        url.path.split("/")
    ):
        pass
    elif _HOST.fullmatch(host) and port is None:
        return f"https://{url.netloc.lower().rstrip(':')}{url.path.rstrip('/')}/"
    elif (other := _FORMAT_HOST.fullmatch(host)) and port is None:
        corrected = f"https://{other[1]}-python.pkg.dev{url.path.rstrip('/')}/"
        found, rule, example = (
            f"a repository of the format {other[2]}: {found}",
            _URL_RULE,
            f"url: {corrected}",
        )
    else:
        rule = f"{_URL_RULE}; other hosts only with allow_other_hosts: true"
    problems.append(Problem(path, found, rule, example))
    return ""


def _is_artifact_registry(url: str) -> bool:
    return bool(_HOST.fullmatch(urlsplit(url).netloc))


def parse_credentials(
    declared: object,
    *,
    variable: str = "credentials",
    names_only: bool = False,
    repositories: t.Collection[str] = (),
) -> list[Credential]:
    """Check declared credentials; no message holds a password or token.

    :param declared: list of mappings with C(name) and either C(username) and C(password) or C(token).
    :param names_only: for a removal: nothing but the name is needed.
    :param repositories: names of Artifact Registry's repositories, which take no C(token).
    :raises InvalidInput: with every problem found.
    """
    example = '{name: private-repo, username: dev, password: "{{ vaulted }}"}'
    if not isinstance(declared, list):
        raise InvalidInput([Problem(variable, _show(declared), "a list of credentials", example)])
    problems: list[Problem] = []
    found: list[Credential] = []
    for number, item in enumerate(declared):
        path = f"{variable}[{number}]"
        if not isinstance(item, dict):
            problems.append(Problem(path, "no mapping", "a mapping", example))
            continue
        given = {str(key): value for key, value in item.items() if value is not None}
        name = _string(given.get("name"), f"{path}.name", _NAME, _NAME_RULE, "name: private-repo", problems)
        kinds = given.keys() - {"name"}
        for key in sorted(kinds - {"username", "password", "token"}):
            problems.append(
                Problem(
                    f"{path}.{_plain(key)}", "an unknown option", "name, password, token, username", example
                )
            )
        if not names_only and kinds & {"username", "password", "token"} not in (
            {"username", "password"},
            {"token"},
        ):
            problems.append(
                Problem(
                    path,
                    ", ".join(sorted(kinds)) or "neither password nor token",
                    "either username and password, or token",
                    example,
                )
            )
        for key in sorted(kinds & {"username", "password", "token"}):
            if rule := _unusable_secret(given[key], key):
                problems.append(Problem(f"{path}.{key}", *rule))
        if "token" in kinds and name in repositories:
            problems.append(
                Problem(
                    f"{path}.token",
                    f"a token for the repository {_show(name)}",
                    "username and password: Poetry would send the token as pypi.org wants it",
                    example,
                )
            )
        others = [other.name for other in found if other.name] + [
            other for other in repositories if other != name
        ]
        for other in others:
            if name and _variable(name) == _variable(other):
                problems.append(
                    Problem(
                        f"{path}.name",
                        f"{_show(name)} beside {_show(other)}",
                        "each name once, and names that differ in more than case and '-' or '_'",
                        example,
                    )
                )
        found.append(Credential(name, given.get("username"), given.get("password"), given.get("token")))
    if problems:
        raise InvalidInput(problems)
    return found


def _variable(name: str) -> str:
    """What Poetry's environment variables make of a name: the same for names that it cannot tell apart."""
    return name.upper().replace("-", "_")


def _unusable_secret(value: object, key: str) -> tuple[str, str] | None:
    """What is wrong with a user name, password or token, and what is allowed; never the value itself."""
    if not isinstance(value, str):
        return "no string (YAML changed its type: quote it)", "a string"
    if not value:
        return "an empty string", f"a {key} that is not empty; without one leave the whole entry out"
    if "{{" in value or "{%" in value:
        return "a template that was not filled in", "the value itself"
    if any(ord(character) < 32 or ord(character) == 127 for character in value):
        # https://www.rfc-editor.org/rfc/rfc7617#section-2
        return "a control character, such as a line break at its end", "printable characters"
    if key == "username" and ":" in value:
        return "a colon", "a user name without one (RFC 7617)"
    try:
        value.encode("latin-1")
    except UnicodeEncodeError:
        return "a character beyond Latin-1", "characters that Poetry can send (Latin-1)"
    if _PLACEHOLDER.search(value):
        return "a setting's name in braces", "a value without: Poetry would fill the setting in"
    return None


def parse_users(
    declared: object,
    *,
    variable: str = "artifact_registry_users",
    allow_root: bool = False,
    allow_empty: bool = False,
) -> list[str]:
    """Check the names of users; whether they exist is for the machine to say.

    :raises InvalidInput: with every problem found.
    """
    if not isinstance(declared, list) or not (declared or allow_empty):
        raise InvalidInput(
            [Problem(variable, _show(declared), "a list with one or more names of users", "[dev]")]
        )
    problems: list[Problem] = []
    users: list[str] = []
    for number, user in enumerate(declared):
        path = f"{variable}[{number}]"
        name = _string(
            user, path, _USER, "the name of a user: letters, digits, '_', '-', '.', '@'", "dev", problems
        )
        if name in (".", ".."):
            problems.append(Problem(path, _show(name), "the name of a user", "dev"))
        elif name == "root" and not allow_root:
            problems.append(
                Problem(
                    path,
                    "'root'",
                    "ordinary users; root only with allow_root: true (container images)",
                    "dev",
                )
            )
        elif name and name in users:
            problems.append(Problem(path, f"{_show(name)} a second time", "each user once", "[dev, ops]"))
        users.append(name)
    if problems:
        raise InvalidInput(problems)
    return users


def parse_identities(
    declared: object,
    *,
    variable: str = "artifact_registry_identities",
    used: t.Collection[str] = ("default",),
) -> dict[str, dict[str, t.Any]]:
    """Check the identities and that each one that a repository names is there; no file is looked at.

    :param declared: mapping of a name to C(type) and the options of that type.
    :param used: names of identities that repositories use.
    :returns: for each the options that are set; C(account) of C(metadata) always, C(per_user) only if true.
    :raises InvalidInput: with every problem found.
    """
    example = _IDENTITY_EXAMPLES["metadata"]
    if not isinstance(declared, dict) or not declared:
        raise InvalidInput([Problem(variable, _show(declared), "a mapping of names to identities", example)])
    problems: list[Problem] = []
    identities: dict[str, dict[str, t.Any]] = {}
    for key, value in declared.items():
        path = f"{variable}.{_plain(key)}"
        name = _string(key, path, _NAME, _NAME_RULE, example, problems)
        if isinstance(value, dict):
            given = {str(option): item for option, item in value.items() if item is not None}
            identities[name] = _parse_identity(given, path, problems)
        else:
            problems.append(Problem(path, _show(value), "a mapping with the type of the identity", example))
    for name in sorted(set(used) - set(map(str, declared))):
        problems.append(
            Problem(
                variable, f"no identity {_show(name)}, which a repository uses", "one entry for each", example
            )
        )
    if problems:
        raise InvalidInput(problems)
    return identities


def _parse_identity(given: dict[str, t.Any], path: str, problems: list[Problem]) -> dict[str, t.Any]:
    kind = given.get("type")
    if not isinstance(kind, str) or kind not in _IDENTITY_TYPES:
        near = difflib.get_close_matches(str(kind), _IDENTITY_TYPES, n=1)
        problems.append(
            Problem(
                f"{path}.type",
                "nothing" if kind is None else _show(kind),
                f"one of {', '.join(sorted(_IDENTITY_TYPES))}",
                _IDENTITY_EXAMPLES[near[0] if near else "metadata"],
            )
        )
        return {}
    options, example = {**_IDENTITY_TYPES[kind], **_IDENTITY_OPTIONS}, _IDENTITY_EXAMPLES[kind]
    per_user = given.get("per_user") is True and "per_user" in options
    problems += _foreign_options(given, kind, path)
    if per_user and "file" in given and "file" in options:
        problems.append(
            Problem(path, "file together with per_user", "either file, or per_user: true", example)
        )
    for option, required in options.items():
        if option in given:
            if rule := _unusable_option(option, given[option], kind):
                problems.append(Problem(f"{path}.{option}", *rule))
        elif required and not per_user:
            allowed = f"{_OPTION_RULES[option]}; the type {kind} needs it"
            problems.append(Problem(f"{path}.{option}", "nothing", allowed, example))
    if "lifetime" in given and "impersonate_service_account" not in given:
        problems.append(
            Problem(
                f"{path}.lifetime",
                "a lifetime without impersonate_service_account",
                "both or none: other sources choose the lifetime themselves",
                "{impersonate_service_account: robot@my-project.iam.gserviceaccount.com, lifetime: 3600}",
            )
        )
    if kind == "metadata":
        given = {"account": "default", **given}
    return {option: value for option, value in given.items() if option != "per_user" or value is True}


def _foreign_options(given: t.Iterable[str], kind: str, path: str) -> t.Iterator[Problem]:
    """What another type takes, a second source of tokens, or what none does."""
    options = {**_IDENTITY_TYPES[kind], **_IDENTITY_OPTIONS}
    for option in sorted(set(given) - options.keys()):
        owners = sorted(name for name, others in _IDENTITY_TYPES.items() if option in others)
        near = difflib.get_close_matches(option, options, n=3)
        yield Problem(
            f"{path}.{_plain(option)}",
            f"an option of {', '.join(owners)} beside type: {kind}" if owners else "an unknown option",
            ", ".join(near if near and not owners else sorted(options)),
            _IDENTITY_EXAMPLES[kind],
        )


_OPTION_RULES = {
    "account": "the account that is logged in, an e-mail",
    "file": "an absolute path on the machine",
    "subject_token_file": "an absolute path on the machine",
    "impersonate_service_account": "the e-mail of a service account",
    "lifetime": "600 to 43200 seconds (12 h), above 3600 only with an organisation policy",
    "per_user": "true or false",
}


def _unusable_option(option: str, value: object, kind: str) -> tuple[str, str, str] | None:
    """What was found, what is allowed and an example, where the value cannot be used."""
    found, rule = _show(value), _OPTION_RULES.get(option, "")
    text = value if isinstance(value, str) else ""
    if option == "account":
        fine, example = _ACCOUNT.fullmatch(text) is not None, "account: dev@example.com"
        if kind == "metadata":
            rule, example = "default, or the e-mail of a service account of this machine", "account: default"
    elif option in ("file", "subject_token_file"):
        fine, example = _is_path(text), f"{option}: /etc/devbox/key.json"
        if len(text) > 60 and not text.startswith("/"):
            found = "a long text that is no path (not shown: it may be a secret)"
    elif option == "impersonate_service_account":
        fine = _SERVICE_ACCOUNT.fullmatch(text) is not None
        example = f"{option}: robot@my-project.iam.gserviceaccount.com"
    elif option == "lifetime":
        fine = isinstance(value, int) and not isinstance(value, bool) and value in _LIFETIMES
        found += " (a string: leave the quotes out)" if text else ""
        example = "lifetime: 3600"
    elif option == "per_user":
        fine, example = isinstance(value, bool), "per_user: true"
    else:  # the type, which was looked at first
        fine, example = True, ""
    return None if fine else (found, rule, example)


def _is_path(text: str) -> bool:
    """Whether it is an absolute path that says where it leads, and that units can hold."""
    plain = text.isprintable() and text == text.strip() and not text.endswith("\\")
    return plain and text.startswith("/") and not {"", ".", ".."} & set(text[1:].split("/"))


def _show(value: object) -> str:
    """What was found, on one line, short, and without what could be a password in a URL."""
    if value is None:
        return "null"
    if value and isinstance(value, (dict, list)):  # not its contents: who knows what they are
        return "a mapping" if isinstance(value, dict) else "a list"
    text = redact(repr(str(value)) if isinstance(value, str) else repr(value))
    return text if len(text) <= 100 else f"{text[:97]}..."


def _show_url(value: object) -> str:
    """As C(_show), also without what could be a secret in the query."""
    if isinstance(value, str):
        value = re.sub(r"(?s)^([a-z]+:/+)?.*@", r"\1***@", value)
        value = re.sub(r"(?s)([?#]).*", r"\1***", value)
    return _show(value)


def _plain(key: object) -> str:
    """A key as part of a path: as it is where it is a name."""
    return str(key) if _NAME.fullmatch(str(key)) else _show(key)


def redact(text: str) -> str:
    """The text without users and passwords in URLs: what stands between C(//) and the line's last C(@)."""
    lines = text.split("\n")
    for number, line in enumerate(lines):  # no pattern: it would take quadratic time on what users can write
        start, end = line.find("//"), line.rfind("@")
        if 0 <= start < end:
            lines[number] = f"{line[:start]}//***{line[end:]}"
    return "\n".join(lines)
