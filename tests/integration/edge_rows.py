"""The rows of test_edge: what is sent, and what must come back straight from a worker and through the balancer.

H01 … H35 are the layers framing, json, mcp and origin of the project's list of bad input.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from .wire import LEGACY, chunked, head, modern, post, rpc

PARSE, REQUEST, METHOD, PARAMS = -32700, -32600, -32601, -32602


@dataclass(frozen=True)
class Want:
    """What must come back: one of these statuses with, where given, one of these JSON-RPC codes."""

    statuses: Collection[int]
    codes: Collection[int] = ()
    closed: bool = False  # the connection ends with it, and what was sent behind it is not answered
    reaches: bool = True  # through the balancer: whether a worker sees it


BROKEN = Want([400], closed=True, reaches=False)
SERVED = Want([200])
NOT_JSON = Want([400], [PARSE])
NOT_A_REQUEST = Want([400], [REQUEST, PARAMS])


@dataclass(frozen=True)
class Row:
    name: str
    send: bytes
    direct: Want
    balanced: Want


def row(name: str, send: bytes, want: Want = BROKEN, balanced: Want | None = None) -> Row:
    """A row whose answer is the same both ways, unless told."""
    return Row(name, send, want, balanced or want)


LIST = rpc("tools/list")
TOOLS_LIST = modern("tools/list")


def framing() -> Iterator[Row]:
    both_ways = ("Content-Length: 5", "Transfer-Encoding: chunked")
    yield row("H01 length and chunked", head(TOOLS_LIST, *both_ways) + b"0\r\n\r\n")
    yield row("H01 chunked and length", head(TOOLS_LIST, *reversed(both_ways)) + b"0\r\n\r\n")
    for length in ("+5", "0x5", "-1", "5, 5", "5 5", "", "9" * 40):
        yield row(f"H03 length {length[:10]!r}", head(TOOLS_LIST, f"Content-Length: {length}") + b"hello")
    for second in ("5", "6"):
        lines = ("Content-Length: 5", f"Content-Length: {second}")
        yield row(f"H03 lengths 5 and {second}", head(TOOLS_LIST, *lines) + b"hello!")
    yield row("H03 blank before the colon", head(TOOLS_LIST, f"Content-Length : {len(LIST)}") + LIST)
    yield row("H03 folded header", head(TOOLS_LIST, "X-A: a", " b", f"Content-Length: {len(LIST)}") + LIST)

    size = f"{len(LIST):x}"
    for what, wrong in (("0x", f"0x{size}"), ("+", f"+{size}"), ("-", "-5"), ("blank", f" {size}"), ("huge", "f" * 17)):
        yield row(f"H05 chunk size {what}", chunked(wrong, LIST))
    yield row("H05 chunk extension with a line end", chunked(f'{size};ext="\n"', LIST))
    yield row("H05 chunk that ends in something else", chunked(size, LIST, b"XX0\r\n\r\n"))
    yield row("H05 good chunk", chunked(size, LIST), SERVED)
    # nginx takes a bare line feed for the end of a line (RFC 9112 section 2.2 allows it) and passes on what it
    # understood, well framed: so it is one request for everybody.
    bare = head(TOOLS_LIST, "Transfer-Encoding: chunked") + size.encode() + b"\n" + LIST + b"\n0\n\n"
    yield row("H05 bare line feeds in chunks", bare, BROKEN, SERVED)
    yield row("H05 bare line feeds in the head", post(LIST, TOOLS_LIST).replace(b"\r\n", b"\n"), BROKEN, SERVED)

    nowhere = Want([404])
    ends_here = Want([404], reaches=False)
    broken_path = Want([400], closed=True, reaches=False)
    yield row("H07 //mcp", post(LIST, TOOLS_LIST, target="//mcp"), nowhere)
    yield row("H07 /mcp/..;/admin", post(LIST, TOOLS_LIST, target="/mcp/..;/admin"), nowhere, ends_here)
    yield row("H07 /%2e%2e/admin", post(LIST, TOOLS_LIST, target="/%2e%2e/admin"), nowhere, broken_path)
    yield row("H07 /mcp%00", post(LIST, TOOLS_LIST, target="/mcp%00"), nowhere, broken_path)
    yield row("H07 /metrics/../mcp", post(LIST, TOOLS_LIST, target="/metrics/../mcp"), nowhere)
    # Only the path counts for a worker; the balancer takes the host from the target, and that is not ours.
    absolute = head(TOOLS_LIST, method="GET", target="http://evil/mcp")
    yield row("H07 absolute target", absolute, Want([400, 404, 405]), Want([421]))


def json() -> Iterator[Row]:
    def call(arguments: str = "", era: str = "modern", id: str = "1") -> bytes:
        text = f'"name":"execute_query","arguments":{{"sql":"SELECT 1"{arguments}}}'
        headers = modern("tools/call", "execute_query") if era == "modern" else LEGACY
        return post(rpc("tools/call", text, id=id, era=era), headers)

    deep = 100_000
    yield row("H17 nested and never closed", post(b"[" * deep, TOOLS_LIST), NOT_JSON)
    yield row("H17 nested lists", post(b"[" * deep + b"]" * deep, TOOLS_LIST), NOT_JSON)
    for era in ("modern", "legacy"):
        yield row(
            f"H17 {era}: nested lists in an argument", call(f',"catalog":{"[" * deep}{"]" * deep}', era), NOT_JSON
        )
        members = '{"a":' * deep + "1" + "}" * deep
        yield row(f"H17 {era}: nested members in an argument", call(f',"catalog":{members}', era), NOT_JSON)
        no_number = Want([400], [PARSE, PARAMS])
        for name, value in (("1e400", "1e400"), ("-1e400", "-1e400"), ("NaN", "NaN"), ("Infinity", "Infinity")):
            yield row(f"H19 {era}: {name}", call(f',"timeout_s":{value}', era), no_number)
        yield row(f"H19 {era}: 20,000 digits", call(f',"max_rows":{"9" * 20_000}', era), no_number)
        yield row(f"H19 {era}: id 2^70", call(era=era, id=str(2**70)), Want([400], [PARSE, REQUEST, PARAMS]))
        yield row(
            f"H19 {era}: id of 20,000 digits", call(era=era, id="9" * 20_000), Want([400], [PARSE, REQUEST, PARAMS])
        )
        yield row(f"H19 {era}: id -0", call(era=era, id="-0"), SERVED)
        headers = TOOLS_LIST if era == "modern" else LEGACY
        batch = b"[" + b",".join([rpc("tools/list", era=era)] * 10_000) + b"]"
        yield row(f"H21 {era}: batch of 10,000", post(batch, headers), NOT_A_REQUEST)
        yield row(f"H21 {era}: batch of one", post(b"[" + rpc("tools/list", era=era) + b"]", headers), NOT_A_REQUEST)
    for name, id in (("1.5", "1.5"), ("an object", "{}"), ("1e400", "1e400"), ("true", "true")):
        yield row(f"H19 id {name}", call(id=id), Want([400], [PARSE, REQUEST, PARAMS]))
    answered = post(b'{"jsonrpc":"2.0","id":1,"result":{}}', LEGACY)
    yield row("H23 answer to nobody", answered, Want([202, 400]))
    yield row("H23 modern answer to nobody", answered.replace(b"2025-11-25", b"2026-07-28"), Want([202, 400]))


def mcp() -> Iterator[Row]:
    for era in ("modern", "legacy"):
        listing, headers = rpc("tools/list", era=era), TOOLS_LIST if era == "modern" else LEGACY
        yield row(f"H25 {era}: no events accepted", post(listing, headers, accept="application/json"), Want([406]))
        yield row(f"H25 {era}: text/plain", post(listing, headers, content_type="text/plain"), Want([400, 415]))
        # Nothing to read: as long as that is so, the method itself may be unknown.
        for uri in ("file:///etc/passwd", "doris://../../x", "http://169.254.169.254/"):
            headers = modern("resources/read", uri) if era == "modern" else LEGACY
            request = post(rpc("resources/read", f'"uri":"{uri}"', era=era), headers)
            yield row(f"H29 {era}: {uri}", request, Want([200, 400, 404], [METHOD, PARAMS]))
    for name, token in (("huge text", f'"{"x" * 100_000}"'), ("2^70", str(2**70)), ("text", '"again"')):
        text = f'"name":"execute_query","arguments":{{"sql":"SELECT 1"}},"_meta":{{"progressToken":{token}}}'
        yield row(f"H31 progress token {name}", post(rpc("tools/call", text, era="legacy"), LEGACY), SERVED)


def origin() -> Iterator[Row]:
    for value in ("http://evil", "null", "http://127.0.0.1.evil.com", "file://"):
        yield row(f"H33 Origin {value}", post(LIST, TOOLS_LIST, origin=value), Want([403]))
    for value in ("evil", "127.0.0.1.evil.com", "127.0.0.1@evil", "localhost.evil:80"):
        yield row(f"H33 Host {value}", post(LIST, TOOLS_LIST, host=value), Want([421]))
    yield row("H33 no Host", post(LIST, TOOLS_LIST, host=None), Want([421]), BROKEN)
    yield row("H33 two Hosts", post(LIST, TOOLS_LIST, "Host: evil"), Want([421]), BROKEN)
    old = post(LIST, TOOLS_LIST, host=None).replace(b"HTTP/1.1", b"HTTP/1.0")
    yield row("H33 HTTP/1.0 without Host", old, Want([421], closed=True))


def every() -> list[Row]:
    found = [*framing(), *json(), *mcp(), *origin()]
    assert len({row.name for row in found}) == len(found)
    return found
