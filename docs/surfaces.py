"""The reference of what users touch: the command line, the Python names, the HTTP routes."""

from __future__ import annotations

import inspect
import json
import re
import tempfile
from collections.abc import Iterator, Mapping
from enum import IntEnum
from pathlib import Path
from typing import Any

import typer

import tegula
from tegula.cli import exits
from tegula.cli.main import app as cli
from tegula.docs.markdown import WORDS, code, page, paragraphs, table
from tegula.engine.settings import Settings
from tegula.serving.app import create_app


def commands() -> str:
    """Every verb with its arguments and options, as `--help` has them."""
    group: Any = typer.main.get_command(cli)
    parts = [WORDS["commands"]["intro"]]
    for name, command in group.commands.items():
        if not command.hidden:
            parts += _verb(name, command)
    parts.append("## Exit codes")
    parts.append(inspect.cleandoc(exits.__doc__ or "").split("\n\n", 1)[1])
    return page("Commands", *parts)


def _verb(name: str, command: Any) -> Iterator[str]:
    context = typer.Context(command, info_name=f"tegula {name}")
    said, _, example = inspect.cleandoc(command.help).partition("\n\n")
    yield f"## tegula {name}"
    yield " ".join(said.split())
    yield f"```text\ntegula {name} {' '.join(command.collect_usage_pieces(context))}\n```"
    yield " ".join(example.split())
    rows = []
    for one in command.params:
        if one.hidden or one.name == "help":
            continue
        is_option = one.opts[0].startswith("-")
        shown = ", ".join(map(code, one.opts)) if is_option else code(one.metavar or one.name)
        given = "" if one.default in (None, False, "") else code(one.default)
        kind = "flag" if getattr(one, "is_flag", False) else _kind(one.display_type(context))
        rows.append((shown, kind, given, one.help or ""))
    yield table(("argument or option", "type", "default", "meaning"), rows)


def _kind(shown: str) -> str:
    """The type of an option as people call it."""
    kind = shown.strip("<>")
    if kind.startswith("list["):
        return "words"
    return {"str": "text", "int": "integer", "int range": "integer"}.get(kind, kind)


def python() -> str:
    """Every public name, with its signature and docstring."""
    parts = [WORDS["python"]["intro"]]
    for name in tegula.__all__:
        parts += [f"## tg.{name}", *_public(name, getattr(tegula, name))]
    return page("Python", *parts)


def _public(name: str, what: Any) -> Iterator[str]:
    if inspect.ismodule(what):
        yield WORDS["python"]["modules"][name]
    elif isinstance(what, type) and issubclass(what, IntEnum):
        yield f"{paragraphs(what.__doc__)} [The members](records.md)."
    elif isinstance(what, type):
        yield f"```text\ntg.{name}{_arguments(what)}\n```"
        yield paragraphs(what.__doc__)
        for method, member in vars(what).items():
            if not method.startswith("_") and inspect.isfunction(member):
                said = " ".join((member.__doc__ or "").split())
                yield f"- `.{method}{_arguments(member)}`: {said}"
    elif callable(what):
        yield f"```text\ntg.{name}{_arguments(what)}\n```"
        yield paragraphs(what.__doc__)
    else:
        yield WORDS["python"]["types"][name]


def _arguments(what: Any) -> str:
    text = str(inspect.signature(what)).replace("'", "").replace("(self, ", "(")
    text = text.replace("(self)", "()").replace(" -> None", "")
    text = re.sub(r"<function (\S+) at 0x[0-9a-f]+>", "…", text)  # where it lies says nothing
    for long, short in WORDS["python"]["shorter"].items():
        text = text.replace(long, short)
    return text


def http() -> str:
    """Every route, from the OpenAPI description that a server shows at `/docs`."""
    with tempfile.TemporaryDirectory() as folder:
        found = Settings(project=Path(folder), in_file={})  # type: ignore[call-arg]
        described = create_app(found, lambda: 0).openapi()
    parts = [WORDS["http"]["intro"]]
    for path, methods in described["paths"].items():
        for method, route in methods.items():
            parts += _route(f"{method.upper()} {path}", route, described["components"]["schemas"])
    return page("HTTP", *parts)


def _route(title: str, route: Mapping[str, Any], schemas: Mapping[str, Any]) -> Iterator[str]:
    yield f"## {title}"
    yield f"{route['summary']}. {route.get('description', '')}".strip()
    for kind, body in route.get("requestBody", {}).get("content", {}).items():
        yield f"Body, `{kind}`:"
        schema = body["schema"]
        if "properties" in schema:
            yield _fields(schema)
        for example in (*schema.get("examples", ()), *filter(None, [body.get("example")])):
            yield _json(example)
        if kind in WORDS["http"]["bodies"]:
            yield WORDS["http"]["bodies"][kind]
    answers = []
    for status, answer in sorted(route["responses"].items()):
        said = answer.get("description", "")
        if said != "Validation Error":  # FastAPI's own, which our routes never answer
            answers.append((status, "Done." if status == "200" else said))
        schema = answer.get("content", {}).get("application/json", {}).get("schema", {})
        name = schema.get("$ref", "").rpartition("/")[2]
        if status == "200" and schemas.get(name, {}).get("properties"):
            yield "Answer:"
            yield _fields(schemas[name])
            for example in schemas[name].get("examples", ()):
                yield _json(example)
    yield table(("HTTP status", "when"), answers)


def _fields(schema: Mapping[str, Any]) -> str:
    required = schema.get("required", ())
    rows = [
        (code(name), "yes" if name in required else "", str(field.get("description", "")))
        for name, field in schema["properties"].items()
    ]
    return table(("field", "always", "meaning"), rows)


def _json(value: Mapping[str, Any]) -> str:
    """A JSON object as a block, a line a field."""
    fields = ",\n".join(f"  {json.dumps(name)}: {json.dumps(one)}" for name, one in value.items())
    return f"```json\n{{\n{fields}\n}}\n```"
