import { createInterface } from "node:readline";
import { Writable } from "node:stream";
import { UserError } from "../kit/user-error.ts";

/** Whether there is a person who can answer. */
export function canAsk(): boolean {
  return process.stdin.isTTY && process.stdout.isTTY;
}

/** One line from stdin, trimmed; undefined at its end (Ctrl-D, an empty pipe). */
export async function askLine(question: string): Promise<string | undefined> {
  return (await readAnswer(question, process.stdout))?.trim();
}

/** A line that the terminal does not show. */
export async function askSecret(question: string): Promise<string | undefined> {
  const answer = readAnswer("", new Writable({ write: (_chunk, _encoding, done) => done() }));
  // Only now, that the terminal no longer shows what a quick typist or a script answers.
  process.stdout.write(question);
  const line = await answer;
  process.stdout.write("\n");
  return line;
}

/** Asks for a new secret twice. Throws UserError where the two differ or nothing is typed. */
export async function askNewSecret(name: string): Promise<string> {
  const first = await askSecret(`${name}: `);
  if (!first) throw new UserError(`no ${name.toLowerCase()} given`);
  if ((await askSecret(`${name} again: `)) !== first) {
    throw new UserError("the two are not the same", { fix: "run the same command again" });
  }
  return first;
}

/** True for "yes" and "y"; the end of stdin is a no. */
export async function confirm(question: string): Promise<boolean> {
  const answer = await askLine(question);
  return ["yes", "y"].includes(answer?.toLowerCase() ?? "");
}

function readAnswer(question: string, output: NodeJS.WritableStream): Promise<string | undefined> {
  const lines = createInterface({ input: process.stdin, output, terminal: process.stdin.isTTY, prompt: question });
  return new Promise((done) => {
    // By events: a last line without an end, and Ctrl-D, close it together with what they say.
    let answer: string | undefined;
    lines.once("line", (line) => {
      answer = line;
      lines.close();
    });
    lines.once("close", () => done(answer));
    lines.once("SIGINT", () => process.exit(130));
    lines.prompt();
  });
}
