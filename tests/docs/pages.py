"""The pages of docs/devices, and a place where a page's commands run as a reader would paste them."""

from __future__ import annotations

import asyncio
import os
import pathlib
import re
import shlex
import subprocess
import sys

from stack.servers import Servers
from tests.docs.markdown import PROJECT, Block, blocks

FOLDER = PROJECT / "docs/devices"
HEAD_LINES = 15
LONGEST_PAGE = 80
_ASKED = re.compile(r"/latest\?device=([\w$-]+)")

# A reader waits some seconds for the reading; a busy machine may take longer, an idle one is not kept waiting.
_SLEEP = """\
#!/bin/sh
asked="$ALATAU_API_URL/api/v1/latest?device={device}"
for i in $(seq 300); do
    curl -s -H "X-API-Key: $ALATAU_API_KEY" "$asked" | grep -q '"value":' && exit 0
    /bin/sleep 0.1
done
exit 1
"""


def pages() -> list[pathlib.Path]:
    """Return the pages of ways to connect."""
    return sorted(path for path in FOLDER.glob("*.md") if path.name not in {"README.md", "contract.md"})


def pasted() -> list[Block]:
    """Return what is pasted into a shell and ends with a reading."""
    return [block for block in blocks("sh", "page") if block.document.startswith("docs/devices/")]


def asked(block: Block, sample: str) -> str:
    """Return the device whose latest reading a block asks for at its end."""
    device = _ASKED.findall(block.text)[-1]
    return sample if device.startswith("$") else device


def lay_out(
    directory: pathlib.Path, servers: Servers, settings: dict[str, str], device: str
) -> dict[str, str]:
    """Make a folder look like the project's after ``up``; return the environment of a shell in it."""
    (directory / ".alatau").mkdir()
    lines = [f"export {name}={shlex.quote(value)}\n" for name, value in settings.items()]
    (directory / ".alatau/env").write_text("".join(lines))
    programs = directory / "programs"
    (directory / ".venv/bin").mkdir(parents=True)
    programs.mkdir()
    python = shlex.quote(sys.executable)
    _program(directory / "alatau", f'#!/bin/sh\nPYTHONPATH={PROJECT} exec {python} -P -m cli "$@"\n')
    _program(directory / ".venv/bin/python", f'#!/bin/sh\nexec {python} "$@"\n')
    _program(programs / "sleep", _SLEEP.format(device=device))
    path = f"{programs}:{servers.mosquitto_pub.parent}:{os.environ['PATH']}"
    ours = {name: value for name, value in os.environ.items() if not name.startswith("ALATAU_")}
    return {**ours, "PATH": path}


def _program(path: pathlib.Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


async def paste(text: str, directory: pathlib.Path, environment: dict[str, str]) -> str:
    """Run lines as they stand, as far as it comes without a failure, and return what it printed."""
    process = await asyncio.create_subprocess_exec(
        *("sh", "-e", "-c", text),
        cwd=directory,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    return (await process.communicate())[0].decode()
