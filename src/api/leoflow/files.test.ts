import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { createTestApi, type TestApi } from "../../../test/support/api.ts";
import { createTestDatabase, type TestDatabase } from "../../../test/support/database.ts";
import { makeDag } from "../../../test/support/factories.ts";
import { FileRefusal, type WorkspaceFiles } from "./files-contract.ts";
import { leoflowRoutes } from "./index.ts";
import { leoflowPlugin, PAGES } from "./pages.ts";

let database: TestDatabase;
let api: TestApi;
let dir: string;

/** One file, kept in memory: what files do is the test of those who keep them. */
const kept = { text: "a = 1\n", tag: "1" };
const files: WorkspaceFiles = {
  list: async () => ({
    entries: [{ path: "a.py", kind: "file", bytes: 6, readOnly: false, ignored: false }],
    truncated: false,
  }),
  read: async (path) => {
    if (path !== "dags/ä b.py") throw new FileRefusal("not-found", `There is no ${path} any more.`);
    return { path, location: `/ws/${path}`, text: kept.text, tag: kept.tag, readOnly: false };
  },
  search: async (text) => ({ matches: [{ path: "a.py", line: 1, column: 1, text }], truncated: false }),
  write: async (path, text, tag) => {
    if (tag !== kept.tag) throw new FileRefusal("changed", `${path} was changed on disk.`);
    return Object.assign(kept, { text, tag: "2" }).tag;
  },
  createFile: async (path) => {
    if (path === "a.py") throw new FileRefusal("exists", "There is a a.py already.");
    return "new";
  },
  createFolder: async () => undefined,
  rename: async (_from, to) => {
    if (to.startsWith("..")) throw new FileRefusal("outside", "leads out");
  },
  remove: async (_path, recursive) => {
    if (!recursive) throw new FileRefusal("not-empty", "is not empty");
  },
};

beforeAll(async () => {
  database = await createTestDatabase();
  dir = mkdtempSync(join(tmpdir(), "leoflow-pages-test-"));
  mkdirSync(join(dir, "web"));
  for (const name of ["editor.js", "editor.css"]) writeFileSync(join(dir, "web", name), `/* ${name} */`);
  writeFileSync(join(dir, "secret.txt"), "secret");
  symlinkSync(join(dir, "secret.txt"), join(dir, "web/link.txt"));
  const config = { webDir: join(dir, "web"), packedDir: join(dir, "packed") };
  api = await createTestApi(database.db, [(app, context) => leoflowRoutes(app, context, config)], {
    prefix: "",
    files,
  });
});

afterAll(async () => {
  await api.close();
  await database.close();
  rmSync(dir, { recursive: true, force: true });
});

beforeEach(() => {
  api.user = { name: "ann", role: "ADMIN" };
});

const FILE = `/api/leoflow/files/dags/${encodeURIComponent("ä b.py")}`;
const changes = () =>
  database.db.selectFrom("log").select(["event", "owner", "extra"]).orderBy("id", "desc").limit(1).executeTakeFirst();

