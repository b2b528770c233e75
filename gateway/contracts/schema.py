"""A contract as JSON Schema 2020-12, for one NDJSON record."""

from __future__ import annotations

from typing import Any

from gateway.contracts.model import Column, Conditions, Contract

DIALECT = "https://json-schema.org/draft/2020-12/schema"
TYPES: dict[str, dict[str, Any]] = {
    "integer": {"type": ["integer", "string"]},
    "number": {"type": ["number", "string"]},
    "boolean": {"type": ["boolean", "string"]},
    "digits": {"type": ["string", "integer"]},
    "unix_time": {"type": ["number", "string"]},
    "object": {"type": "object"},
    "tags": {"type": ["array", "string"], "items": {"type": "string"}},
}
TEXT: dict[str, Any] = {"type": ["string", "number"]}


def json_schema(contract: Contract) -> dict[str, Any]:
    """The schema of one record. Rows that the contract accepts validate against it."""
    schema: dict[str, Any] = {
        "$schema": DIALECT,
        "title": contract.title,
        "description": contract.description,
        "type": "object",
        "properties": {column.name: property_of(column) for column in contract.columns},
        "required": [column.name for column in contract.columns if column.required and column.default is None],
    }
    rules: list[dict[str, Any]] = [
        {"if": holds(rule.when), "then": {"required": list(rule.columns)}}
        for rule in contract.requirements
        if not any(contract.by_name[name].derive or contract.by_name[name].default for name in rule.columns)
    ]
    rules += [{"anyOf": [{"required": [name]} for name in group.columns]} for group in contract.one_of]
    return schema | ({"allOf": rules} if rules else {})


def property_of(column: Column) -> dict[str, Any]:
    """The schema of one value. Null is the same as absent, unless the column is required."""
    kind = dict(TYPES.get(column.type, TEXT))
    if column.allowed:
        kind = {"enum": list(column.allowed)}
    elif not column.required and isinstance(kind["type"], list):
        kind["type"] = [*kind["type"], "null"]
    if column.on_invalid == "reject" and column.type in ("integer", "number"):
        kind |= {"minimum": column.min} if column.min is not None else {}
        kind |= {"maximum": column.max} if column.max is not None else {}
    if column.allowed and not column.required:
        kind["enum"].append(None)
    if column.description:
        kind["description"] = column.description
    return kind | ({"examples": [column.example]} if column.example else {})


def holds(conditions: Conditions) -> dict[str, Any]:
    """A schema that a record fits when every condition holds."""
    return {
        "properties": {name: {"enum": list(values)} for name, values in conditions.items()},
        "required": list(conditions),
    }
