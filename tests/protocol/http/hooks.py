"""What schemathesis cannot know of the HTTP interface from its document."""

import json

import schemathesis


@schemathesis.serializer("application/x-ndjson")
def lines(context, value):
    """Any text is a list of lines; what is no task is told so line by line."""
    return value.encode("utf-8", "replace") if isinstance(value, str) else json.dumps(value).encode()


@schemathesis.hook
def filter_case(context, case):
    """No document can say that two parameters exclude each other, or that together they take their time."""
    query = set(case.query or {})
    excluded = {"delay", "at"} <= query or ("wait" in query and query & {"delay", "at", "batch"})
    return not excluded and not has_round_float(case.body)


def has_round_float(value):
    """To JSON Schema, 1.0 is an integer; to the types of Rust it is none."""
    if isinstance(value, dict):
        return any(map(has_round_float, value.values()))
    if isinstance(value, list):
        return any(map(has_round_float, value))
    return isinstance(value, float) and value.is_integer()
