# SPDX-License-Identifier: GPL-3.0-or-later
"""C(gar-auth doctor): the way to a repository's index: name, clock, proxy, connection and TLS."""

from __future__ import annotations

import typing as t
from urllib.parse import urlsplit

from gar_auth.doctor_probe import Answer, Trouble
from gar_auth.doctor_report import Finding, good, note, problem, public_url
from gar_auth.errors import Exit
from gar_auth.status_text import span

__all__ = ["check_bundle", "check_clock", "check_name", "check_proxy", "no_answer", "other_host"]

_CLOCK_SECONDS = 60
_PASSING = {
    "name": "its name does not resolve",
    "refused": "nothing listens there, or a firewall refuses",
    "timeout": "a firewall drops what is sent, or there is no route",
    "broken": "the connection broke off, or there is no route",
}


def check_name(host: str, failure: str | None, *, proxied: bool) -> Finding:
    """Whether the host's name resolves; behind a proxy, that is the proxy's business."""
    if failure is None:
        return good("name", f"{host} resolves")
    if proxied:
        return note("name", f"{host} does not resolve here ({failure}); the proxy does that")
    return problem(
        "name",
        f"{host} does not resolve ({failure})",
        cause="no name server answers, or it does not know this host: no network, a private zone without this"
        " name, or a misspelt location",
        cure=f"getent hosts {host}; then correct /etc/resolv.conf or the private DNS zone pkg.dev, or the"
        " repository's location",
        code=Exit.TEMPORARY,
    )


def check_clock(answers: t.Sequence[Answer]) -> Finding | None:
    """This machine's clock against the servers'; None where no server said its time."""
    skews = [answer.skew for answer in answers if answer.skew is not None]
    if not skews:
        return None
    skew = min(skews, key=abs)
    if abs(skew) <= _CLOCK_SECONDS:
        return good("clock", "the clock agrees with the server's")
    return problem(
        "clock",
        f"the clock is {span(abs(skew))} {'ahead' if skew > 0 else 'behind'}",
        cause="it is not synchronised, so tokens seem valid or expired when they are not",
        cure="sudo timedatectl set-ntp true; on a Google Cloud VM let chrony use metadata.google.internal",
    )


def check_proxy(answer: Answer) -> Finding | None:
    """Which proxy is in force."""
    if answer.proxy is None:
        return None
    return note("proxy", f"{answer.host} is asked through {answer.proxy.url} ({answer.proxy.variable})")


def check_bundle(answer: Answer) -> Finding | None:
    """Whether the environment takes away the repository's own certificate authority."""
    if answer.overriding is None:
        return None
    name = answer.repository.name
    return problem(
        "tls",
        f"{answer.bundle} hides the certificate authority of {name}",
        cause=f"`poetry publish` uses {answer.bundle} instead of certificates.{name}.cert, and"
        f" {_certificate(answer.overriding)}",
        cure=f"unset {answer.bundle}, or append the content of {answer.repository.ca_cert} to its file",
    )


def other_host(answer: Answer, found: str) -> Finding:
    """Another server than the one that is meant."""
    return problem(
        "index",
        found,
        cause="wrong host: that is another server than Artifact Registry, or the network's login page",
        cure=f"correct the URL of {answer.repository.name} (now {public_url(answer.url)}) in"
        " artifact_registry_repositories, or log in to the network",
    )


def no_answer(answer: Answer, trouble: Trouble) -> Finding:
    """Why the index gave no answer at all."""
    name, host = answer.repository.name, answer.host
    proxy = answer.proxy
    way = f"the proxy {proxy.url} ({proxy.variable})" if proxy else host
    if trouble.kind in ("proxy", "proxy_login"):
        return _proxy_trouble(name, host, way, trouble, answer)
    if trouble.kind == "url":
        return other_host(answer, f"{name}: {public_url(answer.url)} is no URL that can be asked")
    if trouble.kind in _PASSING:
        return problem(
            "index",
            f"{name}: no answer from {way} ({trouble.detail or trouble.kind})",
            cause=_PASSING[trouble.kind],
            cure=f"let this machine reach {host}, port {urlsplit(answer.url).port or 443} (route, firewall),"
            " or set HTTPS_PROXY",
            code=Exit.TEMPORARY,
        )
    cures = {
        "ca_missing": f"set ca_cert of {name} to the authority's PEM file; for a proxy that opens TLS, to the"
        " proxy's",
        "ca_file": f"put it there, or correct ca_cert of {name}"
        if answer.repository.ca_cert
        else f"put it there, or unset {answer.bundle}",
        "client_file": f"put it there, or correct client_cert of {name}",
        "expired": f"compare `date` with a true clock; if it is right, whoever runs {host} has to renew it",
        "not_yet": "compare `date` with a true clock, then: sudo timedatectl set-ntp true",
        "other_host": f"correct the URL of {name}, or the name resolution: getent hosts {host}",
    }
    return problem(
        "tls",
        f"{name}: TLS with {host} fails",
        cause=_certificate(trouble),
        cure=cures.get(trouble.kind, f"openssl s_client -connect {host}:443 -servername {host}"),
    )


def _certificate(trouble: Trouble) -> str:
    causes = {
        "ca_missing": f"its certificate is of an authority that is not trusted ({trouble.detail})",
        "ca_file": f"the file of certificate authorities {trouble.detail} is missing",
        "client_file": f"the client's certificate {trouble.detail} is missing",
        "expired": "the server's certificate has expired, or this machine's clock is ahead",
        "not_yet": "the server's certificate is not yet valid, so this machine's clock is behind",
        "other_host": "wrong host: the server's certificate is for another name",
    }
    return causes.get(trouble.kind, f"the two do not understand each other ({trouble.detail})")


def _proxy_trouble(name: str, host: str, way: str, trouble: Trouble, answer: Answer) -> Finding:
    variable = answer.proxy.variable if answer.proxy else "HTTPS_PROXY"
    if trouble.kind == "proxy_login":
        return problem(
            "proxy",
            f"{name}: {way} answers 407",
            cause="it wants a user name and a password",
            cure=f"put them into {variable}, or let {host} pass without (NO_PROXY={host})",
        )
    return problem(
        "proxy",
        f"{name}: {way} does not serve {host} ({trouble.detail})",
        cause="the proxy does not run, is not reached, or refuses this host",
        cure=f"correct or unset {variable}; where no proxy is needed: NO_PROXY={host}",
    )
