import { Type, type Static, type TSchema } from "typebox";
import { ApiError } from "../errors.ts";
import { enumOf, nullable, strictObject } from "../schema.ts";

/** Airflow's bulk bodies: a list of actions, each on a list of entities; every action reports what went well and what did not. */
export function bulkBody<T extends TSchema>(entity: T) {
  return strictObject({
    actions: Type.Array(
      Type.Union([
        strictObject({
          action: Type.Literal("create"),
          entities: Type.Array(entity),
          action_on_existence: Type.Unsafe<"fail" | "skip" | "overwrite">({
            ...enumOf(["fail", "skip", "overwrite"]),
            default: "fail",
          }),
        }),
        strictObject({
          action: Type.Literal("update"),
          entities: Type.Array(entity),
          update_mask: Type.Optional(nullable(Type.Array(Type.String()))),
          action_on_non_existence: failOrSkip,
        }),
        strictObject({
          action: Type.Literal("delete"),
          entities: Type.Array(Type.Union([Type.String(), entity])),
          action_on_non_existence: failOrSkip,
        }),
      ]),
    ),
  });
}

const failOrSkip = Type.Unsafe<"fail" | "skip">({ ...enumOf(["fail", "skip"]), default: "fail" });

export type OnExistence = "fail" | "skip" | "overwrite";
export type OnNonExistence = "fail" | "skip";

export interface BulkOutcome {
  success: string[];
  errors: { error: string; status_code?: number }[];
}

type BulkAction<T extends TSchema> = Static<ReturnType<typeof bulkBody<T>>>["actions"][number];
type CreateAction<T extends TSchema> = Extract<BulkAction<T>, { action: "create" }>;
type UpdateAction<T extends TSchema> = Extract<BulkAction<T>, { action: "update" }>;
type DeleteAction<T extends TSchema> = Extract<BulkAction<T>, { action: "delete" }>;

/** How one kind of entity is handled. Each adds to the outcome; an ApiError thrown ends its action and is reported in it. */
export interface BulkHandlers<T extends TSchema> {
  create(action: CreateAction<T>, outcome: BulkOutcome): Promise<void>;
  update(action: UpdateAction<T>, outcome: BulkOutcome): Promise<void>;
  delete(action: DeleteAction<T>, outcome: BulkOutcome): Promise<void>;
}

export interface BulkAnswer {
  create: BulkOutcome | null;
  update: BulkOutcome | null;
  delete: BulkOutcome | null;
}

/** Runs the actions in their order. */
export async function runBulk<T extends TSchema>(
  actions: readonly BulkAction<T>[],
  handlers: BulkHandlers<T>,
): Promise<BulkAnswer> {
  const answer: BulkAnswer = { create: null, update: null, delete: null };
  for (const action of actions) {
    const outcome = (answer[action.action] ??= { success: [], errors: [] });
    try {
      if (action.action === "create") await handlers.create(action, outcome);
      else if (action.action === "update") await handlers.update(action, outcome);
      else await handlers.delete(action, outcome);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      const detail = typeof error.detail === "string" ? error.detail : JSON.stringify(error.detail);
      outcome.errors.push({ error: detail, status_code: error.status });
    }
  }
  return answer;
}

/** Python's way to write a set of strings, in a settled order. */
export function pythonSet(keys: Iterable<string>): string {
  const sorted = [...new Set(keys)].sort();
  return sorted.length === 0 ? "set()" : `{${sorted.map((key) => `'${key}'`).join(", ")}}`;
}
