"""
A worker for Leoflow made of nothing but a stock Airflow: asks the server for a task, runs it as Airflow's executors run one in a
container (`python -m airflow.sdk.execution_time.execute_workload`), and sends its log. One task at a time; start as many as
there is room for. Needs Airflow 3.1 or newer and nothing else; Python's own library does the rest.

    python airflow_worker.py --server http://leoflow:8080 --token-file agent.token

DAG files lie where `AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST` says, as for every Airflow worker.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

API = "/api/leoflow/agent/workloads"
PIECE_BYTES = 512 * 1024
SHIP_SECONDS = 1.0
IDLE_SECONDS = 1.0


class Server:
    def __init__(self, url: str, token: str) -> None:
        self.url = url.rstrip("/")
        self._token = token

    def lease(self, queues: list[str] | None) -> dict[str, Any] | None:
        body = {"count": 1} if queues is None else {"count": 1, "queues": queues}
        answer = self._send("POST", API, json.dumps(body).encode(), "application/json")
        return next(iter(answer["workloads"]), None)

    def append(self, task_id: str, offset: int, piece: bytes) -> None:
        self._send("PUT", f"{API}/{task_id}/log?offset={offset}", piece, "application/octet-stream")

    def _send(self, method: str, path: str, body: bytes, content_type: str) -> Any:
        headers = {"authorization": f"Bearer {self._token}", "content-type": content_type}
        request = urllib.request.Request(self.url + path, body, headers, method=method)
        with urllib.request.urlopen(request, timeout=30) as response:
            return json.load(response)


class Log:
    """Sends what is new in a task's log; what could not be sent is sent again with what follows."""

    def __init__(self, server: Server, task_id: str, file: Path, offset: int) -> None:
        self._server, self._task_id, self._file = server, task_id, file
        self._offset, self._sent = offset, 0

    def ship(self) -> bool:
        """False: there is more, and the server does not take it now."""
        while self._file.exists():
            with self._file.open("rb") as file:
                file.seek(self._sent)
                piece = file.read(PIECE_BYTES)
            if not piece:
                break
            try:
                self._server.append(self._task_id, self._offset + self._sent, piece)
            except OSError as error:
                print(f"the log of {self._task_id} was not taken: {error}", file=sys.stderr)
                return False
            self._sent += len(piece)
        return True


class Stop:
    """SIGTERM and SIGINT: the first ends the program after the task that runs, the second ends that task as well."""

    def __init__(self) -> None:
        self.asked = 0
        self.process: subprocess.Popen[bytes] | None = None
        signal.signal(signal.SIGTERM, self._ask)
        signal.signal(signal.SIGINT, self._ask)

    def _ask(self, *_: object) -> None:
        self.asked += 1
        if self.asked > 1 and self.process is not None:
            self.process.terminate()


def run(server: Server, leased: dict[str, Any], patience_seconds: float, stop: Stop) -> None:
    workload = leased["workload"]
    task_id = workload["ti"]["id"]
    with tempfile.TemporaryDirectory(prefix="airflow-worker-") as folder:
        file = Path(folder, "workload.json")
        file.touch(mode=0o600)  # it holds the task's token
        file.write_text(json.dumps(workload))
        environment = {
            **os.environ,
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{server.url}/execution/",
            "AIRFLOW__LOGGING__BASE_LOG_FOLDER": folder,
        }
        command = [sys.executable, "-m", "airflow.sdk.execution_time.execute_workload", "--json-path", str(file)]
        # Its own process group: Ctrl-C is for this program.
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, start_new_session=True)
        stop.process = process
        if stop.asked > 1:
            process.terminate()
        log = Log(server, task_id, Path(folder, workload["log_path"]), leased["log_size"])
        while process.poll() is None:
            time.sleep(SHIP_SECONDS if log.ship() else 5 * SHIP_SECONDS)
        stop.process = None
        until = time.monotonic() + (patience_seconds if stop.asked < 2 else 0)
        while not log.ship() and time.monotonic() < until:
            time.sleep(SHIP_SECONDS)
    print(f"{workload['ti']['dag_id']}.{workload['ti']['task_id']} {task_id}: exit code {process.returncode}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", required=True, help="address of the Leoflow server")
    parser.add_argument("--token-file", required=True, type=Path, help="from leoflow auth create-agent-token")
    parser.add_argument("--queues", type=lambda text: text.split(","), help="of the token's; all of them when left out")
    parser.add_argument("--log-patience", type=float, default=300, help="seconds to wait for the server with a log's end")
    args = parser.parse_args()
    server = Server(args.server, args.token_file.read_text().strip())
    stop = Stop()
    while not stop.asked:
        try:
            leased = server.lease(args.queues)
        except urllib.error.HTTPError as error:
            if error.code in (400, 401, 403):
                print(f"{args.server} refuses: {error.read().decode()}", file=sys.stderr)
                return 1
            leased = None
        except OSError as error:
            print(f"{args.server} does not answer: {error}", file=sys.stderr)
            leased = None
        if leased is None:
            time.sleep(IDLE_SECONDS)
        else:
            run(server, leased, args.log_patience, stop)
    return 0


if __name__ == "__main__":
    sys.exit(main())
