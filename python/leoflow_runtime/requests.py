"""Small questions about the installation, each answered as JSON by a child of the base zygote."""

from __future__ import annotations

import json
import os
import traceback
from typing import Any, NoReturn

from leoflow_runtime.forkserver import AgentConnection, Command

TRANSIENT_CONN_ID = "leoflow_connection_test"


def run(command: Command, agent: AgentConnection) -> NoReturn:
    result_to = agent.open("result", command["token"])
    request: dict[str, Any] = command["request"]
    try:
        answer = {"result": _ANSWERS[request["kind"]](request)}
    except Exception as error:
        answer = {"error": f"{type(error).__name__}: {error}", "traceback": traceback.format_exc()}
    result_to.sendall(json.dumps(answer).encode())
    result_to.close()
    os._exit(0)


def _providers(_: dict[str, Any]) -> dict[str, Any]:
    from airflow.api_fastapi.core_api.services.public.providers import _provider_mapper
    from airflow.providers_manager import ProvidersManager

    found = [_provider_mapper(info).model_dump(mode="json") for info in ProvidersManager().providers.values()]
    return {"providers": sorted(found, key=lambda provider: provider["package_name"])}


def _hook_meta(_: dict[str, Any]) -> list[dict[str, Any]]:
    from airflow.api_fastapi.core_api.services.ui.connections import HookMetaService

    return [meta.model_dump(mode="json", by_alias=True) for meta in HookMetaService.hook_meta_data()]


def _plugins(_: dict[str, Any]) -> dict[str, Any]:
    from airflow import plugins_manager
    from airflow.api_fastapi.core_api.datamodels.plugins import PluginResponse

    errors = [{"source": source, "error": error} for source, error in plugins_manager.get_import_errors().items()]
    plugins = []
    for info in sorted(plugins_manager.get_plugin_info(), key=lambda plugin: plugin["name"]):
        try:
            plugins.append(PluginResponse.model_validate(info).model_dump(mode="json"))
        except ValueError as error:
            errors.append({"source": str(info.get("source", info["name"])), "error": str(error)})
    return {"plugins": plugins, "import_errors": errors}


def _airflow_config(_: dict[str, Any]) -> dict[str, Any]:
    from airflow.api_fastapi.core_api.services.public.config import _mask_per_key_sensitive_options
    from airflow.configuration import conf

    # Our own children's blocked database is no setting of the user's.
    for name in ("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "AIRFLOW__CORE__SQL_ALCHEMY_CONN"):
        os.environ.pop(name, None)
    found = conf.as_dict(display_source=False, display_sensitive=False)
    _mask_per_key_sensitive_options(found)
    return {
        "expose_config": str(conf.get("api", "expose_config")),
        "sections": [
            {"name": name, "options": [{"key": key, "value": str(value)} for key, value in options.items()]}
            for name, options in found.items()
        ],
    }


def _test_connection(request: dict[str, Any]) -> dict[str, Any]:
    from airflow.models.connection import Connection

    given = request["connection"]
    extra = given.get("extra")
    connection = Connection(
        conn_id=TRANSIENT_CONN_ID,
        conn_type=given.get("conn_type"),
        host=given.get("host"),
        login=given.get("login"),
        password=given.get("password"),
        schema=given.get("schema"),
        port=given.get("port"),
        extra=extra if isinstance(extra, str) or extra is None else json.dumps(extra),
    )
    # Hooks look their connection up by its id.
    os.environ[f"AIRFLOW_CONN_{TRANSIENT_CONN_ID.upper()}"] = connection.get_uri()
    status, message = connection.test_connection()
    return {"status": bool(status), "message": str(message)}


def _survey(request: dict[str, Any]) -> dict[str, Any]:
    from leoflow_runtime.survey import survey

    return survey(request)


def _execution_openapi(_: dict[str, Any]) -> dict[str, str]:
    """The documents of the Task Execution API by version: Airflow makes them when they are asked for."""
    import asyncio

    from airflow.api_fastapi.execution_api.app import create_task_execution_api_app
    from airflow.api_fastapi.execution_api.versions import bundle
    from starlette.requests import Request

    app = create_task_execution_api_app()
    app._cadwyn_initialize()

    def document(version: str) -> str:
        scope = {"type": "http", "headers": [], "root_path": "/execution", "query_string": f"version={version}".encode()}
        return asyncio.run(app.openapi_jsons(Request(scope))).body.decode()

    return {version.value: document(version.value) for version in bundle.versions}


def _older_next_kwargs(request: dict[str, Any]) -> str:
    """`next_kwargs` for SDKs before 1.2, as the API's `ModifyDeferredTaskKwargsToJsonValue` writes them."""
    from airflow.sdk.serde import deserialize
    from airflow.serialization.serialized_objects import BaseSerialization

    written: str = request["next_kwargs"]
    try:
        plain = deserialize(json.loads(written))
    except (ImportError, KeyError, AttributeError, TypeError):
        return written  # by such an SDK
    return json.dumps(BaseSerialization.serialize(plain))


_ANSWERS = {
    "providers": _providers,
    "hook_meta": _hook_meta,
    "plugins": _plugins,
    "airflow_config": _airflow_config,
    "test_connection": _test_connection,
    "survey": _survey,
    "execution_openapi": _execution_openapi,
    "older_next_kwargs": _older_next_kwargs,
}
