# SPDX-License-Identifier: GPL-3.0-or-later
"""C(gar-auth doctor) asks each repository's index, in the way in which Poetry does, and notes what happened.

Facts only: what they mean is said in C(doctor_index.py). A body or a header of the answer is never shown.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import email.utils
import errno
import os
import socket
import ssl
import time
import typing as t
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

from gar_auth.config import Repository
from gar_auth.doctor_report import public_url
from gar_auth.errors import Exit, Failure
from gar_auth.write import USERNAME

if t.TYPE_CHECKING:
    import requests

__all__ = ["Answer", "Proxy", "Trouble", "ask_all", "index_url", "resolve"]

#: Of each step: to connect, and from one byte to the next.
SECONDS = 10.0
AT_ONCE = 8
_BODY = 16 * 1024
#: How requests reads the environment: the first that is set counts, lower case before upper case.
_BUNDLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
_PROXIES = ("{scheme}_proxy", "{SCHEME}_PROXY", "all_proxy", "ALL_PROXY")


@dataclass(frozen=True)
class Proxy:
    """The proxy in force, the variable that names it, and its host."""

    variable: str
    url: str
    host: str


@dataclass(frozen=True)
class Trouble:
    """Why there is no answer.

    :ivar kind: name, refused, timeout, broken, proxy, proxy_login, ca_missing, ca_file, client_file,
        expired, not_yet, other_host, tls or url.
    :ivar detail: the system's words.
    """

    kind: str
    detail: str = ""


@dataclass(frozen=True)
class Answer:
    """What the index of a repository said.

    :ivar authenticated: a token was sent.
    :ivar skew: seconds by which this machine's clock is ahead of the server's; None where nobody knows.
    :ivar location: the host that a redirect names.
    :ivar bundle: the variable whose file of authorities is used instead of the usual one.
    :ivar overriding: the trouble with that file where it takes the place of the repository's own (publish).
    """

    repository: Repository
    url: str
    authenticated: bool = False
    proxy: Proxy | None = None
    status: int | None = None
    body: str = field(default="", repr=False)
    location: str | None = None
    skew: float | None = None
    trouble: Trouble | None = None
    bundle: str | None = None
    overriding: Trouble | None = None

    @property
    def host(self) -> str:
        return urlsplit(self.url).hostname or ""


def index_url(repository: Repository) -> str:
    """Where the packages of a repository are listed."""
    return repository.index_url or f"{repository.publish_url.rstrip('/')}/simple/"


def resolve(host: str) -> str | None:
    """Why the name does not resolve; None where it does."""
    try:
        socket.getaddrinfo(host, 443, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        return getattr(error, "strerror", None) or type(error).__name__
    return None


def ask_all(repositories: t.Sequence[Repository], tokens: t.Mapping[str, str | None]) -> list[Answer]:
    """Ask for each repository's list of packages, several at a time.

    :param tokens: by the repository's name; without one the way is walked all the same.
    :raises Failure: the package requests is missing (78).
    """
    try:
        import requests  # noqa: F401 - before the threads do it
    except ImportError:
        raise Failure(
            "the Python package requests is missing; run the playbook again", code=Exit.CONFIGURATION
        ) from None
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(lambda one: _ask(one, tokens.get(one.name)), repositories))


def _ask(repository: Repository, token: str | None) -> Answer:
    url = index_url(repository)
    bundle = next((name for name in _BUNDLES if os.environ.get(name)), None)
    answer = Answer(repository, url, token is not None, _proxy(url), bundle=bundle)
    # A declared file wins over the variable when Poetry installs, and loses when it publishes: requests puts
    # the variable before the session's own setting, and only the request's before the variable.
    verify = repository.ca_cert or (os.environ[bundle] if bundle else True)
    answer = _get(answer, verify=verify, token=token)
    if bundle and repository.ca_cert and answer.trouble is None:
        other = _get(answer, verify=os.environ[bundle], token=None)
        answer = replace(answer, overriding=other.trouble)
    return answer


def _get(answer: Answer, *, verify: str | bool, token: str | None) -> Answer:
    import requests

    if isinstance(verify, str) and not os.path.exists(verify):
        return replace(answer, trouble=Trouble("ca_file", verify))
    client = answer.repository.client_cert
    if client and not os.path.exists(client):
        return replace(answer, trouble=Trouble("client_file", client))
    # Neither netrc nor the URL's own user may take part.
    auth: t.Any = (USERNAME, token) if token is not None else _unchanged
    try:
        with requests.Session() as session:
            before = time.time()
            response = session.get(
                answer.url,
                auth=auth,
                verify=verify,
                cert=client,
                timeout=SECONDS,
                allow_redirects=False,
                stream=True,
            )
            now = (before + time.time()) / 2
            with response:
                return replace(
                    answer,
                    status=response.status_code,
                    body=_beginning(response),
                    location=urlsplit(response.headers.get("Location", "")).hostname,
                    skew=_skew(response.headers, now),
                )
    except (OSError, ValueError) as error:  # requests' own errors are OSErrors, of a strange URL ValueErrors
        return replace(answer, trouble=_trouble(error, answer))


def _unchanged(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


def _beginning(response: requests.Response) -> str:
    """The start of an error's body, for hints in it."""
    if response.status_code < 400:
        return ""
    content, deadline = b"", time.monotonic() + SECONDS
    with contextlib.suppress(OSError):
        for byte in response.iter_content(1):  # a larger chunk is waited for, whatever the deadline
            content += byte
            if len(content) > _BODY or time.monotonic() > deadline:
                break
    return content[:_BODY].decode(errors="replace")


