"""The Doris clusters this server may ask: their frontends, accounts, TLS, and which caller comes as which account.

A leaf beside `config`, which reads them from DORIS_MCP_CLUSTERS or makes one out of the DORIS_* variables.
"""

import json
import re
import ssl
from typing import Annotated, Literal, NamedTuple, Self, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

TLS = Literal["disabled", "required", "verify_ca", "verify_identity"]
"""MySQL's words: no TLS; encrypted; and the certificate is the CA's; and it bears the frontend's name."""

DEFAULT: str = "default"
QUERY_PORT = 9030
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,31}")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\]")


def frontend(text: str, port: int = QUERY_PORT) -> tuple[str, int]:
    """`host`, `host:port` or `[v6]:port` as (host, port). ValueError with what is wrong."""
    host, colon, digits = text.strip().rpartition(":")
    if not colon or text.strip().endswith("]"):
        host, digits = text.strip(), str(port)
    if not _HOST.fullmatch(host):
        raise ValueError(f"{text.strip()!r} is not HOST, HOST:PORT or [IPV6]:PORT")
    if not (digits.isdigit() and 1 <= int(digits) <= 65535):
        raise ValueError(f"the port of {text.strip()!r} is not a number from 1 to 65535")
    return host.strip("[]"), int(digits)


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise ValueError("a name starts with a-z and has up to 32 of a-z 0-9 _ -")
    return text


def _frontends(texts: tuple[str, ...]) -> tuple[str, ...]:
    found = [frontend(text) for text in texts]
    if len(set(found)) != len(found):
        raise ValueError("a frontend is named twice")
    return texts


Name = Annotated[str, AfterValidator(_name)]
Model = TypeVar("Model", bound=BaseModel)


class Account(BaseModel):
    """A Doris account. `database` is the one in use when a caller names none."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    user: str = Field(min_length=1)
    password: str = Field("", repr=False)
    database: str | None = None


class Bound(BaseModel):
    """The one account, at one cluster, that a token lets its holder come as; at other clusters he has none."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cluster: str
    account: Account


class Caller(NamedTuple):
    """Who asks Doris: by name, and by an account of his own where his token has one."""

    name: str
    bound: Bound | None = None


class Cluster(BaseModel):
    """One Doris. `frontends` are asked in this order; a caller named in `principals` comes as that account only."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Name = DEFAULT
    frontends: Annotated[tuple[str, ...], Field(min_length=1, max_length=32), AfterValidator(_frontends)]
    http_port: int = Field(0, ge=0, le=65535)
    https: bool = False
    tls: TLS = "disabled"
    ca: str = ""
    accounts: dict[Name, Account] = Field(min_length=1)
    principals: dict[str, str] = {}
    default_account: str | None = None

    @property
    def addresses(self) -> tuple[tuple[str, int], ...]:
        """(host, query port) of each frontend."""
        return tuple(frontend(text) for text in self.frontends)

    def tls_context(self) -> ssl.SSLContext | None:
        """What TLS to a frontend must fulfil; None: none. OSError where the CA cannot be used."""
        if self.tls == "disabled":
            return None
        context = ssl.create_default_context(cafile=self.ca or None)
        context.check_hostname = self.tls == "verify_identity"
        context.verify_mode = ssl.CERT_NONE if self.tls == "required" else ssl.CERT_REQUIRED
        return context

    def https_context(self) -> ssl.SSLContext | None:
        """The same for the frontends' HTTP port. With `https` and no TLS for statements, the name is checked, too."""
        if not self.https:
            return None
        return self.tls_context() or ssl.create_default_context()

    @property
    def fallback(self) -> str | None:
        """The account of callers that `principals` does not name; None: they have none here."""
        return self.default_account or (DEFAULT if DEFAULT in self.accounts else None)

    def account_of(self, caller: Caller) -> Account | None:
        """The one account this caller may come as. A caller that is bound to an account never gets another."""
        if caller.bound is not None:
            return caller.bound.account if caller.bound.cluster == self.name else None
        name = self.principals.get(caller.name, self.fallback)
        return None if name is None else self.accounts[name]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for who, account in (*self.principals.items(), ("default_account", self.default_account)):
            if account is not None and account not in self.accounts:
                raise ValueError(f"{who} is to come as {account!r}, which is none of its accounts")
        if self.ca and self.tls in ("disabled", "required"):
            raise ValueError(f"a CA is given but tls is {self.tls!r}; choose verify_ca or verify_identity")
        return self


def parse(text: str) -> tuple[Cluster, ...]:
    """The clusters of a JSON object {name: {...}}, in its order. ValueError naming the place; never quoting a value."""
    return named(text, Cluster, 'clusters: {"sales": {"frontends": [...], "accounts": {...}}}')


def named(text: str, model: type[Model], what: str) -> tuple[Model, ...]:
    """The models of a JSON object {name: {...}}, in its order. ValueError naming the place; never quoting a value."""
    try:
        found = json.loads(text, object_pairs_hook=_no_name_twice)
    except json.JSONDecodeError as error:
        raise ValueError(f"is not JSON: {error.msg} at line {error.lineno}, column {error.colno}") from None
    if not isinstance(found, dict) or not found:
        raise ValueError(f"must be a JSON object of {what}")
    return tuple(_one(name, body, model) for name, body in found.items())


def _no_name_twice(pairs: list[tuple[str, object]]) -> dict[str, object]:
    seen = dict(pairs)
    if len(seen) != len(pairs):
        raise ValueError("names something twice in one object")
    return seen


def _one(name: str, body: object, model: type[Model]) -> Model:
    if not isinstance(body, dict):
        required = [field for field, info in model.model_fields.items() if info.is_required() and field != "name"]
        raise ValueError(f"{name}: must be an object with {' and '.join(required)}")
    try:
        return model.model_validate({**body, "name": name})
    except ValidationError as error:
        problem = error.errors(include_input=False, include_url=False, include_context=False)[0]
        where = ".".join(str(part) for part in (name, *problem["loc"]))
        raise ValueError(f"{where}: {problem['msg'].removeprefix('Value error, ')}") from None
