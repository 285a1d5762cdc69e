"""The demo data: each table's types, keys, comments and partitions, and the SQL that fills it.

One declaration per table serves both sides: `data` makes DuckDB tables from it, `catalog` answers SHOW, DESC
and information_schema from it. Values come from DuckDB's hash of the row number, so every start agrees.
"""

from doris_mcp_server.sandbox.table import INTERNAL, LAKE, Column, Table

_YEARS = range(1992, 1999)
_REGIONS = "['AFRICA','AMERICA','ASIA','EUROPE','MIDDLE EAST']"


def _pick(choices: str, salt: int) -> str:
    """A DuckDB expression that takes one item of a list literal by the hash of the row number."""
    return f"({choices})[1 + (hash(i + {salt}) % len({choices}))::INT]"


def _amount(salt: int, below: int) -> str:
    return f"(hash(i + {salt}) % {below})"


_DAY = f"(DATE '1992-01-01' + (hash(i + 3000003) % {len(_YEARS) * 365})::INT)"
_PRICE = f"({_amount(5000005, 10_000_00)} + 9000) / 100"
_DISCOUNT = _amount(6000006, 11)
_SHIP_MODE = _pick("['AIR','FOB','MAIL','RAIL','SHIP','TRUCK']", 10)
_LATENCY_MS = "hash(i + 16) % 900"

