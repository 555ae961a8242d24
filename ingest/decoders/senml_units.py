"""Units of SenML's registry as UCUM codes."""

from __future__ import annotations

# Registry of RFC 8428, section 12.1, and of RFC 8798 with its secondary units, which RFC 9100 lets a pack use. What
# is not in it is the same code in UCUM (m, kg, Cel, lx, W, m/s, hPa …), or in no registry, and is kept as it is.
_UCUM = {
    "lat": "deg",
    "lon": "deg",
    "pH": "[pH]",
    "dBW": "dB[W]",
    "dBm": "",  # no code of UCUM has its reference of 1 mW
    "Bspl": "B[SPL]",
    "count": "1",
    # A ratio from 0 to 1, in spite of its name; the percentage is "/100".
    "%": "1",
    "/": "1",
    "/100": "%",
    "/1000": "[ppth]",
    "ppm": "[ppm]",
    "ppb": "[ppb]",
    "ppt": "[pptr]",
    "%RH": "%",
    "%EL": "%",
    "EL": "s",
    "beat/min": "{beat}/min",
    "beats": "{beat}",
    "NTU": "{NTU}",
    "B": "By",
    "KiB": "KiBy",
    "GB": "GBy",
    "B/s": "By/s",
    "MB/s": "MBy/s",
    "Mbit/s": "Mbit/s",
    "MBit/s": "Mbit/s",
    "VA": "V.A",
    "VAs": "V.A.s",
    "VAh": "V.A.h",
    "kVA": "kV.A",
    "kVAh": "kV.A.h",
    # UCUM knows no var: reactive power has the dimension of volt-ampere.
    "var": "V.A",
    "vars": "V.A.s",
    "varh": "V.A.h",
    "kvar": "kV.A",
    "kvarh": "kV.A.h",
    "Ah": "A.h",
    "Wh": "W.h",
    "kWh": "kW.h",
    "Wh/km": "W.h/km",
}


def ucum(unit: str) -> str:
    """Return the UCUM code of a SenML unit, empty where UCUM has none, the unit itself if it is not registered."""
    return _UCUM.get(unit, unit)


def unit_of_sum(code: str) -> str:
    """Return the UCUM code of a sum, which is in the unit of its values times seconds."""
    return f"{code}.s" if code else ""
