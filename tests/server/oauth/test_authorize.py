"""The login page: which requests get one, what it says, who may send its form, and where the answer goes."""

import asyncio
import time

import pytest

from doris_mcp_server.auth import ALL_SCOPES
from doris_mcp_server.oauth import page as page_module
from doris_mcp_server.oauth import requests
from doris_mcp_server.oauth.accounts import AT_ONCE, WAITING
from doris_mcp_server.oauth.messages import Reply

from .conftest import CALLBACK, ISSUER, PASSWORD, Server, answered, inputs, location


def header(reply: Reply, name: bytes) -> str:
    return dict(reply.headers)[name].decode()


async def test_a_login_ends_in_a_code_with_state_and_issuer(server: Server) -> None:
    page = await server.show(await server.client(), redirect_uri="http://127.0.0.1:51234/callback")
    assert page.status == 200
    reply = await server.decide(page)
    assert reply.status == 303
    assert location(reply).startswith("http://127.0.0.1:51234/callback?")
    given = answered(reply)
    assert given.keys() == {"code", "state", "iss"}
    assert (given["state"], given["iss"]) == ("a state", ISSUER)
    assert server.doris.asked == ["ann"]
    assert server.metrics.counted == [("login", "ok"), ("code", "issued")]


async def test_without_a_state_none_comes_back(server: Server) -> None:
    reply = await server.decide(await server.show(await server.client(), state=None))
    assert answered(reply).keys() == {"code", "iss"}


async def test_an_answer_is_added_to_the_query_a_redirect_has(server: Server) -> None:
    uri = "https://example.com/cb?tenant=7"
    reply = await server.decide(await server.show(await server.client(redirect_uris=[uri]), redirect_uri=uri))
    assert location(reply).startswith(f"{uri}&code=")


async def test_who_denies_sends_the_client_away_without_being_asked_for_a_password(server: Server) -> None:
    page = await server.show(await server.client())
    reply = await server.decide(page, do="deny", user=None, password=None)
    assert answered(reply) == {"error": "access_denied", "state": "a state", "iss": ISSUER}
    assert server.doris.asked == []


BAD_REQUESTS = [
    ({"response_type": "token"}, "unsupported_response_type"),
    ({"response_type": None}, "unsupported_response_type"),
    ({"response_mode": "fragment"}, "invalid_request"),
    ({"code_challenge": None}, "invalid_request"),
    ({"code_challenge": "short"}, "invalid_request"),
    ({"code_challenge": "é" * 43}, "invalid_request"),
    ({"code_challenge_method": None}, "invalid_request"),
    ({"code_challenge_method": "plain"}, "invalid_request"),
    ({"resource": None}, "invalid_target"),
    ({"resource": "https://other.example/mcp"}, "invalid_target"),
    ({"resource": ISSUER}, "invalid_target"),
    ({"scope": "everything"}, "invalid_scope"),
]


@pytest.mark.parametrize(("changes", "error"), BAD_REQUESTS)
async def test_a_bad_request_is_told_to_a_program_on_the_users_machine(
    server: Server, changes: dict[str, str | None], error: str
) -> None:
    given = answered(await server.show(await server.client(), **changes))
    assert (given["error"], given["state"], given["iss"]) == (error, "a state", ISSUER)


@pytest.mark.parametrize(("changes", "error"), BAD_REQUESTS)
async def test_but_nobody_is_sent_to_a_foreign_host_without_a_word(
    server: Server, changes: dict[str, str | None], error: str
) -> None:
    uri = "https://phish.example/cb"
    reply = await server.show(await server.client(redirect_uris=[uri]), redirect_uri=uri, **changes)
    assert reply.status == 400
    assert b"location" not in dict(reply.headers)
    assert f'href="{uri}?error={error}' in reply.body.decode()


@pytest.mark.parametrize(
    "changes",
    [
        {"redirect_uri": "https://phish.example/"},
        {"redirect_uri": CALLBACK + "/.."},
        {"redirect_uri": None},
        {"client_id": None},
        {"client_id": "c.unknown"},
        {"state": "x" * 2049},
        {"state": "a\nb"},
        {"state": "é"},
    ],
)
async def test_nothing_goes_to_a_redirect_that_is_not_the_clients(
    server: Server, changes: dict[str, str | None]
) -> None:
    reply = await server.show(await server.client(), **changes)
    assert reply.status == 400
    assert b"location" not in dict(reply.headers)
    assert b"href" not in reply.body.partition(b"</head>")[2]


@pytest.mark.parametrize(
    "query", [b"client_id=a&client_id=b", b"a=%ff", b"\xff", b"&".join([b"a%d=1" % n for n in range(50)])]
)
async def test_a_query_that_cannot_be_read_is_refused(server: Server, query: bytes) -> None:
    assert (await server.ask("GET", "/oauth/authorize", query)).status == 400


