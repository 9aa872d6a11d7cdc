import type { FastifyInstance, FastifyRequest } from "fastify";
import type { TypeBoxTypeProvider } from "@fastify/type-provider-typebox";
import type { Kit } from "../kit/service.ts";
import type { SecretBox } from "../kit/fernet.ts";
import type { EventBus } from "../domain/events.ts";
import type { TeamScope } from "../domain/team.ts";
import type { Role } from "../domain/user.ts";
import type { DagGraph } from "../domain/dag-graph.ts";
import type { AskTimetable } from "../domain/timetable/custom.ts";
import type { Database } from "../store/database.ts";
import type { ExecutionContext } from "../execution/context.ts";
import type { AgentService } from "./agent/agent-service.ts";
import type { OpenDagFile } from "./leoflow/dag-file-contract.ts";
import type { PushedProjects } from "./leoflow/pushed-dags-contract.ts";
import type { WorkspaceFiles } from "./leoflow/files-contract.ts";

/** Routes are written against this, so that bodies and queries are typed by their TypeBox schemas. */
export type App = FastifyInstance & { withTypeProvider: FastifyInstance["withTypeProvider"] };
export type TypedApp = ReturnType<typeof typed>;

export function typed(app: FastifyInstance) {
  return app.withTypeProvider<TypeBoxTypeProvider>();
}

export { ROLES, type Role } from "../domain/user.ts";

export interface User {
  name: string;
  role: Role;
  /** Of Airflow's multi-team mode; an admin needs none. */
  teams?: readonly string[];
  /** What the user's tokens hang on; none for the admin of config.yaml. */
  sessionKey?: string;
}

/** What every group of routes is given. */
export interface ApiContext {
  kit: Kit;
  db: Database;
  bus: EventBus;
  secrets: SecretBox;
  /** The graph of a DAG version; cached. Throws when the version does not exist. */
  graph(dagVersionId: string): Promise<DagGraph>;
  /** Asks a DAG version's timetable, where it is a user's own. */
  askTimetable: AskTimetable;
  /** Logs folder: files lie at `taskLogPath(...)` below it. */
  logsDir: string;
  /** The workspace's root: DAG files lie below it. */
  workspace: string;
  /** The workspace's files, where this server keeps DAGs as files that people may edit. */
  files?: WorkspaceFiles;
  /** The folder that a run's tasks share, where this server is on their machine; null: there is none (any more). */
  staging?(dagId: string, runId: string): Promise<string | null>;
  /** Parses a DAG file wherever it lies on this machine, for somebody who tries it. */
  openDagFile?: OpenDagFile;
  /** Where projects are pushed to, where this server keeps DAGs as files. */
  pushed?: PushedProjects;
  /** site-packages of the venv whose Airflow wheel serves the UI. */
  airflowPackageDir: string;
  /** Asks for a file to be parsed again now (PUT /parseDagFile). */
  reparse(relativeFileloc: string): void;
  /** Runs a small Python request in the base venv: provider lists, hook metadata, connection tests. */
  python(request: { kind: string; [field: string]: unknown }): Promise<unknown>;
  /** What tasks ask of this server over HTTP; without it there is no Task Execution API. */
  execution?: ExecutionContext;
  /** What agents on other machines work with, where this server takes them. */
  agents?: AgentService;
  /** Airflow's `[core] parallelism`, where it is not the default. */
  parallelism?: number;
  /** Airflow's `[core] multi_team`: users see what their teams own, and what nobody owns. */
  multiTeam?: boolean;
}

/** The signed-in user of a request; every route below /api/v2 and /ui has one unless it is public. */
export function userOf(request: FastifyRequest): User {
  const { user } = request as FastifyRequest & { user?: User };
  if (!user) throw new Error("route used without authentication");
  return user;
}

/** What the request's user may see; auth/team-access.ts sets it, and only in multi-team mode. */
export function teamsOf(request: FastifyRequest): TeamScope {
  return (request as FastifyRequest & { teamScope?: TeamScope }).teamScope ?? null;
}

/** Least role for a route, checked before its handler: `{ config: { role: "OP" } }`; "public" needs no login. Default VIEWER. */
export interface RouteAccess {
  role?: Role | "public";
}

declare module "fastify" {
  interface FastifyContextConfig {
    role?: Role | "public";
  }
}
