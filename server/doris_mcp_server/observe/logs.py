"""Logging set up: every record, and every `event` without the detour of a record, becomes a line of the journal."""

import logging
import os
import sys
import time

from doris_mcp_server.observe.journal import Journal, Outlet
from doris_mcp_server.observe.line import line, stamp

# httpx2 tells each URL at INFO; sqlglot, in the demo engine, shows the text of a statement in its warnings.
LIBRARIES = {
    "mcp": logging.WARNING,
    "uvicorn": logging.WARNING,
    "httpx2": logging.WARNING,
    "sse_starlette": logging.WARNING,
    "sqlglot": logging.ERROR,
}
EXIT_PATIENCE = 2.0  # seconds the end of a process waits for the reader of its log

log = logging.getLogger("doris_mcp")
_now = (0, b"")  # the millisecond last told, and how
_journal: Journal | None = None  # set by configure_logging
_tracebacks = logging.Formatter()


class LineHandler(logging.Handler):
    """Brings log records into the journal. logging flushes it when the interpreter ends."""

    def __init__(self, journal: Journal) -> None:
        super().__init__()
        self._journal = journal

    def emit(self, record: logging.LogRecord) -> None:
        given = getattr(record, "fields", None)
        fields = {str(name): value for name, value in given.items()} if isinstance(given, dict) else {}
        try:
            message = record.getMessage()
        except Exception:  # arguments that do not fit the message: a mistake there must not lose the line
            message = record.msg if isinstance(record.msg, str) else type(record.msg).__name__
            fields["arguments"] = record.args
        if record.exc_info:
            fields["exception"] = _tracebacks.formatException(record.exc_info)
        if record.stack_info:
            fields["stack"] = record.stack_info
        self._journal.write(
            line(record.created, record.levelname, record.name, message, fields), record.levelno >= logging.WARNING
        )

    def flush(self) -> None:
        self._journal.flush(EXIT_PATIENCE if self._journal.may_wait() else 0.0)


def configure_logging(level: str) -> None:
    """JSON lines on stderr for everything; stdout belongs to the stdio transport."""
    global _journal
    if _journal is None:
        # Started without a stderr, its number may belong to anything by now.
        _journal = Journal(Outlet(2 if sys.__stderr__ is not None else os.open(os.devnull, os.O_WRONLY)))
    logging.basicConfig(handlers=[LineHandler(_journal)], force=True)
    set_level(level)


def set_level(level: str) -> None:
    """Log from this level on; what libraries say, from their own level in LIBRARIES on at least."""
    logging.getLogger().setLevel(level)
    for library, least in LIBRARIES.items():
        logging.getLogger(library).setLevel(max(logging.getLevelName(level), least))


def event(message: str, *, level: int = logging.INFO, **fields: object) -> None:
    """Log `message` with `fields` as JSON members beside it. Never waits in an event loop, never raises.

    What has the shape of a secret is taken out. SQL text has no shape to know it by: never pass it.
    """
    if not log.isEnabledFor(level):
        return
    if _journal is None:
        log.log(level, message, extra={"fields": fields})
    else:
        _journal.write(
            line(time.time(), logging.getLevelName(level), "doris_mcp", message, fields), level >= logging.WARNING
        )


class RepeatedEvent:
    """An INFO event of which only the time and `ms` differ from one to the next: made once, a microsecond each."""

    def __init__(self, message: str, **fields: object) -> None:
        whole = line(0.0, "INFO", "doris_mcp", message, {**fields, "ms": 0})
        before, after = f'{{"time":"{stamp(0.0)}'.encode(), b"0}\n"
        assert whole.startswith(before) and whole.endswith(after)
        self._middle = whole[len(before) : -len(after)]
        self._message, self._fields = message, fields

    def log(self, ms: float) -> None:
        if not log.isEnabledFor(logging.INFO):
            return
        if _journal is None:
            log.info(self._message, extra={"fields": {**self._fields, "ms": ms}})
        else:
            _journal.write(b'{"time":"%s%s%.2f}\n' % (_stamp_now(), self._middle, ms), False)


def _stamp_now() -> bytes:
    global _now
    created = time.time()
    ms = int(created * 1000)
    if ms != _now[0]:
        _now = ms, stamp(created).encode()
    return _now[1]


def flush_logs(patience: float = EXIT_PATIENCE) -> None:
    """Write what is still buffered, for at most `patience` seconds: before os._exit, which ends without asking."""
    if _journal is not None:
        _journal.flush(patience)


def _start_anew() -> None:
    if _journal is not None:
        _journal.start_anew()


os.register_at_fork(after_in_child=_start_anew)
