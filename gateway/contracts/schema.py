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
    "object": {"type": ["object"]},
    "tags": {"type": ["array", "string"], "items": {"type": "string"}},
}
TEXT: dict[str, Any] = {"type": ["string", "number"]}


def json_schema(contract: Contract) -> dict[str, Any]:
    """The schema of one record. Rows that the contract accepts validate against it."""
    properties = {column.name: property_of(column) for column in contract.columns}
    ignorable = {name for keep in contract.keep for name in properties if name not in keep.columns}
    schema: dict[str, Any] = {
        "$schema": DIALECT,
        "title": contract.title,
        "description": contract.description,
        "type": "object",
        "properties": {name: told if name not in ignorable else remarks(told) for name, told in properties.items()},
        "required": [column.name for column in contract.columns if column.required and column.default is None],
    }
    rules: list[dict[str, Any]] = [
        {"if": holds(rule.when), "then": {"required": list(rule.columns)}}
        for rule in contract.requirements
        if not any(contract.by_name[name].derive or contract.by_name[name].default for name in rule.columns)
    ]
    rules += [{"anyOf": [{"required": [name]} for name in group.columns]} for group in contract.one_of]
    if ignorable:
        # Where a column is ignored, anything may stand in it.
        whens = [holds(keep.when) for keep in contract.keep]
        judged = {"properties": {name: properties[name] for name in properties if name in ignorable}}
        rules.append({"if": {"not": {"anyOf": whens}}, "then": judged})
    return schema | ({"allOf": rules} if rules else {})


def property_of(column: Column) -> dict[str, Any]:
    """The schema of one value. Null and blank text are the same as absent, unless the column must have a value."""
    may_lack = not column.required or column.default is not None
    kind = dict(TYPES.get(column.type, TEXT))
    if column.allowed:
        kind = {"enum": list(column.allowed)}
        kind = {"anyOf": [kind, {"type": ["string", "null"], "pattern": r"^\s*$"}]} if may_lack else kind
    elif may_lack:
        kind["type"] = [*kind["type"], "null"]
    if column.on_invalid == "reject" and column.type in ("integer", "number"):
        kind |= {"minimum": column.min} if column.min is not None else {}
        kind |= {"maximum": column.max} if column.max is not None else {}
    if column.description:
        kind["description"] = column.description
    return kind | ({"examples": [column.example]} if column.example else {})


def remarks(told: dict[str, Any]) -> dict[str, Any]:
    """What a property says to a reader, without what it demands."""
    return {key: told[key] for key in ("description", "examples") if key in told}


def holds(conditions: Conditions) -> dict[str, Any]:
    """A schema that a record fits when every condition holds."""
    return {
        "properties": {name: {"enum": list(values)} for name, values in conditions.items()},
        "required": list(conditions),
    }
