"""A page of the API for people, drawn from its OpenAPI document: no script, nothing fetched from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1d1d1f;"
    "background:#fff}h2{font-size:1rem;margin:1.6rem 0 .2rem;font-family:ui-monospace,monospace}"
    "b{display:inline-block;min-width:4.5rem}table{border-collapse:collapse;font-size:.9rem}"
    "td{padding:.15rem .8rem .15rem 0;vertical-align:top}code{font-family:ui-monospace,monospace}"
    "@media(prefers-color-scheme:dark){body{background:#151517;color:#eee}a{color:#8ab4f8}}"
)


def page(document: Mapping[str, Any]) -> str:
    """HTML of an OpenAPI document: every route with what it takes."""
    info = document["info"]
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>",
        f"<title>{escape(info['title'])} API</title><style>{_STYLE}</style>",
        f"<h1>{escape(info['title'])} {escape(info['version'])}</h1><p>{escape(info.get('summary', ''))} ",
        "Every route but health and login wants <code>Authorization: Bearer TOKEN</code>; <code>qframe token</code> ",
        "makes one. The whole document: <a href='/api/v1/openapi.json'>openapi.json</a>.</p>",
    ]
    for path, methods in document["paths"].items():
        for method, route in methods.items():
            text = escape(route.get("description", route.get("summary", ""))).replace("\n\n", "<br>")
            parts.append(f"<h2><b>{escape(method.upper())}</b>{escape(path)}</h2><p>{text}</p>")
            rows = [_parameter(one) for one in route.get("parameters", ())]
            rows += _body(route, document)
            if rows:
                parts.append(f"<table>{''.join(rows)}</table>")
    return "".join(parts) + "</html>"


def _parameter(one: Mapping[str, Any]) -> str:
    return _row(one["name"], one["in"], one.get("schema", {}), required=bool(one.get("required")))


def _body(route: Mapping[str, Any], document: Mapping[str, Any]) -> list[str]:
    schema = route.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    name = schema.get("$ref", "").rpartition("/")[2]
    shape = document.get("components", {}).get("schemas", {}).get(name, {})
    required = shape.get("required", ())
    return [
        _row(field, "body", about, required=field in required) for field, about in shape.get("properties", {}).items()
    ]


def _row(name: str, where: str, schema: Mapping[str, Any], *, required: bool) -> str:
    kinds = [one.get("type", "") for one in (schema, *schema.get("anyOf", ()))]
    kind = " or ".join(kind for kind in kinds if kind and kind != "null")
    default = f"default {schema['default']}" if schema.get("default") not in (None, "") else ""
    words = ", ".join(part for part in (where, kind, "required" if required else default) if part)
    return f"<tr><td><code>{escape(name)}</code><td>{escape(words)}<td>{escape(schema.get('description', ''))}"
