import type { Command } from "commander";
import { UserError } from "../../kit/user-error.ts";
import { addRemoteCommand, printJson, runRemote, type RemoteOptions } from "./remote-command.ts";
import { tableText, timeText } from "./table.ts";

type Part = { status: string | null } & Record<string, string | null>;

/** `leoflow health`. */
export function addHealthCommand(program: Command): void {
  const health = addRemoteCommand(program, "health", {
    description: "Show how a Leoflow's parts are. Ends with 1 where one is unhealthy.",
    json: "Airflow's HealthInfoResponse",
    examples: ["leoflow health", "leoflow health --server https://leoflow.example.com --json"],
  });
  health.summary("show how a Leoflow's parts are").action((options: RemoteOptions) =>
    runRemote(options, async ({ server, terminal }) => {
      const health = await server.get<Record<string, Part>>("/api/v2/monitor/health");
      const rows = Object.entries(health);
      if (options.json) printJson(terminal, health);
      else {
        terminal.write(
          tableText(
            terminal,
            [
              { title: "PART", of: ([name]) => name },
              {
                title: "STATUS",
                of: ([, { status }]) => status,
                colour: ([, { status }]) => (status === "healthy" ? "32" : status === null ? undefined : "31"),
              },
              { title: "HEARTBEAT", of: ([name, part]) => timeText(part[`latest_${name}_heartbeat`]) },
            ],
            rows,
          ),
        );
      }
      const ill = rows.filter(([, { status }]) => status === "unhealthy").map(([name]) => name);
      if (ill.length > 0)
        throw new UserError(`${server.url} is unhealthy: ${ill.join(", ")}`, { fix: "look into its log" });
    }),
  );
}
