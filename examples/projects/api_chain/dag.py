"""HTTP calls that depend on each other; the API is one of this machine, so that the example needs no network."""

import json
import threading
import urllib.request
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

from airflow.sdk import DAG, task


class Api(BaseHTTPRequestHandler):
    def do_GET(self):
        answer = {"user": 7} if self.path == "/session" else {"path": self.path, "items": 2}
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@contextmanager
def api():
    with HTTPServer(("127.0.0.1", 0), Api) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


def get(path: str) -> dict:
    with api() as base, urllib.request.urlopen(f"{base}{path}", timeout=10) as answer:
        return json.load(answer)


with DAG("api_chain"):

    @task
    def session() -> int:
        return get("/session")["user"]

    @task
    def order(user: int) -> dict:
        return get(f"/users/{user}/orders")

    order(session())
