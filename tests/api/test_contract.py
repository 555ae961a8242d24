"""The published description against the application: complete, its examples answered, nothing else answered."""

from __future__ import annotations

import asyncio
import datetime as dt
import hashlib
import itertools
import re
import shlex
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import jsonschema
import numpy as np
import orjson
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import APIOperation, Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from api.app import ApiOptions, create_app
from api.contract import PREFIX
from api.description import example_of
from api.options import ClaimOptions, ExportOptions, LiveOptions
from cli.speeches import SPEECHES
from sensors.checks import Reason
from sensors.kinds import DeviceSpec
from sensors.times import to_microseconds
from storage.api_keys import Role
from storage.corrections import Correction, Rescale, correct
from storage.dead_letters import DeadLetter, insert_letters
from storage.devices import register_devices
from storage.frozen import FROZEN_READINGS
from storage.sequences import Numbers, enter_numbers
from storage.series_query import Aggregate
from tests.alerts.making import of_device, passed
from tests.api.answers import NOW, problem
from tests.api.conftest import READER, listen, serve
from tests.api.people import add_person, sign_in_options
from tests.api.test_devices import Accounts
from tests.cities import City

Json = dict[str, Any]
Operation = APIOperation[Any, Any, Any, Any]
AnyCase = Case[Any]

DESCRIPTION = create_app(ApiOptions("postgresql://nowhere")).openapi()
OPERATIONS = [
    pytest.param(path, method, id=f"{method.upper()} {path}")
    for path, methods in DESCRIPTION["paths"].items()
    for method in methods
]
UNDERSTOOD = list(schemathesis.openapi.from_dict(DESCRIPTION).get_all_operations())
FUZZED = [result.ok() for result in UNDERSTOOD if isinstance(result, Ok)]
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    # What is not as described is refused.
    negative_data_rejection,
    # The others are off. ignored_auth: test_access.py asks every operation without a key and with a wrong one, and here
    # wrong keys would soon be told to wait. object_level_authorization: test_scopes.py. use_after_free and
    # ensure_resource_availability follow links, which the description has none of: test_exports.py, test_devices.py and
    # test_keys.py. positive_data_acceptance: a schema can't say which devices there are, or that a range is too long;
    # what every operation must accept are its examples. unsupported_method: asked below. missing_required_header: there
    # is none.
]
# Nobody claims anything here.
CLAIMS = ClaimOptions("mqtt://127.0.0.1:9", "nobody", "nothing")
EXAMPLES = 40  # of each operation


@pytest.fixture(scope="module")
def options(city: City, tmp_path_factory: pytest.TempPathFactory) -> ApiOptions:
    exports = ExportOptions(tmp_path_factory.mktemp("exports"))
    return ApiOptions(
        city.database.api_url,
        pool_size=4,
        retry_seconds=0.02,
        exports=exports,
        claims=CLAIMS,
        speeches=SPEECHES,
        sign_in=sign_in_options(),
        live=LiveOptions(longest_seconds=0),
    )


@pytest.fixture(autouse=True)
async def _first_export(city: City, options: ApiOptions) -> None:
    """The export that the examples speak of, also after one has deleted it."""
    content = b"PAR1"
    await city.owner.execute(
        """
        INSERT INTO alatau.export (
            export_id, kind, start, stop, districts, devices, format, rows_estimated, state, bytes, sha256,
            bbox, near, polygon, tags)
        OVERRIDING SYSTEM VALUE
        VALUES (1, 'air_quality', $1, $1, '{}', '{}', 'parquet', 0, 'ready', $2, $3,
                '{76.9,43.4,77.1,43.6}', '{77,43.48,500}', '{{76.9,43.4},{77.1,43.4},{77,43.6}}', '{{pole,7}}')
        ON CONFLICT (export_id) DO UPDATE SET state = 'ready', bytes = $2, sha256 = $3
        """,
        NOW,
        len(content),
        hashlib.sha256(content).digest(),
    )
    # Numbers that the database gives itself begin after it.
    await city.owner.execute(
        """
        SELECT setval(pg_get_serial_sequence('alatau.export', 'export_id'), max(export_id)) FROM alatau.export
        """
    )
    assert options.exports is not None
    (options.exports.directory / "export-1.parquet").write_bytes(content)


