"""What a tool is: data, and one handler. The protocol layer shows and calls them all the same way."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from doris_mcp_server.clusters import Caller
from doris_mcp_server.doris.capabilities import Capabilities, Version
from doris_mcp_server.doris.guard import in_words_of_caller
from doris_mcp_server.doris.guard.verdicts import Verdict
from doris_mcp_server.doris.http import AccountHTTP
from doris_mcp_server.doris.pool import Limits, Pool, Rows
from doris_mcp_server.doris.routes import Routes
from doris_mcp_server.errors import QueryFailed
from doris_mcp_server.tools.cache import ResultCache
from doris_mcp_server.tools.rules import OPEN, Rules, Where


@dataclass(frozen=True, slots=True)
class Context:
    """What a handler works with: the ways to Doris, the server's maxima, who asks, and for which cluster.

    `results` keeps results of queries, None: they are not kept. `rules`: what an operator closed or masked.
    """

    routes: Routes
    limits: Limits
    caller: Caller
    cluster: str | None = None
    results: ResultCache | None = None
    rules: Rules = OPEN

    @property
    def doris(self) -> Pool:
        """The caller's own account at the cluster asked for. InvalidArgument, DorisUnavailable where there is none."""
        return self.routes.way(self.cluster, self.caller).pool

    async def run(self, sql: str, verdict: Verdict, where: Where, limits: Limits, before: str = "") -> Rows:
        """Run what was judged, `before` in front of it. Doris' errors name places of the caller's text `sql`."""
        catalog, database = where
        try:
            return await self.doris.query(before + verdict.sent, catalog=catalog, database=database, limits=limits)
        except QueryFailed as error:
            policy = self.rules.policy(where, self.version)
            words = await in_words_of_caller(sql, policy, error.message, len(before))
            raise QueryFailed(words, hint=error.hint) from None

    def where(self, catalog: str | None, database: str | None) -> Where:
        """The catalog and database in which a statement is to run, from those the caller asks for."""
        return self.rules.where(catalog, database, self.doris.route.database)

    @property
    def version(self) -> Version | None:
        """The Doris version of the cluster that the call names. None until the version is known."""
        seen = self.capabilities
        return seen.version if seen is not None else None

    @property
    def frontends(self) -> AccountHTTP | None:
        """The same account over the frontends' HTTP port; None where that is not configured."""
        return self.routes.way(self.cluster, self.caller).http

    @property
    def capabilities(self) -> Capabilities | None:
        """What the cluster is and offers; None as long as it has not been seen."""
        return self.routes.cluster(self.cluster).capabilities


Handler = Callable[[Context, Any], Awaitable[BaseModel | dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class Tool:
    """One tool. `handler` takes a validated `input` and gives an `output`, or a dict of its shape; raises ServerError.

    `annotations` are MCP's hints; every tool here only reads and may be sent again. Built once from the models: the
    schemas, `validate` (arguments → input, raises pydantic's ValidationError), `cluster` (input → the cluster it names)
    and `header_arguments` (argument name, header in which clients of 2026-07-28 repeat it).
    """

    name: str
    title: str
    description: str
    input: type[BaseModel]
    output: type[BaseModel]
    scope: str
    handler: Handler
    annotations: dict[str, bool] = field(
        default_factory=lambda: {
            "readOnlyHint": True,
            "destructiveHint": False,
            "idempotentHint": True,
            "openWorldHint": False,
        }
    )
    input_schema: dict[str, Any] = field(init=False, repr=False)
    output_schema: dict[str, Any] = field(init=False, repr=False)
    validate: Callable[[dict[str, Any]], BaseModel] = field(init=False, repr=False)
    cluster: Callable[[BaseModel], str | None] = field(init=False, repr=False)
    header_arguments: tuple[tuple[str, bytes], ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "input_schema", self.input.model_json_schema(mode="validation"))
        object.__setattr__(self, "output_schema", self.output.model_json_schema(mode="serialization"))
        object.__setattr__(self, "validate", self.input.__pydantic_validator__.validate_python)
        named = issubclass(self.input, ClusterInput)
        object.__setattr__(self, "cluster", attrgetter("cluster") if named else _no_cluster)
        headers = (
            (name, b"mcp-param-" + schema["x-mcp-header"].lower().encode())
            for name, schema in self.input_schema.get("properties", {}).items()
            if "x-mcp-header" in schema
        )
        object.__setattr__(self, "header_arguments", tuple(headers))


class Input(BaseModel):
    """Arguments of a tool: unknown ones are an error, and a string is never taken for a number."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Output(BaseModel):
    """What a tool gives back."""

    model_config = ConfigDict(extra="forbid")


def _no_cluster(asked: BaseModel) -> None:
    """For tools that ask none: looking for an attribute that a model does not have costs more than a call."""


def _printable(name: str) -> str:
    if not name.isprintable() or name != name.strip():
        raise ValueError("must be printable, without blanks at its ends")
    return name


def _header(token: str) -> Callable[[dict[str, Any]], None]:
    """Schema of an optional name that clients repeat in the header `Mcp-Param-<token>`, for balancers to route by.

    The protocol allows that on plain strings only, so "or null" is not shown; a null is still taken as left out.
    """

    def flatten(schema: dict[str, Any]) -> None:
        text = next(kind for kind in schema.pop("anyOf") if kind["type"] == "string")
        schema.pop("default", None)
        schema |= text | {"x-mcp-header": token}

    return flatten


# Doris takes none of ` / \ in the name of a catalog, database or table; they only ever come with an attack. Of the name
# of a database it drops what stands before a colon.
Name = Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[^`/\\:]+$"), AfterValidator(_printable)]
Catalog = Annotated[
    Name | None,
    Field(
        description="Catalog, as list_catalogs shows it. Left out: the account's default catalog, mostly `internal`.",
        examples=["internal", "hive"],
        json_schema_extra=_header("Catalog"),
    ),
]
Database = Annotated[
    Name | None,
    Field(
        description="Database, as list_databases shows it. Left out: the server's default.",
        examples=["ssb"],
        json_schema_extra=_header("Database"),
    ),
]
Cluster = Annotated[
    Name | None,
    Field(
        description="Cluster, as list_clusters shows it. Left out: the server's default cluster.",
        examples=["sales"],
        json_schema_extra=_header("Cluster"),
    ),
]


class ClusterInput(Input):
    """Arguments of a tool that asks one of the clusters."""

    cluster: Cluster = None