async def test_scopes_are_those_asked_for_and_the_user_may_leave_some_out(server: Server) -> None:
    page = await server.show(await server.client(), scope="query:execute offline_access openid catalog:read")
    shown = [scope for scope in ALL_SCOPES if scope in inputs(page)]
    assert shown == ["catalog:read", "query:execute"]
    reply = await server.decide(page, **{"query:execute": None, "cluster:read": "on"})
    status, given = await server.redeem(inputs_client(page, server), answered(reply)["code"])
    assert (status, given["scope"]) == (200, "catalog:read")


def inputs_client(page: Reply, server: Server) -> str:
    request = requests.unseal(inputs(page)["request"], server.oauth._authorize._ring, server.cookie.decode()[-43:])
    assert request is not None
    return request.client


async def test_without_a_scope_all_are_asked_for(server: Server) -> None:
    page = await server.show(await server.client(), scope=None)
    assert set(ALL_SCOPES) <= inputs(page).keys()


def test_every_scope_has_its_words() -> None:
    assert page_module.SCOPES.keys() == set(ALL_SCOPES)


async def test_a_user_who_allows_nothing_is_asked_again_before_doris_is(server: Server) -> None:
    page = await server.show(await server.client())
    reply = await server.decide(page, **dict.fromkeys(ALL_SCOPES))
    assert reply.status == 400
    assert "at least one" in reply.body.decode()
    assert server.doris.asked == []


async def test_a_wrong_password_and_a_doris_that_is_away_are_told_apart(server: Server) -> None:
    page = await server.show(await server.client())
    wrong = await server.decide(page, password="guess")
    assert wrong.status == 403
    assert "does not know this user" in wrong.body.decode()
    server.doris.away = True
    away = await server.decide(page)
    assert away.status == 502
    assert "does not answer" in away.body.decode()
    assert server.metrics.counted == [("login", "wrong"), ("login", "doris_away")]
    server.doris.away = False
    assert answered(await server.decide(wrong))["code"]


async def test_the_page_after_a_mistake_has_what_was_entered_but_the_password(server: Server) -> None:
    page = await server.show(await server.client())
    again = await server.decide(page, password="secret-guess", cluster="logs", **{"query:execute": None})
    text = again.body.decode()
    assert 'value="ann"' in text and "<option selected>logs</option>" in text
    assert "secret-guess" not in text
    assert "query:execute" not in inputs(again) and "catalog:read" in inputs(again)
    assert 'id="wrong" role="alert"' in text and text.count('aria-describedby="wrong"') == 2
    assert "<title>Not logged in" in text


@pytest.mark.parametrize(
    "entered",
    [
        {"password": ""},
        {"user": ""},
        {"user": "a" * 65},
        {"user": "ann\0"},
        {"user": "an\nn"},
        {"password": "a\0b"},
        {"password": "p" * 257},
        {"cluster": "nowhere"},
        {"cluster": None},
    ],
)
async def test_what_cannot_be_an_account_is_refused_without_asking_doris(
    server: Server, entered: dict[str, str | None]
) -> None:
    reply = await server.decide(await server.show(await server.client()), **entered)
    assert reply.status == 403
    assert server.doris.asked == []


async def test_an_account_without_a_password_does_not_come_in(server: Server) -> None:
    server.doris.passwords["root"] = ""
    reply = await server.decide(await server.show(await server.client()), user="root", password="")
    assert reply.status == 403


EVIL = '"><script>alert(1)</script><img src=x onerror=alert(1)>'


async def test_nothing_a_client_or_user_chose_becomes_markup(server: Server) -> None:
    page = await server.show(await server.client(client_name=EVIL), state=EVIL)
    again = await server.decide(page, user=EVIL[:64], cluster=EVIL, password=EVIL)
    for text in (page.body.decode(), again.body.decode()):
        assert "<script" not in text and "<img" not in text
    assert answered(await server.decide(page))["state"] == EVIL
    uri = "https://a.example/'><script>".replace(">", "%3E").replace("<", "%3C")
    client = await server.client(redirect_uris=[uri])
    assert "'><" not in (await server.show(client, redirect_uri=uri, scope="x")).body.decode()


async def test_the_headers_let_a_browser_do_nothing_but_send_the_form(server: Server) -> None:
    uri = "https://app.example:8443/cb"
    page = await server.show(await server.client(redirect_uris=[uri]), redirect_uri=uri)
    policy = header(page, b"content-security-policy")
    assert "default-src 'none'" in policy and "script" not in policy and "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy and "base-uri 'none'" in policy
    assert policy.endswith("form-action 'self' https://app.example:8443")
    assert header(page, b"cache-control") == "no-store"
    assert header(page, b"referrer-policy") == "no-referrer"
    assert header(page, b"x-frame-options") == "DENY"
    cookie = header(page, b"set-cookie")
    assert cookie.startswith("__Host-") and "; Path=/" in cookie
    assert {"HttpOnly", "Secure", "SameSite=Lax"} <= set(cookie.split("; "))


async def test_a_policy_has_no_word_for_an_ipv6_address(server: Server) -> None:
    uri = "http://[::1]:7/cb"
    page = await server.show(await server.client(redirect_uris=[uri]), redirect_uri=uri)
    assert header(page, b"content-security-policy").endswith("form-action 'self' http:")


