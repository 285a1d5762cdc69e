"""SHOW of the cluster: its frontends and backends, one of each, for those who may know."""

from doris_mcp_server.sandbox.asked import Answer, Asked, Forms, form
from doris_mcp_server.sandbox.describe import CREATED
from doris_mcp_server.sandbox.faults import needs

HOST = "127.0.0.1"


def _frontends(asked: Asked) -> Answer:
    _for_admins(asked)
    row = {
        "Name": "fe_demo",
        "Host": HOST,
        "EditLogPort": "9010",
        "HttpPort": str(asked.facts.http_port),
        "QueryPort": str(asked.facts.port),
        "RpcPort": "9020",
        "ArrowFlightSqlPort": "-1",
        "Role": "FOLLOWER",
        "IsMaster": "true",
        "ClusterId": "1",
        "Join": "true",
        "Alive": "true",
        "ReplayedJournalId": "1",
        "LastStartTime": CREATED,
        "LastHeartbeat": CREATED,
        "IsHelper": "true",
        "Version": asked.names.schema.version.build,
        "CurrentConnected": "Yes",
        "LiveSince": CREATED,
    }
    return asked.answer("frontends", row)


def _backends(asked: Asked) -> Answer:
    _for_admins(asked)
    row = {
        "BackendId": "10002",
        "Host": HOST,
        "HeartbeatPort": "9050",
        "BePort": "9060",
        "HttpPort": "8040",
        "BrpcPort": "8060",
        "ArrowFlightSqlPort": "-1",
        "LastStartTime": CREATED,
        "LastHeartbeat": CREATED,
        "Alive": "true",
        "SystemDecommissioned": "false",
        "TabletNum": "1",
        "DataUsedCapacity": "1.000 MB",
        "TrashUsedCapacity": "0.000 ",
        "AvailCapacity": "1.000 GB",
        "TotalCapacity": "1.000 GB",
        "UsedPct": "0.00 %",
        "MaxDiskUsedPct": "0.00 %",
        "RemoteUsedCapacity": "0.000 ",
        "Tag": '{"location" : "default"}',
        "Version": asked.names.schema.version.build,
        "Status": '{"lastSuccessReportTabletsTime":"N/A","lastStreamLoadTime":-1,"isQueryDisabled":false}',
        "HeartbeatFailureCounter": "0",
        "NodeRole": "mix",
        "CpuCores": "2",
        "Memory": "1.00 GB",
        "LiveSince": CREATED,
    }
    return asked.answer("backends", row)


def _for_admins(asked: Asked) -> None:
    if not asked.names.account.is_admin:
        raise needs("ADMIN/OPERATOR")


FORMS: Forms = (
    (form(r"SHOW FRONTENDS"), _frontends),
    (form(r"SHOW BACKENDS"), _backends),
)
