"""What a worker does beside serving."""

import asyncio

import pytest

from doris_mcp_server.worker import unhandled


def test_a_tls_connection_that_ends_while_it_is_closed_is_not_told_and_all_else_is(
    caplog: pytest.LogCaptureFixture,
) -> None:
    loop = asyncio.new_event_loop()
    try:
        loop.set_exception_handler(unhandled)
        closed = RuntimeError("unable to perform operation on <TCPTransport closed=True>; the handler is closed")
        loop.call_exception_handler({"message": "Fatal error on SSL protocol", "exception": closed})
        assert caplog.text == ""
        for exception in (RuntimeError("another one"), OSError("the handler is closed")):
            loop.call_exception_handler({"message": "Fatal error", "exception": exception})
            assert str(exception) in caplog.text
        loop.call_exception_handler({"message": "no exception at all"})
        assert "no exception at all" in caplog.text
    finally:
        loop.close()
