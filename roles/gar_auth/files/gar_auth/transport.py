# SPDX-License-Identifier: GPL-3.0-or-later
"""How google-auth reaches Google: bounded in time and size, and never redirected.

google-auth's own transport waits up to two minutes for each answer, reads it whatever its size and takes
credentials from a netrc file; this one gives every request three tries within a deadline for all of them.
"""

from __future__ import annotations

import contextlib
import email.utils
import ipaddress
import os
import random
import re
import socket
import threading
import time
import typing as t
import urllib.parse
from dataclasses import dataclass, field

import google.auth.transport
import requests
import requests.utils
import urllib3.exceptions

from gar_auth.errors import Exit, Failure, Reason

__all__ = ["Answer", "Transport", "ca_bundle", "within"]

TRIES = 3
TOTAL_SECONDS = 20.0
TRY_SECONDS = 6.0
MAX_REPLY = 64 * 1024

#: Where Debian's and Red Hat's families keep the machine's certificate authorities.
SYSTEM_BUNDLES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt")

_Result = t.TypeVar("_Result")


@dataclass(frozen=True)
class Answer:
    """What a server answered, as google-auth reads it.

    :ivar skew: seconds by which this machine's clock is ahead of the server's.
    """

    host: str
    status: int
    headers: t.Mapping[str, str]
    data: bytes = field(repr=False)
    skew: float = 0.0


class _Retry(Exception):
    """This try failed; the next one may not."""

    def __init__(self, message: str, *, after: float = 0.0) -> None:
        super().__init__(message)
        self.after = after