@pytest.fixture(scope="module")
async def known(city: City) -> City:
    """The city, with the device, the readings and the letter that the examples speak of, and one of all else."""
    # Where the examples of places look for devices, with the tag that they name.
    sample = DeviceSpec("sample-air-1", "air_quality", "gate", (77.0, 43.48), metadata={"pole": 7.0})
    city.number.update(await register_devices(city.owner, [sample], city.catalogue))
    letter = DeadLetter(to_microseconds(NOW), "t", b"{}", Reason.NO_METRICS, "empty")
    await insert_letters(city.ingest, [letter])
    measured = {"pm2_5": 12.5, "temperature": -3.0}
    moments = [NOW - n * dt.timedelta(minutes=1) for n in range(FROZEN_READINGS + 1)]
    await city.write("air_quality", [("sample-air-1", moment, measured) for moment in moments])
    device, number, oldest = ([city.number["sample-air-1"]], [3], [1])
    async with city.ingest.transaction():
        await enter_numbers(
            city.ingest,
            Numbers(
                np.array(device, np.int32), *(np.array(one, np.int64) for one in (number, number, oldest))
            ),
        )
    now = to_microseconds(NOW)
    colder = Correction(
        "sample-air-1", now, now + 1, Rescale("temperature", offset=-1.0), who="test", why="calibration"
    )
    await correct(city.owner, city.catalogue.kind_of["air_quality"], colder)
    await add_person(city, "admin", Role.ADMIN)
    await passed(city.owner, [of_device("sample-air-1", "air_quality", "gate", "pm2_5")])
    return city


@pytest.fixture(scope="module")
async def client(known: City, options: ApiOptions, key: str) -> AsyncIterator[httpx2.AsyncClient]:
    async with serve(
        create_app(options, accounts=Accounts(), reader=READER, clock=lambda: NOW), key
    ) as client:
        yield client


@pytest.fixture(scope="module")
async def url(known: City, options: ApiOptions) -> AsyncIterator[str]:
    async with listen(create_app(options, accounts=Accounts(), reader=READER, clock=lambda: NOW)) as url:
        yield url


def operation_of(path: str, method: str) -> Json:
    found: Json = DESCRIPTION["paths"][path][method]
    return found


def curl(path: str, method: str) -> str:
    """Return the command of an operation's description."""
    _, _, rest = operation_of(path, method)["description"].partition("```sh\n")
    return str(rest.partition("\n```")[0])


def request_of(command: str, base: httpx2.URL) -> httpx2.Request:
    """Return the request that a curl line sends."""
    line = command.replace("$ALATAU_API_URL", str(base).rstrip("/")).replace("\\\n", " ")
    words = shlex.split(line)
    options = list(itertools.pairwise(words))
    headers = dict(value.split(": ", 1) for option, value in options if option == "-H")
    headers.pop("X-API-Key", None)
    body = next((value for option, value in options if option == "-d"), None)
    method = next((value for option, value in options if option == "-X"), "GET")
    return httpx2.Request(method, words[-1], headers=headers, content=body and body.encode())


@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_an_operation_says_what_it_does_and_all_that_it_answers(path: str, method: str) -> None:
    operation = operation_of(path, method)
    assert operation["summary"]
    assert operation["description"].partition("```sh")[0].strip()
    answers: dict[int, Json] = {int(status): answer for status, answer in operation["responses"].items()}
    assert any(200 <= status < 300 for status in answers)
    for status, answer in answers.items():
        assert answer["description"]
        if status < 300 and status != 204:
            assert answer["content"], status
        elif status >= 400:
            assert set(answer["content"]) == {"application/problem+json"}
    if path.startswith(PREFIX):
        assert {401, 422, 429, 503, 504} <= set(answers)
        assert ("{" in path) <= (404 in answers)
        assert (method == "get") <= (304 in answers)
        assert ("requestBody" in operation) <= (413 in answers)


ANSWERS = [
    pytest.param(content, id=f"{method.upper()} {path} {status} {media_type}")
    for path, methods in DESCRIPTION["paths"].items()
    for method, operation in methods.items()
    for status, answer in operation["responses"].items()
    for media_type, content in answer.get("content", {}).items()
    if status.startswith("2") and media_type in ("application/json", "application/geo+json")
]


