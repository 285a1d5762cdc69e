"""Jinja filter for the preflight of TLS: what is wrong with a node's certificate, before it lands anywhere."""

from __future__ import annotations

import datetime
import ipaddress
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID

AS_TEXT = "give the text itself, for example with lookup('ansible.builtin.file', '{}')"
ISSUE = "issue one as docs/operations.md shows, Certificates of the store"


class Fault(Exception):
    """part: certificate, key or ca · problem and fix, in words without a secret."""

    def __init__(self, part: str, problem: str, fix: str) -> None:
        super().__init__(problem)
        self.part, self.problem, self.fix = part, problem, fix


def certificates(part: str, text: str) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(text.encode())
    except ValueError:
        raise Fault(part, "is not the text of a PEM certificate", AS_TEXT.format("redis.pem")) from None


def check_key(key: str, certificate: x509.Certificate) -> None:
    try:
        public = load_pem_private_key(key.encode(), None).public_key()
    except (ValueError, TypeError):  # TypeError: it has a passphrase
        raise Fault("key", "is not the text of a PEM key without a passphrase", AS_TEXT.format("redis.key")) from None
    here, there = (k.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
                   for k in (public, certificate.public_key()))  # fmt: skip
    if here != there:
        raise Fault("key", "does not belong to the certificate", "give the key that the certificate was made with")


def check_time(part: str, certificate: x509.Certificate, now: datetime.datetime) -> None:
    if now > certificate.not_valid_after_utc:
        raise Fault(part, f"ended on {certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC", ISSUE)
    if now < certificate.not_valid_before_utc:
        begin = f"{certificate.not_valid_before_utc:%Y-%m-%d %H:%M}"
        raise Fault(part, f"is not valid before {begin} UTC", "set the clock of this machine, or wait")


def check_names(certificate: x509.Certificate, address: str) -> None:
    """Clients compare the address that Sentinel gave them with the subject alternative names."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        raise Fault("certificate", "has no subject alternative names", ISSUE) from None
    addresses = [str(ip) for ip in names.get_values_for_type(x509.IPAddress)]
    hosts = names.get_values_for_type(x509.DNSName)
    try:
        found = str(ipaddress.ip_address(address)) in addresses
    except ValueError:
        found = address.lower() in [host.lower() for host in hosts]
    if not found:
        named = ", ".join([*addresses, *hosts]) or "nobody"
        raise Fault("certificate", f"is for {named} and not for this node's address {address}", ISSUE)


def check_purpose(certificate: x509.Certificate) -> None:
    """A replica shows its certificate to the primary, too; without the extension it is good for everything."""
    try:
        uses = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return
    if not {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH} <= set(uses):
        raise Fault("certificate", "is not for server and client both (extended key usage)", ISSUE)


def issued(certificate: x509.Certificate, by: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(by)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def issuer(chain: list[x509.Certificate], authorities: list[x509.Certificate]) -> x509.Certificate:
    """The authority that is reached going up the chain as it was given."""
    for below, above in zip(chain, [*chain[1:], None], strict=True):
        for authority in authorities:
            if issued(below, authority):
                return authority
        if above is None or not issued(below, above):
            break
    fix = "give the CA that issued it, and behind the certificate those between the two"
    raise Fault("certificate", "was not issued by the CA that is given", fix)


def check(given: dict[str, str], address: str, now: datetime.datetime) -> None:
    """Raises Fault at the first thing that would keep the set from working."""
    for part in ("certificate", "key", "ca"):
        if not given[part].strip() or "CHANGE-ME" in given[part]:
            raise Fault(part, "is not set", f"{ISSUE}, or set redis_sentinel_tls to false for a set without TLS")
    chain = certificates("certificate", given["certificate"])
    authorities = certificates("ca", given["ca"])
    check_key(given["key"], chain[0])
    for certificate in chain:
        check_time("certificate", certificate, now)
    check_names(chain[0], address)
    check_purpose(chain[0])
    check_time("ca", issuer(chain, authorities), now)


def certificate_fault(given: dict[str, str], address: str) -> dict[str, str]:
    """What is wrong with {certificate, key, ca} for a node at `address`: {part, problem, fix}; nothing is: empty."""
    try:
        check(given, address, datetime.datetime.now(datetime.UTC))
    except Fault as fault:
        return {"part": fault.part, "problem": fault.problem, "fix": fault.fix}
    return {}


class FilterModule:
    """What Ansible loads."""

    def filters(self) -> dict[str, Any]:
        return {"certificate_fault": certificate_fault}
