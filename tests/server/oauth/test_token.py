"""Codes and refresh tokens: once, by the client they were given to, and what happens when they come twice."""

import asyncio
import time
from typing import Any

import pytest

from doris_mcp_server.auth.opaque import token_id
from doris_mcp_server.oauth import codes, grants
from doris_mcp_server.oauth.grants import AGAIN, FAMILY

from ...login import Pkce
from .conftest import ISSUER, RESOURCE, Server, location


async def works(server: Server, token: str) -> bool:
    """Whether an access token lets its holder in, by what the store says now."""
    server.verifier._known.clear()
    return await server.verifier.verify(token) is not None


async def test_a_code_becomes_tokens_of_the_users_own_account(server: Server) -> None:
    client = await server.client()
    given = await server.tokens(client)
    assert (given["token_type"], given["expires_in"], given["scope"]) == ("Bearer", 3600, "catalog:read query:execute")
    principal = await server.verifier.verify(given["access_token"])
    assert principal is not None and principal.bound is not None
    assert (principal.name, principal.scopes) == ("ann@sales", {"catalog:read", "query:execute"})
    assert (principal.bound.cluster, principal.bound.account.user) == ("sales", "ann")
    record = await server.verifier.tokens.find(given["access_token"])
    assert record is not None
    assert (record.audience, record.client) == (RESOURCE, "A client")
    assert server.metrics.counted[-1] == ("code", "redeemed")


async def test_another_host_redeems_what_the_first_one_issued() -> None:
    one = Server()
    client = await one.client()
    code = await one.code(client)
    two = Server(one.store)
    two.proof = one.proof
    status, given = await two.redeem(client, code)
    assert status == 200
    assert await works(one, given["access_token"])


async def test_answers_with_tokens_are_kept_by_nobody(server: Server) -> None:
    client = await server.client()
    form = {"grant_type": "authorization_code", "client_id": client, "code": await server.code(client)}
    form |= {"redirect_uri": "http://127.0.0.1/callback", "code_verifier": server.proof.verifier}
    reply = await server.post("/oauth/token", **form)
    assert reply.status == 200
    assert dict(reply.headers)[b"cache-control"] == b"no-store"


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"code_verifier": Pkce().verifier}, "invalid_grant"),
        ({"code_verifier": None}, "invalid_grant"),
        ({"code_verifier": "é"}, "invalid_grant"),
        ({"redirect_uri": "http://127.0.0.1:1/callback"}, "invalid_grant"),
        ({"redirect_uri": None}, "invalid_grant"),
        ({"client_id": "c.somebody-else"}, "invalid_grant"),
        ({"client_id": None}, "invalid_request"),
        ({"code": "dmcp_code_unknown"}, "invalid_grant"),
        ({"code": None}, "invalid_grant"),
        ({"resource": "https://other.example/mcp"}, "invalid_target"),
        ({"resource": ISSUER}, "invalid_target"),
        ({"grant_type": "password"}, "unsupported_grant_type"),
        ({"grant_type": "client_credentials"}, "unsupported_grant_type"),
        ({"grant_type": None}, "unsupported_grant_type"),
    ],
)
async def test_a_code_is_good_only_for_who_asked_for_it(
    server: Server, changes: dict[str, str | None], error: str
) -> None:
    client = await server.client()
    code = await server.code(client)
    status, given = await server.redeem(client, code, **changes)
    assert (status, given["error"]) == (400, error)
    assert given["error_description"]
    assert (await server.redeem(client, code))[0] == 200  # and it is not spoilt by somebody else


async def test_a_clients_code_is_not_anothers_even_with_its_proof(server: Server) -> None:
    mine, other = await server.client(), await server.client(client_name="Other")
    assert (await server.redeem(other, await server.code(mine)))[1]["error"] == "invalid_grant"


