"""The user's own Doris account: whether Doris lets it in.

Whoever finds the login page can try passwords: each try costs a permit, of the one who asks and of the account.
"""

import asyncio
import hashlib
from typing import Final

from doris_mcp_server.clusters import Account, Bound
from doris_mcp_server.doris.routes import Routes
from doris_mcp_server.errors import DorisRefusedLogin, DorisUnavailable
from doris_mcp_server.oauth.messages import Refused
from doris_mcp_server.state import Store

AT_ONCE: Final = 8  # logins of a worker that Doris is asked about
WAITING: Final = 64  # more than these and they are not asked about
_USER: Final = 64  # characters
_PASSWORD: Final = 256
# Permits a second, and at once. What is asked first is what one address may do to one account: less than the account
# has, so that nobody can lock somebody out from a single place.
_PAIR: Final = (1 / 60, 8)
_ADDRESS: Final = (1 / 10, 30)
_ACCOUNT: Final = (1 / 20, 15)


def principal(bound: Bound) -> str:
    """The caller's name: `user@cluster`. Like no operator's, and like no other issuer's, which have a colon."""
    user = bound.account.user.replace("%", "%25").replace(":", "%3A")
    return f"{user}@{bound.cluster}"


class Accounts:
    """Asks Doris who may come in."""

    def __init__(self, routes: Routes, store: Store) -> None:
        self._routes = routes
        self._store = store
        self._room = asyncio.Semaphore(AT_ONCE)
        self._there = 0

    @property
    def clusters(self) -> tuple[str, ...]:
        """The names of the clusters one may log in to, the default one first."""
        return tuple(self._routes.clusters)

    async def log_in(self, cluster: str, user: str, password: str, address: str) -> Bound:
        """The account, if Doris lets it in.

        Raises: Refused with `access_denied` (wrong password) or `slow_down`, DorisUnavailable, StoreUnavailable.
        """
        if not (cluster in self._routes.clusters and _plausible(user, password)):
            raise _wrong()
        await self._spend(cluster, user, address)
        bound = Bound(cluster=cluster, account=Account(user=user, password=password))
        if not await self.admits(bound):
            raise _wrong()
        return bound

    async def admits(self, bound: Bound) -> bool:
        """Whether Doris lets the account in now. Raises: DorisUnavailable, also with too many to ask about."""
        if self._there >= AT_ONCE + WAITING:
            raise DorisUnavailable("too many logins at once")
        self._there += 1
        try:
            async with self._room:
                await self._routes.cluster(bound.cluster).admit(bound.account)
        except DorisRefusedLogin:
            return False
        finally:
            self._there -= 1
        return True

    async def _spend(self, cluster: str, user: str, address: str) -> None:
        account = f"{cluster} {user.rpartition(':')[2]}"  # to Doris, `default_cluster:ann` is `ann`
        for who, (rate, burst) in ((f"{address} {account}", _PAIR), (address, _ADDRESS), (account, _ACCOUNT)):
            name = hashlib.sha256(who.encode()).hexdigest()
            given, wait = await self._store.spend(f"oauth-login:v1/{name}", 1, rate=rate, burst=burst)
            if not given:
                raise Refused("slow_down", "Too many tries. Wait a little.", status=429, after=wait)


def _wrong() -> Refused:
    return Refused("access_denied", "Doris does not know this user with this password.", status=403)


def _plausible(user: str, password: str) -> bool:
    """An account without a password is none to come in with over the network; Doris need not be asked."""
    return 0 < len(user) <= _USER and user.isprintable() and 0 < len(password) <= _PASSWORD and "\0" not in password
