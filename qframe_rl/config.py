"""What configuration is made of: frozen records that refuse unknown keys, named references, and fingerprints."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, TypeVar, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo, field_validator, model_validator

_QUOTED, _SAID = 200, 1500
"""Most characters of a wrong value that a sentence quotes, and of a sentence."""


def one_line(text: str) -> str:
    """Text of a message, whatever it quotes: without line breaks and control characters, a long one without its middle.

    What is quoted comes from files that anybody may have written.
    """
    plain = "".join(c if c.isprintable() else " " if c.isspace() else "\ufffd" for c in text)
    return plain if len(plain) <= _SAID else f"{plain[: _SAID // 2]} ... {plain[-_SAID // 3 :]}"


class UserError(ValueError):
    """A mistake that the user can mend: its text is one sentence that names the place and the mend."""

    def __init__(self, text: str):
        super().__init__(one_line(text))


class Unavailable(RuntimeError):
    """Something outside failed for longer than patience lasts; its text is one sentence."""

    def __init__(self, text: str):
        super().__init__(one_line(text))


class Base(BaseModel):
    """A frozen configuration record; unknown keys are refused, and ``a,b`` is read where a tuple is meant."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _split(cls, value: object, info: ValidationInfo) -> object:
        annotation = cls.model_fields[str(info.field_name)].annotation
        if isinstance(value, str) and get_origin(annotation) is tuple:
            return tuple(listed(value))
        return value


class Strict(Base):
    """A record that a machine wrote: no ``"3"`` stands for 3."""

    model_config = ConfigDict(strict=True)


B = TypeVar("B", bound=Base)


class Ref(Base):
    """A thing of a catalogue by name, with the parameters that differ from its defaults.

    It may be written as a bare name, or as a table of ``name`` and the parameters themselves.
    """

    name: str
    """Name in the catalogue, or a dotted module path outside it."""
    params: dict[str, Any] = {}
    """Parameters of its ``Config``."""

    @model_validator(mode="before")
    @classmethod
    def _flat(cls, value: object) -> object:
        if isinstance(value, str):
            return {"name": value}
        if isinstance(value, Mapping) and "params" not in value:
            return {"name": value.get("name"), "params": {k: v for k, v in value.items() if k != "name"}}
        return value


class Range(NamedTuple):
    """Where a tuner looks for a number, both ends included."""

    low: float
    high: float
    log: bool = False
    """Whether it is drawn evenly on a logarithmic scale."""


Space = dict[str, Range | tuple[Any, ...]]
"""What a tuner may set: fields of a configuration, each with a range or with the values to choose among."""


def search(
    *values: bool | float | str, low: float | None = None, high: float | None = None, log: bool = False
) -> dict[str, Any]:
    """Say what a search tries for a field: ``Field(default=24, json_schema_extra=search(24, 48, low=6, high=720))``.

    Parameters
    ----------
    *values
        What a grid is made of (`searched`), where every window of a study chooses among few settings.
    low, high, log
        Where a tuner looks (`space_of`), both ends included; evenly on a logarithmic scale if ``log``. Without them it
        chooses among the values.

    Returns
    -------
    dict
        What `pydantic.Field` takes as ``json_schema_extra``.

    Raises
    ------
    ValueError
        If only one end is given, or if they are not in order, or not above zero on a logarithmic scale.
    """
    found: dict[str, Any] = {"search": list(values)} if values else {}
    if (low is None) != (high is None):
        raise ValueError("give both low and high, or neither")
    if low is not None and high is not None:
        if not low < high or (log and low <= 0.0):
            raise ValueError(f"low {low} and high {high} are no range{' of a logarithmic scale' if log else ''}")
        found["range"] = [low, high, log]
    return found


def searched(model: type[Base]) -> dict[str, tuple[Any, ...]]:
    """Fields of a configuration that name values to search among, in their order; none where nothing is to be tuned."""
    return {name: tuple(extra["search"]) for name, extra in _extras(model).items() if "search" in extra}


