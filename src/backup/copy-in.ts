import { once } from "node:events";
import type { Socket } from "node:net";
import type pg from "pg";

/** The parts of pg's connection that COPY needs and its types leave out. */
interface Connection {
  stream: Socket;
  query(text: string): void;
  endCopyFrom(): void;
  sendCopyFail(message: string): void;
}

/** `COPY … FROM STDIN` with these bytes. */
export function copyIn(client: pg.ClientBase, statement: string, bytes: AsyncIterable<Buffer>): Promise<void> {
  return new Promise((done, fail) => {
    let stopped = false;
    let failure: Error | undefined;
    const send = async (connection: Connection) => {
      const { stream } = connection;
      try {
        for await (const chunk of bytes) {
          if (stopped) return;
          const header = Buffer.alloc(5);
          header.write("d");
          header.writeUInt32BE(chunk.length + 4, 1);
          stream.write(header);
          if (!stream.write(chunk)) await Promise.race([once(stream, "drain"), once(stream, "close")]);
          if (stream.destroyed) return;
        }
        if (!stopped) connection.endCopyFrom();
      } catch (error) {
        failure = error as Error;
        connection.sendCopyFail("called off");
      }
    };
    const query = {
      submit: (connection: Connection) => connection.query(statement),
      handleCopyInResponse: (connection: Connection) => void send(connection),
      handleCommandComplete: () => undefined,
      handleReadyForQuery: () => (failure ? fail(failure) : done()),
      // The server has said no; what it is still sent it throws away.
      handleError: (error: Error) => {
        stopped = true;
        fail(failure ?? error);
      },
    };
    client.query(query as unknown as pg.Submittable);
  });
}
