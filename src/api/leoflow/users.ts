import type { FastifyInstance } from "fastify";
import { Type } from "typebox";
import { ROLES, userNameOf, userNameProblem } from "../../domain/user.ts";
import { generatePassword, hashPassword, SHORTEST_PASSWORD } from "../../kit/password.ts";
import { teamNames, unknownTeams } from "../../store/teams.ts";
import { createUser, deleteUser, findUser, listUsers, updateUser } from "../../store/users.ts";
import { audited } from "../audit.ts";
import { typed, type ApiContext } from "../context.ts";
import { badRequest, notFound, uniqueConflict } from "../errors.ts";
import { enumOf, nullable, strictObject, valueError } from "../schema.ts";
import type { ChangedUser, UserList } from "./users-contract.ts";

const nameParams = Type.Object({ name: Type.String() });
const role = enumOf(ROLES);
/** null has one made. */
const password = Type.Optional(nullable(Type.String({ minLength: SHORTEST_PASSWORD, maxLength: 1_024 })));
const teams = Type.Optional(Type.Array(Type.String()));
const createBody = strictObject({ name: Type.String(), role, teams, password });
const patchBody = strictObject({
  role: Type.Optional(role),
  teams,
  active: Type.Optional(Type.Boolean()),
  password,
});

/** `/api/leoflow/users`: the users beside the admin of config.yaml, for admins. */
export function userRoutes(instance: FastifyInstance, context: ApiContext, config: { adminEmail: string }): void {
  const app = typed(instance);
  const { db, bus } = context;
  const admin = { role: "ADMIN" as const };
  const changed = (): void => bus.publish({ kind: "users" });

  app.get("/api/leoflow/users", { config: admin }, async (): Promise<UserList> => {
    const users = await listUsers(db);
    const known = context.multiTeam ? await teamNames(db) : null;
    return { users, total_entries: users.length, configured_admin: config.adminEmail, teams: known };
  });

  app.get("/api/leoflow/users/:name", { config: admin, schema: { params: nameParams } }, async ({ params }) => {
    const name = userNameOf(params.name);
    return found(await findUser(db, name), name);
  });

  app.post(
    "/api/leoflow/users",
    { config: admin, schema: { body: createBody }, preValidation: audited(db, "post_user") },
    async ({ body }, reply): Promise<ChangedUser> => {
      const name = userNameOf(body.name);
      const problem = userNameProblem(name, config.adminEmail);
      if (problem !== null) throw valueError(["body", "name"], problem, body.name);
      const { passwordHash, made } = await newPassword(body.password ?? null);
      await checkTeams(body);
      const user = await createUser(db, { name, role: body.role, teams: body.teams, passwordHash });
      if (!user) throw uniqueConflict(`The User with name: \`${name}\` already exists`);
      reply.code(201);
      return { ...user, ...made };
    },
  );

  app.patch(
    "/api/leoflow/users/:name",
    { config: admin, schema: { params: nameParams, body: patchBody }, preValidation: audited(db, "patch_user") },
    async ({ params, body }): Promise<ChangedUser> => {
      const name = userNameOf(params.name);
      const { role, teams, active } = body;
      await checkTeams(body);
      const { passwordHash, made } = body.password === undefined ? {} : await newPassword(body.password);
      const user = found(await updateUser(db, name, { role, teams, active, passwordHash }), name);
      changed();
      return { ...user, ...made };
    },
  );

  app.delete(
    "/api/leoflow/users/:name",
    { config: admin, schema: { params: nameParams }, preValidation: audited(db, "delete_user") },
    async ({ params }, reply) => {
      const name = userNameOf(params.name);
      if (!(await deleteUser(db, name))) throw missing(name);
      changed();
      return reply.code(204).send();
    },
  );

  async function checkTeams(body: { teams?: string[] }): Promise<void> {
    const { teams = [] } = body;
    if (teams.length === 0) return;
    if (!context.multiTeam) throw valueError(["body", "teams"], "teams are of multi-team mode, which is off", teams);
    const [unknown] = await unknownTeams(db, teams);
    if (unknown !== undefined) throw badRequest(`Team '${unknown}' does not exist`);
  }
}

async function newPassword(given: string | null): Promise<{ passwordHash: string; made: { password?: string } }> {
  const password = given ?? generatePassword();
  return { passwordHash: await hashPassword(password), made: given === null ? { password } : {} };
}

const missing = (name: string) => notFound(`The User with name: \`${name}\` was not found`);

function found<T>(user: T | undefined, name: string): T {
  if (user === undefined) throw missing(name);
  return user;
}