TABLES: tuple[Table, ...] = (
    Table(
        INTERNAL,
        "ssb",
        "lineorder",
        "Fact table: one row per line of an order. Join to dates, customer, supplier and part by their keys",
        (
            Column("lo_orderkey", "bigint", "Order number; one order has up to seven lines", "i // 4 + 1"),
            Column("lo_linenumber", "int", "Line within the order, from 1", "i % 4 + 1"),
            Column("lo_custkey", "int", "Customer; joins customer.c_custkey", "1 + hash(i + 1000001) % $customer"),
            Column("lo_partkey", "int", "Part; joins part.p_partkey", "1 + hash(i + 2000002) % $part"),
            Column("lo_suppkey", "int", "Supplier; joins supplier.s_suppkey", "1 + hash(i + 7000007) % $supplier"),
            Column(
                "lo_orderdate",
                "int",
                "Day of the order as yyyymmdd; joins dates.d_datekey",
                f"year({_DAY}) * 10000 + month({_DAY}) * 100 + day({_DAY})",
            ),
            Column(
                "lo_orderpriority",
                "varchar(16)",
                "Priority, 1-URGENT to 5-LOW",
                _pick("['1-URGENT','2-HIGH','3-MEDIUM','4-NOT SPECI','5-LOW']", 4000004),
            ),
            Column("lo_quantity", "int", "Pieces ordered, 1 to 50", f"1 + {_amount(8000008, 50)}"),
            Column("lo_extendedprice", "decimal(15,2)", "Price of the line before discount, in USD", _PRICE),
            Column("lo_discount", "int", "Discount in percent, 0 to 10", _DISCOUNT),
            Column(
                "lo_revenue",
                "decimal(15,2)",
                "Revenue of the line after discount, in USD",
                f"{_PRICE} * (100 - {_DISCOUNT}) / 100",
            ),
            Column("lo_supplycost", "decimal(15,2)", "What the line cost us, in USD", f"{_PRICE} * 6 / 10"),
            Column("lo_tax", "int", "Tax in percent, 0 to 8", _amount(9000009, 9)),
            Column(
                "lo_shipmode",
                "varchar(10)",
                "How it was shipped; unknown for one in a hundred",
                f"CASE WHEN hash(i) % 100 > 0 THEN {_SHIP_MODE} END",
                nullable=True,
            ),
        ),
        "range($lineorder) t(i)",
        key=("lo_orderkey", "lo_linenumber"),
        buckets=8,
        partition_column="lo_orderdate",
        partitions=tuple((f"p{year}", f"{year}0101", f"{year + 1}0101") for year in _YEARS),
        size=(1, 1),
    ),
    Table(
        INTERNAL,
        "ssb",
        "customer",
        "Customers with their city, nation and region",
        (
            Column("c_custkey", "int", "Customer number", "i + 1"),
            Column("c_name", "varchar(26)", "Name", "'Customer#' || lpad((i + 1)::VARCHAR, 9, '0')"),
            Column("c_city", "varchar(11)", "City", "'CITY ' || lpad((i % 250)::VARCHAR, 3, '0')"),
            Column("c_nation", "varchar(16)", "Nation", "'NATION ' || lpad((i % 25)::VARCHAR, 2, '0')"),
            Column(
                "c_region",
                "varchar(13)",
                "Region: AFRICA, AMERICA, ASIA, EUROPE or MIDDLE EAST",
                f"({_REGIONS})[1 + i % 5]",
            ),
            Column("c_phone", "varchar(16)", "Telephone", "'25-' || lpad((hash(i) % 10000000)::VARCHAR, 7, '0')"),
            Column(
                "c_mktsegment",
                "varchar(11)",
                "Market segment",
                _pick("['AUTOMOBILE','BUILDING','FURNITURE','HOUSEHOLD','MACHINERY']", 11),
            ),
        ),
        "range($customer) t(i)",
        key=("c_custkey",),
        size=(1 / 20, 100),
    ),
    Table(
        INTERNAL,
        "ssb",
        "supplier",
        "Suppliers with their city, nation and region",
        (
            Column("s_suppkey", "int", "Supplier number", "i + 1"),
            Column("s_name", "varchar(26)", "Name", "'Supplier#' || lpad((i + 1)::VARCHAR, 9, '0')"),
            Column("s_city", "varchar(11)", "City", "'CITY ' || lpad((i % 250)::VARCHAR, 3, '0')"),
            Column("s_nation", "varchar(16)", "Nation", "'NATION ' || lpad((i % 25)::VARCHAR, 2, '0')"),
            Column(
                "s_region",
                "varchar(13)",
                "Region: AFRICA, AMERICA, ASIA, EUROPE or MIDDLE EAST",
                f"({_REGIONS})[1 + i % 5]",
            ),
        ),
        "range($supplier) t(i)",
        key=("s_suppkey",),
        size=(1 / 300, 20),
    ),
    Table(
        INTERNAL,
        "ssb",
        "part",
        "Parts that are sold, by manufacturer, category and brand",
        (
            Column("p_partkey", "int", "Part number", "i + 1"),
            Column("p_name", "varchar(23)", "Name", "'part ' || (i + 1)"),
            Column("p_mfgr", "varchar(7)", "Manufacturer, MFGR#1 to MFGR#5", "'MFGR#' || (1 + i % 5)"),
            Column(
                "p_category",
                "varchar(8)",
                "Category within the manufacturer",
                "'MFGR#' || (1 + i % 5) || (1 + i % 25 // 5)",
            ),
            Column(
                "p_brand",
                "varchar(10)",
                "Brand within the category",
                "'MFGR#' || (1 + i % 5) || (1 + i % 25 // 5) || lpad((i % 40)::VARCHAR, 2, '0')",
            ),
            Column(
                "p_color",
                "varchar(12)",
                "Colour",
                _pick("['almond','azure','black','coral','ivory','lime','navy','plum']", 12),
            ),
            Column("p_size", "int", "Size, 1 to 50", f"1 + {_amount(13, 50)}"),
        ),
        "range($part) t(i)",
        key=("p_partkey",),
        size=(1 / 30, 200),
    ),
    Table(
        INTERNAL,
        "ssb",
        "dates",
        "Calendar, one row per day from 1992 to 1998",
        (
            Column("d_datekey", "int", "Day as yyyymmdd", "year(i) * 10000 + month(i) * 100 + day(i)"),
            Column("d_date", "date", "Day", "i"),
            Column("d_dayofweek", "varchar(10)", "Name of the day", "dayname(i)"),
            Column("d_month", "varchar(10)", "Name of the month", "monthname(i)"),
            Column("d_year", "int", "Year", "year(i)"),
            Column("d_yearmonthnum", "int", "Month as yyyymm", "year(i) * 100 + month(i)"),
            Column("d_weeknuminyear", "int", "ISO week", "weekofyear(i)"),
            Column(
                "d_sellingseason",
                "varchar(13)",
                "Season",
                "CASE WHEN month(i) > 10 THEN 'Christmas' WHEN month(i) IN (6,7,8) THEN 'Summer' ELSE '-' END",
            ),
        ),
        "generate_series(DATE '1992-01-01', DATE '1998-12-31', INTERVAL 1 DAY) t(i)",
        key=("d_datekey",),
    ),
    Table(
        INTERNAL,
        "ssb",
        "revenue_by_year",
        "View: revenue and number of order lines per year",
        (
            Column("d_year", "int", "Year", ""),
            Column("revenue", "decimal(38,2)", "Sum of lo_revenue, in USD", "", nullable=True),
            Column("order_lines", "bigint", "Number of order lines", ""),
        ),
        "",
        view="SELECT d_year, sum(lo_revenue) AS revenue, count(*) AS order_lines"
        " FROM {c}internal{c}.{c}ssb{c}.{c}lineorder{c} JOIN {c}internal{c}.{c}ssb{c}.{c}dates{c}"
        " ON lo_orderdate = d_datekey GROUP BY d_year",
    ),
    Table(
        INTERNAL,
        "ops",
        "events",
        "Log events of the shop's services; message has an inverted index (MATCH_ANY)",
        (
            Column("id", "bigint", "Event number", "i + 1"),
            Column("ts", "datetime", "When it happened (UTC)", "TIMESTAMP '2026-01-01' + to_minutes(i)"),
            Column(
                "level",
                "varchar(8)",
                "INFO, WARN or ERROR",
                _pick("['INFO','INFO','INFO','INFO','WARN','ERROR']", 14),
            ),
            Column(
                "service",
                "varchar(32)",
                "Service that wrote it",
                _pick("['cart','checkout','search','stock']", 15),
            ),
            Column(
                "message",
                "string",
                "What happened",
                "'request ' || i || ' took ' || hash(i + 16) % 900 || ' ms, error code ' || i % 9",
            ),
            Column(
                "payload",
                "json",
                "Details: user, items, latency_ms",
                "json_object('user', 'u' || i % 50, 'items', i % 7, 'latency_ms', " + _LATENCY_MS + ")",
            ),
            Column("tags", "array<varchar(16)>", "Labels", "['region-' || i % 3, 'v' || i % 5]"),
            Column(
                "duration",
                "double",
                "Seconds it took; NULL where nobody measured",
                "CASE WHEN i % 10 > 0 THEN (hash(i + 16) % 900) / 1000 END",
                nullable=True,
            ),
        ),
        "range(2000) t(i)",
        key=("id", "ts"),
        inverted_index="message",
    ),
    Table(
        LAKE,
        "raw",
        "clicks",
        "Clicks as the web servers wrote them (an external table)",
        (
            Column("click_id", "bigint", "Click number", "i + 1", nullable=True),
            Column("user_id", "varchar(16)", "User, as in ops.events payload", "'u' || i % 50", nullable=True),
            Column("url", "string", "Page", "'/part/' || 1 + hash(i) % 200", nullable=True),
            Column(
                "clicked_at",
                "datetime",
                "When (UTC)",
                "TIMESTAMP '2026-01-01' + to_seconds(i * 37)",
                nullable=True,
            ),
            Column(
                "dt",
                "date",
                "Day, the partition column",
                "(TIMESTAMP '2026-01-01' + to_seconds(i * 37))::DATE",
                nullable=True,
            ),
        ),
        "range(5000) t(i)",
    ),
)
