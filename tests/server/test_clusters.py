"""Clusters: what an operator may write, what a wrong one is told, and who comes as which account."""

import json
from pathlib import Path
from typing import Any

import pytest

from doris_mcp_server.clusters import Account, Bound, Caller, Cluster, frontend, parse
from doris_mcp_server.config import load
from doris_mcp_server.errors import ConfigError

SALES: dict[str, Any] = {
    "frontends": ["fe1", "fe2:9031"],
    "accounts": {"reader": {"user": "mcp", "password": "hunter2"}, "ann": {"user": "ann_ro", "database": "crm"}},
    "principals": {"ann": "ann"},
    "default_account": "reader",
}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("fe1", ("fe1", 9030)),
        (" fe1.example:9031 ", ("fe1.example", 9031)),
        ("192.0.2.7", ("192.0.2.7", 9030)),
        ("[2001:db8::1]", ("2001:db8::1", 9030)),
        ("[2001:db8::1]:9031", ("2001:db8::1", 9031)),
    ],
)
def test_addresses(text: str, found: tuple[str, int]) -> None:
    assert frontend(text) == found


@pytest.mark.parametrize("text", ["", "a b", "fe1:", "fe1:0", "fe1:70000", "fe1:x", "2001:db8::1", "http://fe1", "-fe"])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match="is not"):
        frontend(text)


def account(cluster: Cluster, name: str) -> str | None:
    """The name of the account as which a caller comes."""
    found = cluster.account_of(Caller(name))
    return next((name for name, account in cluster.accounts.items() if account == found), None)


def test_a_caller_whose_token_is_bound_comes_as_that_account_there_and_nowhere_else() -> None:
    sales, other = parse(json.dumps({"sales": SALES, "other": SALES}))
    own = Account(user="ann_rw", password="x")
    caller = Caller("ann", Bound(cluster="sales", account=own))
    assert sales.account_of(caller) is own
    assert other.account_of(caller) is None
    assert "x'" not in repr(caller)


def test_an_account_follows_from_who_the_caller_is() -> None:
    (cluster,) = parse(json.dumps({"sales": SALES}))
    assert cluster.addresses == (("fe1", 9030), ("fe2", 9031))
    assert (account(cluster, "ann"), account(cluster, "bob")) == ("ann", "reader")
    assert cluster.accounts["ann"] == Account(user="ann_ro", database="crm")


def test_without_a_default_account_nobody_else_comes_in() -> None:
    closed = {key: value for key, value in SALES.items() if key != "default_account"}
    (cluster,) = parse(json.dumps({"sales": closed}))
    assert (account(cluster, "ann"), account(cluster, "bob")) == ("ann", None)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "is not JSON: .* line 1, column 2"),
        ("[]", "JSON object of clusters"),
        ("{}", "JSON object of clusters"),
        ('{"a": 1}', "a: must be an object"),
        ('{"a": {}, "a": {}}', "twice"),
        (json.dumps({"Sales": SALES}), "Sales.name: a name starts with"),
        (json.dumps({"s": SALES | {"frontends": []}}), "s.frontends"),
        (json.dumps({"s": SALES | {"frontends": ["fe1", "fe1:9030"]}}), "named twice"),
        (json.dumps({"s": SALES | {"frontends": ["fe 1"]}}), "s.frontends: 'fe 1' is not HOST"),
        (json.dumps({"s": SALES | {"fronts": []}}), "s.fronts"),
        (json.dumps({"s": SALES | {"accounts": {}}}), "s.accounts"),
        (json.dumps({"s": SALES | {"accounts": {"reader": {"password": "hunter2"}}}}), "s.accounts.reader.user"),
        (json.dumps({"s": SALES | {"principals": {"bob": "boss"}}}), "bob is to come as 'boss'"),
        (json.dumps({"s": SALES | {"default_account": "boss"}}), "default_account is to come as 'boss'"),
        (json.dumps({"s": SALES | {"tls": "yes"}}), "s.tls"),
        (json.dumps({"s": SALES | {"ca": "/x", "tls": "required"}}), "choose verify_ca"),
    ],
)
def test_a_wrong_one_is_told_where(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        load(environ={"DORIS_MCP_CLUSTERS": text})
    assert "DORIS_MCP_CLUSTERS" in caught.value.message
    assert "hunter2" not in caught.value.message + str(caught.value.hint)


def test_they_come_from_a_file_and_hide_their_passwords(tmp_path: Path) -> None:
    file = tmp_path / "clusters.json"
    file.write_text(json.dumps({"sales": SALES, "web": SALES}))
    settings = load(environ={"DORIS_MCP_CLUSTERS_FILE": str(file)})
    assert [cluster.name for cluster in settings.doris] == ["sales", "web"]
    assert "hunter2" not in repr(settings) + repr(settings.doris)


def test_one_cluster_out_of_the_plain_variables() -> None:
    environ = {"DORIS_HOST": "fe1, fe2:9031,[2001:db8::1]", "DORIS_PORT": "9039", "DORIS_USER": "u"}
    (cluster,) = load(environ=environ).doris
    assert cluster.name == "default"
    assert cluster.addresses == (("fe1", 9039), ("fe2", 9031), ("2001:db8::1", 9039))
    assert account(cluster, "anybody") == "default"
    assert load(environ={}).doris == ()


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"DORIS_HOST": "fe1,fe 2"}, "DORIS_HOST.*'fe 2' is not HOST"),
        ({"DORIS_HOST": "fe1,fe1"}, "DORIS_HOST.*named twice"),
        ({"DORIS_HOST": "fe1", "DORIS_MCP_CLUSTERS": json.dumps({"s": SALES})}, "both say where"),
        ({"DORIS_HOST": "fe1", "DORIS_MCP_DORIS_CA": "/x"}, "choose verify_ca"),
        ({"DORIS_HOST": "fe1", "DORIS_MCP_DORIS_TLS": "on"}, "DORIS_MCP_DORIS_TLS"),
        (
            {"DORIS_HOST": "fe1", "DORIS_MCP_DORIS_TLS": "verify_ca", "DORIS_MCP_DORIS_CA": "/nonexistent"},
            "/nonexistent, cannot be used: No such file",
        ),
    ],
)
def test_wrong_plain_variables(environ: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        load(environ=environ)


def test_a_ca_that_is_none(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_text("not a certificate")
    environ = {"DORIS_HOST": "fe1", "DORIS_MCP_DORIS_TLS": "verify_identity", "DORIS_MCP_DORIS_CA": str(file)}
    with pytest.raises(ConfigError, match="cannot be used"):
        load(environ=environ)


@pytest.mark.parametrize(
    ("mode", "hostname", "certificate"),
    [("required", False, False), ("verify_ca", False, True), ("verify_identity", True, True)],
)
def test_tls_modes(mode: Any, hostname: bool, certificate: bool) -> None:
    cluster = Cluster(frontends=("fe1",), accounts={"default": Account(user="u")}, tls=mode)
    context = cluster.tls_context()
    assert context is not None
    assert (context.check_hostname, bool(context.verify_mode)) == (hostname, certificate)