def schemas_of(schema: Json) -> dict[str, Json]:
    """Return the named schemas that a schema is made of."""
    found: dict[str, Json] = {}
    waiting = [schema]
    while waiting:
        names = re.findall(r"#/components/schemas/(\w+)", orjson.dumps(waiting.pop()).decode())
        new = {name: DESCRIPTION["components"]["schemas"][name] for name in names if name not in found}
        found |= new
        waiting += new.values()
    return found


@pytest.mark.parametrize("content", ANSWERS)
def test_an_answer_is_described_to_its_last_member_and_has_no_others(content: Json) -> None:
    schemas = schemas_of(content["schema"])
    assert schemas, "the route lacks a response_model; see api/members.py"
    for name, schema in schemas.items():
        assert schema["description"], name
        members = schema.get("properties", {})
        assert schema.get("additionalProperties", True) is bool(not members), name
        for member, described in members.items():
            text = orjson.dumps(described).decode()
            assert any(word in text for word in ('"description"', '"$ref"', '"const"')), (name, member)
            assert '"additionalProperties":true' not in text, (name, member)


def conform(answer: Any, content: Json) -> None:
    """Raise ValidationError where an answer is not as its content is described."""
    schema = {**content["schema"], "components": DESCRIPTION["components"]}
    jsonschema.Draft202012Validator(schema).validate(answer)


@pytest.mark.parametrize("content", [one for one in ANSWERS if "application/json" in str(one.id)])
def test_an_answer_has_an_example_that_conforms_to_its_schema(content: Json) -> None:
    conform(content["example"], content)


@pytest.mark.parametrize("path", ["districts", "latest", "readings"])
async def test_geojson_conforms_to_its_schema(client: httpx2.AsyncClient, path: str) -> None:
    plain = request_of(curl(f"{PREFIX}/{path}", "get"), client.base_url)
    response = await client.get(plain.url.copy_merge_params({"format": "geojson"}))
    collection = response.json()
    assert collection["features"]
    operation = operation_of(f"{PREFIX}/{path}", "get")
    conform(collection, operation["responses"]["200"]["content"]["application/geo+json"])


def test_every_aggregate_of_a_series_is_described() -> None:
    series = DESCRIPTION["components"]["schemas"]["SeriesGroup"]
    assert set(Aggregate) | {"median"} <= set(series["properties"])
    (percentile,) = series["patternProperties"]
    for name, is_one in {"p5": True, "p95": True, "p99.9": True, "p": False, "p100": False}.items():
        assert bool(re.search(percentile, name)) is is_one, name


@pytest.mark.parametrize(("path", "method"), OPERATIONS)
async def test_an_operation_has_a_request_to_try_that_is_answered(
    client: httpx2.AsyncClient, path: str, method: str
) -> None:
    command = curl(path, method)
    assert command, "a parameter that is required lacks an example; see api/description.py"
    plain = request_of(command, client.base_url)
    requests_to_try = [plain] + [
        httpx2.Request(
            plain.method,
            plain.url.copy_merge_params({parameter["name"]: example}),
            headers=plain.headers,
            content=plain.content,
        )
        for parameter in operation_of(path, method).get("parameters", ())
        if parameter["in"] == "query" and not parameter["required"] and (example := example_of(parameter))
    ]
    for request in requests_to_try:
        request.headers.update(client.headers)
        response = await client.send(request)
        # The thing itself may not have been made, or another test may have made it already.
        documented = operation_of(path, method)["responses"]
        is_told = response.status_code in (404, 409) and str(response.status_code) in documented
        assert response.is_success or is_told, (request.url, response.text)


