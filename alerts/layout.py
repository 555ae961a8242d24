"""Which series there are, in which order, and what is kept of them when devices come, go or move."""

from __future__ import annotations

import dataclasses

import numpy as np

from alerts.anomalies import Detector
from alerts.anomaly_findings import Names
from alerts.memory import Layout, Memory
from alerts.neighbours import Ints, others_of
from sensors.catalogue import Catalogue
from sensors.kinds import Behaviour, Kind, Metric
from storage.anomaly_inputs import Watched


@dataclasses.dataclass(frozen=True, slots=True)
class Part:
    """One metric of one kind: its series are those of the kind's devices, in their order."""

    kind: Kind
    metric: Metric
    devices: Ints  # (n,) places among the watched

    @property
    def key(self) -> tuple[str, str]:
        """Return what is learned together."""
        return self.kind.name, self.metric.name

    def districts(self, watched: Watched) -> list[str]:
        """Return the district of each device."""
        return [watched.district[place] for place in self.devices.tolist()]


def parts_of(watched: Watched, catalogue: Catalogue) -> list[Part]:
    """Return the parts in the order of the catalogue; series, groups and cities follow them."""
    of_kind = np.array(watched.kind)
    return [
        Part(kind, metric, np.flatnonzero(of_kind == kind.name))
        for kind in catalogue.kinds
        if kind.name in set(watched.kind)
        for metric in kind.metrics
    ]


def lay_out(parts: list[Part], watched: Watched, catalogue: Catalogue) -> tuple[Layout, Names]:
    """Return the series of the parts, and who they are."""
    groups: dict[tuple[int, str], int] = {}
    device, group, city = [], [], []
    for number, part in enumerate(parts):
        # Districts in the order of their names, as ``learn`` is given them.
        for district in sorted(set(part.districts(watched))):
            groups[number, district] = len(groups)
        for place in part.devices.tolist():
            device.append(place)
            group.append(groups[number, watched.district[place]])
            city.append(number)
    metrics = [parts[number].metric for number in city]
    city_of_group = np.array([number for number, _ in groups], np.int64)
    layout = Layout(
        device=np.array(device, np.int64),
        group=np.array(group, np.int64),
        city=np.array(city, np.int64),
        city_of_group=city_of_group,
        first_of_group=np.unique(group, return_index=True)[1],
        first_of_city=np.unique(city, return_index=True)[1],
        others=others_of(city_of_group),
        minimum=np.array([metric.minimum for metric in metrics], np.float32),
        maximum=np.array([metric.maximum for metric in metrics], np.float32),
        is_counter=np.array([metric.behaviour is Behaviour.COUNTER for metric in metrics], np.bool_),
        interval=watched.interval,
    )
    kinds = tuple(catalogue.kind_of[name] for name in watched.kind)
    return layout, Names(watched.id, kinds, watched.district, tuple(metrics))


def carry(old: Detector, old_names: Names, new: Detector, names: Names) -> Memory:
    """Return the memory of a new layout, with what was known of series, devices and groups that are in both."""

    def keys(detector: Detector, of: Names) -> dict[str, list[object]]:
        layout = detector.layout
        series = [(of.device[d], m.name) for d, m in zip(layout.device.tolist(), of.metric, strict=True)]
        kinds = [of.kind[d].name for d in layout.device.tolist()]
        city: list[object] = [(kinds[i], of.metric[i].name) for i in layout.first_of_city.tolist()]
        group: list[object] = [
            (kinds[i], of.metric[i].name, of.district[int(layout.device[i])])
            for i in layout.first_of_group.tolist()
        ]
        return {"s": [*series], "d": [*of.device], "g": group, "c": city}

    before, after = keys(old, old_names), keys(new, names)
    target, source = {}, {}
    for axis, known in before.items():
        places = {key: place for place, key in enumerate(known)}
        pairs = [(place, places[key]) for place, key in enumerate(after[axis]) if key in places]
        target[axis] = np.array([pair[0] for pair in pairs], np.int64)
        source[axis] = np.array([pair[1] for pair in pairs], np.int64)
    memory = new.memory
    for name, axis in Memory.axes().items():
        getattr(memory, name)[..., target[axis]] = getattr(old.memory, name)[..., source[axis]]
    return memory
