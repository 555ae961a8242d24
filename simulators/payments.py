"""Payment terminals that take tenge and crypto: the digital city pays digitally."""

from __future__ import annotations

import numpy as np

from simulators.calendars import MINUTE
from simulators.noise import Floats, key_of, uniform
from simulators.sample import Sample

Columns = dict[str, Floats]


def _spent(sample: Sample, name: str, count: Floats, mean: Floats) -> Floats:
    """Return the sum of the first ``count`` payments, each between a tenth and nineteen tenths of the mean.

    The sum is the mean times the count, bent within one payment: exact for any count without adding them up.
    """
    return mean * (count + 0.9 * uniform(sample.key ^ key_of(name), count.astype(np.int64)))


def payments(sample: Sample) -> Columns:
    """Model a terminal of a shop: counts of payments, and the sums they come to in tenge."""
    busy = np.exp(sample.trait("busy", 2.0, 4.4))
    fiat_total, fiat_rate = sample.counted("fiat", "shops", period=6 * MINUTE, roughness=0.9)
    crypto_total, crypto_rate = sample.counted("crypto", "online", period=13 * MINUTE, roughness=0.9)
    share = sample.trait("crypto share", 0.04, 0.22)
    fiat = np.floor(2_000.0 * sample.trait("start", 0.0, 1.0) + busy * fiat_total)
    crypto = np.floor(200.0 * sample.trait("start", 0.0, 1.0) + busy * share * crypto_total)
    asked = busy * (0.018 * fiat_total + 0.03 * share * crypto_total)
    load = fiat_rate + share * crypto_rate
    latency = (260.0 + sample.trait("network", 0.0, 160.0) + 140.0 * load) * np.exp(
        0.2 * sample.noise("latency", MINUTE)
    )
    slow = sample.chance("slow", 3 * MINUTE) > 0.996
    return {
        "fiat_volume": np.rint(_spent(sample, "fiat", fiat, sample.trait("ticket", 1_800.0, 9_500.0))),
        "fiat_payments": fiat,
        "crypto_volume": _spent(sample, "crypto", crypto, sample.trait("crypto ticket", 4_000.0, 30_000.0)),
        "crypto_payments": crypto,
        "declined": np.floor(40.0 * sample.trait("start", 0.0, 1.0) + asked),
        "latency": np.where(slow, latency * 6.0, latency),
    }
