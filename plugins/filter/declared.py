# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters that check on the controller what was declared, with the modules' own validator."""

from __future__ import annotations

import typing as t

from ansible.errors import AnsibleFilterError

from ansible_collections.devbox.artifact_registry.plugins.module_utils import _validate as validate
from ansible_collections.devbox.artifact_registry.plugins.module_utils._checkouts import parse_checkouts

__all__ = ["FilterModule"]


def _checked(check: t.Callable[..., t.Any]) -> t.Callable[..., t.Any]:
    def wrapped(declared: object, **options: t.Any) -> t.Any:
        try:
            return check(declared, **options)
        except validate.InvalidInput as error:
            raise AnsibleFilterError(str(error)) from None

    return wrapped


@_checked
def repositories(declared: object, **options: t.Any) -> list[dict[str, t.Any]]:
    return [repository.as_dict() for repository in validate.parse_repositories(declared, **options)]


class FilterModule:
    """The filters of this file; each is documented in the YAML file of its name."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {
            "repositories": repositories,
            "users": _checked(validate.parse_users),
            "identities": _checked(validate.parse_identities),
            "checkouts": _checked(parse_checkouts),
        }
