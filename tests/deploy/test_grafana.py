"""``deploy/grafana``: what Grafana is provisioned with is valid, names what is there, and its statements run."""

from __future__ import annotations

import datetime as dt
import itertools
import re
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
import yaml

from sensors.catalogue import Catalogue
from sensors.kinds import DeviceSpec
from sensors.times import to_microseconds
from storage.database import READER_ROLE, connect
from storage.refresh import move_bound, refresh
from tests.cities import City, open_city
from tests.conftest import Database
from tests.deploy.composed import compose, required_variables
from tests.deploy.grafana import DASHBOARDS, DIRECTORY, expand, files_of, statements, variables_of

DATASOURCE = {"type": "grafana-postgresql-datasource", "uid": "alatau"}
SERVICE: dict[str, Any] = compose()["services"]["grafana"]
PROVISIONING = DIRECTORY / "provisioning"
PANELS = {"stat", "table", "timeseries"}
END = dt.datetime.now(dt.UTC)
START = END - dt.timedelta(hours=6)
every_dashboard = pytest.mark.parametrize("dashboard", DASHBOARDS.values(), ids=DASHBOARDS)


# -- the files --------------------------------------------------------------------------------------


def test_dashboards_have_uids_that_links_can_name() -> None:
    uids = {name: dashboard["uid"] for name, dashboard in DASHBOARDS.items()}
    assert uids == {name: f"alatau-{name}" for name in ("city", "device", "ingest")}
    text = "".join(path.read_text() for path in files_of("deploy/grafana/dashboards"))
    assert set(re.findall(r"/d/([\w-]+)", text)) <= set(uids.values())


@every_dashboard
def test_a_dashboard_is_one_that_grafana_reads(dashboard: dict[str, Any]) -> None:
    # An id of its own would be taken for the one of a dashboard that is there.
    assert "id" not in dashboard
    assert dashboard["schemaVersion"] >= 39
    assert dashboard["title"].startswith("Alatau: ")
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(ids)) == len(ids)
    for panel in dashboard["panels"]:
        assert panel["type"] in PANELS
        assert panel["datasource"] == DATASOURCE
        assert set(panel) >= {"title", "gridPos", "fieldConfig", "options", "targets"}
        assert set(panel["fieldConfig"]) == {"defaults", "overrides"}
        for target in panel["targets"]:
            assert target["datasource"] == DATASOURCE
            assert target["rawQuery"]
            assert target["format"] == ("time_series" if panel["type"] == "timeseries" else "table")


@every_dashboard
def test_no_panel_lies_upon_another(dashboard: dict[str, Any]) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = set(
            itertools.product(
                range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"])
            )
        )
        assert not cells & taken, panel["title"]
        taken |= cells


@every_dashboard
def test_every_variable_is_one_of_the_dashboard(dashboard: dict[str, Any]) -> None:
    variables = variables_of(dashboard)
    for variable in variables.values():
        assert variable["datasource"] == DATASOURCE
    used = {panel["repeat"] for panel in dashboard["panels"] if "repeat" in panel}
    for panel, sql, _ in statements(dashboard):
        used |= set(re.findall(r"\$(?!__)\{?(\w+)", sql + panel["title"]))
    assert used == set(variables)


def test_the_datasource_is_a_role_that_reads_and_has_its_password_from_the_environment() -> None:
    (source,) = yaml.safe_load((PROVISIONING / "datasources/alatau.yaml").read_text())["datasources"]
    assert {"type": source["type"], "uid": source["uid"]} == DATASOURCE
    assert source["user"] == READER_ROLE
    assert not source["editable"]
    environment = SERVICE["environment"]
    named = re.findall(r"\$(\w+)", (PROVISIONING / "datasources/alatau.yaml").read_text())
    assert set(named) == {name for name in environment if name.startswith("READER_")}
    password = environment[source["secureJsonData"]["password"].removeprefix("$")]
    migrate = compose()["services"]["migrate"]["environment"]
    assert migrate["ALATAU_DATABASE_READER_PASSWORD"] == password


def test_the_files_are_where_grafana_looks() -> None:
    (provider,) = yaml.safe_load((PROVISIONING / "dashboards/alatau.yaml").read_text())["providers"]
    mounted = dict(volume.split(":", 1) for volume in SERVICE["volumes"])
    assert mounted["./deploy/grafana/provisioning"] == "/etc/grafana/provisioning:ro"
    assert mounted["./deploy/grafana/dashboards"] == f"{provider['options']['path']}:ro"
    assert not provider["allowUiUpdates"]


def test_grafana_runs_when_it_is_asked_for_and_asks_no_other_site() -> None:
    assert SERVICE["profiles"] == ["grafana"]
    assert re.fullmatch(r"grafana/grafana:\d+\.\d+\.\d+", SERVICE["image"])
    environment = SERVICE["environment"]
    assert environment["GF_SECURITY_ADMIN_PASSWORD"].startswith("${GRAFANA_ADMIN_PASSWORD:?")
    assert "GRAFANA_ADMIN_PASSWORD" in required_variables()
    for setting in ("ANALYTICS_REPORTING_ENABLED", "ANALYTICS_CHECK_FOR_UPDATES", "NEWS_NEWS_FEED_ENABLED"):
        assert environment[f"GF_{setting}"] == "false"


# -- the database ----------------------------------------------------------------------------------


# Those that the city's panels are of.
KINDS = ("air_quality", "noise", "parking", "public_transport", "traffic_flow", "weather")