describe("/api/leoflow/files", () => {
  it("lists, searches and reads, with the DAGs of a file", async () => {
    await makeDag(database.db, { dag_id: "mine", relative_fileloc: "dags/ä b.py" });
    expect((await api.get("/api/leoflow/files")).json()).toEqual({
      files: [{ path: "a.py", kind: "file", bytes: 6, read_only: false, ignored: false }],
      truncated: false,
    });
    const answer = await api.get(FILE);
    expect(answer.json()).toEqual({
      path: "dags/ä b.py",
      location: "/ws/dags/ä b.py",
      text: "a = 1\n",
      read_only: false,
      dags: [{ dag_id: "mine", dag_display_name: "mine" }],
    });
    expect([answer.headers.etag, answer.headers["cache-control"]]).toEqual(['"1"', "no-store"]);
    expect((await api.get("/api/leoflow/file-search?q=needle")).json()).toMatchObject({
      matches: [{ text: "needle" }],
    });
    expect((await api.get("/api/leoflow/file-search?q=n")).statusCode).toBe(422);
    const gone = await api.get("/api/leoflow/files/gone.py");
    expect([gone.statusCode, gone.json()]).toEqual([404, { detail: "There is no gone.py any more." }]);
  });

  it("writes only over what the client has read, and puts it on record without the text", async () => {
    const put = (headers: Record<string, string>) => api.request("PUT", FILE, { text: "secret = 1\n" }, headers);
    expect((await put({})).statusCode).toBe(428);
    expect((await put({ "if-match": '"other"' })).statusCode).toBe(412);
    expect(kept.text).toBe("a = 1\n");
    const saved = await put({ "if-match": 'W/"1"' });
    expect([saved.statusCode, saved.headers.etag, kept.text]).toEqual([200, '"2"', "secret = 1\n"]);
    expect(await changes()).toEqual({ event: "save_file", owner: "ann", extra: '{"path":"dags/ä b.py"}' });
  });

  it("makes, renames and deletes, and says why not", async () => {
    const made = await api.request("POST", "/api/leoflow/files/b.py", { text: "x" });
    expect([made.statusCode, made.headers.etag]).toEqual([201, '"new"']);
    expect((await api.request("POST", "/api/leoflow/files/b", { kind: "folder" })).statusCode).toBe(201);
    expect((await api.request("POST", "/api/leoflow/files/a.py", {})).statusCode).toBe(409);
    expect((await api.request("PATCH", "/api/leoflow/files/a.py", { path: "b.py" })).json()).toEqual({ path: "b.py" });
    expect((await api.request("PATCH", "/api/leoflow/files/a.py", { path: "../b.py" })).statusCode).toBe(403);
    expect((await api.request("DELETE", "/api/leoflow/files/b")).statusCode).toBe(409);
    expect((await api.request("DELETE", "/api/leoflow/files/b?recursive=true")).statusCode).toBe(204);
    expect(await changes()).toMatchObject({ event: "delete_file", extra: '{"path":"b","recursive":true}' });
    for (const body of [{}, { text: 1 }, { text: "x", more: 1 }]) {
      expect((await api.request("PUT", FILE, body, { "if-match": '"2"' })).statusCode).toBe(422);
    }
  });

  it("is for admins", async () => {
    api.user = { name: "eve", role: "OP" };
    const codes = await Promise.all([
      api.get("/api/leoflow/files"),
      api.get(FILE),
      api.get("/api/leoflow/file-search?q=needle"),
      api.request("PUT", FILE, { text: "" }, { "if-match": '"2"' }),
      api.request("POST", FILE, {}),
      api.request("PATCH", FILE, { path: "b.py" }),
      api.request("DELETE", FILE),
    ]);
    expect(codes.map(({ statusCode }) => statusCode)).toEqual(codes.map(() => 403));
  });
});

describe("our own pages", () => {
  it("are a plugin's views, as far as the user may open them", () => {
    const views = (role: "OP" | "ADMIN", context = api.context) =>
      leoflowPlugin(context, { name: "ann", role }).external_views.map(
        ({ name, destination }) => `${name}:${destination}`,
      );
    expect(views("ADMIN")).toEqual(expect.arrayContaining(["Editor:nav", "Editor:dag"]));
    expect(views("OP")).not.toContain("Editor:nav");
    expect(views("ADMIN", { ...api.context, files: undefined })).not.toContain("Editor:nav");
    const routes = PAGES.flatMap((page) => page.views.map(({ url_route }) => url_route));
    expect(new Set(routes).size).toBe(routes.length);
  });

  it("come with a policy that lets nothing else in", async () => {
    const page = await api.get("/leoflow/editor");
    expect(page.statusCode).toBe(200);
    expect(page.headers["content-security-policy"]).toContain("default-src 'none'; script-src 'self';");
    expect(page.headers["content-security-policy"]).toContain("frame-ancestors 'self'");
    const script = /src="(\/leoflow\/web\/editor\.js\?v=[^"]+)"/.exec(page.body)?.[1] ?? "";
    const answer = await api.get(script);
    expect([answer.body, answer.headers["cache-control"]]).toEqual([
      "/* editor.js */",
      "public, max-age=31536000, immutable",
    ]);
    writeFileSync(join(dir, "web/editor.js"), "/* built anew, and longer */");
    expect((await api.get("/leoflow/editor")).body).not.toContain(script);
    expect((await api.get(script)).body).toBe("/* built anew, and longer */");
    for (const path of ["link.txt", "../secret.txt", "%2e%2e/secret.txt", "..%2fsecret.txt", "gone.js", ""]) {
      expect([path, (await api.get(`/leoflow/web/${path}`)).statusCode]).toEqual([path, 404]);
    }
    expect(readFileSync(join(dir, "secret.txt"), "utf8")).toBe("secret");
    expect((await api.get("/leoflow/why")).statusCode).toBe(404);
  });
});
