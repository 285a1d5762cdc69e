"""Names and texts as they are written into the statements this server makes itself."""


def quote_name(*parts: str) -> str:
    """`a`.`b`.`c` for one to three parts; a backtick in a name is doubled."""
    return ".".join("`" + part.replace("`", "``") + "`" for part in parts)


def quote_text(text: str) -> str:
    """A string literal that Doris reads back as `text` under its default sql_mode."""
    return "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"
