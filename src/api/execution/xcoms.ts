import { Type } from "typebox";
import { RawJson } from "../../kit/json-text.ts";
import { withDatabase } from "../../execution/database-retry.ts";
import { xcomRefusal } from "../../execution/team-rule.ts";
import { foreignRunRefusal, getXCom, getXComItem } from "../../execution/xcom.ts";
import { ApiError } from "../errors.ts";
import { asMessage, operation, refusal, text, type Call, type HttpAnswer, type Operation } from "./operation.ts";

const PATH = "/xcoms/{dag_id}/{run_id}/{task_id}/{key:path}";

const notFound = (message: string): HttpAnswer => ({ status: 404, body: { detail: { reason: "not_found", message } } });

function seriesOf(call: Call) {
  return {
    dagId: text(call, "dag_id"),
    runId: text(call, "run_id"),
    taskId: text(call, "task_id"),
    key: text(call, "key"),
  };
}

const placeOf = ({ taskId, runId, dagId }: ReturnType<typeof seriesOf>) =>
  `task '${taskId}' in DAG run '${runId}' of '${dagId}'`;

/** As the message, but that one does not tell a stored None from nothing. */
const get: Operation["run"] = async (x, call) => {
  const series = seriesOf(call);
  const { map_index, include_prior_dates, offset } = call.query as {
    map_index: number;
    include_prior_dates: boolean;
    offset?: number;
  };
  return await withDatabase(x, async () => {
    const refused = await xcomRefusal(x, call.callerId, series.dagId, false);
    if (refused) return refusal(refused);
    const value =
      offset === undefined
        ? await getXCom(x, { ...series, mapIndex: map_index }, include_prior_dates)
        : await getXComItem(x, series, offset, include_prior_dates);
    if (value !== undefined) return { status: 200, body: { key: series.key, value: new RawJson(value) } };
    const which = offset === undefined ? `map_index=${map_index}` : `offset=${offset}`;
    return notFound(`XCom with key='${series.key}' ${which} not found for ${placeOf(series)}`);
  });
};

const item = asMessage("GetXComSequenceItem", {
  fields: (call) => ({ offset: offsetOf(call) }),
  ok: ({ root }) => ({ status: 200, body: root }),
});

function offsetOf(call: Call): number {
  const written = text(call, "offset");
  if (/^[+-]?\d{1,15}$/.test(written)) return Number(written);
  const msg = "Input should be a valid integer, unable to parse string as an integer";
  throw new ApiError(422, [{ type: "int_parsing", loc: ["path", "offset"], msg, input: written }]);
}

const getItem: Operation["run"] = async (x, call) => {
  const answer = await item(x, call);
  if (answer.status !== 404) return answer;
  const series = seriesOf(call);
  return notFound(`XCom with key='${series.key}' offset=${offsetOf(call)} not found for ${placeOf(series)}`);
};

/** Refuses what is not of the caller's own run, before anything else. */
function inOwnRun(work: Operation["run"]): Operation["run"] {
  return async (x, call) => {
    const refused = await withDatabase(x, () => foreignRunRefusal(x, call.callerId, seriesOf(call)));
    return refused ? refusal(refused) : await work(x, call);
  };
}

const count: Operation["run"] = async (x, call) => {
  if (call.query["map_index"] !== undefined) {
    throw new ApiError(400, { reason: "invalid_request", message: "Cannot specify map_index in a HEAD request" });
  }
  return await counted(x, call);
};

const counted = asMessage("GetXComCount", {
  ok: ({ len }) => ({ status: 200, headers: { "content-range": `map_indexes ${String(len)}` } }),
});

const MapIndex = Type.Integer({ default: -1 });
const optionalInteger = Type.Optional(Type.Integer());
const includePriorDates = { include_prior_dates: Type.Boolean({ default: false }) };

export const xcomOperations: readonly Operation[] = [
  operation(`GET ${PATH}/item/{offset}`, getItem),
  operation(
    `GET ${PATH}/slice`,
    asMessage("GetXComSequenceSlice", { ok: ({ root }) => ({ status: 200, body: root }) }),
    {
      query: Type.Object({
        start: optionalInteger,
        stop: optionalInteger,
        step: optionalInteger,
        ...includePriorDates,
      }),
    },
  ),
  operation(`HEAD ${PATH}`, count, { query: Type.Object({ map_index: optionalInteger }) }),
  operation(`GET ${PATH}`, get, {
    query: Type.Object({ map_index: MapIndex, ...includePriorDates, offset: optionalInteger }),
  }),
  operation(
    `POST ${PATH}`,
    inOwnRun(
      asMessage("SetXCom", {
        fields: ({ bodyText }) => ({ value: new RawJson(bodyText) }),
        ok: () => ({ status: 201, body: { message: "XCom successfully set" } }),
      }),
    ),
    {
      query: Type.Object({
        map_index: MapIndex,
        dag_result: Type.Boolean({ default: false }),
        mapped_length: optionalInteger,
      }),
      body: Type.Unknown(),
    },
  ),
  operation(
    `DELETE ${PATH}`,
    inOwnRun(
      asMessage("DeleteXCom", {
        ok: (_body, call) => ({
          status: 200,
          body: { message: `XCom with key: ${text(call, "key")} successfully deleted.` },
        }),
      }),
    ),
    { query: Type.Object({ map_index: MapIndex }) },
  ),
];
