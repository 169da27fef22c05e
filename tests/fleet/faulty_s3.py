"""An object store on this machine, by moto; with faults, every tenth request fails before or after it was done.

python -m tests.fleet.faulty_s3 PORT [faults]
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from itertools import count
from typing import Any

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import run_simple

EVERY = 10
Respond = Callable[[str, list[tuple[str, str]]], Any]


class Faulty:
    def __init__(self, app: Callable[[dict[str, Any], Respond], Iterable[bytes]]) -> None:
        self._app, self._numbers = app, count(1)

    def __call__(self, environment: dict[str, Any], respond: Respond) -> Iterable[bytes]:
        number = next(self._numbers)
        if number % EVERY:
            return self._app(environment, respond)
        if number % (2 * EVERY):  # it was done, and the answer is lost
            b"".join(self._app(environment, lambda *_: None))
        respond("503 Slow Down", [("Content-Type", "text/plain"), ("Content-Length", "0")])
        return [b""]


if __name__ == "__main__":
    app = DomainDispatcherApplication(create_backend_app)
    faulty = Faulty(app) if "faults" in sys.argv else app
    run_simple("127.0.0.1", int(sys.argv[1]), faulty, threaded=True)