async def test_a_form_counts_only_in_the_browser_it_was_shown_to(server: Server) -> None:
    client = await server.client()
    page = await server.show(client)
    ours = server.cookie
    for stranger in (b"", ours[:-1] + b"!", ours[:-1], b"other=1", ours.replace(b"__Host-", b"")):
        server.cookie = stranger
        assert (await server.decide(page)).status == 400
    server.cookie = b""
    await server.show(client)
    assert server.cookie != ours
    assert (await server.decide(page)).status == 400
    assert server.doris.asked == []
    server.cookie = ours
    assert (await server.decide(page)).status == 303


async def test_two_pages_of_a_browser_can_be_open(server: Server) -> None:
    client = await server.client()
    first, second = await server.show(client, state="one"), await server.show(client, state="two")
    assert answered(await server.decide(first))["state"] == "one"
    assert answered(await server.decide(second))["state"] == "two"


async def test_a_form_of_another_site_does_not_count(server: Server) -> None:
    page = await server.show(await server.client())
    body = "&".join(f"{name}={value}" for name, value in inputs(page).items()).encode()
    kind = "application/x-www-form-urlencoded"
    for site in ("cross-site", "same-site", "none"):
        reply = await server.ask("POST", "/oauth/authorize", body=body, content_type=kind, sec_fetch_site=site)
        assert reply.status == 400
    assert server.doris.asked == []


async def test_a_form_is_good_for_ten_minutes(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    page = await server.show(await server.client())
    now = time.time()
    monkeypatch.setattr(requests.time, "time", lambda: now + 590)
    assert (await server.decide(page, do="deny")).status == 303
    monkeypatch.setattr(requests.time, "time", lambda: now + 610)
    reply = await server.decide(page)
    assert reply.status == 400
    assert "too old" in reply.body.decode()


async def test_a_sealed_request_cannot_be_changed_or_exchanged(server: Server) -> None:
    page = await server.show(await server.client())
    sealed = inputs(page)["request"]
    for forged in (sealed[:-1], "A" + sealed[1:], sealed + "=", "", "é", "c.x", None):
        assert (await server.decide(page, request=forged)).status == 400
    # Nor does another thing that was sealed for somebody.
    client_id = await server.client()
    assert (await server.decide(page, request=client_id)).status == 400


async def test_what_is_no_form_is_refused(server: Server) -> None:
    page = await server.show(await server.client())
    sealed = f"request={inputs(page)['request']}".encode()
    for kind in ("text/plain", "application/json", "multipart/form-data", ""):
        reply = await server.ask("POST", "/oauth/authorize", body=sealed, content_type=kind)
        assert reply.status == 400
    assert (await server.ask("PUT", "/oauth/authorize")).status == 405


async def test_tries_are_limited_for_each_address_and_each_account(server: Server) -> None:
    page = await server.show(await server.client())
    statuses = [(await server.decide(page, password="x")).status for _ in range(9)]
    assert statuses == [403] * 8 + [429]
    limited = await server.decide(page)
    assert limited.status == 429 and int(header(limited, b"retry-after")) >= 1
    assert len(server.doris.asked) == 8
    # One address locks nobody out elsewhere; but many addresses together do not get to try for ever.
    server.address = "192.0.2.8"
    assert (await server.decide(page)).status == 303
    for number in range(20):
        server.address = f"192.0.2.{number + 10}"
        last = await server.decide(page, password="x", user="default_cluster:ann")
    assert last.status == 429
    # Nor does one address get to try every account.
    server.address = "198.51.100.1"
    tried = [(await server.decide(page, password="x", user=f"user-{number}")).status for number in range(31)]
    assert tried == [403] * 30 + [429]
    assert ("login", "limited") in server.metrics.counted


async def test_a_doris_that_is_slow_does_not_gather_everybody(server: Server) -> None:
    go_on = asyncio.Event()
    server.doris.gate = go_on
    page = await server.show(await server.client())

    async def tries(number: int) -> int:
        server.address = f"192.0.2.{number}"
        return (await server.decide(page, user=f"user-{number}")).status

    trying = [asyncio.create_task(tries(number)) for number in range(AT_ONCE + WAITING)]
    async with asyncio.timeout(60):
        while len(server.doris.asked) < AT_ONCE or server.oauth._accounts._there < AT_ONCE + WAITING:
            await asyncio.sleep(0)
    assert await tries(200) == 502
    assert len(server.doris.asked) == AT_ONCE
    go_on.set()
    assert set(await asyncio.gather(*trying)) == {403}
    assert (await server.decide(page)).status == 303


async def test_the_password_is_in_no_text_of_the_store_that_can_be_read(server: Server) -> None:
    client = await server.client()
    await server.code(client)
    await server.tokens(client)
    kept = " ".join(text for (text,) in server.store._db.execute("SELECT text FROM texts").fetchall())
    assert kept and PASSWORD not in kept and "password" not in kept.lower()
