import type { RunningLite } from "../lite/start.ts";
import { paint, type Terminal } from "./terminal-progress.ts";

/** What a user needs once Leoflow runs. The password only on the start that made it. */
export function readyBlock(
  lite: Pick<RunningLite, "url" | "config" | "newPassword">,
  context: { terminal: Terminal; passwordFromEnvironment: boolean; took: string },
): string {
  const { terminal } = context;
  const rows: [string, string][] = [
    ["Open", paint(terminal, "1;36", lite.url)],
    ["Login", lite.config.admin_email],
  ];
  if (lite.newPassword !== undefined) {
    rows.push([
      "Password",
      context.passwordFromEnvironment
        ? "the one in LEOFLOW_ADMIN_PASSWORD"
        : `${paint(terminal, "1", lite.newPassword)}   (shown only this once: write it down)`,
    ]);
  }
  rows.push(["Workspace", lite.config.workspace], ["Stop", "Ctrl-C"]);
  const lines = rows.map(([name, value]) => `    ${name.padEnd(11)}${value}`);
  return `\n  ${paint(terminal, "1;32", "Leoflow is ready")} ${paint(terminal, "2", `after ${context.took}`)}\n\n${lines.join("\n")}\n\n`;
}
