"""How soon a new device is part of the city, and how soon who is thrown out is out."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import orjson

from benchmarks.acting import Device, Operator, device, until
from benchmarks.report import Measure
from benchmarks.rig import PROJECT
from broker.accounts import Service
from cli.local import LocalStack
from sensors.times import format_timestamp
from sensors.topics import Channel, Topics
from stack.progress import Report

_KIND, _METRIC, _DISTRICT = "air_quality", "pm2_5", "gate"
_TARGET = 1.0


def _body(name: str) -> dict[str, str]:
    return {"id": name, "kind": _KIND, "district": _DISTRICT}


def _first_reading(stack: LocalStack, operator: Operator, name: str, secret: str) -> float:
    """Connect a new device and publish; return when the API's answer holds its reading."""
    stamp = time.time_ns() // 1_000_000
    start, end = format_timestamp(stamp * 1000), format_timestamp((stamp + 1) * 1000)
    question = f"readings?device={name}&start={start}&end={end}&limit=1"

    def is_there() -> bool:
        return bool(operator.act("GET", question)["time"])

    with device(stack.ports.mqtt, name, secret) as connected:
        if not connected.is_let_in:
            raise RuntimeError(f"the broker refuses {name}, which is registered")
        connected.publish(Topics().of(name, Channel.TELEMETRY), f'{{"ts":{stamp},"{_METRIC}":12.5}}')
        return until(is_there, f"the first reading of {name}")


def admission(stack: LocalStack, operator: Operator, repeats: int, report: Report) -> list[Measure]:
    """Register devices by the API and by the command line, each until its first reading is in an answer."""
    by_api, by_command, from_secret = [], [], []
    for number in range(repeats):
        report(f"device {number + 1} of {repeats}", number / repeats)
        name = f"bench-api-{number}"
        started = time.perf_counter()
        secret = operator.act("POST", "devices", _body(name))["secret"]
        by_api.append(_first_reading(stack, operator, name, secret) - started)
        name = f"bench-command-{number}"
        started = time.perf_counter()
        secret = _add_by_command(stack, name)
        told = time.perf_counter()
        seen = _first_reading(stack, operator, name, secret)
        by_command.append(seen - started)
        from_secret.append(seen - told)
    return [
        _most("admission: by the API", by_api, "POST to the first reading in an answer"),
        _most("admission: by the command line", by_command, "the same, the command's own start included"),
        Measure(
            "admission: by the command line, from its secret", max(from_secret), "s", f"most of {repeats}"
        ),
    ]


def _add_by_command(stack: LocalStack, name: str) -> str:
    with tempfile.TemporaryDirectory() as empty:
        environment = {
            "ALATAU_DATA_DIR": empty,  # else what somebody's own city wrote there would count
            "ALATAU_DATABASE_URL": stack.owner_url,
            "ALATAU_MQTT_URL": stack.mqtt_url,
            "ALATAU_BROKER_ADMIN_PASSWORD": stack.secrets.services[Service.ADMIN],
        }
        command = [sys.executable, "-m", "cli", "device", "add", name, "--kind", _KIND]
        done = subprocess.run(
            [*command, "--district", _DISTRICT],
            cwd=PROJECT,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        raise RuntimeError(f"alatau device add ended with {done.returncode}: {done.stderr}")
    return next(line.split()[1] for line in done.stdout.splitlines() if line.startswith("secret"))


def _most(title: str, seconds: list[float], what: str) -> Measure:
    return Measure(title, max(seconds), "s", f"most of {len(seconds)}: {what}", _TARGET, at_least=False)


def revocation(stack: LocalStack, operator: Operator, repeats: int, report: Report) -> list[Measure]:
    """Throw out connected devices in each way, and revoke keys; each until who was thrown out has noticed."""
    acts: Mapping[str, Callable[[str], tuple[str, str]]] = {
        "disabled": lambda name: ("POST", f"devices/{name}/disable"),
        "deleted": lambda name: ("DELETE", f"devices/{name}"),
        "new secret": lambda name: ("POST", f"devices/{name}/secret"),
    }
    taken: dict[str, list[float]] = {act: [] for act in acts}
    keys, let_in = [], 0
    for number in range(repeats):
        report(f"round {number + 1} of {repeats}", number / repeats)
        for act, request in acts.items():
            name = f"bench-{act.replace(' ', '-')}-{number}"
            secret = operator.act("POST", "devices", _body(name))["secret"]
            with _connected(stack, name, secret) as victim:
                started = time.perf_counter()
                operator.act(*request(name))
                taken[act].append(victim.wait_end() - started)
            with device(stack.ports.mqtt, name, secret) as again:
                let_in += again.is_let_in
        keys.append(_revoke_key(operator, number))
    return [
        *(
            _most(f"revocation: {act}", seconds, "request to the end of the session")
            for act, seconds in taken.items()
        ),
        _most("revocation: API key", keys, "request to the first refusal"),
        Measure("revocation: let in again", let_in, "devices", "with the old secret", 0, at_least=False),
    ]


@contextlib.contextmanager
def _connected(stack: LocalStack, name: str, secret: str) -> Iterator[Device]:
    with device(stack.ports.mqtt, name, secret) as connected:
        if not connected.is_let_in:
            raise RuntimeError(f"the broker refuses {name}, which is registered")
        yield connected


def _revoke_key(operator: Operator, number: int) -> float:
    made: dict[str, Any] = operator.act("POST", "keys", {"name": f"bench {number}", "role": "viewer"})
    # Asked with once, so that the API remembers it as valid.
    status, answer = operator.ask("GET", "kinds", key=made["key"])
    if status != 200:
        raise RuntimeError(f"a new key is refused: {orjson.loads(answer)}")
    started = time.perf_counter()
    operator.act("DELETE", f"keys/{made['prefix']}")
    refused = until(lambda: operator.ask("GET", "kinds", key=made["key"])[0] == 401, "a revoked key", 0.001)
    return refused - started
