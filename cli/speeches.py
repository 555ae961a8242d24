"""The formats as the broker is told of them."""

from broker.speech import Speech
from ingest.decoders.table import FORMATS

SPEECHES = tuple(Speech(one.name, one.patterns, one.is_own, one.answers) for one in FORMATS)
