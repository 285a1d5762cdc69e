"""The pages a person sees: the login, and what went wrong. Plain HTML that runs no script and loads nothing.

Everything a client or a user chose is escaped here; the headers say what a browser may do with the page.
"""

import hashlib
from base64 import b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final
from urllib.parse import urlsplit

from doris_mcp_server.answers import Header
from doris_mcp_server.oauth.clients import is_loopback
from doris_mcp_server.oauth.messages import Reply
from doris_mcp_server.oauth.requests import Request

SCOPES: Final = {
    "catalog:read": "See catalogs, databases and tables, and what they look like",
    "query:execute": "Run statements that only read",
    "cluster:read": "See recent queries, their profiles, and how the cluster does",
}
"""Each scope in words."""

_CSS: Final = """
:root{color-scheme:light dark;--page:#f3f5f8;--card:#fff;--text:#16202c;--soft:#51606f;--line:#8592a1;--deed:#0b5cad;
--on-deed:#fff;--bad:#a8101f;--bad-card:#fdecee;--note:#eef3f9}
@media (prefers-color-scheme:dark){:root{--page:#10161d;--card:#18212b;--text:#e8edf3;--soft:#a9b6c4;--line:#6b7a8a;
--deed:#79b4f2;--on-deed:#0a1826;--bad:#ff9aa4;--bad-card:#33191d;--note:#1f2b38}}
*{box-sizing:border-box}
body{margin:0;padding:1rem;min-height:100vh;display:grid;place-items:center;background:var(--page);color:var(--text);
font:1rem/1.5 system-ui,sans-serif}
main{width:100%;max-width:27rem;padding:1.75rem;background:var(--card);border-radius:.75rem;
box-shadow:0 1px 2px #0003,0 8px 28px #0002;overflow-wrap:anywhere}
h1{margin:0 0 .75rem;font-size:1.35rem;line-height:1.3}
p{margin:0 0 1rem}
.soft{color:var(--soft);font-size:.9rem}
.note{padding:.75rem;background:var(--note);border-radius:.5rem;font-size:.9rem}
.bad{padding:.75rem;background:var(--bad-card);color:var(--bad);border-radius:.5rem;font-weight:600}
label{display:block}
label span{display:block;margin-bottom:.25rem;font-weight:600}
.field{margin-bottom:1rem}
input:not([type=checkbox]),select{width:100%;padding:.6rem .7rem;font:inherit;color:inherit;background:var(--card);
border:1px solid var(--line);border-radius:.4rem}
fieldset{margin:0 0 1.25rem;padding:0;border:0}
legend{padding:0;margin-bottom:.4rem;font-weight:600}
.scope{display:flex;gap:.6rem;align-items:flex-start;padding:.3rem 0}
.scope input{flex:none;width:1.15rem;height:1.15rem;margin:.2rem 0 0;accent-color:var(--deed)}
.deeds{display:flex;flex-wrap:wrap;gap:.75rem}
button{flex:1 1 9rem;min-height:2.75rem;padding:.5rem 1rem;font:inherit;font-weight:600;border-radius:.4rem;
border:1px solid var(--deed);background:var(--deed);color:var(--on-deed);cursor:pointer}
button.quiet{background:transparent;color:var(--deed)}
a{color:var(--deed)}
:focus-visible{outline:3px solid var(--deed);outline-offset:2px}
@media (max-width:24rem){body{padding:.5rem;place-items:start stretch}main{padding:1.1rem}}
"""
_STYLE: Final = b64encode(hashlib.sha256(_CSS.encode()).digest()).decode()
_KIND: Final = b"text/html; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Entered:
    """What the user has put into the form, to be shown again with what is wrong about it. Never the password."""

    user: str = ""
    cluster: str = ""
    scopes: tuple[str, ...] | None = None  # None: all that are asked for
    wrong: str = ""