async def test_a_code_that_comes_twice_ends_what_it_gave(server: Server) -> None:
    client = await server.client()
    code = await server.code(client)
    _, given = await server.redeem(client, code)
    assert await works(server, given["access_token"])
    status, refused = await server.redeem(client, code)
    assert (status, refused["error"]) == (400, "invalid_grant")
    assert not await works(server, given["access_token"])
    assert (await server.refresh(client, given["refresh_token"]))[1]["error"] == "invalid_grant"
    assert ("code", "replayed") in server.metrics.counted


async def test_of_many_who_come_at_once_at_most_one_gets_tokens_and_they_are_ended() -> None:
    hosts = [Server()]
    hosts += [Server(hosts[0].store) for _ in range(3)]
    client = await hosts[0].client()
    code = await hosts[0].code(client)
    for host in hosts:
        host.proof = hosts[0].proof
    outcomes = await asyncio.gather(*(host.redeem(client, code) for host in hosts))
    given = [tokens for status, tokens in outcomes if status == 200]
    assert len(given) == 1
    await hosts[1].verifier.denied.look()
    assert not await works(hosts[1], given[0]["access_token"])


async def test_a_code_lives_a_minute(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codes, "LIVES", -1.0)
    client = await server.client()
    status, given = await server.redeem(client, await server.code(client))
    assert (status, given["error"]) == (400, "invalid_grant")


async def test_a_client_with_a_secret_is_told_that_there_is_none(server: Server) -> None:
    reply = await server.ask(
        "POST",
        "/oauth/token",
        body=b"a=b",
        content_type="application/x-www-form-urlencoded",
        authorization="Basic eDp5",
    )
    assert reply.status == 401
    assert b"www-authenticate" in dict(reply.headers)
    assert b"invalid_client" in reply.body


@pytest.mark.parametrize("body", [b"grant_type=a&grant_type=b", b"a=%ff", b"\xff", b""])
async def test_a_body_that_cannot_be_read_is_refused(server: Server, body: bytes) -> None:
    reply = await server.ask("POST", "/oauth/token", body=body, content_type="application/x-www-form-urlencoded")
    assert reply.status == 400


