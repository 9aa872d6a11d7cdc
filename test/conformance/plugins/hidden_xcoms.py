"""An XCom backend that keeps some values in another form."""
import json

from airflow.sdk.bases.xcom import BaseXCom

MARK = "kept elsewhere: "


class HiddenXComs(BaseXCom):
    @staticmethod
    def serialize_value(value, *, key=None, task_id=None, dag_id=None, run_id=None, map_index=None):
        if isinstance(value, dict) and "hide" in value:
            text = json.dumps(value["hide"])[::-1]
            return BaseXCom.serialize_value(f"{MARK}{dag_id} {task_id} {map_index} {key} {text}")
        return BaseXCom.serialize_value(value)

    @staticmethod
    def deserialize_value(result):
        value = BaseXCom.deserialize_value(result)
        if isinstance(value, str) and value.startswith(MARK):
            return {"found": json.loads(value.rsplit(" ", 1)[1][::-1])}
        return value
