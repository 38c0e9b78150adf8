"""A connection to a service, and how answers become records or sentences."""

from __future__ import annotations

import os
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from qframe_rl.config import Unavailable, UserError

VARIABLE = "QFRAME_SERVICE_TOKEN"
"""Environment variable of the token."""
Row = TypeVar("Row", bound=BaseModel)
PATIENCE_S = 30.0
"""For an answer."""
_OTHER = "answers, and not as a service of this version does; look at the address."


class ServiceConnection:
    """A connection to a service; use it in a ``with`` block, or `close` it.

    Parameters
    ----------
    url
        Of the service.
    token
        What opens it; None = that of the environment variable ``QFRAME_SERVICE_TOKEN``.
    verify
        Whether TLS certificates are checked, or the file of an authority.

    Raises
    ------
    UserError
        If there is no token, or it or the address is none.
    """

    def __init__(self, url: str, token: str | None = None, *, verify: bool | str = True):
        token = token or os.environ.get(VARIABLE)
        if not token:
            raise UserError(f"the service asks for a token; set {VARIABLE} (qframe token makes one).")
        if not token.isascii() or not token.isprintable():
            raise UserError(f"{VARIABLE} is no token of a service; qframe token makes one.")
        try:
            self._http = httpx.Client(
                base_url=f"{url.rstrip('/')}/api/v1", headers={"authorization": f"Bearer {token}"}, timeout=PATIENCE_S,
                verify=verify,
            )  # fmt: skip
        except httpx.InvalidURL as error:
            raise UserError(f"{url!r} is no address of a service ({error}), such as http://127.0.0.1:8321.") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Hang up."""
        self._http.close()

    def _asked(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None, **params: Any
    ) -> Any:
        answer = self._answered(method, path, body, headers, **params)
        try:
            return answer.json()
        except ValueError:
            raise UserError(f"{self._http.base_url} {_OTHER}") from None

    def _answered(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None, **params: Any
    ) -> httpx.Response:
        try:
            answer = self._http.request(method, path, json=body, params=_given(params), headers=headers)
        except httpx.TransportError as error:
            raise Unavailable(f"{self._http.base_url} does not answer ({error}).") from None
        if answer.status_code >= 400:
            raise refused(answer)
        return answer


def _given(params: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in params.items() if value is not None}


def many(shape: type[Row], rows: Any) -> list[Row]:
    """Records of an answer; raises UserError where it is none of a service."""
    try:
        return [shape(**row) for row in (rows if isinstance(rows, list) else [rows])]
    except (TypeError, ValidationError):
        raise UserError(f"what was asked {_OTHER}") from None


def refused(answer: httpx.Response) -> UserError | Unavailable:
    """What a refusal says, as an error."""
    try:
        detail = str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        detail = f"it answered {answer.status_code}"
    kind = Unavailable if answer.status_code in (429, 502, 503, 504) else UserError
    return kind(f"{answer.request.url.host}: {detail}")
