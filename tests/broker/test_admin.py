"""The broker's accounts, changed while it runs."""

from __future__ import annotations

import asyncio
import json

import pytest

from broker.accounts import DEVICE_ROLE, Service
from broker.admin import BrokerAdmin
from broker.drift import Account, Deviation, compare
from broker.errors import BrokerError
from broker.standstill import standstill_seconds
from stack.ports import free_port
from tests.broker.conftest import SECRET, Broker, started_with

pytestmark = pytest.mark.servers


def test_what_deviates_is_found() -> None:
    accounts = [
        Account("right", "right", is_disabled=False),
        Account("right~2", "right", is_disabled=False),
        Account("out", "out", is_disabled=True),
        Account("unknown", "unknown", is_disabled=False),
        Account("any", None, is_disabled=False),
        Account("other", "any", is_disabled=False),
        Account("let-in", "let-in", is_disabled=False),
        Account("kept-out", "kept-out", is_disabled=True),
        Account("free", "free", is_disabled=False, has_role=False),
    ]
    enabled = ["right", "right~2", "missing", "any", "other", "kept-out", "free"]
    table = dict.fromkeys(enabled, False) | {"out": True, "let-in": True}
    assert compare(table, accounts) == {
        Deviation.MISSING: ["missing"],
        Deviation.UNKNOWN: ["unknown"],
        Deviation.ENABLED: ["let-in"],
        Deviation.DISABLED: ["kept-out"],
        Deviation.CLIENT_ID: ["any", "other"],
        Deviation.ROLE: ["free"],
    }


async def test_accounts_from_the_file_and_from_commands_are_the_same(broker: Broker) -> None:
    await started_with(broker, "from-file")
    await broker.admin.add_device("from-command", SECRET)
    assert await broker.admin.list_devices() == [
        Account(device, device, is_disabled=False) for device in ("from-command", "from-file")
    ]
    assert await broker.admin.count_accounts() == 2 + len(Service)


async def test_an_administrator_takes_no_answer_of_another_for_its_own(broker: Broker) -> None:
    """The broker tells all of them each answer: here one asks for the list while the other asks for something else."""
    url, accounts = f"mqtt://127.0.0.1:{broker.port}", await broker.admin.list_devices()
    async with (
        BrokerAdmin(url, Service.ADMIN, SECRET) as first,
        BrokerAdmin(url, Service.ADMIN, SECRET) as second,
    ):
        for _ in range(15):
            found, _ = await asyncio.gather(first.list_devices(), second.enable_device("nobody"))
            assert found == accounts


async def test_many_accounts_are_made_in_batches_and_listed_in_pages(broker: Broker) -> None:
    devices = [f"many-{number:04}" for number in range(1250)]
    await started_with(broker, *devices[:1000])
    await broker.admin.add_devices([(device, SECRET) for device in devices[990:]])
    assert [account.username for account in await broker.admin.list_devices()] == devices
    with broker.connected(devices[-1]):
        pass


async def test_acts_on_an_account_that_is_not_there_change_nothing(broker: Broker) -> None:
    await started_with(broker)
    for act in (broker.admin.disable_device, broker.admin.enable_device, broker.admin.delete_device):
        await act("nobody")
    assert await broker.admin.list_devices() == []


async def test_accounts_of_others_are_not_listed(broker: Broker) -> None:
    await started_with(broker, "device")
    document = json.loads(await asyncio.to_thread(broker.options.security_file.read_bytes))
    document["groups"] = [{"groupname": "people", "clients": [{"username": "anna"}], "roles": []}]
    document["clients"] += [
        {"username": "anna", "roles": []},
        {"username": "root", "roles": [{"rolename": Service.ADMIN}]},
    ]
    await asyncio.to_thread(broker.options.security_file.write_text, json.dumps(document))
    before = await broker.admin.connected(0)
    await broker.server.restart()
    await broker.admin.connected(before)
    assert [account.username for account in await broker.admin.list_devices()] == ["device"]


async def test_roles_that_deviate_are_mended(broker: Broker) -> None:
    names = ["alatau-claim-b-00", "free", "right"]
    await started_with(broker, *names)
    document = json.loads(await asyncio.to_thread(broker.options.security_file.read_bytes))
    for client in document["clients"]:
        # A device without any, and one of a batch that may publish.
        client["roles"] = {"free": [], names[0]: [{"rolename": DEVICE_ROLE}]}.get(
            client["username"], client["roles"]
        )
    await asyncio.to_thread(broker.options.security_file.write_text, json.dumps(document))
    before = await broker.admin.connected(0)
    await broker.server.restart()
    await broker.admin.connected(before)
    drift = compare(dict.fromkeys(names, False), await broker.admin.list_devices())
    assert drift[Deviation.ROLE] == names[:2]
    assert await broker.admin.repair(drift) == 2
    right = [Account(name, name, is_disabled=False) for name in names]
    assert await broker.admin.list_devices() == right


async def test_a_broker_that_is_not_there_is_named() -> None:
    port = free_port()
    async with BrokerAdmin(f"mqtt://127.0.0.1:{port}", Service.ADMIN, SECRET) as admin:
        with pytest.raises(BrokerError, match=f"no broker at 127.0.0.1:{port}; start it"):
            await admin.add_device("x", SECRET)


async def test_a_wrong_password_is_named_with_its_setting(broker: Broker) -> None:
    async with BrokerAdmin(f"mqtt://127.0.0.1:{broker.port}", Service.ADMIN, "wrong") as admin:
        with pytest.raises(BrokerError, match="ALATAU_BROKER_ADMIN_PASSWORD"):
            await admin.add_device("x", SECRET)


async def test_who_is_not_the_administrator_is_not_waited_for_longer_than_the_timeout(broker: Broker) -> None:
    async with BrokerAdmin(f"mqtt://127.0.0.1:{broker.port}", Service.INGEST, SECRET, timeout=0.2) as admin:
        with pytest.raises(BrokerError, match="did not answer"):
            await admin.add_device("x", SECRET)


def test_a_standstill_grows_with_the_accounts_that_are_written_each_time() -> None:
    assert standstill_seconds(1, 20_000) == pytest.approx(0.066, rel=0.01)
    assert standstill_seconds(20_000, 0) == pytest.approx(660, rel=0.01)
