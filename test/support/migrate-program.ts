import pg from "pg";
import type { DatabaseConfig } from "../../src/store/database.ts";
import { migrate } from "../../src/store/migrate.ts";
import type { Migration } from "../../src/store/migrations.ts";

// Migrates a database, to be killed on the way.
const { config, migrations } = JSON.parse(process.argv[2] ?? "") as { config: DatabaseConfig; migrations: Migration[] };
console.log("{}");
await migrate(new pg.Pool({ ...config, application_name: "to be killed" }), { migrations });
