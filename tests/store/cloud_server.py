"""A moto S3 server, and fakes of two other clouds, in a process of their own. Prints its port, then serves.

``POST /__fault__?kind=...&method=...&skip=N&times=M`` makes the requests of that method, after N more, fail M
times: ``error`` 500, ``slow-down`` 503, ``denied`` 403, ``lost`` does the work and hangs up, ``late`` does the
work and never answers, ``cut`` hangs up amid the body, ``silent`` does nothing. ``POST /__fault__`` alone makes it
behave again and tells the number of requests since.

``POST /__absent__?answer=...`` makes put-if-absent that of other services, until ``POST /__absent__``: ``ignore`` it,
``501`` or ``400`` to every request that asks for it, ``409`` where others answer 412, ``taken`` 412 even if nothing is
there, ``denied`` 403 where something is. ``undeletable`` denies every DELETE.
"""

from __future__ import annotations

import socket
import sys
import threading
from urllib.parse import parse_qs

from fake_clouds import FakeAzure, FakeGoogle
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.serving import make_server


class Faulty:
    def __init__(self, app):
        self.app = app
        self.lock = threading.Lock()
        self.fault = None
        self.count = 0
        self.over = threading.Event()
        self.absent = ""

    def __call__(self, environ, start_response):
        if environ["PATH_INFO"] == "/__absent__":
            self.absent = environ["QUERY_STRING"].partition("answer=")[2]
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [b"0"]
        if environ["PATH_INFO"] == "/__fault__":
            query = {key: values[0] for key, values in parse_qs(environ["QUERY_STRING"]).items()}
            count, self.count = self.count, 0
            self.over.set()
            self.over = threading.Event()
            self.fault = (
                {**query, "skip": int(query.get("skip", 0)), "times": int(query.get("times", 1))} if query else None
            )
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [str(count).encode()]
        with self.lock:
            self.count += 1
            kind = self._kind(environ["REQUEST_METHOD"])
        if kind in (None, "lost", "late", "cut"):
            # One at a time: moto itself looks and then writes, which would let two writers both be first.
            answer = []

            def record(status, headers, exc_info=None):  # noqa: ARG001
                answer[:] = [status, headers]

            with self.lock:
                body = self._absent(environ, record) or b"".join(self.app(environ, record))
            if kind in ("lost", "late"):
                self._hang_up(environ) if kind == "lost" else self.over.wait(60)
            start_response(*answer)
            if kind == "cut":
                return self._cut(body, environ)
            return [body]
        if kind == "silent":
            self.over.wait(60)
            self._hang_up(environ)
        return [self._refusal(kind, environ, start_response)]

    @staticmethod
    def _refusal(kind, environ, start_response, read=False):
        if not read:
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        status, code = {
            "error": ("500 Internal Server Error", "InternalError"),
            "slow-down": ("503 Slow Down", "SlowDown"),
            "denied": ("403 Forbidden", "AccessDenied"),
            "501": ("501 Not Implemented", "NotImplemented"),
            "400": ("400 Bad Request", "InvalidArgument"),
            "taken": ("412 Precondition Failed", "PreconditionFailed"),
        }[kind]
        start_response(status, [("Content-Type", "application/xml")])
        return f"<Error><Code>{code}</Code><Message>on purpose</Message></Error>".encode()

    def _absent(self, environ, start_response):
        """Answer of a service whose put-if-absent is another; None where it is the usual one."""
        if self.absent == "undeletable":
            deletes = environ["REQUEST_METHOD"] == "DELETE" or environ["QUERY_STRING"].startswith("delete")
            return self._refusal("denied", environ, start_response) if deletes else None
        conditions = {"HTTP_IF_NONE_MATCH", "HTTP_X_GOOG_IF_GENERATION_MATCH"} & set(environ)
        if not self.absent or environ["REQUEST_METHOD"] != "PUT" or not conditions:
            return None
        if self.absent == "ignore":
            for name in conditions:
                del environ[name]
            return None
        if self.absent in ("409", "denied"):
            answer = []
            body = b"".join(self.app(environ, lambda status, headers, _=None: answer.extend((status, headers))))
            if answer[0].startswith("412"):
                if self.absent == "denied":
                    return self._refusal("denied", environ, start_response, read=True)
                answer[0] = "409 Conflict"
            start_response(*answer)
            return body or b" "
        return self._refusal(self.absent, environ, start_response)

    def _kind(self, method):
        if self.fault is None or self.fault.get("method", method) != method or not self.fault["times"]:
            return None
        if self.fault["skip"]:
            self.fault["skip"] -= 1
            return None
        self.fault["times"] -= 1
        return self.fault["kind"]

    @staticmethod
    def _hang_up(environ):
        environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)

    def _cut(self, body, environ):
        yield body[: len(body) // 2]
        self._hang_up(environ)


if __name__ == "__main__":
    sys.stderr = open("/dev/null", "w")  # noqa: SIM115, its log of every request
    moto = DomainDispatcherApplication(create_backend_app)
    clouds = DispatcherMiddleware(moto, {"/__gs__": FakeGoogle(), "/__az__": FakeAzure()})
    server = make_server("127.0.0.1", 0, Faulty(clouds), threaded=True)
    print(server.port, flush=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()  # until the tests are over
