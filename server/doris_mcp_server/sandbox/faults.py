"""Errors as Doris sends them: its numbers and its words."""

from mysql_mimic.errors import MysqlError

# MySQL's numbers for what can go wrong; Doris uses the same (fe ErrorCode.java).
DATABASE_DENIED = 1044
NO_DATABASE = 1046
UNKNOWN_DATABASE = 1049
UNKNOWN_TABLE = 1051
NO_SUCH_THREAD = 1094
NOT_OWNER = 1095
NO_SUCH_QUERY = 1097
UNKNOWN_ERROR = 1105
TABLE_DENIED = 1142
UNKNOWN_VARIABLE = 1193
TOO_MANY_USER_CONNECTIONS = 1203
NEEDS_PRIVILEGE = 1227
WRONG_VALUE = 1231
NOT_SUPPORTED = 1235
READ_ONLY = 1290
NO_PREPARED_STATEMENTS = 1295
NEEDS_TLS = 3159


def fault(message: str, code: int = UNKNOWN_ERROR) -> MysqlError:
    """An error as Doris sends it: its own number stands in front of the words."""
    return MysqlError(f"errCode = 2, detailMessage = {message}", code)


def read_only(statement: str) -> MysqlError:
    return fault(f"the demo engine is read-only and refuses {statement}", READ_ONLY)


def not_supported(statement: str) -> MysqlError:
    return fault(f"not supported by the demo engine: {statement[:80]}", NOT_SUPPORTED)


def needs(privileges: str) -> MysqlError:
    words = f"Access denied; you need (at least one of) the {privileges} privilege(s) for this operation"
    return fault(words, NEEDS_PRIVILEGE)


def not_ready() -> MysqlError:
    return fault("Node catalog is not ready, please wait for a while.")
