"""An alert as the API, the stream and every delivery show it."""

from __future__ import annotations

from typing import Annotated, cast

from pydantic import Field, with_config
from typing_extensions import TypedDict

from api.members import ANSWER, DeviceId, DistrictName, KindName, MetricName, Moment, Unit
from api.message_shape import Message
from sensors.catalogue import Catalogue
from storage.alert_shape import alert_shape
from storage.alerts import AlertEvent, AlertState, Severity, StoredAlert

_Sentence = Annotated[
    str,
    Field(
        description="What is wrong, with value and limit, and since when by the city's clock; English.",
        examples=["PM2.5 of sample-air-1 is 163.2 µg/m³, above the limit of 150.0 µg/m³, since 16:58."],
    ),
]
_Message = Annotated[
    Message | None,
    Field(description="Title and sentence in every language; null: it has them in English alone."),
]
_Value = Annotated[
    Annotated[float, Field(examples=[163.2])] | None, Field(description="In the metric's unit.")
]
_Bound = Annotated[Annotated[float, Field(examples=[41.0])] | None, Field(description="null: unbounded.")]


_Plain = str | float | bool | None
Evidence = _Plain | list[_Plain] | dict[str, _Plain]


@with_config(ANSWER)
class Expected(TypedDict):
    """What would be usual, in the metric's unit."""

    low: _Bound
    high: _Bound


@with_config(ANSWER)
class Acknowledgement(TypedDict):
    """Who has seen it."""

    by: Annotated[str, Field(description="A key or a person.", examples=["anna"])]
    at: Moment
    note: Annotated[str, Field(description="What they said of it.", examples=["a crew is on its way"])]


@with_config(ANSWER)
class AlertAnswer(TypedDict):
    """Something that is wrong, or was."""

    id: Annotated[str, Field(description="Its number.", examples=["17"])]
    rule: Annotated[
        Annotated[str, Field(examples=["pm2_5-day"])] | None,
        Field(description="Name of its rule; null: found without one, or the rule is gone."),
    ]
    kind_of_rule: Annotated[
        str, Field(description="What kind of rule, or `anomaly`, `event`, `quality`.", examples=["threshold"])
    ]
    severity: Annotated[Severity, Field(description="How bad it is.", examples=["warning"])]
    state: Annotated[AlertState, Field(description="How far it is.", examples=["firing"])]
    title: Annotated[str, Field(description="A few words, English.", examples=["PM2.5 above 150.0 µg/m³"])]
    sentence: _Sentence
    message: _Message
    since: Annotated[Moment, Field(description="Since when it holds, by the readings; UTC.")]
    changed_at: Annotated[Moment, Field(description="When its state or its severity last changed; UTC.")]
    acknowledged: Annotated[Acknowledgement | None, Field(description="null: nobody has.")]
    resolved_at: Annotated[Moment | None, Field(description="UTC; null: it goes on.")]
    device: DeviceId | None
    kind: KindName | None
    district: DistrictName | None
    metric: MetricName | None
    unit: Unit | None
    value: _Value
    expected: Annotated[Expected | None, Field(description="null: nothing is.")]
    evidence: Annotated[
        dict[str, Evidence], Field(description="What else speaks for it.", examples=[{"times_in_30_days": 2}])
    ]


@with_config(ANSWER)
class AlertStep(TypedDict):
    """A step of an alert's history."""

    time: Moment
    state: Annotated[AlertState, Field(description="What it came to.", examples=["firing"])]
    severity: Annotated[Severity, Field(description="How bad it was then.", examples=["warning"])]
    value: _Value
    sentence: _Sentence
    message: _Message
    by: Annotated[
        Annotated[str, Field(examples=["anna"])] | None, Field(description="null: it came about by itself.")
    ]


@with_config(ANSWER)
class AlertWithHistory(AlertAnswer):
    """An alert, and how it came about."""

    history: Annotated[list[AlertStep], Field(description="The oldest first.")]


def alert_answer(alert: StoredAlert, catalogue: Catalogue) -> AlertAnswer:
    """Return an alert as an answer has it."""
    # The contract's test holds the members against their description.
    return cast("AlertAnswer", alert_shape(alert, catalogue))


def step_shape(event: AlertEvent) -> AlertStep:
    """Return a step of an alert's history as an answer has it."""
    return {
        "time": event.time,
        "state": event.state,
        "severity": event.severity,
        "value": event.value,
        "sentence": event.sentence,
        "message": cast("Message | None", event.message),
        "by": event.by,
    }
