"""Time zone data: whether it is recent enough, and which copy a provisioned PostgreSQL reads."""

from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

SYSTEM_ZONEINFO = Path("/usr/share/zoneinfo")
# Debian's PostgreSQL has the system's directory compiled in. Its processes run in the data directory,
# so a relative name no longer than the compiled one leads to a link there.
DATA_DIR_LINK = "alatau_zoneinfo"

_CITY = "Asia/Almaty"
_BEFORE, _AFTER = datetime(2024, 2, 29, 12), datetime(2024, 3, 2, 12)  # noqa: DTZ001 - local times of the zone


def knows_almaty_2024(directory: Path = SYSTEM_ZONEINFO) -> bool:
    """Tell whether the data in `directory` has Almaty's move from UTC+6 to UTC+5 on 2024-03-01."""
    try:
        with (directory / _CITY).open("rb") as data:
            return _has_the_move(ZoneInfo.from_file(data))
    except (OSError, ValueError):
        return False


def python_knows_almaty_2024() -> bool:
    """Tell the same of the data this Python uses."""
    try:
        return _has_the_move(ZoneInfo(_CITY))
    except ZoneInfoNotFoundError:
        return False


def _has_the_move(zone: ZoneInfo) -> bool:
    offsets = [moment.replace(tzinfo=zone).utcoffset() for moment in (_BEFORE, _AFTER)]
    return offsets == [timedelta(hours=6), timedelta(hours=5)]
