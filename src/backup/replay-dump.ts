import type pg from "pg";
import { UserError } from "../kit/user-error.ts";
import { splitStatements } from "../store/sql-statements.ts";
import { copyIn } from "./copy-in.ts";
import { replayError, type ReplayOptions } from "./restore-database.ts";

const COPY = /^copy\s.*\sfrom\s+stdin;$/is;
const SETTING = /^set\s+(\w+)\s*=/i;
const END_OF_ROWS = Buffer.from("\\.\n");

/**
 * Replays a plain dump over an open connection, in the caller's transaction: no psql is needed where a server's image has none,
 * and nothing but SQL is understood. Settings that an older server does not have are left out. Throws UserError.
 */
export async function replayDump(
  client: pg.ClientBase,
  dump: AsyncIterable<Buffer>,
  { onBytes, signal }: ReplayOptions = {},
): Promise<void> {
  const { rows } = await client.query<{ name: string }>("select name from pg_settings");
  const settings = new Set(rows.map(({ name }) => name.toLowerCase()));
  const input = new DumpInput(counted(dump, onBytes, signal));
  let text = "";
  try {
    for (let line = await input.line(); line !== undefined; line = await input.line()) {
      if (text === "" && (line.startsWith("--") || line.trim() === "")) continue;
      // psql's own commands. pg_dump writes two that keep others out.
      if (text === "" && line.startsWith("\\")) {
        if (/^\\(un)?restrict\s/.test(line)) continue;
        throw new UserError(`the dump holds a command of psql: ${line.trim().slice(0, 60)}`, {
          fix: "use another backup",
        });
      }
      text += line;
      if (!line.trimEnd().endsWith(";") || !isComplete(text)) continue;
      for (const statement of splitStatements(text)) {
        const setting = SETTING.exec(statement)?.[1]?.toLowerCase();
        if (setting !== undefined && !settings.has(setting)) continue;
        if (COPY.test(`${statement};`)) await copyIn(client, statement, input.rows());
        else await client.query(statement);
      }
      text = "";
    }
    if (splitStatements(text).length > 0) throw new UserError("the dump ends in the middle of a statement");
  } catch (error) {
    signal?.throwIfAborted();
    if (error instanceof UserError) throw error;
    if ((error as { code?: string }).code === undefined) throw error;
    throw replayError((error as Error).message);
  } finally {
    void input.close();
  }
}

/** Whether what follows would be a new statement: a text or a function's body may hold a line that ends in a semicolon. */
function isComplete(text: string): boolean {
  return splitStatements(`${text}\nlast`).at(-1) === "last";
}

async function* counted(
  dump: AsyncIterable<Buffer>,
  onBytes: ReplayOptions["onBytes"],
  signal: AbortSignal | undefined,
): AsyncGenerator<Buffer> {
  let bytes = 0;
  for await (const chunk of dump) {
    signal?.throwIfAborted();
    yield chunk;
    bytes += chunk.length;
    onBytes?.(bytes);
  }
}

/** A dump as lines of SQL, and between them the rows of tables as bytes. */
class DumpInput {
  readonly #chunks: AsyncIterator<Buffer>;
  #rest: Buffer = Buffer.alloc(0);

  constructor(chunks: AsyncIterable<Buffer>) {
    this.#chunks = chunks[Symbol.asyncIterator]();
  }

  async #more(): Promise<boolean> {
    const next = await this.#chunks.next();
    if (next.done) return false;
    this.#rest = this.#rest.length === 0 ? next.value : Buffer.concat([this.#rest, next.value]);
    return true;
  }

  #take(size: number): Buffer {
    const taken = this.#rest.subarray(0, size);
    this.#rest = this.#rest.subarray(size);
    return taken;
  }

  async close(): Promise<void> {
    await this.#chunks.return?.().catch(() => undefined);
  }

  /** With its line end; undefined at the end. */
  async line(): Promise<string | undefined> {
    for (;;) {
      const end = this.#rest.indexOf(0x0a);
      if (end >= 0) return this.#take(end + 1).toString("utf8");
      if (!(await this.#more()))
        return this.#rest.length > 0 ? this.#take(this.#rest.length).toString("utf8") : undefined;
    }
  }

  /** Up to the line that ends the rows, which is taken too. */
  async *rows(): AsyncGenerator<Buffer> {
    let atLineStart = true;
    for (;;) {
      if (atLineStart && this.#rest.subarray(0, END_OF_ROWS.length).equals(END_OF_ROWS)) {
        this.#take(END_OF_ROWS.length);
        return;
      }
      const end = this.#rest.indexOf("\n\\.\n");
      if (end >= 0) {
        yield this.#take(end + 1);
        this.#take(END_OF_ROWS.length);
        return;
      }
      // The last bytes may be the beginning of the end.
      const sure = this.#rest.length - END_OF_ROWS.length;
      if (sure > 0) {
        yield this.#take(sure);
        atLineStart = false;
      }
      if (!(await this.#more())) throw new UserError("the dump ends in the middle of a table's rows");
    }
  }
}
