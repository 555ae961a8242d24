"""The API, as a command asks it: its address and key, its problems as sentences."""

from __future__ import annotations

import contextlib
import json
import pathlib
import ssl
from collections.abc import Iterator, Mapping
from typing import Any

import httpx2

from cli.connections import stack_environment, trusting
from cli.settings import Settings, SettingsError
from sensors.errors import AlatauError

# The API answers within its own limits; this one is for a network that says nothing.
_TIMEOUT = httpx2.Timeout(10, read=60)


class ApiError(AlatauError):
    """The API refused, or was not there; the text says what to do."""


class ApiAwayError(ApiError):
    """The API was not there, or was cut off: the same again may succeed."""


class ApiClient:
    """The API for one command; a context manager."""

    def __init__(self, url: str, key: str, trust: ssl.SSLContext | None = None) -> None:
        """Ask at ``url``, for https:// with ``trust`` in who signed its certificate, else as the system trusts."""
        self._url = url.rstrip("/")
        self._client = httpx2.Client(
            base_url=f"{self._url}/api/v1/",
            headers={"X-API-Key": key},
            timeout=_TIMEOUT,
            verify=True if trust is None else trust,
        )

    def __enter__(self) -> ApiClient:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def get(self, path: str, parameters: Mapping[str, Any] | None = None) -> Any:
        """Return the JSON of a path. Raises ApiError."""
        return self._ask("GET", path, params=parameters)

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """Return the JSON that a request was answered with. Raises ApiError."""
        return self._ask("POST", path, json=body)

    def _ask(self, method: str, path: str, **what: Any) -> Any:
        with self._away(), self._client.stream(method, path, **what) as response:
            _raise_for_problem(response)
            content = response.read()
        try:
            return json.loads(content)
        except ValueError:
            raise ApiError(f"{self._url} is not an Alatau API; check ALATAU_API_URL") from None

    @contextlib.contextmanager
    def stream(self, path: str, headers: Mapping[str, str]) -> Iterator[httpx2.Response]:
        """Open a file of the API, its bytes as they are stored. Raises ApiError, ApiAwayError."""
        given = {"Accept-Encoding": "identity", **headers}
        with self._away(), self._client.stream("GET", path, headers=given) as response:
            _raise_for_problem(response)
            yield response

    @contextlib.contextmanager
    def _away(self) -> Iterator[None]:
        try:
            yield
        except httpx2.InvalidURL as error:
            raise ApiError(f"{self._url} is no address: {error}; check ALATAU_API_URL") from error
        except httpx2.UnsupportedProtocol as error:
            raise ApiError(f"{self._url} is no address: {error}; check ALATAU_API_URL") from error
        except httpx2.ConnectError as error:
            if "CERTIFICATE_VERIFY_FAILED" in str(error):
                raise ApiError(
                    f"the certificate of {self._url} is not trusted ({error}); set ALATAU_API_CA to the certificate "
                    "of the authority that signed it"
                ) from error
            raise self._is_away(error) from error
        except httpx2.TransportError as error:
            raise self._is_away(error) from error

    def _is_away(self, error: httpx2.TransportError) -> ApiAwayError:
        return ApiAwayError(
            f"the API at {self._url} does not answer: {str(error) or type(error).__name__}; start it with "
            "`./alatau up`, or set ALATAU_API_URL"
        )


def _raise_for_problem(response: httpx2.Response) -> None:
    if response.is_success:
        return
    content = response.read()
    try:
        detail = str(json.loads(content)["detail"])
    except (ValueError, KeyError, TypeError):
        detail = f"{response.url} answered {response.status_code}; check ALATAU_API_URL"
    if response.status_code == 401:
        detail = f"{detail}; set ALATAU_API_KEY"
    raise (ApiAwayError if response.status_code in (502, 503) else ApiError)(detail)


def api_client(settings: Settings) -> ApiClient:
    """Return the client of the API that the environment names, else of the one that ``up`` started.

    Raises SettingsError where there is neither.
    """
    local = stack_environment(settings)
    url = settings.api_url or local.get("ALATAU_API_URL")
    if not url:
        raise SettingsError("no API: run `./alatau up`, or set ALATAU_API_URL and ALATAU_API_KEY")
    key = settings.api_key
    # The key of our own city is shown to nobody else.
    if key is None and url == local.get("ALATAU_API_URL"):
        key = local.get("ALATAU_API_KEY")
    if not key:
        raise SettingsError(f"no key for the API at {url}: set ALATAU_API_KEY")
    authority = settings.api_ca
    if authority is None and url == local.get("ALATAU_API_URL") and (ours := local.get("ALATAU_API_CA")):
        authority = pathlib.Path(ours)
    if authority is None or not url.startswith("https:"):
        return ApiClient(url, key)
    return ApiClient(url, key, trusting(authority.expanduser(), "ALATAU_API_CA"))
