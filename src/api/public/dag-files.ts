import { Type } from "typebox";
import { isWithinTeams } from "../../domain/team.ts";
import { formatInstant } from "../../kit/instant.ts";
import {
  DAG_WARNING_ORDER,
  findImportError,
  IMPORT_ERROR_ORDER,
  isKnownDagFile,
  isOfTeams,
  listDagWarnings,
  listImportErrors,
  type ImportErrorRow,
} from "../../store/query-catalog.ts";
import { teamsOfFile } from "../../store/teams.ts";
import { audited } from "../audit.ts";
import { teamsOf, type ApiContext, type TypedApp } from "../context.ts";
import { ApiError, notFound } from "../errors.ts";
import { orderByQuery, orderOf, pageOf, pageQuery, patternQuery, patternsOf } from "../query.ts";
import { enumOf } from "../schema.ts";
import { decodeFileToken } from "./file-token.ts";

const WARNING_TYPES = ["asset conflict", "non-existent pool", "runtime varying value"] as const;

/** What came of DAG files: `/importErrors`, `/dagWarnings`, `/parseDagFile`. */
export function dagFileRoutes(app: TypedApp, context: ApiContext): void {
  const { db } = context;

  const errorQuery = Type.Object({
    ...pageQuery,
    ...orderByQuery,
    ...patternQuery("filename"),
    filename: Type.Optional(Type.String()),
    bundle_name: Type.Optional(Type.String()),
  });
  app.get("/importErrors", { schema: { querystring: errorQuery } }, async (request) => {
    const { query } = request;
    const orders = orderOf(query.order_by, {
      allowed: Object.keys(IMPORT_ERROR_ORDER),
      primaryKey: "id",
      aliases: { import_error_id: "id" },
    });
    const { rows, total } = await listImportErrors(
      db,
      {
        filenamePattern: patternsOf(query, "filename"),
        filename: query.filename,
        bundleName: query.bundle_name,
        teams: teamsOf(request),
      },
      { orders, page: pageOf(query) },
    );
    return { import_errors: rows.map(toImportErrorResponse), total_entries: total };
  });

  const errorParams = Type.Object({ import_error_id: Type.Integer() });
  app.get("/importErrors/:import_error_id", { schema: { params: errorParams } }, async (request) => {
    const { params } = request;
    const error = await findImportError(db, params.import_error_id);
    if (!error) {
      throw notFound(`The ImportError with import_error_id: \`${params.import_error_id}\` was not found`);
    }
    if (!(await isOfTeams(db, error, teamsOf(request)))) {
      throw new ApiError(403, "You do not have read permission on any of the Dags in the file");
    }
    return toImportErrorResponse(error);
  });

  const warningQuery = Type.Object({
    ...pageQuery,
    ...orderByQuery,
    dag_id: Type.Optional(Type.String()),
    warning_type: Type.Optional(enumOf(WARNING_TYPES)),
  });
  app.get("/dagWarnings", { schema: { querystring: warningQuery } }, async (request) => {
    const { query } = request;
    const orders = orderOf(query.order_by, { allowed: Object.keys(DAG_WARNING_ORDER), primaryKey: "dag_id" });
    const filter = { dagId: query.dag_id, warningType: query.warning_type, teams: teamsOf(request) };
    const { rows, total } = await listDagWarnings(db, filter, { orders, page: pageOf(query) });
    return {
      dag_warnings: rows.map((row) => ({
        dag_id: row.dag_id,
        warning_type: row.warning_type,
        message: row.message,
        timestamp: formatInstant(row.timestamp),
        dag_display_name: row.dag_display_name,
      })),
      total_entries: total,
    };
  });

  app.put(
    "/parseDagFile/:file_token",
    {
      schema: { params: Type.Object({ file_token: Type.String() }) },
      config: { role: "USER" },
      preValidation: audited(db, "reparse_dag_file"),
    },
    async (request, reply) => {
      const file = decodeFileToken(request.params.file_token);
      if (!file || !(await isKnownDagFile(db, file.relativeFileloc))) throw notFound("File not found");
      const teams = teamsOf(request);
      const owners = teams === null ? [] : await teamsOfFile(db, file.relativeFileloc);
      if (!owners.every((team) => isWithinTeams(team, teams))) throw new ApiError(403, "Forbidden");
      context.reparse(file.relativeFileloc);
      return await reply.code(201).type("application/json").send("null");
    },
  );
}

function toImportErrorResponse(row: ImportErrorRow) {
  return {
    import_error_id: row.id,
    timestamp: formatInstant(row.timestamp),
    filename: row.filename,
    bundle_name: row.bundle_name,
    stack_trace: row.stacktrace,
  };
}
