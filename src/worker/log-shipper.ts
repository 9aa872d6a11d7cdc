import { rmdirSync, rmSync, statSync } from "node:fs";
import { open } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { LogAnswer } from "../domain/agent-protocol.ts";
import { taskLogPath, type Workload } from "../domain/workload.ts";
import type { Kit } from "../kit/service.ts";
import { Pauses, type ServerClient } from "./server-client.ts";
import type { Session } from "./session.ts";

/** How soon after it is written a line is on its way. */
export const SHIP_MS = 500;
const PIECE_BYTES = 1 << 18;
/** Pieces in memory at once. */
const PIECES = 8;
const FULL_PATIENCE_MS = 30_000;

interface Shipment {
  session: Session;
  path: string;
  /** Where ours begins in the server's file; null until it is known. */
  base: number | null;
  /** Bytes of our file that the server has. */
  acknowledged: number;
  working: Promise<void> | null;
  /** The server's disk is full; when to try again (`performance.now()`). */
  fullUntil: number;
  /** The server takes no more of it. */
  isRefused: boolean;
}

/**
 * Brings the logs of tries to the server while they are written. The local file is all that is kept of them: with the server
 * away it grows on the disk, not in memory.
 *
 * 1. A byte is counted as shipped when the server has said that it has it; only then the local file may go.
 * 2. A piece that was sent twice is the same bytes at the same place, which the server passes over.
 */
export class LogShipper {
  readonly #kit: Kit;
  readonly #client: ServerClient;
  readonly #config: { logsDir: string; fullPatienceMs?: number };
  readonly #shipments = new Map<string, Shipment>();
  #timer: NodeJS.Timeout | null = null;
  #pieces = 0;
  readonly #waiting: (() => void)[] = [];

  constructor(kit: Kit, client: ServerClient, config: { logsDir: string; fullPatienceMs?: number }) {
    this.#kit = kit;
    this.#client = client;
    this.#config = config;
  }

  /** Begins to ship what is written to this try's log. */
  open(workload: Workload, session: Session): void {
    this.#shipments.set(workload.id, {
      session,
      path: join(this.#config.logsDir, taskLogPath(workload, workload.tryNumber)),
      base: null,
      acknowledged: 0,
      working: null,
      fullUntil: 0,
      isRefused: false,
    });
    this.#timer ??= setInterval(() => this.#look(), SHIP_MS);
  }

  /**
   * Resolves when the server has all that is in the file now, or takes no more: the session is over, or its disk has been full for
   * long enough.
   */
  async finish(id: string): Promise<void> {
    const shipment = this.#shipments.get(id);
    if (!shipment) return;
    const patience = performance.now() + (this.#config.fullPatienceMs ?? FULL_PATIENCE_MS);
    const pauses = new Pauses();
    while (this.#left(id, shipment) > 0) {
      if (shipment.fullUntil > 0 && performance.now() > patience) {
        const bytes = this.#left(id, shipment);
        this.#kit.logger.error({ id, bytes }, "the server's disk is full: the end of a task's log is lost");
        return;
      }
      await this.#work(id, shipment);
      if (shipment.fullUntil > 0) await pauses.next(shipment.session.over);
    }
  }

  /** Forgets a try and removes its file. */
  async close(id: string): Promise<void> {
    const shipment = this.#shipments.get(id);
    if (!shipment) return;
    this.#shipments.delete(id);
    shipment.isRefused = true;
    await shipment.working;
    if (this.#shipments.size === 0 && this.#timer) {
      clearInterval(this.#timer);
      this.#timer = null;
    }
    // Another try's file of the same name: the same try, resumed.
    if ([...this.#shipments.values()].some(({ path }) => path === shipment.path)) return;
    removeWithFolders(shipment.path, this.#config.logsDir);
  }

  #look(): void {
    const now = performance.now();
    for (const [id, shipment] of this.#shipments) {
      if (shipment.working || shipment.fullUntil > now || this.#left(id, shipment) === 0) continue;
      void this.#work(id, shipment);
    }
  }

  /** Bytes that are still to be shipped. */
  #left(id: string, { path, acknowledged, isRefused, session }: Shipment): number {
    if (isRefused || session.over.aborted) return 0;
    try {
      return (statSync(path, { throwIfNoEntry: false })?.size ?? 0) - acknowledged;
    } catch (error) {
      this.#kit.logger.error({ err: error, id }, "cannot read a task's log");
      return 0;
    }
  }

  #work(id: string, shipment: Shipment): Promise<void> {
    shipment.working ??= this.#ship(id, shipment)
      .catch((error: unknown) => {
        if (!shipment.session.over.aborted) this.#kit.logger.error({ err: error, id }, "cannot ship a task's log");
        shipment.isRefused = true;
      })
      .finally(() => (shipment.working = null));
    return shipment.working;
  }

  async #ship(id: string, shipment: Shipment): Promise<void> {
    shipment.fullUntil = 0;
    await this.#takeTurn();
    try {
      if (shipment.base === null) await this.#send(id, shipment, Buffer.alloc(0));
      while (this.#left(id, shipment) > 0 && shipment.fullUntil === 0) {
        await this.#send(id, shipment, await piece(shipment.path, shipment.acknowledged));
      }
    } finally {
      this.#pieces--;
      this.#waiting.shift()?.();
    }
  }

  async #takeTurn(): Promise<void> {
    while (this.#pieces >= PIECES) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    this.#pieces++;
  }

  async #send(id: string, shipment: Shipment, bytes: Buffer): Promise<void> {
    const { session, base, acknowledged } = shipment;
    const offset = base === null ? 0 : base + acknowledged;
    const answer = await this.#client.ask({
      method: "PUT",
      path: `${session.path}/tasks/${id}/log?offset=${offset}`,
      body: bytes,
      signal: session.over,
    });
    switch (answer.status) {
      case 507:
        if (shipment.fullUntil === 0) this.#kit.logger.warn({ id }, "the server's disk is full; its logs wait here");
        shipment.fullUntil = performance.now() + 4 * SHIP_MS;
        return;
      case 200:
      case 409: {
        const { size } = JSON.parse(answer.body.toString("utf8")) as LogAnswer;
        // Less than we began with is a file that was taken away: what there is now is where ours goes on.
        shipment.base = base === null ? size : Math.min(base, size);
        shipment.acknowledged = base === null ? 0 : Math.min(acknowledged + bytes.length, size - shipment.base);
        return;
      }
      default:
        shipment.isRefused = true;
        if (answer.status === 404) return;
        if (answer.status === 410 || answer.status === 401) return session.end("the server has given this agent up");
        throw new Error(`the server refused a piece of a log: HTTP ${answer.status}`);
    }
  }
}

async function piece(path: string, from: number): Promise<Buffer> {
  const file = await open(path, "r");
  try {
    const { buffer, bytesRead } = await file.read(Buffer.allocUnsafe(PIECE_BYTES), 0, PIECE_BYTES, from);
    return buffer.subarray(0, bytesRead);
  } finally {
    await file.close();
  }
}

/** Also the folders that hold nothing then. All at once: a log that is opened meanwhile finds its folder or makes it. */
function removeWithFolders(path: string, root: string): void {
  try {
    rmSync(path, { force: true });
    for (let folder = dirname(path); folder.startsWith(`${root}/`); folder = dirname(folder)) rmdirSync(folder);
  } catch {
    // Others are in it, or it never was.
  }
}