async def test_a_refresh_gives_new_tokens_and_the_old_one_is_over(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await server.client()
    first = await server.tokens(client)
    status, second = await server.refresh(client, first["refresh_token"], resource=RESOURCE)
    assert status == 200
    assert second["refresh_token"] != first["refresh_token"]
    assert token_id(second["access_token"]) != token_id(first["access_token"])
    assert second["scope"] == first["scope"]
    assert await works(server, second["access_token"])
    _, third = await server.refresh(client, second["refresh_token"])
    now = time.time()
    monkeypatch.setattr(grants.time, "time", lambda: now + AGAIN + 1)
    status, refused = await server.refresh(client, second["refresh_token"])
    assert (status, refused["error"]) == (400, "invalid_grant")
    # Stolen or not: the whole family is ended.
    assert (await server.refresh(client, third["refresh_token"]))[1]["error"] == "invalid_grant"
    assert not await works(server, third["access_token"])
    counted = [outcome for what, outcome in server.metrics.counted if what == "refresh"]
    assert counted == ["ok", "ok", "reused", "refused"]


async def test_a_refresh_whose_answer_was_lost_is_repeated_and_gets_the_same_successor(server: Server) -> None:
    client = await server.client()
    first = await server.tokens(client)
    _, lost = await server.refresh(client, first["refresh_token"])
    status, again = await server.refresh(client, first["refresh_token"])
    assert (status, again["refresh_token"]) == (200, lost["refresh_token"])
    assert (await server.refresh(client, again["refresh_token"]))[0] == 200
    # The one before the last is no answer that was lost.
    assert (await server.refresh(client, first["refresh_token"]))[0] == 400
    assert (await server.refresh(client, again["refresh_token"]))[0] == 400


async def test_many_refreshes_at_once_give_one_successor() -> None:
    hosts = [Server()]
    hosts += [Server(hosts[0].store) for _ in range(3)]
    client = await hosts[0].client()
    first = await hosts[0].tokens(client)
    outcomes = await asyncio.gather(*(host.refresh(client, first["refresh_token"]) for host in hosts))
    assert {status for status, _ in outcomes} == {200}
    assert len({given["refresh_token"] for _, given in outcomes}) == 1


async def test_a_store_that_lost_the_last_refresh_believes_the_token(server: Server) -> None:
    client = await server.client()
    first = await server.tokens(client)
    name = f"{FAMILY}/{first['refresh_token'].split('_')[2]}"
    before = await server.store.get(name)
    assert before is not None
    _, second = await server.refresh(client, first["refresh_token"])
    await server.store.put(name, before)
    status, third = await server.refresh(client, second["refresh_token"])
    assert status == 200 and third["refresh_token"] not in (first["refresh_token"], second["refresh_token"])


async def test_a_grant_that_was_ended_stays_so_in_a_store_that_forgot_it(server: Server) -> None:
    client = await server.client()
    given = await server.tokens(client)
    name = f"{FAMILY}/{given['refresh_token'].split('_')[2]}"
    before = await server.store.get(name)
    assert before is not None
    await server.post("/oauth/revoke", token=given["refresh_token"], client_id=client)
    await server.store.put(name, before)
    assert (await server.refresh(client, given["refresh_token"]))[1]["error"] == "invalid_grant"


@pytest.mark.parametrize("forge", ["proof", "generation", "grant", "shape", "other client"])
async def test_a_refresh_token_that_was_made_up_ends_nothing(server: Server, forge: str) -> None:
    client = await server.client()
    token = (await server.tokens(client))["refresh_token"]
    head, kind, grant, generation, proof = token.split("_")
    forged = {
        "proof": f"{head}_{kind}_{grant}_{generation}_{'0' * 64}",
        "generation": f"{head}_{kind}_{grant}_7_{proof}",
        "grant": f"{head}_{kind}_g{'0' * 16}_{generation}_{proof}",
        "shape": token + "0",
        "other client": token,
    }[forge]
    asks = await server.client(client_name="Other") if forge == "other client" else client
    assert (await server.refresh(asks, forged))[1]["error"] == "invalid_grant"
    assert (await server.refresh(client, token))[0] == 200


async def test_scopes_can_be_fewer_in_a_refresh_and_never_more(server: Server) -> None:
    client = await server.client()
    token = (await server.tokens(client))["refresh_token"]
    assert (await server.refresh(client, token, scope="catalog:read cluster:read"))[1]["error"] == "invalid_scope"
    _, given = await server.refresh(client, token, scope="catalog:read offline_access")
    assert given["scope"] == "catalog:read"
    _, given = await server.refresh(client, given["refresh_token"])
    assert given["scope"] == "catalog:read query:execute"


async def test_with_another_password_in_doris_the_next_refresh_is_the_last(server: Server) -> None:
    client = await server.client()
    given = await server.tokens(client)
    server.doris.passwords["ann"] = "changed"
    status, refused = await server.refresh(client, given["refresh_token"])
    assert (status, refused["error"]) == (400, "invalid_grant")
    assert not await works(server, given["access_token"])
    server.doris.passwords["ann"] = "ann's password"
    assert (await server.refresh(client, given["refresh_token"]))[0] == 400


async def test_a_doris_that_is_away_ends_no_login(server: Server) -> None:
    client = await server.client()
    given = await server.tokens(client)
    server.doris.away = True
    assert (await server.refresh(client, given["refresh_token"]))[0] == 200


async def test_a_query_that_doris_refuses_ends_the_login_when_the_account_is_refused(server: Server) -> None:
    client = await server.client()
    given = await server.tokens(client)
    principal = await server.verifier.verify(given["access_token"])
    assert principal is not None
    server.oauth.refused(principal)  # but Doris lets the account in: it was something else
    await asyncio.gather(*server.oauth._looking.values())
    assert await works(server, given["access_token"])
    server.doris.passwords.clear()
    for _ in range(5):
        server.oauth.refused(principal)
    assert len(server.oauth._looking) == 1
    await asyncio.gather(*server.oauth._looking.values())
    assert not await works(server, given["access_token"])
    assert (await server.refresh(client, given["refresh_token"]))[0] == 400


async def test_too_many_refreshes_are_slowed_down(server: Server) -> None:
    client = await server.client()
    given = await server.tokens(client)
    status = 200
    for _ in range(25):
        status, answer = await server.refresh(client, given["refresh_token"])
        given = answer if status == 200 else given
    assert status == 429


@pytest.mark.parametrize("which", ["access_token", "refresh_token"])
async def test_a_client_gives_back_either_token_and_all_is_over(server: Server, which: str) -> None:
    client = await server.client()
    given = await server.tokens(client)
    reply = await server.post("/oauth/revoke", token=given[which], client_id=client, token_type_hint="nonsense")
    assert reply.status == 200
    assert not await works(server, given["access_token"])
    assert (await server.refresh(client, given["refresh_token"]))[0] == 400
    again = await server.post("/oauth/revoke", token=given[which], client_id=client)
    assert again.status == 200


@pytest.mark.parametrize("which", ["access_token", "refresh_token"])
async def test_a_client_ends_no_tokens_of_another(server: Server, which: str) -> None:
    client = await server.client()
    given = await server.tokens(client)
    await server.post("/oauth/revoke", token=given[which], client_id=await server.client(client_name="Other"))
    assert await works(server, given["access_token"])
    assert (await server.refresh(client, given["refresh_token"]))[0] == 200


async def test_a_token_an_operator_issued_is_not_a_clients_to_end(server: Server) -> None:
    token, _ = await server.verifier.tokens.issue("ann", ("catalog:read",), None)
    reply = await server.post("/oauth/revoke", token=token, client_id=await server.client())
    assert b"unsupported_token_type" in reply.body
    assert await works(server, token)


@pytest.mark.parametrize("form", [{"token": "x"}, {"client_id": "c.x"}, {}])
async def test_giving_back_nonsense_is_harmless(server: Server, form: dict[str, Any]) -> None:
    reply = await server.post("/oauth/revoke", **form)
    assert reply.status == (200 if "client_id" in form else 400)


async def test_a_store_that_is_away_is_no_word_about_a_token(server: Server) -> None:
    client = await server.client()
    code = await server.code(client)
    server.store._db.close()
    status, given = await server.redeem(client, code)
    # 503 would send the balancer to the next host with it.
    assert (status, given["error"]) == (502, "temporarily_unavailable")
    page = await server.show(client)
    assert page.status == 200
    assert (await server.decide(page)).status == 502


async def test_step_up_is_another_login_with_more_scopes(server: Server) -> None:
    client = await server.client()
    few = await server.redeem(client, await server.code(client, scope="catalog:read"))
    more = await server.redeem(client, await server.code(client, scope="catalog:read query:execute"))
    assert (few[1]["scope"], more[1]["scope"]) == ("catalog:read", "catalog:read query:execute")
    assert await works(server, few[1]["access_token"])


@pytest.mark.parametrize(
    ("user", "name"), [("ann", "ann@sales"), ("idp:ann", "idp%3Aann@sales"), ("a%b", "a%25b@sales")]
)
async def test_a_caller_is_named_like_nobody_else(server: Server, user: str, name: str) -> None:
    server.doris.passwords[user] = "x"
    client = await server.client()
    reply = await server.decide(await server.show(client), user=user, password="x")
    code = location(reply).partition("code=")[2].partition("&")[0]
    _, given = await server.redeem(client, code)
    principal = await server.verifier.verify(given["access_token"])
    assert principal is not None and principal.name == name
