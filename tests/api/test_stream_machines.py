"""What the stream is made of, without clock, loop or database."""

from __future__ import annotations

import dataclasses
import datetime as dt

import pytest

from api.live_filter import Filter, Rendering, Topic
from api.live_picture import News, Picture
from api.live_ticks import Cursor, LookBack, Tick, make_tick, read_cursor
from sensors.catalogue import Catalogue
from sensors.statuses import Said
from sensors.times import SECOND, to_microseconds
from storage.api_keys import Scope
from storage.device_status import StatusChange
from storage.latest_changes import NEVER, Change
from tests.api.answers import NOW

NOON = to_microseconds(NOW)
MINUTE = 60 * SECOND


@pytest.fixture
def change(catalogue: Catalogue) -> Change:
    """What air-1 has at noon: PM2.5."""
    kind = catalogue.kind_of["air_quality"]
    times = [NEVER] * len(kind.columns)
    times[kind.index["pm2_5"]] = NOON
    values = [float(place) for place in range(len(times))]
    return Change("air-1", "air_quality", "gate", 60.0, NOW, NOW, 7, tuple(times), tuple(values))


def later(change: Change, catalogue: Catalogue, metric: str, time: int) -> Change:
    place = catalogue.kind_of["air_quality"].index[metric]
    times = (*change.times[:place], time, *change.times[place + 1 :])
    newest = NOW + dt.timedelta(microseconds=max(times) - NOON)
    return change._replace(times=times, time=newest)


def test_metrics_of_different_times_are_readings_of_their_own(catalogue: Catalogue, change: Change) -> None:
    picture = Picture()
    first, status = picture.take(change, catalogue, NOON)
    assert [list(one.content["values"]) for one in first] == [["pm2_5"]]
    assert status is not None
    both = later(later(change, catalogue, "temperature", NOON + 1), catalogue, "humidity", NOON + 2)
    readings, status = picture.take(both, catalogue, NOON + 3)
    told = {one.content["time"]: list(one.content["values"]) for one in readings}
    microsecond = dt.timedelta(microseconds=1)
    assert told == {NOW + microsecond: ["temperature"], NOW + 2 * microsecond: ["humidity"]}
    assert status is None
    assert picture.take(both, catalogue, NOON + 4) == ([], None)


def test_what_a_correction_changed_is_told_and_what_it_took_away_is_not(
    catalogue: Catalogue, change: Change
) -> None:
    picture = Picture()
    picture.take(later(change, catalogue, "temperature", NOON - 1), catalogue, NOON)
    corrected = change._replace(values=tuple(value + 1 for value in change.values))
    readings, _ = picture.take(corrected, catalogue, NOON)
    place = catalogue.kind_of["air_quality"].index["pm2_5"]
    assert [one.content["values"] for one in readings] == [{"pm2_5": place + 1.0}]


def test_a_metric_that_came_to_its_kind_later_is_told(catalogue: Catalogue, change: Change) -> None:
    picture = Picture()
    place = catalogue.kind_of["air_quality"].index["pm2_5"] + 1
    picture.take(change._replace(times=change.times[:place], values=change.values[:place]), catalogue, NOON)
    last = catalogue.kind_of["air_quality"].columns[-1]
    readings, _ = picture.take(later(change, catalogue, last, NOON + 1), catalogue, NOON + 1)
    assert [list(one.content["values"]) for one in readings] == [[last]]


def test_a_device_is_silent_once_and_only_when_it_is_overdue(catalogue: Catalogue, change: Change) -> None:
    picture = Picture()
    picture.take(change, catalogue, NOON)
    assert picture.overdue(NOON + 3 * MINUTE) == []
    heard = later(change, catalogue, "pm2_5", NOON + 2 * MINUTE)
    assert picture.overdue(NOON + 3 * MINUTE + 1) == ["air-1"]
    # It was heard in the same moment.
    picture.take(heard, catalogue, NOON + 3 * MINUTE + 1)
    assert picture.silence("air-1", ("air_quality", "gate"), NOON + 3 * MINUTE + 1) is None
    assert picture.overdue(NOON + 5 * MINUTE) == []
    end = NOON + 5 * MINUTE + 1
    assert picture.overdue(end) == ["air-1"]
    silent = picture.silence("air-1", ("air_quality", "golden"), end)
    assert silent is not None
    assert (silent.content["status"], silent.content["district"]) == ("offline", "golden")
    assert picture.overdue(end + MINUTE) == []
    # What was measured long ago brings nobody back.
    old = later(change, catalogue, "humidity", NOON + 3 * MINUTE)
    assert picture.take(old, catalogue, end + 2 * MINUTE)[1] is None
    back = picture.take(later(change, catalogue, "humidity", end), catalogue, end + MINUTE)[1]
    assert back is not None
    assert back.content["status"] == "online"
    assert picture.overdue(end + 3 * MINUTE + 1) == ["air-1"]


