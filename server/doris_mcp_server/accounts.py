"""What the Doris accounts of the settings may do, asked now: `doris-mcp-server check-config --ask-doris`."""

from typing import TextIO

from doris_mcp_server.config import Settings
from doris_mcp_server.doris.driver import choose
from doris_mcp_server.doris.grants import Grants
from doris_mcp_server.doris.routes import Routes

CLOSE_LIMIT = 1.0  # seconds


async def look(settings: Settings) -> dict[tuple[str, str], Grants]:
    """{(cluster, account's name in the settings): its grants}; unknown for an account that cannot be asked.

    All at once, each within the connect timeout and ten seconds.
    """
    accounts = sum(len(cluster.accounts) for cluster in settings.doris)
    routes = Routes(
        settings.doris,
        driver=choose(settings.driver),
        pool_size=1,
        max_connections=max(accounts, 1),
        connect_timeout=settings.doris_connect_timeout,
    )
    try:
        return await routes.grants()
    finally:
        await routes.close(CLOSE_LIMIT)


async def tell(settings: Settings, out: TextIO, err: TextIO) -> None:
    """Say on `out` which accounts only read, and on `err` which may do more or are not known, with the fix."""
    for (cluster, name), grants in (await look(settings)).items():
        if grants.only_reads:
            print(f"{cluster}, account {name}: {grants.account} only reads", file=out)
        if grants.problem:
            print(f"warning: {cluster}, account {name}: {grants.problem}", file=err)
        for fix in grants.fixes:
            print(f"  fix: {fix}", file=err)
