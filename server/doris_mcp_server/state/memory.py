"""The store of a single process: gone when it ends. What a lone host uses, and the tests."""

from doris_mcp_server.state import TokenRecord


class MemoryStore:
    def __init__(self) -> None:
        self._tokens: dict[str, TokenRecord] = {}

    async def get_token(self, digest: str) -> TokenRecord | None:
        record = self._tokens.get(digest)
        return None if record is None or record.expired() else record

    async def put_token(self, digest: str, record: TokenRecord) -> None:
        self._tokens[digest] = record

    async def list_tokens(self) -> list[TokenRecord]:
        return sorted((r for r in self._tokens.values() if not r.expired()), key=lambda r: r.created)

    async def revoke_token(self, token_id: str) -> bool:
        for digest, record in self._tokens.items():
            if record.id == token_id:
                del self._tokens[digest]
                return True
        return False

    async def ping(self) -> None:
        return None

    async def close(self) -> None:
        self._tokens.clear()
