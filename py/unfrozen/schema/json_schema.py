"""Shapes as JSON Schemas (draft 2020-12), for programs that are not ours."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from unfrozen.schema.shapes import Shape

DRAFT: Final = "https://json-schema.org/draft/2020-12/schema"
_NOTES: Final = ("description", "unit")


def noted(shape: Shape, description: str, unit: str = "") -> Shape:
    """Return a shape with a sentence on its value, and the unit of that."""
    return {**shape, "description": description, **({"unit": unit} if unit else {})}


def json_schema(shape: Shape) -> dict[str, Any]:
    """Return the JSON Schema that allows what the shape allows, as far as one can say it."""
    found = _AS_SCHEMA[shape["type"]](shape)
    return found | {key: shape[key] for key in _NOTES if key in shape}


def _string(shape: Shape) -> dict[str, Any]:
    pattern = {"pattern": f"^(?:{shape['pattern']})$"} if "pattern" in shape else {}
    return {"type": "string", "maxLength": shape["maxLength"], **pattern}


def _bounded(shape: Shape) -> dict[str, Any]:
    return {key: shape[key] for key in ("type", "minimum", "maximum")}


def _array(shape: Shape) -> dict[str, Any]:
    items = json_schema(shape["items"])
    return {"type": "array", "maxItems": shape["maxItems"], "items": items}


def _map(shape: Shape) -> dict[str, Any]:
    names, values = (json_schema(shape[key]) for key in ("names", "values"))
    bounds = {"maxProperties": shape["maxProperties"], "propertyNames": names}
    return {"type": "object", **bounds, "additionalProperties": values}


def _object(shape: Shape) -> dict[str, Any]:
    """Return an object's schema; an optional property may be null."""
    required = shape["required"]
    properties = {
        name: json_schema(one) if name in required else _or_null(json_schema(one))
        for name, one in shape["properties"].items()
    }
    rest = {"additionalProperties": False} if shape["closed"] else {}
    return {"type": "object", "properties": properties, "required": list(required), **rest}


def _or_null(schema: Mapping[str, Any]) -> dict[str, Any]:
    notes = {key: schema[key] for key in _NOTES if key in schema}
    bare = {key: value for key, value in schema.items() if key not in notes}
    if not bare:  # anything, null too
        return notes
    parts = bare["anyOf"] if bare.keys() == {"anyOf"} else [bare]
    return {"anyOf": [*parts, *([{"type": "null"}] * ({"type": "null"} not in parts))], **notes}


_AS_SCHEMA: Final[dict[str, Callable[[Shape], dict[str, Any]]]] = {
    "string": _string,
    "integer": _bounded,
    "number": _bounded,
    "metric": lambda shape: {"anyOf": [{"type": "number"}, {"enum": list(shape["values"])}]},
    "boolean": lambda _: {"type": "boolean"},
    "null": lambda _: {"type": "null"},
    "enum": lambda shape: {"enum": list(shape["values"])},
    "array": _array,
    "map": _map,
    "object": _object,
    "anyOf": lambda shape: {"anyOf": [json_schema(one) for one in shape["anyOf"]]},
    "json": lambda _: {},
}
