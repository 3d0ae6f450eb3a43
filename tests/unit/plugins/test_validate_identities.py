# SPDX-License-Identifier: GPL-3.0-or-later
"""The validator of identities: golden texts for what it refuses, and what it makes of good input."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from unit.plugins.golden import NAME, QUOTE, refusal, text

from ansible_collections.devbox.artifact_registry.plugins.filter import declared
from ansible_collections.devbox.artifact_registry.plugins.module_utils import _validate as validate

VARIABLE = "artifact_registry_identities"
METADATA = "{default: {type: metadata}}"
KEY = "{default: {type: service_account_key, file: /etc/devbox/key.json}}"
GCLOUD = "{default: {type: gcloud, per_user: true}}, or account: dev@example.com instead of per_user"
ADC = "{default: {type: adc, per_user: true}}, or file: /etc/devbox/adc.json instead of per_user"
TYPES = "one of adc, external_account, gcloud, metadata, service_account_key, token_file"
PATH = "an absolute path on the machine"
ROBOT = "robot@my-project.iam.gserviceaccount.com"
SERVICE_ACCOUNT = "the e-mail of a service account"
LIFETIME = "600 to 43200 seconds (12 h), above 3600 only with an organisation policy"
OWN_ACCOUNT = "default, or the e-mail of a service account of this machine"


def one(**options: object) -> dict[str, object]:
    return {"default": options}


def key(**options: object) -> dict[str, object]:
    return one(type="service_account_key", file="/etc/key.json", **options)


@pytest.mark.parametrize(
    ("identities", "path", "found", "allowed", "example"),
    [
        ({}, "", "{}", "a mapping of names to identities", METADATA),
        (None, "", "null", "a mapping of names to identities", METADATA),
        (["default"], "", "a list", "a mapping of names to identities", METADATA),
        (
            {"default": "metadata"},
            ".default",
            "'metadata'",
            "a mapping with the type of the identity",
            METADATA,
        ),
        ({"a/../b": {"type": "metadata"}}, ".'a/../b'", "'a/../b'", NAME, METADATA),
        ({1: {"type": "metadata"}}, ".1", f"1 {QUOTE}", NAME, METADATA),
        (
            {"ci": {"type": "metadata"}},
            "",
            "no identity 'default', which a repository uses",
            "one entry for each",
            METADATA,
        ),
    ],
)
def test_bad_mappings(identities: object, path: str, found: str, allowed: str, example: str) -> None:
    used = ["default"] if identities == {"ci": {"type": "metadata"}} else []
    shown = refusal(validate.parse_identities, identities, used=used)
    assert shown == text(VARIABLE + path, found, allowed, example)


@pytest.mark.parametrize(
    ("identities", "path", "found", "allowed", "example"),
    [
        # no source
        (one(), ".type", "nothing", TYPES, METADATA),
        (one(type=None), ".type", "nothing", TYPES, METADATA),
        (one(type="service_account"), ".type", "'service_account'", TYPES, KEY),
        (one(type="gcloud-cli", account="a b"), ".type", "'gcloud-cli'", TYPES, GCLOUD),
        (one(type=["adc"]), ".type", "a list", TYPES, ADC),
        (one(type="adc"), ".file", "nothing", f"{PATH}; the type adc needs it", ADC),
        (
            one(type="service_account_key", file=None),
            ".file",
            "nothing",
            f"{PATH}; the type service_account_key needs it",
            KEY,
        ),
        (
            one(type="gcloud"),
            ".account",
            "nothing",
            "the account that is logged in, an e-mail; the type gcloud needs it",
            GCLOUD,
        ),
        (
            one(type="gcloud", per_user=False),
            ".account",
            "nothing",
            "the account that is logged in, an e-mail; the type gcloud needs it",
            GCLOUD,
        ),
        # two sources
        (
            one(type="metadata", file="/etc/key.json"),
            ".file",
            "an option of adc, external_account, service_account_key, token_file beside type: metadata",
            "account, impersonate_service_account, lifetime, type",
            METADATA,
        ),
        (
            key(account="me@example.com"),
            ".account",
            "an option of gcloud, metadata beside type: service_account_key",
            "file, impersonate_service_account, lifetime, type",
            KEY,
        ),
        (
            key(per_user=True),
            ".per_user",
            "an option of adc, gcloud beside type: service_account_key",
            "file, impersonate_service_account, lifetime, type",
            KEY,
        ),
        (
            one(type="adc", per_user=True, file="/etc/adc.json"),
            "",
            "file together with per_user",
            "either file, or per_user: true",
            ADC,
        ),
        # unknown options
        (
            key(impersonate_account=ROBOT),
            ".impersonate_account",
            "an unknown option",
            "impersonate_service_account",
            KEY,
        ),
        (
            one(type="metadata", key="hunter2"),
            ".key",
            "an unknown option",
            "account, impersonate_service_account, lifetime, type",
            METADATA,
        ),
        (one(type="metadata", **{"a\nb": 1}), ".'a\\nb'", "an unknown option", None, METADATA),
        # values
        (one(type="metadata", account="a b"), ".account", "'a b'", OWN_ACCOUNT, "account: default"),
        (one(type="metadata", account=""), ".account", "''", OWN_ACCOUNT, "account: default"),
        (
            one(type="gcloud", account="-x"),
            ".account",
            "'-x'",
            "the account that is logged in, an e-mail",
            "account: dev@example.com",
        ),
        *(
            (
                one(type="token_file", file=bad),
                ".file",
                found,
                PATH,
                "file: /etc/devbox/key.json",
            )
            for bad, found in (
                ("key.json", "'key.json'"),
                ("~/key.json", "'~/key.json'"),
                ("", "''"),
                ("/", "'/'"),
                ("/etc/", "'/etc/'"),
                ("/etc//key", "'/etc//key'"),
                ("/etc/../key", "'/etc/../key'"),
                ("/etc/key ", "'/etc/key '"),
                ("/etc/key\\", "'/etc/key\\\\'"),
                ("/etc/a\nExecStart=b", "'/etc/a\\nExecStart=b'"),
                (7, "7"),
                (["/etc/key"], "a list"),
                ("ya29." + "hunter2" * 20, "a long text that is no path (not shown: it may be a secret)"),
            )
        ),
        (
            one(type="external_account", file="/etc/x.json", subject_token_file="token"),
            ".subject_token_file",
            "'token'",
            PATH,
            "subject_token_file: /etc/devbox/key.json",
        ),
        *(
            (
                key(impersonate_service_account=bad),
                ".impersonate_service_account",
                repr(bad),
                SERVICE_ACCOUNT,
                f"impersonate_service_account: {ROBOT}",
            )
            for bad in (
                "me@example.com",
                "robot",
                f"{ROBOT}.evil.example",
                f"a/b/{ROBOT}",
                f"{ROBOT}\n",
                "robot@iam.gserviceaccount.com",
                "",
                True,
            )
        ),
        *(
            (
                key(impersonate_service_account=ROBOT, lifetime=bad),
                ".lifetime",
                found,
                LIFETIME,
                "lifetime: 3600",
            )
            for bad, found in (
                (43201, "43201"),
                (599, "599"),
                (-1, "-1"),
                (True, "True"),
                (3600.5, "3600.5"),
                ("3600", "'3600' (a string: leave the quotes out)"),
                ("12h", "'12h' (a string: leave the quotes out)"),
            )
        ),
        (
            key(lifetime=3600),
            ".lifetime",
            "a lifetime without impersonate_service_account",
            "both or none: other sources choose the lifetime themselves",
            f"{{impersonate_service_account: {ROBOT}, lifetime: 3600}}",
        ),
        (
            one(type="gcloud", account="me@example.com", per_user="yes"),
            ".per_user",
            "'yes'",
            "true or false",
            "per_user: true",
        ),
    ],
)
def test_bad_identities(identities: object, path: str, found: str, allowed: str | None, example: str) -> None:
    shown = refusal(validate.parse_identities, identities, used=[])
    allowed = allowed or "account, impersonate_service_account, lifetime, type"
    assert shown == text(f"{VARIABLE}.default{path}", found, allowed, example)
    assert "hunter2" not in shown


def test_all_problems_of_all_identities_are_reported_at_once() -> None:
    identities = {
        "a": {"type": "adc", "file": "x", "lifetime": 1},
        "b": {"type": "nope"},
        "c": 3,
        "d e": {"type": "metadata"},
    }
    shown = refusal(validate.parse_identities, identities, used=["z"])
    paths = [line.partition(": ")[0] for line in shown.splitlines() if not line.startswith(" ")]
    v = VARIABLE
    assert paths == [
        f"{v}.a.file",
        f"{v}.a.lifetime",
        f"{v}.a.lifetime",
        f"{v}.b.type",
        f"{v}.c",
        f"{v}.'d e'",
        v,
    ]


@pytest.mark.parametrize(
    ("identity", "parsed"),
    [
        ({"type": "metadata"}, {"type": "metadata", "account": "default"}),
        ({"type": "metadata", "account": ROBOT}, None),
        ({"type": "metadata", "account": None}, {"type": "metadata", "account": "default"}),
        ({"type": "service_account_key", "file": "/etc/keys/ci key.json"}, None),
        ({"type": "external_account", "file": "/etc/x.json"}, None),
        ({"type": "external_account", "file": "/etc/x", "subject_token_file": "/run/t"}, None),
        ({"type": "gcloud", "account": "me+gar@example.com"}, None),
        (
            {"type": "gcloud", "account": "me@x.org", "per_user": False},
            {"type": "gcloud", "account": "me@x.org"},
        ),
        ({"type": "gcloud", "account": "me@x.org", "per_user": True}, None),
        ({"type": "gcloud", "per_user": True}, None),
        ({"type": "adc", "file": "/etc/adc.json"}, None),
        ({"type": "adc", "per_user": True}, None),
        ({"type": "token_file", "file": "/run/agent/tökén"}, None),
        *(
            ({"type": "adc", "per_user": True, "impersonate_service_account": account}, None)
            for account in (
                ROBOT,
                "robot@my-project.example.com.iam.gserviceaccount.com",
                "123-compute@developer.gserviceaccount.com",
                "my-project@appspot.gserviceaccount.com",
            )
        ),
        *(
            (
                {
                    "type": "token_file",
                    "file": "/run/t",
                    "impersonate_service_account": ROBOT,
                    "lifetime": lifetime,
                },
                None,
            )
            for lifetime in (600, 3600, 43200)
        ),
    ],
)
def test_good_identities(identity: dict[str, Any], parsed: dict[str, Any] | None) -> None:
    assert validate.parse_identities(
        {"default": identity, "c.i": identity}, used=["default", "c.i"]
    ) == dict.fromkeys(("default", "c.i"), parsed or identity)


def test_the_input_is_left_as_it_was() -> None:
    identities: dict[str, Any] = {"default": {"type": "metadata", "account": None}}
    validate.parse_identities(identities)
    assert identities == {"default": {"type": "metadata", "account": None}}


def test_the_filter_says_the_same_in_ansibles_words() -> None:
    check = declared.FilterModule().filters()["identities"]
    assert check({"ci": {"type": "metadata"}}, used=["ci"]) == {
        "ci": {"type": "metadata", "account": "default"}
    }
    with pytest.raises(AnsibleFilterError) as caught:
        check({"ci": {"type": "adc"}}, used=["ci"], variable="mine")
    assert "mine.ci.file: found nothing\n  allowed: an absolute path" in str(caught.value)
