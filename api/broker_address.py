"""Where devices find the broker, and whose certificate they trust."""

from __future__ import annotations

import pathlib

from fastapi import APIRouter
from starlette.responses import Response

from api.access import Api
from api.contract import PREFIX
from api.description import problem
from api.options import ApiOptions
from api.problems import ProblemError, ProblemType, unavailable
from broker.snippets import Address, Trust

AUTHORITY_PATH = f"{PREFIX}/broker/ca.pem"
_FILE, _MEDIA_TYPE = "ca.pem", "application/x-pem-file"

router = APIRouter(prefix=f"{PREFIX}/broker", tags=["devices"])


def broker_address(options: ApiOptions) -> Address:
    """Return what devices are told. Raises a problem where the authority's certificate can't be read."""
    if options.mqtt_ca is None:
        return Address(options.mqtt_url, options.topics)
    try:
        # Each time, because it may have been renewed.
        pem = pathlib.Path(options.mqtt_ca).read_text()
    except OSError as error:
        raise unavailable(
            f"the certificate that devices trust can't be read: {error.strerror}; "
            "set ALATAU_MQTT_CA to a file that the API may read",
            retry_after_seconds=60,
        ) from error
    return Address(options.mqtt_url, options.topics, Trust(_FILE, pem))


@router.get(
    "/ca.pem",
    response_class=Response,
    responses={
        200: {"content": {_MEDIA_TYPE: {"schema": {"type": "string"}}}, "description": "Certificates, PEM."},
        404: problem(404),
    },
)
async def get_authority(api: Api) -> Response:
    """Return the certificate of the authority that devices trust when they connect to the broker."""
    trust = broker_address(api.options).trust
    if trust is None:
        raise ProblemError(
            ProblemType.NOT_FOUND,
            "the broker has no authority of its own: devices trust those of their system, "
            "or connect without TLS on the broker's own machine",
        )
    headers = {"Content-Disposition": f'attachment; filename="{_FILE}"'}
    return Response(trust.pem, media_type=_MEDIA_TYPE, headers=headers)
