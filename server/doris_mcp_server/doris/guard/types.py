"""The names of types, as CAST and CONVERT take them. Source: the rules castDataType and dataType of DorisParser.g4."""

from typing import Final

from doris_mcp_server.doris.guard.lexer import NUMBER, STRING
from doris_mcp_server.doris.guard.reading import Cursor, Role

# fmt: off
_PLAIN: Final = frozenset({
    "TINYINT", "SMALLINT", "INT", "INTEGER", "BIGINT", "LARGEINT", "BOOLEAN", "FLOAT", "DOUBLE", "DATE", "DATETIME",
    "TIME", "DATEV1", "DATEV2", "DATETIMEV1", "DATETIMEV2", "TIMESTAMP", "TIMESTAMPTZ", "BITMAP", "QUANTILE_STATE",
    "HLL", "AGG_STATE", "STRING", "JSON", "JSONB", "TEXT", "VARCHAR", "CHAR", "CHARACTER", "DECIMAL", "DECIMALV2",
    "DECIMALV3", "IPV4", "IPV6", "VARBINARY", "VARIANT", "ALL",
})
# fmt: on


class TypeGrammar(Cursor):
    """Reads the name of a type."""

    def cast_type(self) -> None:
        if self.at in ("SIGNED", "UNSIGNED"):
            self.index += 1
            if not self.take("INT", "INTEGER"):
                self.since((3, 0, 0), "A cast to SIGNED or UNSIGNED alone")
        else:
            self._type()

    def _type(self) -> None:
        self.step()
        at = self.at
        nested = self.words[self.index + 1] == "<"
        if at == "ARRAY" and nested:
            self.index += 2
            self._type()
            self.need(">")
        elif at == "MAP" and nested:
            self.index += 2
            self._type()
            self.need(",")
            self._type()
            self.need(">")
        elif at == "STRUCT" and nested:
            self.index += 2
            self._fields()
            self.need(">")
        elif at == "VARIANT" and nested:
            self.index += 2
            self._paths()
            self.need(">")
        elif at == "AGG_STATE" and nested:
            self.index += 2
            self._aggregate()
            self.need(">")
        else:
            self._plain()

    def _plain(self) -> None:
        self.need(*_PLAIN)
        if self.take("("):
            self.need(NUMBER, "*")
            while self.take(","):
                self.need(NUMBER)
            self.need(")")

    def _fields(self) -> None:
        while True:
            self.name()
            self.need(":")
            self._type()
            self._comment()
            if not self.take(","):
                return

    def _paths(self) -> None:
        """VARIANT<'a.b': INT, MATCH_NAME 'c*': TEXT, PROPERTIES('k' = 'v')>"""
        while True:
            if self.take_all("PROPERTIES", "("):
                self._properties()
                return
            self.take("MATCH_NAME", "MATCH_NAME_GLOB")
            self.need(STRING)
            self.need(":")
            self._type()
            self._comment()
            if not self.take(","):
                return

    def _properties(self) -> None:
        self.need(STRING)
        self.need("=")
        self.need(STRING)
        while self.take(","):
            self.need(STRING)
            self.need("=")
            self.need(STRING)
        self.need(")")

    def _comment(self) -> None:
        if self.take("COMMENT"):
            self.need(STRING)

    def _aggregate(self) -> None:
        """AGG_STATE<sum(INT NOT NULL)>"""
        self.name()
        self.reading.roles[self.index - 1] = Role.FUNCTION
        self.need("(")
        while True:
            self._type()
            if self.take("NOT"):
                self.need("NULL")
            else:
                self.take("NULL")
            if not self.take(","):
                break
        self.need(")")
