import { MsgpackReader } from "../kit/msgpack/reader.ts";
import { MsgpackWriter } from "../kit/msgpack/writer.ts";
import { RawJson, type Reply, type ToSupervisor } from "./task-execution.ts";

/** Fields that hold what user code made, by message. They are decoded as `RawJson`, or null where Python has None. */
const RAW_FIELDS: Readonly<Record<string, readonly string[]>> = {
  AwaitInputTask: ["next_kwargs"],
  CreateHITLDetailPayload: ["params"],
  DeferTask: ["trigger_kwargs", "next_kwargs"],
  MaskSecret: ["value"],
  SetAssetStateStoreByName: ["value"],
  SetAssetStateStoreByUri: ["value"],
  SetRenderedFields: ["rendered_fields"],
  SetTaskStateStore: ["value"],
  SetXCom: ["value"],
  SucceedTask: ["outlet_events"],
  TriggerDagRun: ["conf"],
  UpdateHITLDetail: ["params_input"],
};
const MAYBE_RAW = new Set(Object.values(RAW_FIELDS).flat());

export interface RequestFrame {
  id: number;
  message: ToSupervisor | null;
}

/** Decodes `[id, body, context]`. A field named `value` is RawJson even for None, so that a null XCom is a value. */
export function decodeRequest(frame: Buffer): RequestFrame {
  const reader = new MsgpackReader(frame);
  reader.header("array");
  const id = reader.value() as number;
  if (reader.isNil()) return { id, message: null };
  const fields: Record<string, unknown> = {};
  const later = new Map<string, number>();
  const count = reader.header("map");
  for (let i = 0; i < count; i++) {
    const key = reader.key();
    if (MAYBE_RAW.has(key)) {
      // Which message this is may only be known at the end of the map.
      later.set(key, reader.position);
      reader.skip();
    } else fields[key] = reader.value();
  }
  const type = fields["type"];
  if (typeof type !== "string") throw new TypeError("a request without a type");
  const raw = RAW_FIELDS[type] ?? [];
  for (const [key, position] of later) {
    const field = new MsgpackReader(frame, position);
    if (!raw.includes(key)) fields[key] = field.value();
    else fields[key] = field.isNil() && key !== "value" ? null : new RawJson(field.json());
  }
  return { id, message: { ...fields, type } };
}

/** Encodes `[id, body]` without its length, as an agent passes a request on. */
export function encodeRequest(id: number, message: ToSupervisor): Buffer {
  const writer = new MsgpackWriter();
  writer.arrayHeader(2);
  writer.integer(id);
  writer.value(message);
  return writer.finish();
}

/** Encodes `[id, body, error]` with its length before it. */
export function encodeReply(id: number, reply: Reply): Buffer {
  const writer = new MsgpackWriter(4);
  writer.arrayHeader(3);
  writer.integer(id);
  writer.value("error" in reply ? null : reply.body);
  writer.value("error" in reply ? reply.error : null);
  const frame = writer.finish();
  frame.writeUInt32BE(frame.length - 4, 0);
  return frame;
}

/** Decodes `[id, body, error]`. Fields that are neither text, true, false nor None are RawJson, so that 1.0 stays a float. */
export function decodeReply(frame: Buffer): { id: number; reply: Reply } {
  const reader = new MsgpackReader(frame);
  reader.header("array");
  const id = reader.value() as number;
  const body = fieldsOf(reader, frame);
  const error = fieldsOf(reader, frame);
  return { id, reply: error ? { error } : { body } };
}

function fieldsOf(reader: MsgpackReader, frame: Buffer): Record<string, unknown> | null {
  if (reader.isNil()) return reader.value() as null;
  const fields: Record<string, unknown> = {};
  const count = reader.header("map");
  for (let i = 0; i < count; i++) {
    const key = reader.key();
    const byte = frame[reader.position] as number;
    const isPlain = (byte >= 0xa0 && byte <= 0xc3) || (byte >= 0xd9 && byte <= 0xdb);
    fields[key] = isPlain ? reader.value() : new RawJson(reader.json());
  }
  return fields;
}

/** What a failure of ours looks like to the task: AirflowRuntimeError with the message. */
export function genericError(error: unknown): Reply {
  return {
    error: {
      type: "ErrorResponse",
      error: "API_SERVER_ERROR",
      detail: { status_code: null, message: error instanceof Error ? error.message : String(error) },
    },
  };
}
