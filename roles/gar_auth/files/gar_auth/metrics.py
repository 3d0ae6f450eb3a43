# SPDX-License-Identifier: GPL-3.0-or-later
"""The state of the machine's identities as metrics, for the textfile collector of node_exporter.

Made from the status files alone, which hold no secret and are readable by everybody. Users' own logins are
in no metric: only those users may look at them.
"""

from __future__ import annotations

import argparse
import sys
import typing as t
from dataclasses import dataclass
from pathlib import Path

from gar_auth import __version__
from gar_auth.config import Config
from gar_auth.errors import Exit, Failure, Reason
from gar_auth.store import Status, Store, publish

__all__ = ["Sample", "collect", "render", "run"]

_MODE = 0o644


@dataclass(frozen=True)
class Sample:
    """What is exported of one identity; C(looked) in seconds since the epoch."""

    status: Status
    looked: float | None


def run(config: Config, store: Store, options: argparse.Namespace) -> int:
    """Print the metrics, or replace the file C(--output) in one step.

    :raises Failure: a package is missing, or the directory does not exist (78); the disk is full (75).
    """
    text = render(collect(config, store))
    if options.output is None:
        sys.stdout.write(text)
    else:
        _publish(options.output, text)
    return Exit.FINE


def collect(config: Config, store: Store) -> list[Sample]:
    """One sample for each identity in use; a damaged status counts as a failure that is nobody's."""
    samples = []
    for identity in config.host_identities():
        try:
            status = store.status(identity.name)
        except Failure:
            status = Status(
                identity=identity.name, source=identity.source, error_class=Reason.FILE.value, failures=1
            )
        samples.append(
            Sample(
                status or Status(identity=identity.name, source=identity.source), store.looked(identity.name)
            )
        )
    return samples


def render(samples: t.Iterable[Sample]) -> str:
    """The metrics in Prometheus' text format; what is unknown has no line.

    :raises Failure: the package prometheus_client is missing (78).
    """
    try:
        from prometheus_client import CollectorRegistry, Gauge, Info, generate_latest
    except ImportError:
        raise Failure(
            "the Python package prometheus_client is missing; run the playbook again",
            code=Exit.CONFIGURATION,
        ) from None
    registry = CollectorRegistry()

    def gauge(name: str, summary: str, *labels: str) -> Gauge:
        return Gauge(f"gar_auth_{name}", summary, labels, registry=registry)

    expiry = gauge("token_expiry_timestamp_seconds", "When the token expires.", "identity", "source")
    obtained = gauge(
        "token_obtained_timestamp_seconds", "When the token was first seen.", "identity", "source"
    )
    looked = gauge("last_look_timestamp_seconds", "When the source was last asked.", "identity")
    failures = gauge(
        "failures", "Runs that have failed in a row, by the last one's class.", "identity", "class"
    )
    Info("gar_auth", "The program.", registry=registry).info({"version": __version__})
    for sample in samples:
        status = sample.status
        if status.expiry is not None:
            expiry.labels(status.identity, status.source).set(status.expiry)
        if status.obtained is not None:
            obtained.labels(status.identity, status.source).set(status.obtained)
        if sample.looked is not None:
            looked.labels(status.identity).set(sample.looked)
        reason = (status.error_class or Reason.OTHER.value) if status.failures else "none"
        failures.labels(status.identity, reason).set(status.failures)
    return str(generate_latest(registry).decode())


def _publish(path: Path, text: str) -> None:
    """Replace the file in one step.

    As prometheus_client's own write_to_textfile does, but with mode 0644 whatever the umask, and by way of a
    name that nobody can foresee and put a link at.
    """
    try:
        publish(path, text, mode=_MODE)
    except (FileNotFoundError, NotADirectoryError):
        raise Failure(
            f"{path.parent} is no directory; make it, or set gar_auth_metrics_dir to node_exporter's",
            code=Exit.CONFIGURATION,
        ) from None
    except OSError as error:
        permanent = isinstance(error, (PermissionError, IsADirectoryError))
        raise Failure(
            f"{path}: {error.strerror}; give this user a directory that it may write to"
            if permanent
            else f"{path}: {error.strerror}; the next run tries again",
            code=Exit.REFUSED if permanent else Exit.TEMPORARY,
        ) from None
