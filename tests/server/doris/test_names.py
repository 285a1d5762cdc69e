"""Names and texts inside the server's own statements."""

import pytest
import sqlglot
from hypothesis import given
from hypothesis import strategies as st

from doris_mcp_server.doris.names import quote_name, quote_text

TEXT = st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=30)


@pytest.mark.parametrize(
    ("parts", "quoted"),
    [
        (("a",), "`a`"),
        (("a", "b", "c"), "`a`.`b`.`c`"),
        (("a`b",), "`a``b`"),
        (("` UNION SELECT 1 -- ",), "``` UNION SELECT 1 -- `"),
        (("it's", 'say "x"'), '`it\'s`.`say "x"`'),
        (("a-b c", "中文", "back\\slash"), "`a-b c`.`中文`.`back\\slash`"),
    ],
)
def test_names(parts: tuple[str, ...], quoted: str) -> None:
    assert quote_name(*parts) == quoted


@given(TEXT)
def test_a_text_is_read_back_as_it_was(text: str) -> None:
    tree = sqlglot.parse_one(f"SELECT {quote_text(text)}", read="doris")
    assert tree.expressions[0].this == text
