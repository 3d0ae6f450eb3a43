# SPDX-License-Identifier: GPL-3.0-or-later
"""What can be wrong on the way from Google to Poetry: how to break it, and what the doctor says."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from dataclasses import dataclass

import certifi
from unit.gar_auth.doctor_lab import HOST, URL, Walk, misbehaving, refusing_proxy
from unit.gar_auth.program import CANARY

from lab.emulator.records import DEFAULT_ACCOUNT

__all__ = ["CASES", "CAUSES", "SECRET", "Case", "closed", "netrc"]

SECRET = f"{CANARY}-of-somebody-else"

Break = Callable[[Walk], object]


@dataclass(frozen=True)
class Case:
    """One thing that is broken.

    :ivar cause: the words of the issue, see C(CAUSES).
    :ivar says: what the three lines of one problem hold: what was found, why, and what to do.
    """

    cause: str
    broken: Break
    says: tuple[str, str, str]
    code: int = 78
    alone: bool = True


def put(**changes: object) -> Break:
    """Declare the machine in another way."""
    return lambda walk: vars(walk).update(changes)


def variable(name: str, value: str = SECRET) -> Break:
    return lambda walk: walk.patch.setenv(name, value)


def failed(reason: str, error: str, **more: object) -> dict[str, object]:
    """A status after a failure, without a token."""
    return {
        "expiry": None, "obtained": None, "digest": None, "error": error, "error_class": reason,
        "failures": 3, "failed_at": int(time.time()), **more,
    }  # fmt: skip


def no_login(walk: Walk) -> None:
    walk.identity = {"type": "gcloud", "per_user": True}
    walk.status = failed("not_logged_in", "nobody is logged in to gcloud", account=None)
    walk.name = ""
    walk.units = {"gar-auth-user@dev.timer": {}}
    walk.settings = {"service_manager": "none"}


def unowned(kind: str) -> Break:
    """The user has logged in as somebody else than declared."""

    def broken(walk: Walk) -> None:
        walk.identity = {"type": kind, "account": "ci@demo-project.iam.gserviceaccount.com"}

    return broken


def expired(walk: Walk) -> None:
    walk.status = {"expiry": int(time.time()) - 720, "obtained": int(time.time()) - 4320}
    walk.google.control.expire_all()


def revoked(walk: Walk) -> None:
    walk.google.control.revoke_all()


def denied(walk: Walk) -> None:
    walk.google.control.deny(DEFAULT_ACCOUNT, permission="download")


def missing_repository(walk: Walk) -> None:
    url = URL.replace("/python/", "/pyhton/")
    walk.repository = {"publish_url": url, "index_url": f"{url}simple/"}
    walk.registered = {"private-repo": url}
    walk.sources = [("private-repo", f"{url}simple/")]


def netrc(line: str) -> Break:
    return lambda walk: (walk.home / ".netrc").write_text(f"{line} login me password {SECRET}\n")


def serving(**manners: object) -> Break:
    """Another server stands in for Google."""

    def broken(walk: Walk) -> None:
        address, authority = walk.stack.enter_context(misbehaving(walk.top, **manners))  # type: ignore[arg-type]
        walk.here(address)
        walk.repository = {"ca_cert": str(authority)}

    return broken


def closed() -> str:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{listener.getsockname()[1]}"


def wants_login(walk: Walk) -> None:
    walk.patch.setenv("https_proxy", f"http://{walk.stack.enter_context(refusing_proxy())}")


def bundle_missing(walk: Walk) -> None:
    walk.repository = {"ca_cert": None}
    walk.patch.setenv("CURL_CA_BUNDLE", "/nonexistent/bundle.pem")


def foreign_bundle(walk: Walk) -> None:
    walk.patch.setenv("REQUESTS_CA_BUNDLE", certifi.where())


PERIMETER = "Request is prohibited by organization's policy. vpcServiceControlsUniqueIdentifier: 4cXXyz"
GRANT = (
    "gcloud artifacts repositories add-iam-policy-binding python --project=demo-project"
    f" --location=europe-west1 --member=serviceAccount:{DEFAULT_ACCOUNT}"
    " --role=roles/artifactregistry.reader (to publish: roles/artifactregistry.writer)"
)
SYSTEMCTL, TIMER = "sudo systemctl", "gar-auth-fetch@default.timer"
WRITE = "`sudo gar-auth refresh`"

CASES = [
    Case(
        "not logged in",
        no_login,
        (
            "default (gcloud:own login) has no token, and the next one is not to be had (3 times in a row",
            "dev has not logged in yet: nobody is logged in to gcloud",
            "run `gcloud auth login` as dev",
        ),
        code=75,
        alone=False,
    ),
    Case(
        "not logged in",
        put(
            identity={"type": "gcloud", "account": "ci@example.com"},
            status=failed("login_expired", "the login of ci@example.com has expired", account=None),
        ),
        (
            "default (gcloud:ci@example.com) has no token",
            "the login has expired or was revoked: the login of ci@example.com has expired",
            "-u gar-auth env CLOUDSDK_CONFIG=/var/lib/gar-auth/default gcloud auth login ci@example.com`",
        ),
        alone=False,
    ),
    Case(
        "wrong account",
        unowned("gcloud"),
        (
            f"has a token of {DEFAULT_ACCOUNT}",
            "wrong account: ci@demo-project.iam.gserviceaccount.com is declared",
            "gcloud auth login ci@demo-project.iam.gserviceaccount.com",
        ),
    ),
    Case(
        "wrong account",
        unowned("metadata"),
        (
            f"has a token of {DEFAULT_ACCOUNT}",
            "wrong account: ci@demo-project.iam.gserviceaccount.com is declared",
            "attach ci@demo-project.iam.gserviceaccount.com, or correct the account of",
        ),
    ),
    Case(
        "expired",
        expired,
        (
            "default (metadata:default) has a token that expired 12 min",
            "the timer does not run, or the clock was set",
            "sudo gar-auth refresh",
        ),
        code=75,
        alone=False,
    ),
    Case(
        "401",
        expired,
        (f"{HOST} answers 401 to this user's token", "the token expired 12 min", WRITE),
        code=75,
        alone=False,
    ),
    Case(
        "401",
        revoked,
        (
            f"private-repo: {HOST} answers 401 to this user's token",
            "the token was revoked, or its account disabled or deleted, since it was issued",
            WRITE,
        ),
        code=75,
    ),
    Case(
        "401",
        put(token=SECRET, status={"digest": "0" * 16}),
        (
            f"private-repo: {HOST} answers 401 to this user's token",
            "the password in auth.toml is not the present token: an older one, or somebody else's",
            WRITE,
        ),
        code=75,
        alone=False,
    ),
    Case(
        "403 permission",
        denied,
        (
            f"private-repo: {HOST} answers 403 to {DEFAULT_ACCOUNT}",
            f"permission: {DEFAULT_ACCOUNT} may not read the repository python, or it is the wrong account",
            GRANT,
        ),
    ),
    Case(
        "403 perimeter",
        serving(status=403, body=PERIMETER),
        (
            f"private-repo: {HOST} answers 403 to {DEFAULT_ACCOUNT}",
            "a service perimeter (VPC Service Controls) of project demo-project keeps this machine out",
            f"let the perimeter's administrator admit {DEFAULT_ACCOUNT} or this network",
        ),
    ),
    Case(
        "404 repository",
        missing_repository,
        (
            f"private-repo: {HOST} answers 404",
            "there is no repository pyhton in project demo-project at location europe-west1",
            "gcloud artifacts repositories list --project=demo-project; then correct private-repo",
        ),
    ),
    Case(
        "wrong host",
        lambda walk: walk.google.control.set_fault("index", "redirect"),
        (
            f"private-repo: {HOST} answers 302 and sends the client to ",
            "wrong host: that is another server than Artifact Registry, or the network's login page",
            f"correct the URL of private-repo (now {URL}simple/)",
        ),
    ),
    Case(
        "wrong host",
        serving(name="proxy.example.com"),
        (
            f"private-repo: TLS with {HOST} fails",
            "wrong host: the server's certificate is for another name",
            f"correct the URL of private-repo, or the name resolution: getent hosts {HOST}",
        ),
    ),
    Case(
        "wrong host",
        put(registered={"private-repo": URL.replace("europe-west1", "us-central1")}),
        (
            "repositories.private-repo is https://us-central1-python.pkg.dev/demo-project/python/",
            f"wrong host: private-repo is at {HOST}",
            f"poetry config repositories.private-repo {URL}",
        ),
    ),
    Case(
        "wrong host",
        put(sources=[("private-repo", "https:///demo-project/python/simple/")]),
        (
            "source private-repo is at https:///demo-project/python/simple/",
            f"wrong host: private-repo is at {HOST}, and the URL names no host",
            f"poetry source add --priority explicit private-repo {URL}simple/",
        ),
    ),
    Case(
        "wrong host",
        put(sources=[("gar", f"{URL}simple/".replace("europe-west1", "europe"))]),
        (
            "source gar is at https://europe-python.pkg.dev/demo-project/python/simple/",
            f"wrong host: private-repo is at {HOST}, and europe-python.pkg.dev is not",
            "poetry source remove gar && poetry source add",
        ),
    ),
    Case(
        "http-basic bound to another name",
        put(sources=[("gar", f"{URL}simple/")]),
        (
            "source gar has the URL of private-repo",
            "http-basic is bound to the name: private-repo has a token, and gar none",
            f"poetry source remove gar && poetry source add --priority explicit private-repo {URL}simple/",
        ),
    ),
    Case(
        "http-basic bound to another name",
        put(registered={"private-repo": URL, "gar": f"{URL}simple/"}),
        (
            "repositories.gar has the URL of private-repo",
            "http-basic is bound to the name: private-repo has a token, and gar none",
            "poetry config --unset repositories.gar, and use -r private-repo",
        ),
    ),
    Case(
        "http-basic bound to another name",
        put(name="private_repo"),
        (
            "auth.toml has no http-basic.private-repo",
            "http-basic is bound to the exact name, and the entry there is for private_repo",
            WRITE,
        ),
        code=75,
    ),
    Case(
        "environment variables that mask it",
        variable("POETRY_HTTP_BASIC_PRIVATE_REPO_PASSWORD"),
        (
            "POETRY_HTTP_BASIC_PRIVATE_REPO_PASSWORD is set",
            "Poetry takes it instead of http-basic.private-repo, and nobody renews it",
            "unset POETRY_HTTP_BASIC_PRIVATE_REPO_USERNAME POETRY_HTTP_BASIC_PRIVATE_REPO_PASSWORD",
        ),
    ),
    Case(
        "environment variables that mask it",
        variable("POETRY_HTTP_BASIC_PYPI_USERNAME", "oauth2accesstoken"),
        (
            "POETRY_HTTP_BASIC_PYPI_USERNAME holds a login of Artifact Registry",
            "it is bound to a repository named pypi, not to a URL; the names here: private-repo",
            "unset POETRY_HTTP_BASIC_PYPI_USERNAME POETRY_HTTP_BASIC_PYPI_PASSWORD",
        ),
    ),
    Case(
        "environment variables that mask it",
        variable("POETRY_PYPI_TOKEN_PRIVATE_REPO"),
        (
            "POETRY_PYPI_TOKEN_PRIVATE_REPO is set",
            "Poetry publishes with it, and Artifact Registry accepts no such token",
            "unset POETRY_PYPI_TOKEN_PRIVATE_REPO",
        ),
    ),
    Case(
        "environment variables that mask it",
        variable("POETRY_CONFIG_DIR", "/srv/poetry"),
        (
            "Poetry reads /srv/poetry",
            "POETRY_CONFIG_DIR is set",
            "unset POETRY_CONFIG_DIR, or set gar_auth_config_dir",
        ),
    ),
    Case(
        "environment variables that mask it",
        variable("XDG_CONFIG_HOME", "/srv/xdg"),
        (
            "Poetry reads /srv/xdg/pypoetry",
            "XDG_CONFIG_HOME is set",
            "unset XDG_CONFIG_HOME, or set gar_auth_config_dir",
        ),
    ),
    Case(
        "netrc that masks it",
        netrc(f"machine {HOST}"),
        (
            f"/.netrc has an entry for {HOST}",
            "Poetry before 2.3.3 sends it instead of the token",
            f"remove the entry `machine {HOST}` from ",
        ),
    ),
    Case(
        "netrc that masks it",
        netrc("default"),
        (
            f"/.netrc has an entry for {HOST} (default)",
            "Poetry before 2.3.3",
            "remove the entry `default` from ",
        ),
    ),
    Case(
        "POETRY_REPOSITORIES_*",
        variable("POETRY_REPOSITORIES_OTHER_URL", f"https://me:{SECRET}@example.com/"),
        (
            "POETRY_REPOSITORIES_OTHER_URL is set",
            "with any such variable Poetry sees none of the repositories in config.toml (private-repo)",
            "unset POETRY_REPOSITORIES_OTHER_URL, and register the repository",
        ),
    ),
    Case(
        "clock off",
        serving(skew=7230),
        ("the clock is 2 h 0 min behind", "it is not synchronised", "sudo timedatectl set-ntp true"),
    ),
    Case(
        "clock off",
        serving(skew=-7230),
        ("the clock is 2 h 0 min ahead", "it is not synchronised", "sudo timedatectl set-ntp true"),
    ),
    Case(
        "clock off",
        serving(valid=(3600, 7200)),
        (
            f"private-repo: TLS with {HOST} fails",
            "the server's certificate is not yet valid, so this machine's clock is behind",
            "compare `date` with a true clock, then: sudo timedatectl set-ntp true",
        ),
    ),
    Case(
        "clock off",
        serving(valid=(-7200, -3600)),
        (
            f"private-repo: TLS with {HOST} fails",
            "the server's certificate has expired, or this machine's clock is ahead",
            f"compare `date` with a true clock; if it is right, whoever runs {HOST} has to renew it",
        ),
    ),
    Case(
        "proxy",
        lambda walk: walk.patch.setenv("HTTPS_PROXY", f"http://me:{SECRET}@{closed()}"),
        (
            "private-repo: the proxy http://***@127.0.0.1:",
            "the proxy does not run, is not reached, or refuses this host",
            f"correct or unset HTTPS_PROXY; where no proxy is needed: NO_PROXY={HOST}",
        ),
    ),
    Case(
        "proxy",
        lambda walk: walk.here(closed()),
        (
            f"private-repo: no answer from {HOST} (Connection refused)",
            "nothing listens there, or a firewall refuses",
            f"let this machine reach {HOST}, port 443 (route, firewall), or set HTTPS_PROXY",
        ),
        code=75,
    ),
    Case(
        "proxy",
        lambda walk: walk.google.control.set_fault("index", "hang"),
        (
            f"private-repo: no answer from {HOST} (timeout)",
            "a firewall drops what is sent, or there is no route",
            "or set HTTPS_PROXY",
        ),
        code=75,
    ),
    Case(
        "proxy",
        wants_login,
        (
            "private-repo: the proxy http://127.0.0.1:",
            "it wants a user name and a password",
            f"put them into https_proxy, or let {HOST} pass without (NO_PROXY={HOST})",
        ),
    ),
    Case(
        "CA missing",
        bundle_missing,
        (
            f"private-repo: TLS with {HOST} fails",
            "the file of certificate authorities /nonexistent/bundle.pem is missing",
            "put it there, or unset CURL_CA_BUNDLE",
        ),
    ),
    Case(
        "CA missing",
        put(repository={"ca_cert": None}),
        (
            f"private-repo: TLS with {HOST} fails",
            "its certificate is of an authority that is not trusted (",
            "set ca_cert of private-repo to the authority's PEM file",
        ),
    ),
    Case(
        "CA missing",
        put(repository={"ca_cert": "/nonexistent/ca.pem"}),
        (
            f"private-repo: TLS with {HOST} fails",
            "the file of certificate authorities /nonexistent/ca.pem is missing",
            "put it there, or correct ca_cert of private-repo",
        ),
    ),
    Case(
        "CA missing",
        foreign_bundle,
        (
            "REQUESTS_CA_BUNDLE hides the certificate authority of private-repo",
            "REQUESTS_CA_BUNDLE instead of certificates.private-repo.cert, and its certificate is of",
            "unset REQUESTS_CA_BUNDLE, or append the content of ",
        ),
    ),
    Case(
        "unit masked",
        put(units={"gar-auth-fetch@default.timer": {"LoadState": "masked", "ActiveState": "inactive"}}),
        (
            "gar-auth-fetch@default.timer is masked",
            "somebody ran `systemctl mask`",
            f"{SYSTEMCTL} unmask {TIMER} && {SYSTEMCTL} start {TIMER}",
        ),
    ),
    Case(
        "unit failed",
        put(
            units={
                "gar-auth-write@dev.service": {
                    "ActiveState": "failed",
                    "Result": "exit-code",
                    "ExecMainStatus": "77",
                }
            }
        ),
        (
            "gar-auth-write@dev.service has failed (exit status 77)",
            "what it met does not pass by itself",
            "sudo journalctl -u gar-auth-write@dev.service -n 20; when that is mended: sudo systemctl",
        ),
    ),
    Case(
        "image not yet booted",
        lambda walk: walk.booted.rmdir(),
        (
            "systemd does not run here, so nothing refreshes a token",
            "this is an image that is not yet booted, or a container",
            "boot it; where it never will, set gar_auth_service_manager: none and run `gar-auth refresh`",
        ),
        code=75,
    ),
    Case(
        "name resolution",
        lambda walk: walk.here("127.0.0.1:1", HOST),
        (
            f"{HOST} does not resolve (Name or service not known)",
            "no name server answers, or it does not know this host",
            f"getent hosts {HOST}",
        ),
        code=75,
        alone=False,
    ),
]

#: What the doctor has to know, in the words of its specification.
CAUSES = [
    "not logged in", "wrong account", "expired", "401", "403 permission", "403 perimeter", "404 repository",
    "wrong host", "http-basic bound to another name", "environment variables that mask it",
    "netrc that masks it",
    "POETRY_REPOSITORIES_*", "clock off", "proxy", "CA missing", "unit masked", "unit failed",
    "image not yet booted", "name resolution",
]  # fmt: skip
