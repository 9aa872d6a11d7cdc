import { createServer, type AddressInfo, type Server, type Socket } from "node:net";

export interface ReceivedMail {
  from: string;
  to: string[];
  /** Headers and body as they came. */
  text: string;
}

/** A mail server on loopback that takes everything. */
export interface SmtpServer {
  port: number;
  mails: ReceivedMail[];
  close(): Promise<void>;
}

export async function startSmtpServer(): Promise<SmtpServer> {
  const mails: ReceivedMail[] = [];
  const sockets = new Set<Socket>();
  const server: Server = createServer((socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
    socket.on("error", () => socket.destroy());
    converse(socket, (mail) => mails.push(mail));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    port: (server.address() as AddressInfo).port,
    mails,
    close: async () => {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

function converse(socket: Socket, received: (mail: ReceivedMail) => void): void {
  let mail: ReceivedMail = { from: "", to: [], text: "" };
  let data: string[] | null = null;
  let held = "";
  const say = (line: string): void => void socket.write(`${line}\r\n`);
  const address = (line: string): string => /<([^>]*)>/.exec(line)?.[1] ?? "";
  const hear = (line: string): void => {
    if (data) {
      if (line !== ".") {
        data.push(line.startsWith(".") ? line.slice(1) : line);
        return;
      }
      received({ ...mail, text: data.join("\n") });
      mail = { from: "", to: [], text: "" };
      data = null;
      return say("250 taken");
    }
    const command = line.slice(0, 4).toUpperCase();
    if (command === "MAIL") mail.from = address(line);
    if (command === "RCPT") mail.to.push(address(line));
    if (command === "DATA") {
      data = [];
      return say("354 go on");
    }
    if (command === "QUIT") {
      say("221 bye");
      socket.end();
      return;
    }
    say(command === "EHLO" ? "250 SMTPUTF8" : "250 ok");
  };
  socket.setEncoding("utf8");
  socket.on("data", (chunk: string) => {
    const lines = (held + chunk).split("\r\n");
    held = lines.pop() ?? "";
    lines.forEach(hear);
  });
  say("220 test");
}