class Transport(google.auth.transport.Request):
    """Sends google-auth's requests; to be used by one thread, and closed.

    :ivar last: the last answer, for who has to explain an error.
    """

    def __init__(self) -> None:
        self.last: Answer | None = None
        self._deadline = time.monotonic() + TOTAL_SECONDS
        self._session = requests.Session()
        self._session.trust_env = False  # no netrc; proxies and authorities are taken below
        self._verify = ca_bundle()

    def close(self) -> None:
        self._session.close()

    def __call__(
        self,
        url: str,
        method: str = "GET",
        body: bytes | None = None,
        headers: t.Mapping[str, str] | None = None,
        timeout: float | None = None,
        **options: t.Any,
    ) -> Answer:
        """Send a request; three tries for what is temporary.

        :raises Failure: no answer, or one that cannot be Google's.
        """
        host = urllib.parse.urlsplit(url).hostname or ""
        if not url.startswith("https://") and not _is_near(url, host):
            raise Failure(
                f"the credentials name an address without https for {host!r}; name one with https"
                " (only this machine's own and link-local ones may do without)",
                code=Exit.CONFIGURATION,
                reason=Reason.BAD_KEY,
            )
        for attempt in range(1, TRIES + 1):
            try:
                self.last = self._send(url, host, method, body, headers, cert=options.get("cert"))
                return self.last
            except _Retry as problem:
                jitter = random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, keeps no secret
                pause = max(problem.after, jitter * 2 ** (attempt - 1))
                if attempt == TRIES or time.monotonic() + pause >= self._deadline:
                    message = f"{problem} ({attempt} tries); the next run tries again"
                    raise Failure(message, code=Exit.TEMPORARY, reason=Reason.UNREACHABLE) from None
                time.sleep(pause)
        raise AssertionError("unreachable")

    def _send(
        self,
        url: str,
        host: str,
        method: str,
        body: bytes | None,
        headers: t.Mapping[str, str] | None,
        *,
        cert: t.Any,
    ) -> Answer:
        proxies = requests.utils.get_environ_proxies(url) if url.startswith("https://") else {}
        left = max(0.1, min(TRY_SECONDS, self._deadline - time.monotonic()))
        try:
            with self._session.request(
                method,
                url,
                data=body,
                headers=dict(headers or {}),
                timeout=left,
                allow_redirects=False,
                stream=True,
                verify=self._verify,
                proxies=proxies,
                cert=cert,
            ) as response:
                data = response.raw.read(MAX_REPLY + 1, decode_content=True)
        except requests.exceptions.SSLError as error:
            raise _untrusted(host, error) from None
        except requests.exceptions.ProxyError:
            raise _Retry(
                f"the proxy does not let us reach {host}; check https_proxy and no_proxy of this service"
            ) from None
        except (requests.exceptions.Timeout, urllib3.exceptions.TimeoutError):
            raise _Retry(f"{host} does not answer in time") from None
        except (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema, UnicodeError):
            raise Failure(
                f"{host!r} cannot be asked: its address or the proxy's is none;"
                " check the credentials and https_proxy",
                code=Exit.CONFIGURATION,
                reason=Reason.OTHER,
            ) from None
        except (requests.exceptions.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            raise _Retry(f"{host} cannot be reached ({_cause(error)})") from None
        return _checked(Answer(host, response.status_code, response.headers, data, _skew(response.headers)))


def _is_near(url: str, host: str) -> bool:
    """Whether it is plain HTTP that leaves the machine for its hypervisor at most: where clouds tell a
    workload who it is (RFC 3927, and the IPv6 address of Amazon's EC2).
    """
    if not url.startswith("http://"):
        return False
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost"
    return address.is_loopback or address.is_link_local or address == ipaddress.ip_address("fd00:ec2::254")


def _checked(answer: Answer) -> Answer:
    if answer.status >= 500 or answer.status == 429:
        after = answer.headers.get("Retry-After") or ""
        pause = float(after) if re.fullmatch(r"[0-9]{1,3}", after) else 0.0
        raise _Retry(f"{answer.host} answers {answer.status}", after=pause)
    if 300 <= answer.status < 400:
        raise _not_google(f"{answer.host} redirects ({answer.status}); check proxy and name resolution")
    if len(answer.data) > MAX_REPLY:
        raise _not_google(f"{answer.host} answers more than 64 KiB; check proxy and name resolution")
    return answer


def _not_google(message: str) -> Failure:
    return Failure(message, code=Exit.CONFIGURATION, reason=Reason.NOT_GOOGLE)


def _untrusted(host: str, error: Exception) -> Failure:
    found = re.search(r"certificate verify failed: ([a-zA-Z0-9 ,'*.-]{1,120})", str(error))
    if found is None:
        raise _Retry(f"{host} breaks the TLS connection") from None
    return Failure(
        f"the certificate of {host} is not trusted ({found[1].strip()}); check the clock,"
        " and set REQUESTS_CA_BUNDLE where a proxy has an authority of its own",
        code=Exit.CONFIGURATION,
        reason=Reason.UNREACHABLE,
    )


def _cause(error: BaseException) -> str:
    """The system's word for it; the libraries' own texts may hold a proxy's password."""
    seen: object = error
    for _depth in range(10):
        if isinstance(seen, socket.gaierror):
            return "its name cannot be resolved"
        if isinstance(seen, OSError) and seen.errno is not None and seen.strerror:
            return str(seen.strerror)
        if not isinstance(seen, BaseException):
            break
        inner = (getattr(seen, "reason", None), *seen.args, seen.__cause__, seen.__context__)
        seen = next((item for item in inner if isinstance(item, BaseException)), None)
    return "the connection was cut"


def _skew(headers: t.Mapping[str, str]) -> float:
    with contextlib.suppress(TypeError, ValueError, OverflowError):
        return time.time() - email.utils.parsedate_to_datetime(headers["Date"]).timestamp()
    return 0.0


def ca_bundle() -> str | bool:
    """The certificate authorities to trust: the environment's, the machine's, or requests' own.

    :raises Failure: the environment names a file that is not there (78).
    """
    for name in ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"):
        path = os.environ.get(name)
        if path and not os.access(path, os.R_OK):
            raise Failure(f"{name} is {path!r}, which cannot be read; set it right", code=Exit.CONFIGURATION)
        if path:
            return path
    return next((path for path in SYSTEM_BUNDLES if os.access(path, os.R_OK)), True)


def within(seconds: float, work: t.Callable[[], _Result], *, late: str) -> _Result:
    """Do the work in a thread, and go on without it when it takes too long: no other way bounds a look-up
    of a name, or a server that sends a byte now and then.

    :raises Failure: C(late), after that many seconds (75).
    """
    results: list[_Result] = []
    problems: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as problem:
            problems.append(problem)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if problems:
        raise problems[0]
    if not results:
        raise Failure(f"{late}; the next run tries again", code=Exit.TEMPORARY, reason=Reason.UNREACHABLE)
    return results[0]
