"""What the platform is made of is listed, and what of it is known to be vulnerable fails the check."""

from __future__ import annotations

import json
import os
import pathlib
import sys
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from cli.dependencies import audit, bill_of_materials, read_audit
from stack.debian import Package
from stack.servers import Servers, packages_of

FLAW = {"id": "PYSEC-2026-1", "aliases": ["CVE-2026-1"], "fix_versions": ["1.1"], "description": "…"}


def answer(*flaws: dict[str, Any]) -> dict[str, Any]:
    return {
        "dependencies": [
            {"name": "good", "version": "2", "vulns": []},
            {"name": "bad", "version": "1.0", "vulns": list(flaws)},
        ]
    }


def test_a_known_vulnerability_is_named_with_the_version_that_mends_it() -> None:
    found = read_audit(answer(FLAW, FLAW | {"id": "PYSEC-2026-2", "fix_versions": []}), {})
    assert found.vulnerable == [
        "bad 1.0: PYSEC-2026-1, mended in 1.1",
        "bad 1.0: PYSEC-2026-2, not mended yet",
    ]
    assert (found.known, found.note) == (2, None)


@pytest.mark.parametrize("name", ["PYSEC-2026-1", "CVE-2026-1"])
def test_what_is_accepted_with_a_reason_is_not_told_again(name: str) -> None:
    assert read_audit(answer(FLAW), {name: "we never parse that"}).vulnerable == []


def test_what_the_index_does_not_tell_of_is_noted() -> None:
    found = read_audit({"dependencies": [{"name": "ours", "skip_reason": "not found"}]}, {})
    assert (found.known, found.vulnerable) == (0, [])
    assert found.note is not None
    assert "1 packages (ours …)" in found.note


def test_offline_the_audit_is_a_note_and_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    found = audit()
    assert found.vulnerable == []
    assert found.note


def test_an_audit_that_says_nothing_is_a_note(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho no such module >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(broken))
    assert audit().note == "no such module"


@pytest.mark.servers
def test_the_bill_of_materials_is_valid_and_has_packages_with_licences_and_the_servers(
    servers: Servers,
) -> None:
    document = bill_of_materials(servers, packages_of(servers, os.environ))
    components = {one["name"]: one for one in document["components"]}
    assert components["fastapi"]["licenses"]
    assert components["fastapi"]["purl"].startswith("pkg:pypi/fastapi@")
    assert any("postgresql" in name for name in components)
    assert any("mosquitto" in name for name in components)
    assert "file://" not in json.dumps(document)
    # Of each sort some: the validator takes a tenth of a second for each.
    document["components"] = [*document["components"][:5], *document["components"][-5:]]
    document["dependencies"] = document["dependencies"][:5]
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(document)) is None


@pytest.mark.servers
def test_a_debian_version_is_written_as_an_address_needs_it(servers: Servers) -> None:
    (one,) = bill_of_materials(servers, [Package("libxml2", "1:2.12-1+deb13u1", "amd64")])["components"][-1:]
    assert one["purl"] == "pkg:deb/debian/libxml2@1%3A2.12-1%2Bdeb13u1?arch=amd64&distro=trixie"
