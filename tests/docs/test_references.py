"""The documentation names what is there, all of it, and nothing else."""

from __future__ import annotations

import re

import pytest
from prometheus_client import CollectorRegistry

from alerts.delivery_metrics import DeliveryMetrics
from alerts.metrics import AlertMetrics
from api.problems import ProblemType
from api.telemetry import ApiMetrics
from cli.settings import setting_descriptions
from ingest.http.problems import Problem
from ingest.metrics import IngestMetrics
from ingest.readiness import State
from maintenance.metrics import MaintenanceMetrics
from sensors.catalogue import builtin_file
from sensors.checks import Reason
from sensors.topics import Channel, ClaimChannel, Topics
from tests.docs.markdown import PROJECT, Link, anchors, documents, first_column, links, read

# Read outside of cli/settings.py: by the bootstrap script and by the stack.
_MACHINE_SETTINGS = {"ALATAU_CACHE_DIR", "ALATAU_DEBIAN_MIRROR", "ALATAU_VENV", "ALATAU_PYTHON"}

_CONTRACT = "docs/devices/contract.md"


def test_every_reason_of_a_refusal_is_explained_and_no_other() -> None:
    assert sorted(first_column(read(_CONTRACT), "Errors")) == sorted(Reason)
    assert set(Reason) <= anchors(PROJECT / _CONTRACT), "what a refused device is told links there"


def test_every_problem_of_telemetry_over_http_is_explained_and_no_other() -> None:
    explained = first_column(read("docs/devices/http.md"), "Answers")
    assert sorted(explained) == sorted(problem.slug for problem in Problem)


def test_every_topic_of_a_device_is_explained_and_no_other() -> None:
    topics = [
        *(Topics().of("{device}", channel) for channel in Channel),
        *(Topics().of("{account}", channel) for channel in ClaimChannel),
    ]
    assert sorted(first_column(read(_CONTRACT), "Topics")) == sorted(topics)


def test_every_setting_is_explained_and_no_other() -> None:
    explained = first_column(read("docs/operations.md"), "Settings")
    assert sorted(explained) == sorted({*setting_descriptions(), *_MACHINE_SETTINGS})


def test_settings_of_the_machine_are_read_by_the_code_that_sets_it_up() -> None:
    sources = [PROJECT / "alatau", *(PROJECT / "stack").glob("*.py")]
    text = "\n".join(path.read_text() for path in sources)
    assert {name for name in _MACHINE_SETTINGS if name not in text} == set()


@pytest.mark.parametrize("document", documents(), ids=lambda path: path.name)
def test_no_document_names_a_setting_that_is_none(document: object) -> None:
    named = set(re.findall(r"\bALATAU_[A-Z_]*[A-Z]", read(str(document))))
    assert named - {*setting_descriptions(), *_MACHINE_SETTINGS} == set()


def test_every_metric_of_ingest_is_explained_and_no_other() -> None:
    metrics = [family.name for family in IngestMetrics().registry.collect()]
    assert sorted(_explained("Metrics of ingest")) == sorted(metrics)


def _explained(heading: str) -> list[str]:
    text = read("docs/operations.md")
    return [*first_column(text, heading), *first_column(text, "Metrics of every process")]


def test_every_state_of_ingest_is_explained_and_no_other() -> None:
    explained = first_column(read("docs/operations.md"), "States of ingest")
    assert sorted(explained) == sorted(State)


def test_every_metric_of_the_api_is_explained_and_no_other() -> None:
    registry = CollectorRegistry()
    ApiMetrics(registry, lambda: 0, 1)
    metrics = [family.name for family in registry.collect()]
    assert sorted(_explained("Metrics of the API")) == sorted(metrics)


def test_every_metric_of_maintenance_is_explained_and_no_other() -> None:
    metrics = [family.name for family in MaintenanceMetrics().registry.collect()]
    assert sorted(_explained("Metrics of maintenance")) == sorted(metrics)


def test_every_metric_of_alerts_is_explained_and_no_other() -> None:
    metrics = [family.name for family in AlertMetrics().registry.collect()]
    assert sorted(_explained("Metrics of alerts")) == sorted(metrics)


def test_every_metric_of_deliveries_is_explained_and_no_other() -> None:
    registry = CollectorRegistry()
    DeliveryMetrics(registry)
    metrics = [family.name for family in registry.collect()]
    assert sorted(first_column(read("docs/operations.md"), "Metrics of deliveries")) == sorted(metrics)


def test_every_problem_of_the_api_is_explained_and_no_other() -> None:
    text = read("docs/api.md")
    assert sorted(first_column(text, "Errors")) == sorted(problem.slug for problem in ProblemType)
    for problem in ProblemType:
        assert f"| `{problem.slug}` | {problem.status} |" in text


def test_every_built_in_kind_is_named() -> None:
    text = read("docs/city-file.md")
    assert [kind.name for kind in builtin_file("kinds").kind if f"`{kind.name}`" not in text] == []


def test_every_benchmark_is_explained_and_no_other() -> None:
    sources = (PROJECT / "benchmarks").glob("*.py")
    # Other programs there, which publish a load or sabotage a worker, measure nothing.
    measuring = [path.stem for path in sources if "result.publish(" in path.read_text()]
    explained = re.findall(r"^## What `bench (\w+)` measures$", read("docs/performance.md"), re.MULTILINE)
    assert sorted(explained) == sorted(measuring)


def test_every_decision_is_listed() -> None:
    text = read("docs/architecture.md")
    pages = sorted((PROJECT / "docs/decisions").glob("*.md"))
    assert [page.name for page in pages if f"(decisions/{page.name})" not in text] == []
    assert [page.name[:4] for page in pages] == [f"{number:04}" for number in range(1, len(pages) + 1)]


@pytest.mark.parametrize("link", links(), ids=str)
def test_a_link_leads_somewhere(link: Link) -> None:
    target, _, anchor = link.target.partition("#")
    path = (link.document.parent / target).resolve() if target else link.document
    assert path.is_relative_to(PROJECT)
    assert path.exists()
    if anchor:
        assert anchor in anchors(path)
    if link.text.startswith("test_") and not link.text.endswith(".py"):
        assert f"def {link.text}(" in path.read_text()


@pytest.mark.parametrize(
    "page", sorted((PROJECT / "docs/decisions").glob("*.md")), ids=lambda page: page.name
)
def test_a_decision_names_tests_that_there_are(page: object) -> None:
    tests = "\n".join(path.read_text() for path in (PROJECT / "tests").rglob("test_*.py"))
    for name in re.findall(r"`(test_\w+)`", read(str(page))):
        assert f"def {name}(" in tests


def test_every_test_that_proves_something_is_there() -> None:
    named = re.findall(r"`(tests/[a-z_/]+\.py)(?:::(\w+))?`", read("docs/security.md"))
    assert len(named) > 20
    for file, test in named:
        assert f"def {test}" in (PROJECT / file).read_text(), (file, test)


_PROVISIONS = {
    "5.1": 5,
    "5.2": 3,
    "5.3": 16,
    "5.4": 4,
    "5.5": 8,
    "5.6": 9,
    "5.7": 2,
    "5.8": 3,
    "5.9": 3,
    "5.10": 1,
}
_PROVISIONS |= {"5.11": 4, "5.12": 3, "5.13": 1, "6": 5}


def test_every_provision_of_the_baseline_is_answered_once() -> None:
    answered = re.findall(r"^\| (\d[\d.]*-\d+) ", read("docs/etsi-en-303-645.md"), re.MULTILINE)
    assert answered == [f"{part}-{n}" for part, count in _PROVISIONS.items() for n in range(1, count + 1)]
