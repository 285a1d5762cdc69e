"""Names and texts as they are written into the statements this server makes itself, and how Doris compares names."""


def quote_name(*parts: str) -> str:
    """`a`.`b`.`c` for one to three parts; a backtick in a name is doubled."""
    return ".".join("`" + part.replace("`", "``") + "`" for part in parts)


def quote_text(text: str) -> str:
    """A string literal that Doris reads back as `text` under its default sql_mode."""
    return "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"


def fold(name: str) -> str:
    """A name as Doris compares those of columns and of its own databases: letter by letter, as Java's
    String.equalsIgnoreCase, to which U+0131 and U+0130 are an i, U+017F an s, and U+212A a k."""
    return name.lower() if name.isascii() else "".join(map(_folded, name))


def _folded(letter: str) -> str:
    upper = letter.upper()
    return (upper if len(upper) == 1 else letter).lower()[0]
