"""New connections use the certificates that the files hold then, without a restart."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID
from helpers.certificates import Authority
from structlog.testing import capture_logs

from connector.certificates import server_context
from connector.config import Kafka, Service
from connector.errors import Fatal
from connector.kafka.login import ssl_context
from connector.observe.health import Server
from connector.observe.metrics import Metrics


async def presented(address: str, authority: Authority) -> str:
    """The name in the certificate that a server presents to a new connection."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    context = ssl.create_default_context(cafile=authority.file)
    _, writer = await asyncio.open_connection(host, int(port), ssl=context)
    found = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    await writer.wait_closed()
    return name_in(x509.load_der_x509_certificate(found))


def name_in(certificate: x509.Certificate) -> str:
    (name,) = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(name.value)


async def test_the_port_presents_a_certificate_that_was_replaced(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    file = authority.certify("old")
    service = Service.model_validate({"port": 0, "tls": {"cert_file": str(file)}})

    async def ready() -> dict[str, bool]:
        return {}

    server = Server(service, [], ready=ready, metrics=Metrics())
    await server.start()
    try:
        assert server.address.startswith("https://")
        assert await presented(server.address, authority) == "old"
        authority.certify("new", file)
        assert await presented(server.address, authority) == "new"
        file.write_text("half a certifi")
        with capture_logs() as logs:
            assert await presented(server.address, authority) == "new"
        assert [line["event"] for line in logs] == ["certificates_kept"]
    finally:
        await server.stop()


async def test_a_wrong_certificate_of_the_port_is_one_sentence(tmp_path: Path) -> None:
    service = Service.model_validate({"port": 0, "tls": {"cert_file": str(tmp_path / "none.pem")}})

    async def ready() -> dict[str, bool]:
        return {}

    with pytest.raises(Fatal, match=r"service\.tls: the certificate or key file cannot be used"):
        await Server(service, [], ready=ready, metrics=Metrics()).start()


async def test_a_kafka_client_trusts_a_new_authority_and_presents_a_new_certificate(tmp_path: Path) -> None:
    """The broker is played by a TLS server that tells which certificate it saw."""
    (tmp_path / "both").mkdir()
    old, new = Authority(tmp_path, "old-authority"), Authority(tmp_path, "new-authority")
    roots, own = tmp_path / "roots.pem", old.certify("client")
    roots.write_bytes(old.file.read_bytes())
    context = ssl_context(
        Kafka(bootstrap_servers="k:1", security_protocol="SSL", ssl_ca_file=str(roots), ssl_cert_file=str(own))
    )
    for authority in (old, new):
        if authority is new:
            roots.write_bytes(new.file.read_bytes())
            new.certify("renewed-client", own)
        async with tls_server(authority) as (port, seen):
            _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
            writer.write(b"x")  # with TLS 1.3, the server sees our certificate only after this
            assert await seen.get() == ("client" if authority is old else "renewed-client")
            writer.close()


@asynccontextmanager
async def tls_server(authority: Authority) -> AsyncIterator[tuple[int, asyncio.Queue[str]]]:
    seen: asyncio.Queue[str] = asyncio.Queue()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=authority.file)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(authority.certify("server"))

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        certificate = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        seen.put_nowait(name_in(x509.load_der_x509_certificate(certificate)))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1], seen


async def test_a_missing_file_keeps_the_last_certificate(tmp_path: Path) -> None:
    file = Authority(tmp_path).certify("server")
    context = server_context(str(file), None)
    file.unlink()
    assert context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_side=True)
