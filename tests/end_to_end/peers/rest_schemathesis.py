"""What schemathesis may not ask of the throw-away node, as the node would end, or the answer never would.

Nothing is left out: a restart of the program is asked for with an update, which this node refuses, and a stream ends at
once. REST_NODE=self asks about the node that is there, and its jobs, instead of any.
"""

import os

import schemathesis

RESTARTS = ("/clients/{id}/restart_daq", "/api/v1/nodes/{id}/restart")
STREAMS = ("/api/v1/events", "/api/v1/nodes/{id}/logs", "/api/v1/nodes/{id}/jobs/{job}/logs")


@schemathesis.hook
def before_call(context, case, kwargs):
    path = case.operation.path
    if os.environ.get("REST_NODE") == "self" and case.path_parameters:
        # What is removed is not there for the others.
        job = "spare" if case.method == "DELETE" else "test"
        for name, value in (("id", "self"), ("job", job)):
            if name in case.path_parameters:
                case.path_parameters[name] = value
    if path in RESTARTS:
        if isinstance(case.body, dict):
            if case.body.get("update") in (False, None):
                case.body["update"] = True
        elif not isinstance(case.body, (str, bytes, list, int, float)):
            case.body = {"update": True}
            case.media_type = "application/json"
    if path.endswith("/command") and isinstance(case.body, dict) and case.body.get("do") == "renew":
        if case.body.get("update") in (False, None):
            case.body["update"] = True
    if path in STREAMS:
        query = dict(case.query or {})
        if str(query.get("seconds", "0")).isdigit():
            case.query = {**query, "seconds": 0}