def _skew(headers: t.Mapping[str, str], now: float) -> float | None:
    if "Age" in headers or "Date" not in headers:
        return None  # a cache's answer has the date of long ago
    try:
        return now - email.utils.parsedate_to_datetime(headers["Date"]).timestamp()
    except (TypeError, ValueError, OverflowError):
        return None


def _proxy(url: str) -> Proxy | None:
    from requests.utils import get_environ_proxies, select_proxy

    try:
        chosen = select_proxy(url, get_environ_proxies(url))
        if not chosen:
            return None
        chosen = chosen if "://" in chosen else f"//{chosen}"
        host = urlsplit(chosen).hostname or ""
    except ValueError:
        return None
    scheme = urlsplit(url).scheme
    names = [name.format(scheme=scheme, SCHEME=scheme.upper()) for name in _PROXIES]
    variable = next((name for name in names if os.environ.get(name)), "the system's settings")
    return Proxy(variable, public_url(chosen), host)


def _trouble(error: Exception, answer: Answer) -> Trouble:
    """The kind of an error of requests, found in the chain of what caused it."""
    import requests

    chain = list(_chain(error))
    for one in chain:
        if isinstance(one, ssl.SSLCertVerificationError):
            return Trouble(_CERTIFICATE.get(one.verify_code, "ca_missing"), one.verify_message)
    if isinstance(error, (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema)):
        return Trouble("url")
    if isinstance(error, requests.exceptions.ProxyError) or (
        answer.proxy and not isinstance(error, requests.exceptions.SSLError)
    ):
        login = any("Tunnel connection failed: 407" in str(one) for one in chain)
        return Trouble("proxy_login" if login else "proxy", _words(chain))
    if any(isinstance(one, socket.gaierror) for one in chain):
        return Trouble("name", _words(chain))
    if isinstance(error, requests.exceptions.Timeout):
        return Trouble("timeout")
    if isinstance(error, requests.exceptions.SSLError):
        return Trouble("tls", _words(chain))
    refused = any(getattr(one, "errno", None) == errno.ECONNREFUSED for one in chain)
    return Trouble("refused" if refused else "broken", _words(chain))


#: X509_V_ERR_* of OpenSSL; any other one means that no authority is found that is trusted.
_CERTIFICATE = {9: "not_yet", 10: "expired", 62: "other_host", 64: "other_host"}


def _chain(error: BaseException) -> t.Iterator[BaseException]:
    """The error and what caused it; urllib3 keeps causes in attributes, too."""
    waiting: list[object] = [error]
    seen: set[int] = set()
    while waiting:
        one = waiting.pop(0)
        if isinstance(one, BaseException) and id(one) not in seen:
            seen.add(id(one))
            yield one
            waiting += [one.__cause__, one.__context__, getattr(one, "reason", None), *one.args]


def _words(chain: t.Sequence[BaseException]) -> str:
    """The system's own words; never an exception's whole text, which holds the URL."""
    for one in chain:
        if isinstance(one, OSError) and one.errno is not None and one.strerror:
            return str(one.strerror)
    return type(chain[-1]).__name__