def word(change: Change, said: Said, at: int) -> StatusChange:
    return StatusChange(change.device, change.kind, change.district, said, at, changed=9)


def contents(*news: News | None) -> list[tuple[str, dt.datetime]]:
    return [(one.content["status"], one.content["time"]) for one in news if one is not None]


def test_a_device_goes_and_comes_by_its_word(catalogue: Catalogue, change: Change) -> None:
    picture, second = Picture(), dt.timedelta(seconds=1)
    assert picture.hear(word(change, Said.ONLINE, NOON - 1), NOON) is None, "it has never sent anything"
    picture.take(change, catalogue, NOON)
    gone = picture.hear(word(change, Said.OFFLINE, NOON + SECOND), NOON + SECOND)
    assert contents(gone) == [("offline", NOW + second)]
    assert gone is not None
    assert gone.changed == 9, "who comes again is told it once"
    assert picture.hear(word(change, Said.OFFLINE, NOON + 2 * SECOND), NOON + 2 * SECOND) is None
    # A reading from before, which was on its way.
    earlier = later(change, catalogue, "humidity", NOON + 1)
    assert picture.take(earlier, catalogue, NOON + 3 * SECOND)[1] is None
    assert picture.overdue(NOON + 9 * MINUTE) == [], "it is silent already"
    back = picture.hear(word(change, Said.ONLINE, NOON + 3 * SECOND), NOON + 3 * SECOND)
    assert contents(back) == [("online", NOW + 3 * second)]
    assert picture.overdue(NOON + 4 * MINUTE) == ["air-1"]


def test_a_device_that_is_offline_comes_back_by_a_newer_reading_without_a_word(
    catalogue: Catalogue, change: Change
) -> None:
    picture = Picture()
    picture.take(change, catalogue, NOON)
    picture.hear(word(change, Said.OFFLINE, NOON), NOON)
    newer = later(change, catalogue, "humidity", NOON + MINUTE)
    # A clock that is ahead brings nobody back: it had arrived before.
    assert picture.take(newer, catalogue, NOON + MINUTE)[1] is None
    received = NOW + dt.timedelta(minutes=1)
    assert contents(picture.take(newer._replace(received_at=received), catalogue, NOON + MINUTE)[1]) == [
        ("online", received)
    ]


def test_a_word_from_before_the_newest_reading_says_nothing(catalogue: Catalogue, change: Change) -> None:
    picture = Picture()
    picture.take(change, catalogue, NOON)
    assert picture.hear(word(change, Said.OFFLINE, NOON - SECOND), NOON) is None
    assert picture.hear(word(change, Said.ONLINE, NOON), NOON) is None


def test_online_brings_nobody_back_whose_reading_is_overdue(catalogue: Catalogue, change: Change) -> None:
    picture = Picture()
    picture.take(change, catalogue, NOON)
    picture.hear(word(change, Said.OFFLINE, NOON + SECOND), NOON + SECOND)
    assert picture.hear(word(change, Said.ONLINE, NOON + 5 * MINUTE), NOON + 5 * MINUTE) is None
    assert picture.overdue(NOON + 9 * MINUTE) == []


def test_a_beginning_tells_who_went_and_came_by_its_word_lately(catalogue: Catalogue, change: Change) -> None:
    late = NOON + 2 * MINUTE
    for said, at, expected in (
        (Said.OFFLINE, NOON + MINUTE, "offline"),
        (Said.ONLINE, NOON + MINUTE, "online"),
        (Said.OFFLINE, NOON + SECOND, None),
    ):
        picture, one = Picture(), word(change, said, at)
        picture.expect([one])
        assert picture.take(change, catalogue, late)[1] is None
        told = contents(picture.hear(one, late), *picture.fell_silent_since(NOON + 30 * SECOND))
        moment = NOW + dt.timedelta(microseconds=at - NOON)
        assert told == ([] if expected is None else [(expected, moment)])