def space_of(model: type[Base]) -> Space:
    """Fields of a configuration that name a range or values, in their order; of a field that names both, the range."""
    return {
        name: Range(*extra["range"]) if "range" in extra else tuple(extra["search"])
        for name, extra in _extras(model).items()
        if "range" in extra or "search" in extra
    }


def _extras(model: type[Base]) -> dict[str, dict[str, Any]]:
    extras = {name: info.json_schema_extra for name, info in model.model_fields.items()}
    return {name: dict(extra) for name, extra in extras.items() if isinstance(extra, dict)}


def listed(text: str) -> list[str]:
    """Parts of a text between its commas, those inside round brackets not counted; empty ones are left out."""
    parts, depth, begin = [], 0, 0
    for at, mark in enumerate(text):
        depth = max(0, depth + (mark == "(") - (mark == ")"))
        if mark == "," and depth == 0:
            parts.append(text[begin:at])
            begin = at + 1
    return [part.strip() for part in [*parts, text[begin:]] if part.strip()]


def whole_number(text: str) -> int | None:
    """What a text of up to fifteen digits says; None for any other, such as ``²``, which ``isdigit`` lets in."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 15 else None


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the known name closest to ``name``, or the list of known names."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(names)}."


def build(model: type[B], values: Mapping[str, Any], where: str) -> B:
    """Validate ``values`` into ``model``.

    Parameters
    ----------
    model
        The configuration class.
    values
        Keys and values as they came from a file, the environment or a command line.
    where
        Where they came from, for the message: a file's name, an option.

    Raises
    ------
    UserError
        On the first unknown key, wrong type or value out of range, naming ``where`` and the field.
    """
    if not isinstance(values, Mapping):
        raise UserError(f"{where}: a table of keys and values is needed (got {shortened(values)}).")
    try:
        return model.model_validate(dict(values))
    except RecursionError:
        raise UserError(f"{where}: tables or lists lie too deep in one another.") from None
    except ValidationError as error:
        raise UserError(_sentence(error, model, where)) from None


def _sentence(error: ValidationError, model: type[Base], where: str) -> str:
    first = error.errors(include_url=False)[0]
    field = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        unknown = str(first["loc"][-1])
        known = _fields_at(model, first["loc"][:-1])
        return f"{where}: unknown key {field!r}{nearest(unknown, known)}"
    said = first["msg"].removeprefix("Value error, ")  # pydantic's word for what our own validators say
    about = model.model_fields[field].description if field in model.model_fields else None
    if first["type"] == "string_pattern_mismatch" and about:
        word = about if about[1:2].isupper() else f"{about[0].lower()}{about[1:]}"
        said = f"not {word.partition('.')[0]}"
    if not field:  # a rule of the whole: what was given is all of it
        return f"{where}: {said.rstrip('.')}."
    return f"{where}: {field}: {said} (got {shortened(first['input'])})."


def shortened(value: object) -> str:
    """How a value is quoted in a sentence: a long one by its beginning alone."""
    try:
        text = repr(value)
    except ValueError:  # a whole number of thousands of digits
        return "a number of too many digits"
    return text if len(text) <= _QUOTED else f"{text[:_QUOTED]}..."


def _fields_at(model: type[Base], path: tuple[int | str, ...]) -> list[str]:
    for part in path:
        field = model.model_fields.get(str(part))
        if field is None or not isinstance(field.annotation, type) or not issubclass(field.annotation, Base):
            break
        model = field.annotation
    return list(model.model_fields)


def canonical(value: object) -> str:
    """JSON text that is the same for equal values: sorted keys, no spaces, shortest float digits."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def fingerprint(*parts: object) -> str:
    """Sixteen hexadecimal digits of SHA-256 over the canonical JSON of ``parts``."""
    return hashlib.sha256(canonical(parts).encode()).hexdigest()[:16]