def named(schema: Json) -> Json:
    """Return the schema that a reference leads to, or the schema itself."""
    schemas: Json = DESCRIPTION["components"]["schemas"]
    found: Json = schemas[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    return found


def schema_of_body(operation: Json) -> Json:
    """Return the schema of an operation's body, which it has."""
    found: Json = operation["requestBody"]["content"]["application/json"]["schema"]
    return found


def sensible_values(schema: Json, examples: list[Any]) -> st.SearchStrategy[Any]:
    """Make examples, members of closed sets, and truth values; nothing where there are none."""
    values = list(examples)
    for one in (schema, *schema.get("anyOf", ())):
        values += named(one).get("enum", ())
        values += ["true", "false"] if one.get("type") == "boolean" else []
    return st.sampled_from(values) if values else st.nothing()


def sensible(operation: Operation) -> st.SearchStrategy[AnyCase]:
    """Make requests of values that are probably right, in any combination."""
    parameters = operation_of(operation.path, operation.method.lower()).get("parameters", ())

    def of(place: str) -> st.SearchStrategy[Json]:
        here = [one for one in parameters if one["in"] == place]
        made = {
            one["name"]: sensible_values(one["schema"], [example] if (example := example_of(one)) else [])
            for one in here
        }
        required = {one["name"] for one in here if one["required"]}
        return st.fixed_dictionaries(
            {name: values for name, values in made.items() if name in required},
            optional={
                name: values for name, values in made.items() if name not in required and not values.is_empty
            },
        )

    return st.builds(operation.Case, path_parameters=of("path"), query=of("query"), **body_of(operation))


def body_of(operation: Operation) -> dict[str, st.SearchStrategy[Any]]:
    """Make the body of a sensible request, if it has one."""
    if "requestBody" not in operation.definition.raw:
        return {}
    schema = named(schema_of_body(operation.definition.raw))
    media_type = st.just("application/json")
    if "examples" in schema:
        return {"body": st.sampled_from(schema["examples"]), "media_type": media_type}
    fields = {
        name: st.sampled_from(field["examples"])
        for name, field in schema["properties"].items()
        if "examples" in field
    }
    required = {name: fields.pop(name) for name in schema.get("required", ())}
    return {"body": st.fixed_dictionaries(required, optional=fields), "media_type": media_type}


def cases_of(operation: Operation) -> st.SearchStrategy[AnyCase]:
    """Make requests that are probably right, requests as described, and ones that are not as described."""
    cases = sensible(operation) | operation.as_strategy()
    if {"parameters", "requestBody"}.isdisjoint(operation.definition.raw):
        return cases
    return cases | operation.as_strategy(GenerationMode.NEGATIVE)


BODIES = [
    pytest.param(path, field, id=f"{path} {field}")
    for path, methods in DESCRIPTION["paths"].items()
    if "requestBody" in methods.get("post", {})
    for field, schema in named(schema_of_body(methods["post"]))["properties"].items()
    if "string" in {schema.get("type"), *(one.get("type") for one in schema.get("anyOf", ()))}
]


@pytest.mark.parametrize(("path", "field"), BODIES)
async def test_half_a_character_in_a_body_is_refused(
    client: httpx2.AsyncClient, path: str, field: str
) -> None:
    request = request_of(curl(path, "post"), client.base_url)
    content = orjson.dumps(orjson.loads(request.content) | {field: "HALF"}).replace(b"HALF", rb"\ud800")
    response = await client.post(request.url, content=content, headers={"Content-Type": "application/json"})
    assert field in problem(response, 422, "invalid-body")["detail"]


@pytest.mark.parametrize("path", DESCRIPTION["paths"])
async def test_a_method_that_is_not_described_is_refused_with_those_that_are(
    client: httpx2.AsyncClient, path: str
) -> None:
    described = {method.upper() for method in DESCRIPTION["paths"][path]}
    url = re.sub(r"{\w+}", "1", path)
    for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "TRACE", "CONNECT", "PROPFIND"} - described:
        response = await client.request(method, url)
        problem(response, 405, "method-not-allowed")
        allowed = {one.strip() for one in response.headers["Allow"].split(",")}
        assert described <= allowed <= described | {"HEAD"}, (method, allowed)


def test_every_operation_is_understood_by_others() -> None:
    assert len(FUZZED) == len(UNDERSTOOD) == len(OPERATIONS)


@pytest.mark.parametrize("operation", FUZZED, ids=lambda operation: operation.label)
async def test_nothing_is_answered_otherwise_than_described(url: str, key: str, operation: Operation) -> None:
    @settings(max_examples=EXAMPLES, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(case=cases_of(operation))
    def ask(case: AnyCase) -> None:
        keys = {"Authorization": f"Bearer {key}", "X-API-Key": key}
        response = case.call(url, headers=keys, allow_redirects=False)
        case.validate_response(response, checks=CHECKS)

    # It waits for answers, which this loop gives.
    await asyncio.to_thread(ask)
