"""Every account at the broker that is in a table: of devices, batches and gateways."""

from __future__ import annotations

from storage.claims import hold_batch_accounts, load_batch_credentials
from storage.devices import Credential, hold_accounts, load_credentials
from storage.gateways import hold_gateway_accounts, load_gateway_credentials
from storage.kinds import Connection


async def load_all_credentials(connection: Connection) -> dict[str, Credential]:
    """Return the stored secrets by user name; only the owner's role may."""
    return (
        await load_credentials(connection)
        | await load_batch_credentials(connection)
        | await load_gateway_credentials(connection)
    )


async def hold_all_accounts(connection: Connection) -> dict[str, bool]:
    """Return every user name, with whether the broker shall keep it out.

    In a transaction; nobody changes an account until that ends.
    """
    return (
        await hold_accounts(connection)
        | await hold_batch_accounts(connection)
        | await hold_gateway_accounts(connection)
    )