def login(request: Request, sealed: str, clusters: Sequence[str], entered: Entered = Entered()) -> str:
    """The page on which a user logs in and allows, or does not."""
    wrong = f'<p class="bad" id="wrong" role="alert">{escape(entered.wrong)}</p>' if entered.wrong else ""
    told = ' aria-describedby="wrong" aria-invalid="true"' if entered.wrong else ""
    # What is left to do comes first: the name, or the password again.
    on_user, on_password = ("", " autofocus") if entered.user else (" autofocus", "")
    return _page(
        f"{'Not logged in: ' if entered.wrong else ''}Log in to Apache Doris",
        f"""
<h1>Log in to Apache Doris</h1>
<p>{_who(request)} asks to work with Doris as you.</p>
{wrong}
<form method="post" action="/oauth/authorize">
<input type="hidden" name="request" value="{escape(sealed)}">
{_choice(clusters, entered.cluster)}
<div class="field"><label><span>User</span><input name="user" value="{escape(entered.user)}" maxlength="64" required
 autocomplete="username" autocapitalize="none" autocorrect="off" spellcheck="false"{on_user}{told}></label></div>
<div class="field"><label><span>Password</span><input type="password" name="password" maxlength="256" required
 autocomplete="current-password"{on_password}{told}></label></div>
<fieldset><legend>It may</legend>
{_scopes(request.scopes, request.scopes if entered.scopes is None else entered.scopes)}
</fieldset>
<p class="soft">It never sees more than your Doris account may, and never your password.</p>
{_where(request)}
<div class="deeds"><button name="do" value="allow">Log in and allow</button>
<button class="quiet" name="do" value="deny" formnovalidate>Deny</button></div>
</form>
""",
    )


def problem(title: str, words: str, back: str | None = None) -> str:
    """A page that says what went wrong. `back`: where to tell the client, if the user likes."""
    host = urlsplit(back).hostname if back else ""
    link = f'<p><a href="{escape(back)}" rel="noreferrer">Tell {escape(host or "")}</a></p>' if back else ""
    return _page(title, f"\n<h1>{escape(title)}</h1>\n<p>{escape(words)}</p>\n{link}\n")


def reply(page: str, status: int = 200, headers: Iterable[Header] = (), redirect_uri: str = "") -> Reply:
    """A page as an answer. `redirect_uri` is where its form may lead in the end."""
    return Reply(status, page.encode(), _KIND, [*_headers(redirect_uri), *headers])


def redirect(url: str, headers: Iterable[Header] = ()) -> Reply:
    """On to a redirect URI, with a GET."""
    return Reply(303, b"", _KIND, [(b"location", url.encode("ascii")), *_headers(""), *headers])


def _headers(redirect_uri: str) -> list[Header]:
    policy = (
        f"default-src 'none'; style-src 'sha256-{_STYLE}'; img-src data:; base-uri 'none'; "
        f"frame-ancestors 'none'; form-action 'self'{_source(redirect_uri)}"
    )
    return [
        (b"content-security-policy", policy.encode("ascii")),
        (b"cache-control", b"no-store"),
        (b"referrer-policy", b"no-referrer"),
        (b"x-content-type-options", b"nosniff"),
        (b"x-frame-options", b"DENY"),
    ]


def _source(redirect_uri: str) -> str:
    """Browsers hold a form to its policy through the redirect as well. CSP has no word for one IPv6 address."""
    if not redirect_uri:
        return ""
    parts = urlsplit(redirect_uri)
    return f" {parts.scheme}:" if "[" in parts.netloc else f" {parts.scheme}://{parts.netloc}"


def _who(request: Request) -> str:
    name = f"<strong>{escape(request.name)}</strong>"
    if request.published:
        return f"{name} of <strong>{escape(urlsplit(request.client).hostname or '')}</strong>"
    return f"A program that calls itself {name}"


def _where(request: Request) -> str:
    host = escape(urlsplit(request.redirect_uri).hostname or "")
    if is_loopback(request.redirect_uri):
        return (
            f'<p class="note">The answer goes to a program on this computer (<strong>{host}</strong>). '
            "Go on only if you have just started it yourself.</p>"
        )
    return f'<p class="note">The answer goes to <strong>{host}</strong>. Go on only if you trust it.</p>'


def _choice(clusters: Sequence[str], chosen: str) -> str:
    if len(clusters) == 1:
        return f'<input type="hidden" name="cluster" value="{escape(clusters[0])}">'
    options = "".join(f"<option{' selected' if name == chosen else ''}>{escape(name)}</option>" for name in clusters)
    return f'<div class="field"><label><span>Cluster</span><select name="cluster">{options}</select></label></div>'


def _scopes(asked: Iterable[str], chosen: Iterable[str]) -> str:
    return "\n".join(
        f'<label class="scope"><input type="checkbox" name="{scope}" value="on"{" checked" if scope in chosen else ""}>'
        f"{escape(SCOPES[scope])}</label>"
        for scope in asked
    )


def _page(title: str, body: str) -> str:
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f'<meta name="robots" content="noindex"><link rel="icon" href="data:,"><title>{escape(title)}</title>'
        f"<style>{_CSS}</style></head>\n<body><main>{body}</main></body></html>\n"
    )
