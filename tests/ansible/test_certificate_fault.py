"""What the preflight of the store's TLS finds wrong with a certificate."""

import datetime
import ipaddress
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from .plugins import plugin

NOW = datetime.datetime.now(datetime.UTC)
DAY = datetime.timedelta(days=1)
BOTH = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)
ADDRESS = "192.0.2.31"


class Authority:
    """A CA, or one between a CA and the certificate."""

    def __init__(self, name: str, by: "Authority | None" = None, until: datetime.datetime = NOW + DAY) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.certificate = (by or self).sign(self.name, self.key, NOW - DAY, until, x509.BasicConstraints(True, None))

    def sign(self, name: x509.Name, key: Any, begin: Any, end: Any, *extensions: x509.ExtensionType) -> str:
        builder = x509.CertificateBuilder(self.name, name, key.public_key(), x509.random_serial_number(), begin, end)
        for extension in extensions:
            builder = builder.add_extension(extension, critical=False)
        return builder.sign(self.key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()


def pem(key: Any, how: KeySerializationEncryption | None = None) -> str:
    return str(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, how or NoEncryption()).decode())


def given(
    ca: Authority, begin: Any = NOW - DAY, end: Any = NOW + DAY, uses: Any = BOTH, names: Any = (ADDRESS,)
) -> Any:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "redis")])
    extensions: list[x509.ExtensionType] = []
    if names:
        extensions.append(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(n)) for n in names]))
    if uses:
        extensions.append(x509.ExtendedKeyUsage(uses))
    certificate = ca.sign(subject, key, begin, end, *extensions)
    return {"certificate": certificate, "key": pem(key), "ca": ca.certificate}


def fault(certificate: dict[str, str], address: str = ADDRESS) -> dict[str, str]:
    return dict(plugin("redis_sentinel/filter_plugins/certificate_fault.py").certificate_fault(certificate, address))


@pytest.fixture(scope="module")
def ca() -> Authority:
    return Authority("ca")


def test_a_right_one_is_taken(ca: Authority) -> None:
    assert fault(given(ca)) == {}
    assert fault(given(ca, uses=None)) == {}
    assert fault(given(ca, names=("192.0.2.32", ADDRESS))) == {}


def test_it_may_be_issued_by_one_in_between(ca: Authority) -> None:
    between = Authority("between", by=ca)
    right = given(between) | {"ca": ca.certificate}
    assert fault(right | {"certificate": right["certificate"] + between.certificate}) == {}
    assert "was not issued by the CA" in fault(right)["problem"]


def test_while_a_ca_is_changed_both_are_trusted(ca: Authority) -> None:
    assert fault(given(ca) | {"ca": Authority("old").certificate + ca.certificate}) == {}


@pytest.mark.parametrize(
    ("change", "part", "problem"),
    [
        ({"certificate": ""}, "certificate", "is not set"),
        ({"key": "CHANGE-ME"}, "key", "is not set"),
        ({"ca": "/etc/ssl/ca.pem"}, "ca", "is not the text of a PEM certificate"),
        ({"key": "-----BEGIN PRIVATE KEY-----"}, "key", "is not the text of a PEM key"),
        ({"key": pem(ec.generate_private_key(ec.SECP256R1()))}, "key", "does not belong to the certificate"),
        (
            {"key": pem(ec.generate_private_key(ec.SECP256R1()), BestAvailableEncryption(b"word"))},
            "key",
            "without a passphrase",
        ),
        ({"ca": Authority("ca").certificate}, "certificate", "was not issued by the CA that is given"),
    ],
)
def test_a_wrong_text_is_named(ca: Authority, change: dict[str, str], part: str, problem: str) -> None:
    found = fault(given(ca) | change)
    assert found["part"] == part and problem in found["problem"] and found["fix"]


@pytest.mark.parametrize(
    ("how", "problem"),
    [
        ({"end": NOW - DAY / 2}, "ended on"),
        ({"begin": NOW + DAY / 2}, "is not valid before"),
        ({"names": ("192.0.2.99",)}, f"is for 192.0.2.99 and not for this node's address {ADDRESS}"),
        ({"names": ()}, "has no subject alternative names"),
        ({"uses": BOTH[:1]}, "is not for server and client both"),
    ],
)
def test_a_certificate_that_would_not_do_is_named(ca: Authority, how: dict[str, Any], problem: str) -> None:
    found = fault(given(ca, **how))
    assert found["part"] == "certificate" and problem in found["problem"] and found["fix"]


def test_a_ca_that_has_ended_is_named() -> None:
    assert fault(given(Authority("old", until=NOW - DAY / 2)))["problem"].startswith("ended on")


def test_no_secret_is_said(ca: Authority) -> None:
    wrong = given(ca) | {"key": pem(ec.generate_private_key(ec.SECP256R1()))}
    assert not any(line in str(fault(wrong)) for line in wrong["key"].splitlines())
