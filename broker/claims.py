"""Where devices claim themselves: what they say, and what they are answered."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Any

from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from broker.address import parse_address
from sensors.topics import ClaimChannel, Topics
from sensors.transport import explain

# Of several processes each hears its part.
_SHARE = "$share/alatau-claims"


class ClaimDesk:
    """One connection of the account that hears claims, kept and made again when it breaks. What is said while it is
    away is lost: a device says it again."""

    def __init__(self, url: str, username: str, password: str, topics: Topics, ca: str | None = None) -> None:
        self._address, self._username, self._topics = parse_address(url), username, topics
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
        self._client.username_pw_set(username, password)
        if self._address.is_tls:
            self._client.tls_set(ca_certs=ca)
        self._client.reconnect_delay_set(1, 5)

    async def serve(self, take: Callable[[str, bytes], None], tell: Callable[[str | None], None]) -> None:
        """Call ``take`` with the user name and the payload of each claim, until cancelled; and ``tell`` with what is
        wrong with the connection, None when it is up. Both are called in the event loop."""
        loop, client = asyncio.get_running_loop(), self._client
        topic = self._topics.every(ClaimChannel.CLAIM)
        before, behind = topic.split("+")

        def hand_on(do: Callable[..., None], *arguments: Any) -> None:
            loop.call_soon_threadsafe(do, *arguments)

        def on_connect(_client: Any, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
            if reason.is_failure:
                hand_on(
                    tell, f"the broker refused {self._username}: {reason}; see ALATAU_BROKER_CLAIMS_PASSWORD"
                )
            else:
                client.subscribe(f"{_SHARE}/{topic}", qos=1)

        def on_subscribe(_client: Any, _data: Any, _mid: Any, reasons: Any, _properties: Any) -> None:
            refused = f"the broker lets {self._username} hear no claims; start it with new files"
            hand_on(tell, refused if reasons[0].is_failure else None)

        def on_message(_client: Any, _data: Any, message: mqtt.MQTTMessage) -> None:
            user = message.topic.removeprefix(before).removesuffix(behind)
            hand_on(take, user, bytes(message.payload))

        client.on_connect, client.on_subscribe, client.on_message = on_connect, on_subscribe, on_message
        client.on_connect_fail = lambda *_: hand_on(tell, self._unreachable())
        client.on_disconnect = lambda *_: hand_on(tell, "the connection to the broker broke")
        client.connect_async(self._address.host, self._address.port)
        client.loop_start()
        try:
            await asyncio.Event().wait()
        finally:
            client.disconnect()
            await asyncio.to_thread(client.loop_stop)

    def answer(self, user: str, payload: bytes) -> None:
        """Answer who has claimed; one that has gone asks again."""
        self._client.publish(self._topics.of(user, ClaimChannel.CLAIMED), payload, qos=1)

    def _unreachable(self) -> str:
        # paho tells nobody why, but calls from where it caught it.
        error = sys.exception()
        return f"no broker at {self._address}: {explain(error) if isinstance(error, OSError) else error}"
