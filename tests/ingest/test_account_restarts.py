"""Many new accounts at once: the broker is started again with them, and nobody loses a reading by that."""

from __future__ import annotations

import asyncio
import contextlib
import pathlib
from collections.abc import AsyncIterator, Callable

import asyncpg

from broker.secrets import generate_secret, hash_secret
from cli.account_restarts import AccountRestarts, tell_by_restart
from cli.supervisor import Server, Supervisor
from sensors.kinds import DeviceSpec
from storage.broker_restarts import ask_for_restart, is_broker_kept
from storage.database import connect
from storage.devices import Credential, delete_device, register_devices
from tests.broker.clients import ALLOWED, connected
from tests.ingest.conftest import Rig
from tests.ingest.counting import counted, expect_clean, finish, published

_ENOUGH = 200


@contextlib.asynccontextmanager
async def kept(rig: Rig, said: Callable[[str], None]) -> AsyncIterator[asyncpg.Connection]:
    """Keep the broker as ``up`` does; lend a connection to the database that its accounts are made from."""
    stack, supervisor = rig.stack, Supervisor(said)
    await stack.mosquitto.stop()
    await supervisor.start(Server("broker", stack.start_broker, stack.mosquitto.wait, stack.mosquitto.stop))
    owner = await connect(stack.owner_url, application="test")
    restarts = AccountRestarts(
        lambda: connect(stack.owner_url, application="test"),
        stack.admin,
        lambda: supervisor.restart("broker"),
        said,
        is_worth=lambda new, _: new > _ENOUGH,
        pause_seconds=0.0,
    )
    task = asyncio.create_task(restarts.run(), name="test.restarts")
    try:
        async with asyncio.timeout(10):
            while not await is_broker_kept(owner):  # noqa: ASYNC110 - the database tells nobody
                await asyncio.sleep(0.02)
        yield owner
    finally:
        task.cancel()
        await asyncio.wait([task])
        await supervisor.stop()
        await stack.start_broker()
        await owner.close()


async def test_a_bulk_of_devices_is_known_after_a_restart_that_costs_no_reading(
    rig: Rig, tmp_path: pathlib.Path
) -> None:
    secret = generate_secret()
    hashed = hash_secret(secret)
    credential = Credential(hashed.salt, hashed.hash, hashed.iterations)
    names = [f"bulk-{number}" for number in range(_ENOUGH + 10)]
    load, ledger, said = counted(200_000, stamped=True), tmp_path / "ledger", list[str]()
    async with (
        kept(rig, said.append) as owner,
        rig.worker() as worker,
        published(rig, load, ledger) as gateway,
        rig.stack.admin as admin,
    ):
        try:
            before = await admin.count_accounts()
            specs = [DeviceSpec(name, "noise", "gate") for name in names]
            await register_devices(owner, specs, rig.catalogue, dict.fromkeys(names, credential))
            assert await tell_by_restart(owner, admin)
            assert await admin.count_accounts() == before + len(names)
            with connected(rig.stack.ports.mqtt, names[-1], secret) as device:
                assert device.publish(f"alatau/v1/{names[-1]}/telemetry", b'{"laeq": 50}') == ALLOWED
            # Nothing is missing now: who asks again does not have the city disconnected.
            assert await ask_for_restart(owner)
            seen = worker.metrics.acknowledged._value.get()
            await rig.until(lambda: worker.metrics.acknowledged._value.get() >= seen + 500)
            counts = await finish(gateway)
            await expect_clean(rig, load, ledger)
            assert counts["connections"] == 2
            assert worker.metrics.sessions_lost._value.get() == 0
            assert said == [f"{len(names)} accounts are new: the broker is started again with them"]
        finally:
            for name in names:
                await delete_device(owner, name)


async def test_where_nobody_keeps_the_broker_nobody_hears_a_request(rig: Rig) -> None:
    assert not await is_broker_kept(rig.connection)
    assert not await ask_for_restart(rig.connection)
