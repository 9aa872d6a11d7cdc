import { closeSync, mkdirSync, openSync, write, writeSync } from "node:fs";
import { dirname } from "node:path";
import type { Socket } from "node:net";
import { formatInstant } from "../kit/instant.ts";
import type { Kit } from "../kit/service.ts";
import { whenClosed } from "./frames.ts";
import type { SecretMasker } from "./secret-masker.ts";

/** So much may wait for the disk before the task has to wait too. */
const MAX_PENDING_CHARS = 1 << 20;
const SMALL_CHARS = 1 << 14;
/** A line without an end is cut here: it must not fill the memory. */
const MAX_LINE_BYTES = 1 << 20;

export type LogLevel = "info" | "warning" | "error" | "critical";

/**
 * The log of one try: JSON lines as Airflow's supervisor writes them. Lines are on disk as soon as the disk takes them; who
 * writes faster than it is paused.
 */
export class TaskLog {
  readonly #kit: Kit;
  readonly #path: string;
  readonly #masker: SecretMasker;
  readonly #sources = new Set<Socket>();
  #pending: string[] = [];
  #pendingChars = 0;
  #writing: Promise<void> | null = null;
  #fd: number | null = null;
  #broken = false;
  #closed = false;

  constructor(kit: Kit, path: string, masker: SecretMasker) {
    this.#kit = kit;
    this.#path = path;
    this.#masker = masker;
  }

  /** Whether writers are made to wait for the disk. */
  get isCongested(): boolean {
    return this.#pendingChars > MAX_PENDING_CHARS;
  }

  /** A line of our own. */
  add(level: LogLevel, event: string, fields: Record<string, unknown> = {}): void {
    this.#append(this.#line(level, event, { logger: "task", ...fields }));
  }

  /** Takes the task's own JSON lines. Resolves at the end of the stream. */
  pipeJson(socket: Socket): Promise<void> {
    return this.#pipe(socket, (line) => this.#taskLine(line));
  }

  /** Takes what the task writes to a standard stream. Resolves at the end of the stream. */
  pipeText(socket: Socket, logger: "task.stdout" | "task.stderr"): Promise<void> {
    const level = logger === "task.stdout" ? "info" : "error";
    return this.#pipe(socket, (line) => this.#line(level, this.#masker.mask(line.trimEnd()), { logger }));
  }

  /** Waits until everything is written. */
  async close(): Promise<void> {
    while (this.#writing) await this.#writing;
    if (this.#fd !== null) closeSync(this.#fd);
    this.#fd = null;
    this.#closed = true;
  }

  #line(level: LogLevel, event: string, fields: Record<string, unknown>): string {
    return `${JSON.stringify({ timestamp: formatInstant(this.#kit.clock.now()), level, event, ...fields })}\n`;
  }

  /** What the task's logging wrote is passed on as it is, except for secrets and the name of the traceback. */
  #taskLine(line: string): string {
    const plain = line.startsWith("{") && line.endsWith("}") && !line.includes('"exception"');
    if (plain && !this.#masker.mayBeIn(line)) return `${line}\n`;
    let parsed: Record<string, unknown>;
    try {
      parsed = JSON.parse(line) as Record<string, unknown>;
    } catch {
      return line.trim() === "" ? "" : this.#line("info", this.#masker.mask(line), { logger: "task" });
    }
    const { timestamp, level, exception, ...rest } = parsed;
    const masked = this.#masker.maskDeep(exception ? { ...rest, error_detail: exception } : rest);
    return `${JSON.stringify({ timestamp, level, ...(masked as object) })}\n`;
  }

  #pipe(socket: Socket, format: (line: string) => string): Promise<void> {
    this.#sources.add(socket);
    let held: Buffer[] = [];
    let heldBytes = 0;
    const flushHeld = (): string => {
      const line = Buffer.concat(held).toString("utf8");
      held = [];
      heldBytes = 0;
      return format(line);
    };
    socket.on("data", (chunk: Buffer) => {
      const formatted: string[] = [];
      let start = 0;
      for (let end = chunk.indexOf(10); end >= 0; end = chunk.indexOf(10, start)) {
        held.push(chunk.subarray(start, end));
        formatted.push(flushHeld());
        start = end + 1;
      }
      if (start < chunk.length) {
        held.push(chunk.subarray(start));
        heldBytes += chunk.length - start;
        if (heldBytes >= MAX_LINE_BYTES) formatted.push(flushHeld());
      }
      if (formatted.length > 0) this.#append(formatted.join(""));
    });
    socket.resume();
    return whenClosed(socket).then(() => {
      this.#sources.delete(socket);
      if (heldBytes > 0) this.#append(flushHeld());
    });
  }

  #append(text: string): void {
    if (this.#broken || this.#closed || text === "") return;
    try {
      this.#fd ??= this.#open();
      // A few lines go to the page cache faster than to another thread.
      if (!this.#writing && text.length <= SMALL_CHARS) {
        writeSync(this.#fd, text);
        return;
      }
    } catch (error) {
      this.#giveUp(error);
      return;
    }
    this.#pending.push(text);
    this.#pendingChars += text.length;
    if (this.isCongested) for (const source of this.#sources) source.pause();
    this.#writing ??= this.#write(this.#fd);
  }

  async #write(fd: number): Promise<void> {
    try {
      while (this.#pending.length > 0) {
        const text = this.#pending.join("");
        this.#pending = [];
        await writeAll(fd, Buffer.from(text));
        this.#pendingChars -= text.length;
        if (!this.isCongested) for (const source of this.#sources) source.resume();
      }
    } catch (error) {
      this.#giveUp(error);
    } finally {
      this.#writing = null;
    }
  }

  /** A full disk must not stop the task, nor fill the memory: what it says is lost. */
  #giveUp(error: unknown): void {
    this.#broken = true;
    this.#pending = [];
    this.#pendingChars = 0;
    for (const source of this.#sources) source.resume();
    this.#kit.logger.error({ err: error, path: this.#path }, "cannot write a task's log");
  }

  #open(): number {
    try {
      return openSync(this.#path, "a", 0o644);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
      mkdirSync(dirname(this.#path), { recursive: true });
      return openSync(this.#path, "a", 0o644);
    }
  }
}

async function writeAll(fd: number, bytes: Buffer): Promise<void> {
  for (let at = 0; at < bytes.length;) {
    at += await new Promise<number>((resolve, reject) => {
      write(fd, bytes, at, bytes.length - at, null, (error, written) => (error ? reject(error) : resolve(written)));
    });
  }
}
