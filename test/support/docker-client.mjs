// A `docker` for machines without one: the few commands that Leoflow uses, in the words of Docker's own client 28, over real
// PostgreSQL processes of this machine. State is below LEOFLOW_FAKE_DOCKER: volumes/NAME/, containers/NAME/.
import { spawn, spawnSync } from "node:child_process";
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";

const root = process.env.LEOFLOW_FAKE_DOCKER;
const bin = process.env.LEOFLOW_FAKE_DOCKER_BIN;
const asPostgres = JSON.parse(process.env.LEOFLOW_FAKE_DOCKER_WRAP ?? "[]");
const args = process.argv.slice(2);
appendFileSync(join(root, "calls.log"), `${args.join(" ").split("\n")[0]}\n`);

const say = (text) => text && process.stdout.write(`${text}\n`);
const fail = (text, code = 1) => {
  process.stderr.write(`Error response from daemon: ${text}\n`);
  process.exit(code);
};
const folder = (name) => join(root, "containers", name);
const read = (name) => JSON.parse(readFileSync(join(folder(name), "container.json"), "utf8"));
const containers = () => readdirSync(join(root, "containers")).map(read);
const find = (name) => (existsSync(folder(name)) ? read(name) : fail(`No such container: ${name}`));
const isRunning = ({ pid }) => {
  try {
    return !/\) Z /.test(readFileSync(`/proc/${pid}/stat`, "utf8"));
  } catch {
    return false;
  }
};

/** Values of an option that may come several times, and the rest. */
function parse(words, withValue) {
  const options = {};
  let at = 0;
  for (; words[at]?.startsWith("--"); at++) {
    const name = words[at].slice(2);
    if (withValue.includes(name)) (options[name] ??= []).push(words[++at]);
    else options[name] = true;
  }
  return { options, rest: words.slice(at) };
}

const commands = {
  volume([, name]) {
    const names = readdirSync(join(root, "volumes"));
    if (!names.includes(name)) fail(`get ${name}: no such volume`);
    const users = containers().filter(({ volume }) => volume === name);
    if (users.length > 0) fail(`remove ${name}: volume is in use - [${users.map(({ name: user }) => user)}]`);
    rmSync(join(root, "volumes", name), { recursive: true });
    say(name);
  },
  ps(words) {
    const { options } = parse(words, ["filter", "format"]);
    const wanted = options.filter[0].replace("volume=", "");
    const found = containers().filter(({ volume }) => volume === wanted);
    say(found.map((one) => [one.name, one.image, isRunning(one) ? "running" : "exited"].join("\t")).join("\n"));
  },
  image() {
    say("busybox:latest\npostgres:18");
  },
  inspect(words) {
    const { options, rest } = parse(words, ["format"]);
    const found = find(rest[0]);
    say(options.format[0].includes("State") ? String(isRunning(found)) : found.env.join("\n"));
  },
  run(words) {
    const { options, rest } = parse(words, ["name", "network", "volume", "env", "entrypoint"]);
    const [image, ...command] = rest;
    if (image !== "postgres:18") fail(`pull access denied for ${image}`, 125);
    const [volume, mount] = options.volume[0].split(":");
    const name = options.name?.[0] ?? `made-${process.pid}`;
    if (existsSync(folder(name))) fail(`Conflict. The container name "/${name}" is already in use`, 125);
    mkdirSync(folder(name), { recursive: true });
    const inside = (text) =>
      text.replaceAll(/\/leoflow-volume|\/tmp\/leoflow-(?=pgdata|run)/g, (found) =>
        found === mount ? join(root, "volumes", volume) : `${folder(name)}/`,
      );
    const env = (options.env ?? []).map(inside);
    const tools = join(folder(name), "bin");
    mkdirSync(tools);
    const entrypoint = ["exec", ...asPostgres, `"${bin}/$1"`, "-k", `"${folder(name)}"`].join(" ");
    writeFileSync(join(tools, "docker-entrypoint.sh"), `#!/bin/sh\n${entrypoint} $(shift; echo "$@")\n`, {
      mode: 0o755,
    });
    const log = openSync(join(folder(name), "log"), "a");
    const how = {
      env: {
        ...process.env,
        PATH: `${tools}:${process.env.PATH}`,
        ...Object.fromEntries(env.map((each) => each.split("="))),
      },
      cwd: folder(name),
    };
    const program = [options.entrypoint[0], command.map(inside)];
    if (!options.detach) {
      const ended = spawnSync(...program, { ...how, stdio: "inherit" });
      rmSync(folder(name), { recursive: true });
      process.exit(ended.status ?? 1);
    }
    const { pid } = spawn(...program, { ...how, detached: true, stdio: ["ignore", log, log] }).on(
      "error",
      () => undefined,
    );
    writeFileSync(join(folder(name), "container.json"), JSON.stringify({ name, image, volume, env, pid }));
    say(name);
    process.exit(0);
  },
  exec([name, program, ...rest]) {
    if (!isRunning(find(name))) fail(`container ${name} is not running`);
    const env = { ...process.env, PGHOST: folder(name), PGPASSWORD: "", PGDATABASE: "" };
    process.exit(spawnSync(join(bin, program), rest, { env, stdio: "inherit" }).status ?? 1);
  },
  logs(words) {
    const { rest } = parse(words, ["tail"]);
    process.stderr.write(readFileSync(join(folder(find(rest[0]).name), "log"), "utf8"));
  },
  rm(words) {
    const [name] = parse(words, []).rest;
    const found = find(name);
    if (isRunning(found)) {
      process.kill(found.pid, "SIGQUIT");
      const end = Date.now() + 10_000;
      while (isRunning(found) && Date.now() < end) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 20);
    }
    rmSync(folder(name), { recursive: true });
    say(name);
  },
};

commands[args[0]](args.slice(1));
