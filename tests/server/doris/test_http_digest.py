"""A frontend's metrics, as its versions write them."""

from dataclasses import replace

import pytest

from doris_mcp_server.doris.capabilities import Nodes
from doris_mcp_server.doris.http.digest import Digest, digest

EMPTY = Digest(None, None, None, None, None, None, None, None)
METRICS = """\
# HELP  jvm_heap_size_bytes jvm heap stat
# TYPE  jvm_heap_size_bytes gauge
jvm_heap_size_bytes{type="max"} 8589934592
jvm_heap_size_bytes{type="used"} 805306368
# HELP doris_fe_qps query per second
# TYPE doris_fe_qps gauge
doris_fe_qps 1.5
doris_fe_connection_total{user="ann"} 1
doris_fe_connection_total 7
doris_fe_query_total 1200
doris_fe_query_total{user="ann"} 900
doris_fe_query_err 3
doris_fe_query_latency_ms{quantile="0.75"} 10.0
doris_fe_query_latency_ms{quantile="0.99"} 120.25
doris_fe_query_latency_ms{quantile="0.99", user="ann"} 1.0
node_info{type="fe_node_num", state="total"} 3
node_info{type="be_node_num", state="total"} 4
node_info{type="be_node_num", state="alive"} 3
"""
READ = Digest(1.5, 7, 120.25, 1200, 3, 805306368, 8589934592, Nodes(alive=3, total=4))


def test_what_is_read() -> None:
    assert digest(METRICS) == READ


def test_storage_compute_mode_labels_everything() -> None:
    cluster = 'cluster_id="c1",cluster_name="n"'
    lines = [
        f"doris_fe_qps{{{cluster}}} 2",
        f'doris_fe_query_latency_ms{{{cluster},quantile="0.99"}} 4',
        f'doris_fe_connection_total{{user="ann",{cluster}}} 9',
    ]
    assert digest("\n".join(lines)) == replace(EMPTY, queries_per_second=2.0, query_latency_p99_ms=4.0)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<html>no metrics</html>",
        "# doris_fe_qps 1",
        "doris_fe_qps",
        "doris_fe_qps many",
        "doris_fe_qps NaN\ndoris_fe_connection_total +Inf\ndoris_fe_query_err -Infinity",
        "other_doris_fe_qps 1\ndoris_fe_qps_total 1\n",
    ],
)
def test_what_is_not_told_is_none(text: str) -> None:
    assert digest(text) == EMPTY
