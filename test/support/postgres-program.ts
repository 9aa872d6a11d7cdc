import { pino } from "pino";
import { ManagedPostgres } from "../../src/lite/postgres/managed-postgres.ts";

// Starts a PostgreSQL in a folder, says how that went as one line of JSON, and stays until it is killed.
const [folder = "", bin = ""] = process.argv.slice(2);
const server = new ManagedPostgres({ logger: pino({ level: "silent" }), folder, bin });
try {
  const database = await server.start();
  console.log(JSON.stringify({ database }));
  setInterval(() => undefined, 1_000);
} catch (error) {
  console.log(JSON.stringify({ error: (error as Error).message, fix: (error as { fix?: string }).fix }));
  process.exitCode = 1;
}
