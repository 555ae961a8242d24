"""Which database and broker a command takes: the environment's, or our own."""

from __future__ import annotations

import pathlib

import pytest

from broker.accounts import Service
from cli.connections import (
    broker_account,
    broker_admin,
    database_url,
    external_broker,
    external_database,
    role_passwords,
    stack_environment,
)
from cli.secrets import StackSecrets, ensure_secrets
from cli.settings import Settings, SettingsError
from cli.up import write_environment
from storage.database import API_ROLE, INGEST_ROLE, OWNER_ROLE

URL = "postgresql://alatau_api:it's%20#1@127.0.0.1:5433/alatau"


@pytest.fixture
def ours(tmp_path: pathlib.Path) -> Settings:
    """Settings of a shell that sourced what ``up`` wrote."""
    written = {"ALATAU_DATABASE_URL": URL, "ALATAU_MQTT_URL": "mqtt://127.0.0.1:1883", "ALATAU_API_KEY": "k"}
    write_environment(tmp_path, written)
    assert stack_environment(Settings(data_dir=tmp_path)) == written
    return Settings(data_dir=tmp_path, database_url=URL, mqtt_url="mqtt://127.0.0.1:1883")


@pytest.fixture
def secrets(tmp_path: pathlib.Path) -> StackSecrets:
    return ensure_secrets(tmp_path / "secrets.json")


def test_sourcing_what_up_wrote_makes_no_server_external(ours: Settings) -> None:
    assert external_database(ours) is None
    assert external_broker(ours) is None


def test_servers_of_others_are_external(ours: Settings) -> None:
    theirs = ours.model_copy(update={"database_url": "postgresql://db/x", "mqtt_url": "mqtt://broker"})
    assert external_database(theirs) == "postgresql://db/x"
    assert external_broker(theirs) == "mqtt://broker"


def test_nothing_is_external_where_nothing_is_set(tmp_path: pathlib.Path) -> None:
    assert external_database(Settings(data_dir=tmp_path)) is None


def test_a_sourced_environment_still_gives_the_owner_its_own_role(
    ours: Settings, secrets: StackSecrets
) -> None:
    assert database_url(ours, OWNER_ROLE) == (
        f"postgresql://alatau_owner:{secrets.roles[OWNER_ROLE]}@127.0.0.1:5433/alatau"
    )


def test_an_address_without_a_user_serves_each_role_whose_password_is_set(tmp_path: pathlib.Path) -> None:
    settings = Settings(
        data_dir=tmp_path,
        database_url="postgresql://database:5432/alatau",
        database_ingest_password="p@ss/w:rd?#%",
    )
    assert database_url(settings, INGEST_ROLE) == (
        "postgresql://alatau_ingest:p%40ss%2Fw%3Ard%3F%23%25@database:5432/alatau"
    )
    assert database_url(settings, API_ROLE) == "postgresql://database:5432/alatau"


def test_an_address_with_a_user_is_taken_as_it_is(tmp_path: pathlib.Path) -> None:
    url = "postgresql://me:mine@database/alatau"
    settings = Settings(data_dir=tmp_path, database_url=url, database_owner_password="other")
    assert database_url(settings, OWNER_ROLE) == url


def test_without_any_server_it_is_said_what_to_set(tmp_path: pathlib.Path) -> None:
    settings = Settings(data_dir=tmp_path)
    assert broker_admin(settings) is None
    with pytest.raises(SettingsError, match="ALATAU_DATABASE_URL"):
        database_url(settings, OWNER_ROLE)
    with pytest.raises(SettingsError, match="ALATAU_MQTT_PASSWORD"):
        broker_account(settings, Service.INGEST)
    with pytest.raises(
        SettingsError, match="ALATAU_DATABASE_OWNER_PASSWORD, ALATAU_DATABASE_INGEST_PASSWORD"
    ):
        role_passwords(settings)


def test_the_environments_account_goes_before_the_local_stacks(ours: Settings, secrets: StackSecrets) -> None:
    assert broker_account(ours, Service.INGEST) == (Service.INGEST, secrets.services[Service.INGEST])
    given = ours.model_copy(update={"mqtt_password": "x", "mqtt_username": "me"})
    assert broker_account(given, Service.INGEST) == ("me", "x")