def test_a_device_that_was_deleted_falls_silent_for_nobody(catalogue: Catalogue, change: Change) -> None:
    picture = Picture()
    picture.take(change, catalogue, NOON)
    (device,) = picture.overdue(NOON + 4 * MINUTE)
    assert picture.silence(device, None, NOON + 4 * MINUTE) is None
    assert len(picture) == 0


def of(number: int, device: str = "a") -> News:
    return News(("k", "d"), device, {"device": device, "values": {"m": number}}, changed=number)


def tick(begin: int, second: int, *numbers: int) -> Tick:
    return make_tick(Cursor(begin, second * SECOND), {Topic.READINGS: map(of, numbers)})


def told(past: LookBack, cursor: Cursor) -> list[int] | None:
    place = past.place_after(cursor)
    if place is None:
        return None
    return [one.changed for one in past.from_place(place).news.get(Topic.READINGS, {}).get(("k", "d"), [])]


def test_who_comes_again_is_told_all_after_its_cursor_or_that_it_is_too_late() -> None:
    past = LookBack(10, 6, tick(20, 100, 15, 19), since=Cursor(12, 90 * SECOND))
    past.add(tick(25, 101, 21))
    past.add(tick(25, 102))
    past.add(tick(30, 103, 26, 29))
    assert told(past, Cursor(25, 101 * SECOND)) == [26, 29]
    assert told(past, Cursor(30, 103 * SECOND)) == []
    # Of another process, whose ticks were others: nothing that it had not told is left out.
    assert told(past, Cursor(27, 106 * SECOND)) == [26, 29]
    assert told(past, Cursor(27, 102 * SECOND + 500_000)) == [15, 19, 21, 26, 29]
    assert told(past, Cursor(12, 95 * SECOND)) == [15, 19, 21, 26, 29]
    assert told(past, Cursor(11, 95 * SECOND)) is None
    assert told(past, Cursor(12, 89 * SECOND)) is None
    # A database that was restored counts from further below.
    assert told(past, Cursor(99, 50 * SECOND)) is None
    # The oldest goes, for its age or for the number of news; who was told it needs nothing of it.
    past.add(tick(35, 104, 31, 32))
    assert told(past, Cursor(20, 100 * SECOND)) == [21, 26, 29, 31, 32]
    assert told(past, Cursor(20, 100 * SECOND + 1)) == [21, 26, 29, 31, 32]
    assert told(past, Cursor(19, 101 * SECOND)) is None
    past.add(tick(36, 120, 35))
    assert told(past, Cursor(25, 102 * SECOND)) is None
    assert told(past, Cursor(35, 104 * SECOND)) == [35]


@pytest.mark.parametrize("text", ["", "x", "WyJsaXZlIiwxXQ", "\udcff", Cursor(1, 2).encode() + "A"])
def test_an_id_that_is_not_ours_is_none(text: str) -> None:
    assert read_cursor(text) is None
    assert read_cursor(Cursor(1, 2).encode()) == Cursor(1, 2)


def test_what_many_want_is_written_once() -> None:
    rendering = Rendering(
        make_tick(
            Cursor(1, 1),
            {
                Topic.READINGS: [
                    News(("noise", "gate"), "n", {"device": "n", "values": {"laeq": 1.0}}),
                    News(("noise", "golden"), "o", {"device": "o", "values": {"laeq": 2.0}}),
                ]
            },
        )
    )
    everything = Filter(frozenset(Topic))
    gate = dataclasses.replace(everything, scope=Scope(districts=("gate",)))
    assert rendering.events(everything) is rendering.events(Filter(frozenset(Topic)))
    assert rendering.events(gate).decode().splitlines() == [
        "event: readings",
        'data: {"readings":[{"device":"n","values":{"laeq":1.0}}]}',
        "",
    ]
    assert rendering.events(dataclasses.replace(everything, scope=Scope(kinds=("weather",)))) == b""
