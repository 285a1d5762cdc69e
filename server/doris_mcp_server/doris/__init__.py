"""The way to Doris.

What may be sent (`guard`); where to and as whom (`routes`, `frontends`, `driver`); over which connection (`pool`,
`pins`, `wire`, `kills`); what comes back (`rows`); and what a cluster tells of itself (`http`, `capabilities`,
`figures`).
"""
