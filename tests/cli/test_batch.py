"""``batch``: adding, listing and revoking what devices register themselves with."""

from __future__ import annotations

import asyncpg
import pytest

from broker.accounts import Service
from cli.local import LocalStack
from sensors.claims import batch_users
from tests.broker.clients import NOT_AUTHORIZED, Client, connected
from tests.cli.command import Alatau

pytestmark = pytest.mark.servers

ADD = ("batch", "add", "lamps", "--kind", "street_light", "--district", "golden", "--count", "5")


async def test_a_batch_lives_until_it_is_revoked(
    alatau: Alatau, local_stack: LocalStack, connection: asyncpg.Connection
) -> None:
    settings = {
        "ALATAU_MQTT_URL": local_stack.mqtt_url,
        "ALATAU_BROKER_ADMIN_PASSWORD": local_stack.secrets.services[Service.ADMIN],
    }
    telling = Alatau({**alatau.settings, **settings})
    added = telling(*ADD, "--for", "P7D")
    assert (added.code, added.errors) == (0, "")
    assert "users alatau-claim-lamps-00 to alatau-claim-lamps-15" in added.out
    token, user = added.out.partition("token ")[2].split()[0], batch_users("lamps")[15]
    assert "lamps street_light golden 0 of 5 open" in telling("batch", "list").out
    again = telling(*ADD, "--for", "P7D")
    assert (again.code, "choose another name" in again.errors) == (1, True)
    with connected(local_stack.ports.mqtt, user, token) as device:
        assert telling("batch", "revoke", "lamps").out == "lamps is revoked"
        assert device.left.wait(10)
    late = Client(user, user, token)
    assert late.connect(local_stack.ports.mqtt) == NOT_AUTHORIZED
    late.close()
    assert "lamps street_light golden 0 of 5 revoked" in telling("batch", "list").out
    acts = await connection.fetch("SELECT action FROM alatau.audit WHERE subject = 'lamps' ORDER BY audit_id")
    assert [act["action"] for act in acts] == ["add batch", "revoke batch"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((*ADD, "--for", "P91D"), "P90D"),
        ((*ADD, "--for", "week"), "ISO 8601"),
        (("batch", "add", "Lamps", *ADD[3:], "--for", "P1D"), "no name of a batch"),
        ((*ADD, "--for", "P1D", "--kind", "noize"), 'did you mean "noise"?'),
        ((*ADD, "--for", "P1D", "--district", "gat"), 'did you mean "gate"?'),
        (("batch", "revoke", "nobody"), "alatau batch list"),
    ],
)
def test_what_is_wrong_is_said_with_what_would_be_right(
    alatau: Alatau, arguments: tuple[str, ...], told: str
) -> None:
    result = alatau(*arguments)
    assert (result.code, told in result.errors) == (1, True), result.errors
