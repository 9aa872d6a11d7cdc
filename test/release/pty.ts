import { runCommand, type CommandResult } from "../../src/lite/command.ts";
import { sharedHome } from "../support/home.ts";

/** Answers when what it waits for has been printed; the exit code is the program's. */
const SCRIPT = `
import json, os, pty, sys
dialogue = json.loads(sys.argv[1])
pid, terminal = pty.fork()
if pid == 0:
    os.execvp(sys.argv[2], sys.argv[2:])
output, seen = b"", 0
while True:
    try:
        data = os.read(terminal, 65536)
    except OSError:
        break
    if not data:
        break
    output += data
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()
    while dialogue and dialogue[0][0].encode() in output[seen:]:
        question, answer = dialogue.pop(0)
        seen = output.index(question.encode(), seen) + len(question.encode())
        os.write(terminal, answer.encode())
status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
if dialogue:
    sys.exit(f"never asked: {dialogue[0][0]}")
sys.exit(status if status >= 0 else 128 - status)
`;

/**
 * Runs a command on a real terminal of its own and has the dialogue with it: each question as part of what it prints, each
 * answer as keys. `output` is what the terminal was sent, its line ends and colours with it.
 */
export function runOnTerminal(
  command: readonly string[],
  dialogue: readonly (readonly [question: string, answer: string])[],
  env: Record<string, string | undefined>,
): Promise<CommandResult> {
  const python = `${sharedHome.venv}/bin/python`;
  return runCommand([python, "-c", SCRIPT, JSON.stringify(dialogue), ...command], { env: { TERM: "xterm", ...env } });
}
