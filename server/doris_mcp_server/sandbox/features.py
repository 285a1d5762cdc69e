"""SHOW of what the engine as such has: functions, types, character sets, storage engines."""

from doris_mcp_server.sandbox import functions
from doris_mcp_server.sandbox.asked import FILTER, NAME, TEXT, Answer, Asked, Forms, form

_SIZES = {
    "BOOLEAN": "1",
    "TINYINT": "1",
    "SMALLINT": "2",
    "INT": "4",
    "BIGINT": "8",
    "LARGEINT": "16",
    "FLOAT": "4",
    "DOUBLE": "8",
    "DATE": "4",
    "DATETIME": "8",
    "CHAR": "Char_len",
    "VARCHAR": "Char_len",
    "STRING": "Char_len",
    **dict.fromkeys(["DECIMAL", "ARRAY", "MAP", "STRUCT", "JSON", "VARIANT", "BITMAP", "HLL"], ""),
}


def _functions(asked: Asked) -> Answer:
    """Those of Doris' that were added to DuckDB, where Doris lists all its own."""
    names = sorted(name for name in functions.NAMES if asked.like(name)) if asked.found["builtin"] else []
    if asked.found["full"]:
        return asked.answer("full functions", *({"Signature": f"{name}(...)"} for name in names))
    return asked.answer("functions", *({"Function Name": name} for name in names))


def _types(asked: Asked) -> Answer:
    return asked.answer("data types", *({"TypeName": name, "Size": size} for name, size in _SIZES.items()))


def _charset(asked: Asked) -> Answer:
    row = {"Charset": "utf8mb4", "Description": "UTF-8 Unicode", "Maxlen": "4"}
    return asked.answer("charset", {**row, "Default collation": "utf8mb4_0900_bin"})


def _collation(asked: Asked) -> Answer:
    row = {"Collation": "utf8mb4_0900_bin", "Charset": "utf8mb4", "Id": "309", "Default": "Yes", "Compiled": "Yes"}
    return asked.answer("collation", {**row, "Sortlen": "1"})


def _engines(asked: Asked) -> Answer:
    row = {"Engine": "Olap engine", "Support": "YES", "Comment": "Default storage engine of palo"}
    return asked.answer("engines", {**row, "Transactions": "NO", "XA": "NO", "Savepoints": "NO"})


def _warnings(asked: Asked) -> Answer:
    return asked.answer("warnings")


FORMS: Forms = (
    (
        form(
            rf"SHOW (?:GLOBAL )?(?P<full>FULL )?(?P<builtin>BUILTIN )?FUNCTIONS(?: (?:FROM|IN) {NAME})?"
            rf"(?: LIKE (?P<like>{TEXT}))?"
        ),
        _functions,
    ),
    (form(r"SHOW DATA TYPES"), _types),
    (form(rf"SHOW (?:CHARSET|CHAR SET|CHARACTER SET){FILTER}"), _charset),
    (form(rf"SHOW COLLATION{FILTER}"), _collation),
    (form(r"SHOW (?:STORAGE )?ENGINES"), _engines),
    (form(r"SHOW (?:WARNINGS|ERRORS)"), _warnings),
)
