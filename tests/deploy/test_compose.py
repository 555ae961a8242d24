"""``docker-compose.yml``: the specification, our own command line and our own rules hold it."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import re
import stat
import tomllib
from typing import Any

import jsonschema
import pytest
import typer.main

from cli.ingest_http import http_port
from cli.main import command_line
from cli.settings import Settings, setting_descriptions
from ingest.options import IngestOptions
from stack.postgres_settings import settings as postgres_settings
from storage.database import OLDEST_TIMESCALEDB
from tests.cli.command import Alatau
from tests.deploy.composed import (
    PROJECT,
    TEXT,
    broker_files_command,
    compose,
    our_commands,
    prepare_commands,
    required_variables,
)

SERVICES: dict[str, dict[str, Any]] = compose()["services"]
DOCKERFILE = (PROJECT / "Dockerfile").read_text()


def resolve(words: list[str]) -> Any:
    """Parse a command line as the command does, without running it; raises what it would print."""
    command: Any = typer.main.get_command(command_line())
    context = command.make_context("alatau", [*words])
    while hasattr(command, "commands"):
        name, command, words = command.resolve_command(context, words)
        context = command.make_context(name, [*words], parent=context)
    return context


def test_the_file_is_valid_by_the_compose_specification() -> None:
    schema = json.loads((PROJECT / "tests/deploy/compose-spec.json").read_text())
    errors = [error.message for error in jsonschema.Draft7Validator(schema).iter_errors(compose())]
    assert errors == []


def test_the_services_are_those_of_the_city() -> None:
    assert set(SERVICES) == {
        "database",
        "broker",
        "migrate",
        "ingest",
        "api",
        "maintain",
        "alert",
        "simulate",
        "grafana",
    }


@pytest.mark.parametrize("words", our_commands(), ids=" ".join)
def test_each_command_is_one_of_ours_with_options_it_has(words: list[str]) -> None:
    assert resolve(words).params is not None


@pytest.mark.parametrize("words", [["ingest", "--no-such"], ["no-such"], ["simulate", "--devices", "many"]])
def test_a_command_that_is_not_ours_would_be_found(words: list[str]) -> None:
    with pytest.raises(Exception, match=r"[Nn]o such|valid integer"):
        resolve(words)


def test_migrate_prepares_everything_that_the_services_need() -> None:
    assert [" ".join(words[:2]) for words in prepare_commands()] == [
        "pki server",
        "migrate",
        "catalog apply",
        "device add",
        "broker-files /broker",
    ]
    assert "prepare.sh /opt/alatau/bin/alatau-prepare" in DOCKERFILE
    assert SERVICES["migrate"]["command"] == ["alatau-prepare"]
    assert (PROJECT / "deploy/prepare.sh").stat().st_mode & stat.S_IXUSR


def test_the_broker_reads_what_migrate_wrote() -> None:
    words = broker_files_command()
    written, seen = words[1], words[words.index("--seen-as") + 1]
    assert f"broker:{written}" in SERVICES["migrate"]["volumes"]
    assert SERVICES["broker"]["volumes"] == [f"broker:{seen}"]
    assert f"{seen}/mosquitto.conf" in SERVICES["broker"]["command"]
    assert SERVICES["broker"]["user"] == SERVICES["migrate"]["user"] == "1883:1883"
    assert f"install -d -o 1883 -g 1883 -m 700 {written} " in DOCKERFILE


def test_every_service_speaks_tls_to_the_broker_and_trusts_the_authority_that_migrate_made() -> None:
    migrate = SERVICES["migrate"]["environment"]
    directory, authority = migrate["ALATAU_DATA_DIR"], migrate["ALATAU_MQTT_CA"]
    place = str(pathlib.PurePosixPath(authority).parent)
    assert {f"certificates:{directory}", f"trust:{place}"} <= set(SERVICES["migrate"]["volumes"])
    assert f"-m 700 /broker {directory} " in DOCKERFILE
    assert f"install -d -o 1883 -g 1883 -m 755 {place} " in DOCKERFILE
    script = (PROJECT / "deploy/prepare.sh").read_text()
    assert 'install -m 644 "$ALATAU_DATA_DIR/pki/ca.pem" "$ALATAU_MQTT_CA"' in script
    assert prepare_commands()[0] == ["pki", "server", "--name", "broker"]
    for name, service in SERVICES.items():
        if (url := service.get("environment", {}).get("ALATAU_MQTT_URL")) is not None:
            assert url == "mqtts://broker:8883"
            assert service["environment"]["ALATAU_MQTT_CA"] == authority
            assert name == "migrate" or f"trust:{place}:ro" in service["volumes"]
    # The authority's key, and the broker's, are for those who need them.
    for volume, users in (("certificates:", {"migrate"}), ("broker:", {"migrate", "broker"})):
        mounted = {
            name for name, s in SERVICES.items() if any(v.startswith(volume) for v in s.get("volumes", []))
        }
        assert mounted == users


def test_the_broker_is_published_with_tls_only() -> None:
    assert SERVICES["broker"]["ports"] == [
        "${ALATAU_MQTT_ADDRESS:-127.0.0.1}:${ALATAU_MQTTS_PORT:-8883}:8883"
    ]
    # Other ports are those of plain text, on the loopback address of the container.
    assert not {"--address", "--port", "--tls-port"} & set(broker_files_command())


def test_exported_files_are_kept_where_the_api_may_write() -> None:
    directory = SERVICES["api"]["environment"]["ALATAU_EXPORT_DIR"]
    assert f"exports:{directory}" in SERVICES["api"]["volumes"]
    (user,) = re.findall(r"^USER (\d+):\d+$", DOCKERFILE, re.MULTILINE)
    assert f"install -d -o {user} -g {user} -m 700 {directory}" in DOCKERFILE


def test_every_variable_of_ours_is_a_setting() -> None:
    used = set(re.findall(r"\bALATAU_\w+", TEXT))
    assert used <= set(setting_descriptions())


def test_the_generated_environment_sets_exactly_what_is_required(bare: Alatau) -> None:
    first, second = (bare("compose-env") for _ in range(2))
    values = dict(word.split("=", 1) for word in first.out.split() if "=" in word)
    assert set(values) == required_variables()
    assert len(set(values.values())) == len(values)
    assert not set(values.values()) & {word.split("=", 1)[-1] for word in second.out.split()}
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{32,}", value) for value in values.values())


def test_what_is_not_set_says_what_to_run() -> None:
    for match in re.finditer(r"\$\{\w+:\?([^}]*)\}", TEXT):
        assert "./alatau compose-env > .env" in match[1]


def test_no_secret_is_written_down() -> None:
    for service in SERVICES.values():
        for name, value in service.get("environment", {}).items():
            if "PASSWORD" in name or "KEY" in name:
                # Asked for, or empty where there is none.
                assert re.fullmatch(r"\$\{\w+:(\?[^}]*|-)\}", value), name
            assert not re.search(r"://[^/@]*:[^/@]*@", value), name


def test_every_port_is_published_on_loopback_only() -> None:
    published = [
        port for name, service in SERVICES.items() for port in service.get("ports", []) if name != "broker"
    ]
    assert len(published) == 7
    assert all(
        re.fullmatch(r"127\.0\.0\.1:\$\{(ALATAU_\w+|GRAFANA)_PORT:-\d+\}:\d+", port) for port in published
    )


def test_the_ports_are_those_of_up() -> None:
    # That of telemetry over HTTP is none by default; `up` has one.
    settings = Settings(ingest_http_port=http_port(Settings()))
    for name, default in re.findall(r"\$\{ALATAU_(\w+_PORT):-(\d+)\}", TEXT):
        assert getattr(settings, name.lower()) == int(default)


def test_images_are_pinned_to_versions_that_lose_nothing() -> None:
    database = re.fullmatch(r"timescale/timescaledb:(\d+)\.(\d+)\.(\d+)-pg17", SERVICES["database"]["image"])
    broker = re.fullmatch(r"eclipse-mosquitto:2\.0\.(\d+)", SERVICES["broker"]["image"])
    assert database
    assert broker
    version = tuple(map(int, database.groups()))
    # In between, time_bucket groups wrongly on compressed chunks.
    assert version >= OLDEST_TIMESCALEDB
    assert not (2, 28, 0) <= version <= (2, 29, 2)
    assert int(broker[1]) >= 21
    bases = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    assert set(bases) == {bases[0]}
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+", bases[0])


def test_the_database_is_set_as_up_sets_it() -> None:
    command = SERVICES["database"]["command"]
    ours = postgres_settings(memory=1 << 32, port=5432, shared_memory=1 << 28, wal_compression="lz4")
    given = dict(setting.split("=") for setting in command[2::2])
    assert len(given) > 4
    assert given == {name: ours[name] for name in given}


def test_each_service_has_time_to_stop_and_comes_back() -> None:
    grace = {name: int(s.get("stop_grace_period", "10s").removesuffix("s")) for name, s in SERVICES.items()}
    fields: dict[str, Any] = {field.name: field.default for field in dataclasses.fields(IngestOptions)}
    assert grace["ingest"] > fields["drain_timeout_seconds"]
    for name, service in SERVICES.items():
        assert service["restart"] == ("no" if name == "migrate" else "unless-stopped")


def test_each_service_waits_for_what_it_needs() -> None:
    for name in ("database", "broker", "ingest", "api", "maintain", "alert"):
        assert SERVICES[name]["healthcheck"]["test"][0] == "CMD"
    for service in SERVICES.values():
        for needed, how in service.get("depends_on", {}).items():
            expected = "service_completed_successfully" if needed == "migrate" else "service_healthy"
            assert how == {"condition": expected}


def test_no_service_can_gain_rights() -> None:
    for name, service in SERVICES.items():
        assert service["security_opt"] == ["no-new-privileges:true"]
        # The database's own image changes from root to its user.
        if name != "database":
            assert service["read_only"]
            assert service["cap_drop"] == ["ALL"]
    assert re.search(r"^USER (?!0|root)", DOCKERFILE, re.MULTILINE)


def test_the_image_has_every_package_of_ours_and_no_more() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())
    packages = {name.partition(".")[0] for name in project["tool"]["setuptools"]["packages"]}
    copied = set(re.findall(r"^COPY (\w+) \1$", DOCKERFILE, re.MULTILINE))
    assert copied == packages
    ignored = (PROJECT / ".dockerignore").read_text().split()
    files = " ".join(re.findall(r"^COPY (constraints.*) \./$", DOCKERFILE, re.MULTILINE)).split()
    for path in (*copied, *files):
        assert f"!{path}" in ignored
        assert pathlib.Path(PROJECT, path).exists() or path == "README.md"