@pytest.fixture(scope="module")
async def city(database: Database, catalogue: Catalogue) -> AsyncIterator[City]:
    """A device of each of these kinds that has just sent, one that is silent, refusals and rollups."""
    kinds = [catalogue.kind_of[name] for name in KINDS]
    specs = [DeviceSpec(f"{kind.name}-1", kind.name, "gate") for kind in kinds]
    silent = DeviceSpec("silent-1", "noise", "green")
    async with open_city(database, catalogue, [*specs, silent]) as city:
        times = [END - dt.timedelta(minutes=minute) for minute in range(1, 60, 2)]
        for kind in kinds:
            values = {metric.name: metric.minimum + 1.0 for metric in kind.metrics}
            await city.write(kind.name, [(f"{kind.name}-1", time, values) for time in times])
            await move_bound(city.owner, [kind.name], "Asia/Almaty", to_microseconds(END))
            while not (await refresh(city.owner, kind)).is_done:
                pass
        await city.owner.executemany(
            """
            INSERT INTO alatau.dead_letter (received_at, topic, payload, reason, detail, device_id)
            VALUES ($1, 'alatau/v1/air_quality-1/telemetry', 'x', 'undecodable', 'no JSON', $2)
            """,
            [(time, city.number["air_quality-1"]) for time in times],
        )
        yield city


@pytest.fixture
async def reader(database: Database, city: City) -> AsyncIterator[asyncpg.Connection]:
    connection = await connect(database.reader_url, application="test")
    yield connection
    await connection.close()


async def chosen(reader: asyncpg.Connection, dashboard: dict[str, Any]) -> dict[str, str]:
    """Return the value that each variable has at first; a later one may need those before."""
    values: dict[str, str] = {}
    for name, variable in variables_of(dashboard).items():
        values[name] = (await reader.fetch(expand(variable["query"], values, START, END)))[0][0]
    return values


# What this city has none of.
EMPTY = {("city", "Alerts"), ("device", "Alerts in this time")}


@pytest.mark.servers
@pytest.mark.parametrize("name", DASHBOARDS)
async def test_every_statement_runs_as_the_reader_and_shows_something(
    reader: asyncpg.Connection, name: str
) -> None:
    dashboard = DASHBOARDS[name]
    variables = await chosen(reader, dashboard)
    for panel, sql, format_ in statements(dashboard):
        rows = await reader.fetch(expand(sql, variables, START, END))
        assert rows or (name, panel["title"]) in EMPTY, panel["title"]
        if format_ == "time_series":
            for row in rows:
                assert isinstance(row["time"], dt.datetime)
                *_, value = row.values()
                assert isinstance(value, int | float), panel["title"]


@pytest.mark.servers
async def test_the_silent_device_is_counted_and_named(reader: asyncpg.Connection) -> None:
    shown = {
        panel["title"]: await reader.fetch(expand(sql, {}, START, END))
        for panel, sql, _ in statements(DASHBOARDS["city"])
    }
    # Others fall silent too while tests take their time.
    assert shown["Silent devices"][0]["silent"] >= len(shown["Longest silent"]) >= 1
    assert shown["Longest silent"][0]["device"] == "silent-1"


SECRET = [
    "alatau.device_credential",
    "alatau.api_key",
    "alatau.user_account",
    "alatau.user_session",
    "alatau.audit",
    "alatau.claim_batch",
    "alatau.export",
]


@pytest.mark.servers
async def test_the_reader_sees_no_secret_and_changes_nothing(reader: asyncpg.Connection) -> None:
    for table in SECRET:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await reader.fetch(f"SELECT * FROM {table}")  # noqa: S608 - our own names
    # What devices send may hold anything.
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await reader.fetch("SELECT payload FROM alatau.dead_letter")
    # Nor is it of its business who has seen what.
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await reader.fetch("SELECT acknowledged_by FROM alatau.alert")
    assert (
        await reader.fetch(
            """
            SELECT nspname, relname, privilege FROM pg_class JOIN pg_namespace ON relnamespace = pg_namespace.oid,
                   unnest('{INSERT,UPDATE,DELETE,TRUNCATE}'::text[]) AS privilege
            WHERE nspname IN ('alatau', 'reading', 'rollup', 'public') AND relkind IN ('r', 'p', 'v')
                  AND has_table_privilege(pg_class.oid, privilege)
            """
        )
        == []
    )
    assert (
        await reader.fetch(
            """
            SELECT proname FROM pg_proc WHERE pronamespace = 'alatau'::regnamespace AND prosecdef
                   AND has_function_privilege(oid, 'EXECUTE')
            """
        )
        == []
    )
    for statement in ("CREATE TABLE public.x ()", "CREATE TEMPORARY TABLE x ()", "CREATE SCHEMA x"):
        with pytest.raises((asyncpg.InsufficientPrivilegeError, asyncpg.ReadOnlySQLTransactionError)):
            await reader.execute(f"SET default_transaction_read_only = off; {statement}")


@pytest.mark.servers
async def test_a_statement_of_the_reader_ends_in_time(reader: asyncpg.Connection) -> None:
    assert await reader.fetchval("SHOW statement_timeout") == "30s"
    assert await reader.fetchval("SHOW default_transaction_read_only") == "on"
    limit = "SELECT rolconnlimit FROM pg_roles WHERE rolname = current_user"
    assert await reader.fetchval(limit) == 20
