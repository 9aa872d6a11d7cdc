import { limitOf, noteCut, printJson, type Remote, type RemoteOptions } from "./remote-command.ts";
import type { Query } from "./server.ts";
import { tableText, type Column } from "./table.ts";

/** Prints a collection of the API as a table, or as its JSON, and says where `--limit` cut it. `key` names the rows in the answer. */
export async function printList<Row>(
  { server, terminal }: Pick<Remote, "server" | "terminal">,
  options: RemoteOptions & { limit: string },
  { path, key, query = {}, columns }: { path: string; key: string; query?: Query; columns: readonly Column<Row>[] },
): Promise<void> {
  const { rows, total } = await server.list<Row>(path, key, query, limitOf(options));
  if (options.json) printJson(terminal, { [key]: rows, total_entries: total });
  else terminal.write(tableText(terminal, columns, rows));
  noteCut(rows.length, total);
}
