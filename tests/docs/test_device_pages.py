"""Each page of docs/devices begins with what is pasted and ends in a reading; what can run here is run as it stands."""

from __future__ import annotations

import asyncio
import json
import pathlib
from collections.abc import Mapping

import pytest

from broker.accounts import Service
from broker.secrets import generate_secret
from stack.servers import Servers
from storage.database import DATABASE, OWNER_ROLE
from tests.docs.conftest import Documented
from tests.docs.markdown import Block
from tests.docs.pages import HEAD_LINES, LONGEST_PAGE, asked, lay_out, pages, paste, pasted

_AT_ONCE = 3


@pytest.mark.parametrize("page", pages(), ids=lambda path: path.name)
def test_a_page_begins_with_what_is_pasted_and_ends_in_a_reading(page: pathlib.Path) -> None:
    lines = page.read_text().splitlines()
    assert len(lines) <= LONGEST_PAGE
    head = lines[:HEAD_LINES]
    begin = next(number for number, line in enumerate(head) if line.startswith("```sh "))
    block = head[begin + 1 : head.index("```")]
    assert block[0] == ". .alatau/env"
    assert any("$ALATAU_API_URL/api/v1/latest?device=" in line for line in block)


@pytest.fixture(scope="module")
async def printed(
    city: Documented, api_url: str, servers: Servers, tmp_path_factory: pytest.TempPathFactory
) -> Mapping[str, str]:
    """What the blocks printed, a few of them run at a time: each in a folder, and as a sample device, of its own."""
    secrets, stack = city.stack.secrets, city.stack
    settings = {
        **city.environment,
        "ALATAU_API_URL": api_url,
        "ALATAU_DATA_DIR": str(pathlib.Path(stack.postgres.data_dir).parent),
        "ALATAU_DATABASE_URL": stack.database_url(OWNER_ROLE, DATABASE),
        "ALATAU_BROKER_ADMIN_PASSWORD": secrets.services[Service.ADMIN],
    }
    blocks = {f"sample-{number}": block for number, block in enumerate(pasted())}
    samples = {sample: generate_secret() for sample in blocks}
    await city.add_samples(samples)
    seats = asyncio.Semaphore(_AT_ONCE)

    async def run(sample: str, block: Block) -> str:
        own = {"ALATAU_DEVICE_ID": sample, "ALATAU_DEVICE_SECRET": samples[sample]}
        directory = tmp_path_factory.mktemp("page")
        environment = lay_out(directory, servers, settings | own, asked(block, sample))
        async with seats:
            return await paste(block, directory, environment)

    found = await asyncio.gather(*(run(*one) for one in blocks.items()))
    return {str(block): one for block, one in zip(blocks.values(), found, strict=True)}


@pytest.mark.parametrize("block", pasted(), ids=str)
def test_what_is_pasted_ends_with_its_reading(block: Block, printed: Mapping[str, str]) -> None:
    answers = [line for line in printed[str(block)].splitlines() if line.startswith('{"devices":')]
    assert answers, printed[str(block)]
    (device,) = json.loads(answers[-1])["devices"]
    assert device["values"]
    assert device["age_seconds"] < 60
