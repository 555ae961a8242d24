"""Asking the API as a program does, on a kept connection, with as little work of our own as can be."""

from __future__ import annotations

import http.client
import time
import urllib.parse
from collections.abc import Mapping

from api.contract import PREFIX

_GIVE_UP_SECONDS = 60.0


class Asker:
    """One kept connection to the API; ``took`` are the seconds of each answer, from the question to its last byte."""

    def __init__(self, port: int, key: str, encodings: str = "gzip, deflate, br, zstd") -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_GIVE_UP_SECONDS)
        self._headers = {"X-API-Key": key, "Accept-Encoding": encodings}
        self.took: list[float] = []

    def ask(self, path: str, parameters: Mapping[str, str]) -> bytes:
        """Return the body of an answer, as it is encoded. Raises RuntimeError if it is a problem."""
        query = urllib.parse.urlencode(parameters)
        started = time.perf_counter()
        self._connection.request("GET", f"{PREFIX}/{path}?{query}", headers=self._headers)
        answer = self._connection.getresponse()
        body = answer.read()
        self.took.append(time.perf_counter() - started)
        if answer.status != http.HTTPStatus.OK:
            raise RuntimeError(f"the API answers {answer.status} to {path}?{query}")
        return body

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()
