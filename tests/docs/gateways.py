"""Stands in for a gateway where a page has its reader set one up: sends what it would, with the account printed."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable

import asyncpg

from ingest.decoders.parsed import Incoming, Reading
from ingest.decoders.table import FORMATS, format_of
from storage.wire_sources import find_source
from tests.broker.clients import ALLOWED, connected
from tests.docs.markdown import Block, blocks
from tests.ingest.decoders.encode_sparkplug import metric, payload

_SET_UP = re.compile(r"^# .*\n", re.MULTILINE)
_CLAIMED = re.compile(r"source claim (\S+) (\S+)")
_ACCOUNT = re.compile(r"^(user|client|secret) +(\S+)", re.MULTILINE)
_INT64, _DOUBLE = 4, 10

Paste = Callable[[str], Awaitable[str]]


def by_gateways() -> list[Block]:
    """Return what is pasted around the setting up of a gateway, at the comment, and ends with a reading of it."""
    return blocks("sh", "gateway")


async def paste_around(block: Block, paste: Paste, port: int, owner: asyncpg.Connection) -> str:
    """Paste a block with a gateway that speaks where it is set up; return what both parts printed."""
    before, after = _SET_UP.split(block.text, maxsplit=1)
    printed = await paste(before)
    account = dict(_ACCOUNT.findall(printed))
    assert account.keys() == {"user", "client", "secret"}, printed
    await asyncio.to_thread(_speak, port, account, _said(block))
    (source,) = _CLAIMED.findall(block.text)
    async with asyncio.timeout(15):
        while await find_source(owner, *source) is None:  # noqa: ASYNC110 - the database tells nobody
            await asyncio.sleep(0.02)
    return printed + await paste(f". .alatau/env\n{after}")


def _speak(port: int, account: dict[str, str], said: list[tuple[str, bytes]]) -> None:
    with connected(port, account["user"], account["secret"], client_id=account["client"]) as gateway:
        for topic, message in said:
            assert gateway.publish(topic, message) == ALLOWED


def _said(block: Block) -> list[tuple[str, bytes]]:
    """Return the uplinks of the block's page; births of Sparkplug, which are no text."""
    uplinks = [one for one in blocks("json", "uplink") if one.document == block.document]
    if uplinks:
        return [(one.info[2], one.text.encode()) for one in uplinks]
    now = round(time.time() * 1000)
    node = metric("bdSeq", datatype=_INT64, long_value=0)
    temperature = metric("temperature", datatype=_DOUBLE, double_value=-3.5)
    return [
        ("spBv1.0/alatau/NBIRTH/gw1", payload(node, ts=now, seq=0)),
        ("spBv1.0/alatau/DBIRTH/gw1/air7", payload(temperature, ts=now, seq=1)),
    ]


def heard(block: Block) -> tuple[str, Reading]:
    """Return the source that a block claims, and the reading that its page's gateway sends."""
    (claimed,) = _CLAIMED.findall(block.text)
    memories = {one.name: one.memory() for one in FORMATS}
    readings: list[Reading] = []
    for topic, message in _said(block):
        found = format_of(topic)
        assert found is not None, topic
        one, levels = found
        assert one.name == claimed[0]
        readings += one.decode(Incoming(topic, levels, message, time.time()), memories[one.name]).readings
    return claimed[1], readings[-1]
