"""Changing the broker's accounts while it runs, through dynamic security's control topic."""

from __future__ import annotations

import asyncio
import itertools
import secrets
import ssl
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson
from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.reasoncodes import ReasonCode

from broker.accounts import is_role_of_ours, role_of
from broker.address import parse_address
from broker.drift import Account, Deviation, Drift
from broker.errors import BrokerError
from broker.refusals import LOG_TOPIC, Dismissal, dismissal_of
from broker.standstill import Command, batches, standstill_seconds
from sensors.accounts import client_id_of, user_names
from sensors.transport import explain

_REQUEST = "$CONTROL/dynamic-security/v1"
_RESPONSE = "$CONTROL/dynamic-security/v1/response"
_PAGE = 1000
_NOT_THERE = "Client not found"
_NO_ROLE = "Role not found"  # of a format that is newer than its files

_REPAIR_SECONDS = 5.0


class BrokerAdmin:
    """Sends commands to dynamic security on one connection, which is kept and made again when it breaks.

    For mqtts://, ``ca`` is the file of the authority to trust; None is the system's. The connection is made when it is
    first needed, and closed at the end of ``async with``. Every method may raise BrokerError,
    after which a command may or may not have been carried out; each may be repeated.
    """

    def __init__(
        self, url: str, username: str, password: str, timeout: float = 5.0, ca: str | None = None
    ) -> None:
        self._address, self._ca = parse_address(url), ca
        self._username, self._password = username, password
        self._timeout = timeout
        self._client: mqtt.Client | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._turn = asyncio.Lock()
        self._tried = asyncio.Event()  # it is connected, or it is known why not
        self._trouble: str | None = None
        self._connections = 0
        self._connected = asyncio.Event()  # the next connection's
        # The broker tells every administrator each answer: whose it is says the name alone.
        self._name, self._numbers = secrets.token_hex(8), itertools.count(1)
        self._expected = ""
        self._answer: asyncio.Future[list[dict[str, Any]]] | None = None
        self._on_dismissal: Callable[[Dismissal], None] | None = None
        self._on_deaf: Callable[[str], None] | None = None

    async def __aenter__(self) -> BrokerAdmin:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._client is not None:
            self._client.disconnect()
            await asyncio.to_thread(self._client.loop_stop)
            self._client = None

    # -- accounts ---------------------------------------------------------------------------------

    async def add_device(self, username: str, secret: str) -> None:
        """Let a device in with a user name and its secret; a name that is there already gets this secret, and its
        session ends."""
        await self.add_devices([(username, secret)])

    async def add_devices(self, devices: Sequence[tuple[str, str]]) -> None:
        """Let devices in with their user names and secrets, as ``add_device`` does."""
        answers = await self._run(
            [
                {**_of("createClient", username), "password": secret, **_pinned(username), **_roles(username)}
                for username, secret in devices
            ]
        )
        known = [given for given, error in zip(devices, answers, strict=True) if error and "exists" in error]
        _require([error for error in answers if not error or "exists" not in error])
        if known:
            changes = [
                command
                for username, secret in known
                for command in (
                    _of("setClientPassword", username) | {"password": secret},
                    _of("setClientId", username) | _pinned(username),
                )
            ]
            _require(await self._run(changes))

    async def disable_device(self, device: str) -> None:
        """Keep a device out; its session ends. One without an account is out already."""
        await self.disable_accounts(user_names(device))

    async def disable_accounts(self, usernames: Sequence[str]) -> None:
        """Keep accounts out, if they are there; their sessions end."""
        await self._change("disableClient", usernames)

    async def enable_device(self, device: str) -> None:
        """Let a device in again, if it has an account."""
        await self.enable_accounts(user_names(device))

    async def enable_accounts(self, usernames: Sequence[str]) -> None:
        """Let accounts in again, if they are there."""
        await self._change("enableClient", usernames)

    async def delete_device(self, device: str) -> None:
        """Take a device's accounts away; its session ends."""
        await self.delete_accounts(user_names(device))

    async def delete_accounts(self, usernames: Sequence[str]) -> None:
        """Take accounts away, if they are there; their sessions end."""
        await self._change("deleteClient", usernames)

    async def _change(self, command: str, usernames: Sequence[str]) -> None:
        _require(await self._run([_of(command, username) for username in usernames]), but=_NOT_THERE)

    async def end_sessions(self, devices: Mapping[str, bool | None]) -> None:
        """End the sessions of devices, which stay as they are: each with whether it is disabled, None without account.

        Nobody else may change these accounts meanwhile.
        """
        commands: list[Command] = []
        for device, is_disabled in devices.items():
            if is_disabled is None:
                commands += [_of("createClient", device), _of("deleteClient", device)]
            else:
                commands += [_of("disableClient", device)]
                commands += [] if is_disabled else [_of("enableClient", device)]
        _require(await self._run(commands), but=_NOT_THERE)

    async def count_accounts(self) -> int:
        """Return how many accounts the broker has."""
        return int((await self._page(0, 1))["totalCount"])

    async def list_devices(self) -> list[Account]:
        """Return the accounts of devices, batches and gateways; one with a group or another role is somebody else's."""
        clients: list[dict[str, Any]] = []
        while page := (await self._page(len(clients), _PAGE))["clients"]:
            clients += page
        return [
            Account(
                client["username"],
                client.get("clientid"),
                client.get("disabled", False),
                has_role=client["roles"] == _roles(client["username"])["roles"],
            )
            for client in clients
            if not client["groups"] and all(is_role_of_ours(role["rolename"]) for role in client["roles"])
        ]

    async def repair(self, drift: Drift) -> int:
        """Mend the deviations that can be while the broker runs, unless it would stand still for long; return how
        many those were."""
        commands: list[Command] = [
            *(_of("deleteClient", name) for name in drift[Deviation.UNKNOWN]),
            *(_of("disableClient", name) for name in drift[Deviation.ENABLED]),
            *(_of("enableClient", name) for name in drift[Deviation.DISABLED]),
            *(_of("setClientId", name) | _pinned(name) for name in drift[Deviation.CLIENT_ID]),
            *(_of("modifyClient", name) | _roles(name) for name in drift[Deviation.ROLE]),
        ]
        if not commands or standstill_seconds(len(commands), await self.count_accounts()) > _REPAIR_SECONDS:
            return 0
        _require(await self._run(commands), but=_NOT_THERE)
        return len(commands)

    async def connected(self, after: int) -> int:
        """Wait until it has been connected more often than ``after`` times; return how often."""
        self._start()
        while self._connections <= after:
            await self._connected.wait()
        return self._connections

    def watch(self, on_dismissal: Callable[[Dismissal], None], on_deaf: Callable[[str], None]) -> None:
        """Tell of each client that the broker sends away, from the next connection on; ``on_deaf`` hears why, when the
        broker does not let us know of them."""
        self._on_dismissal, self._on_deaf = on_dismissal, on_deaf

    # -- commands ---------------------------------------------------------------------------------

    async def _page(self, offset: int, count: int) -> dict[str, Any]:
        command = {"command": "listClients", "verbose": True, "count": count, "offset": offset}
        (answer,) = await self._exchange([command])
        _require([answer.get("error")])
        data: dict[str, Any] = answer["data"]
        return data

    async def _run(self, commands: Sequence[Command]) -> list[str | None]:
        """Run commands, as many at once as do not hold the broker up; return the error of each, None without one."""
        errors: list[str | None] = []
        for batch in batches(commands, await self.count_accounts() if len(commands) > 1 else 1):
            errors += [answer.get("error") for answer in await self._exchange(batch)]
        return errors

    async def _exchange(self, commands: Sequence[Command]) -> list[dict[str, Any]]:
        async with self._turn:
            client = await self._ready()
            self._expected = f"{self._name}-{next(self._numbers)}"
            answer: asyncio.Future[list[dict[str, Any]]] = asyncio.get_running_loop().create_future()
            self._answer = answer
            numbered = [{**command, "correlationData": self._expected} for command in commands]
            client.publish(_REQUEST, orjson.dumps({"commands": numbered}), qos=1)
            try:
                async with asyncio.timeout(self._timeout):
                    return await answer
            except TimeoutError:
                raise self._silence() from None

    async def _ready(self) -> mqtt.Client:
        client = self._start()
        try:
            async with asyncio.timeout(self._timeout):
                await self._tried.wait()
        except TimeoutError:
            raise self._silence() from None
        if self._trouble is not None:
            raise BrokerError(self._trouble)
        return client

    def _silence(self) -> BrokerError:
        return BrokerError(
            f"the broker at {self._address} did not answer in {self._timeout:g} s; its log tells why"
        )

    # -- the connection; paho's thread calls the callbacks, and they hand on to the loop --------------------

    def _start(self) -> mqtt.Client:
        if self._client is None:
            self._loop = asyncio.get_running_loop()
            client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
            client.username_pw_set(self._username, self._password)
            if self._address.is_tls:
                client.tls_set(ca_certs=self._ca)
            client.reconnect_delay_set(1, 5)
            client.on_connect = self._on_connect
            client.on_connect_fail = lambda *_: self._hand_on(self._fail, self._unreachable())
            client.on_disconnect = lambda *_: self._hand_on(self._lose)
            client.on_subscribe = lambda _client, _data, _id, reasons, _properties: self._hand_on(
                self._come_up, *reasons
            )
            client.on_message = lambda _client, _data, message: self._sort(message)
            client.connect_async(self._address.host, self._address.port)
            client.loop_start()
            self._client = client
        return self._client

    def _hand_on(self, do: Callable[..., None], *arguments: Any) -> None:
        if self._loop is not None:
            self._loop.call_soon_threadsafe(do, *arguments)

    def _unreachable(self) -> str:
        # paho tells nobody why, but calls from where it caught it.
        if isinstance(error := sys.exception(), ssl.SSLError):
            return f"the broker at {self._address}: {explain(error)}"
        return f"no broker at {self._address}; start it, or set ALATAU_MQTT_URL"

    def _on_connect(
        self, client: mqtt.Client, _data: Any, _flags: Any, reason: Any, _properties: Any
    ) -> None:
        if reason.is_failure:
            told = (
                f"the broker refused {self._username}: {reason}; its password is ALATAU_BROKER_ADMIN_PASSWORD"
            )
            self._hand_on(self._fail, told)
        else:
            client.subscribe([(_RESPONSE, 1), *([(LOG_TOPIC, 0)] if self._on_dismissal else [])])

    def _fail(self, trouble: str) -> None:
        self._trouble = trouble
        self._tried.set()

    def _come_up(self, answers: ReasonCode, its_log: ReasonCode | None = None) -> None:
        if answers.is_failure:
            self._fail(
                f"the broker does not let {self._username} hear its answers: {answers}; "
                "start it again with new files, which give that role its rights"
            )
            return
        if its_log is not None and its_log.is_failure and self._on_deaf is not None:
            self._on_deaf(str(its_log))
        self._trouble = None
        self._tried.set()
        self._connections += 1
        self._connected.set()
        self._connected = asyncio.Event()

    def _lose(self) -> None:
        if self._trouble is None:  # else it was never up, and stays known why
            self._tried.clear()
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(
                BrokerError(f"the connection to the broker at {self._address} broke; try again")
            )

    def _sort(self, message: mqtt.MQTTMessage) -> None:
        if message.topic != LOG_TOPIC:
            self._hand_on(self._take, message.payload)
        elif (
            self._on_dismissal is not None and (dismissal := dismissal_of(bytes(message.payload))) is not None
        ):
            self._hand_on(self._on_dismissal, dismissal)

    def _take(self, payload: bytes) -> None:
        answers: list[dict[str, Any]] = orjson.loads(payload).get("responses", [])
        is_expected = bool(answers) and answers[0].get("correlationData") == self._expected
        # That of a command that was given up on comes late.
        if is_expected and self._answer is not None and not self._answer.done():
            self._answer.set_result(answers)


def _of(command: str, username: str) -> dict[str, str]:
    return {"command": command, "username": username}


def _roles(username: str) -> dict[str, list[dict[str, str]]]:
    return {"roles": [{"rolename": role_of(username)}]}


def _pinned(username: str) -> dict[str, str]:
    return {"clientid": client_id_of(username)}


def _require(errors: Sequence[str | None], but: str | None = None) -> None:
    for error in errors:
        if error and error != but:
            remedy = "; start it again with new files, which have it" if error == _NO_ROLE else ""
            raise BrokerError(f"the broker refused an account: {error}{remedy}")
