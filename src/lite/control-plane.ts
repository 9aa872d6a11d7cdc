import { mkdirSync } from "node:fs";
import type { AddressInfo } from "node:net";
import { hostname, userInfo } from "node:os";
import { join } from "node:path";
import { PythonRuntime } from "../agent/python-runtime.ts";
import { DEFAULT_TRIGGERER, Triggerer } from "../agent/triggerer.ts";
import { appendToTaskLog } from "../agent/log-end.ts";
import { createApp } from "../api/app.ts";
import { AGENT_LOST_MS } from "../domain/agent-protocol.ts";
import { typescriptQueues } from "../domain/coordinator.ts";
import { EventBus } from "../domain/events.ts";
import { PARALLELISM } from "../domain/slots.ts";
import { AssetWatchers } from "../execution/asset-watchers.ts";
import { createExecutionContext, createTaskExecution } from "../execution/task-execution.ts";
import { DeferredTasks } from "../execution/trigger-outcomes.ts";
import { AgentExecutor } from "../executors/agents/agent-executor.ts";
import { QueueRouter } from "../executors/agents/queue-router.ts";
import { LocalExecutor } from "../executors/local/local-executor.ts";
import { childEnvironment, MULTI_TEAM_VARIABLE, readEnvironment, teamSecrets } from "../kit/config.ts";
import { fernet } from "../kit/fernet.ts";
import { keepLittleGarbage } from "../kit/garbage.ts";
import type { Instant } from "../kit/instant.ts";
import { Rounds } from "../kit/rounds.ts";
import { BackfillFinisher } from "../scheduler/backfill-finisher.ts";
import { InputTimeouts } from "../scheduler/input-timeouts.ts";
import { AssetRunCreator } from "../scheduler/asset-run-creator.ts";
import { Reaper } from "../scheduler/reaper.ts";
import { RunCreator } from "../scheduler/run-creator.ts";
import { Scheduler } from "../scheduler/scheduler.ts";
import { SlowTick } from "../scheduler/slow-tick.ts";
import { TriggerFeeder } from "../scheduler/trigger-feeder.ts";
import { takeFromAgent } from "../store/agent-tries.ts";
import { createDagRun } from "../store/dag-run-creation.ts";
import { VersionCache } from "../store/dag-versions.ts";
import { openDatabase } from "../store/database.ts";
import { closeAbandonedJobs, endJobs, heartbeatJobs, registerJob } from "../store/jobs.ts";
import { assignBundles } from "./bundles/bundle-teams.ts";
import { DagBundles } from "./bundles/dag-bundles.ts";
import { PushedDags } from "./bundles/pushed-dags.ts";
import { createCallbacks } from "./callbacks.ts";
import { dagFileOpener } from "./dag-file-opener.ts";
import { currentPasswordHash } from "./admin-password.ts";
import { METRICS_PORT, MetricsServer } from "./metrics.ts";
import { PluginsFolder } from "./plugins-folder.ts";
import { silentProgress } from "./progress.ts";
import { runtimeIdentity } from "./python/runtime-identity.ts";
import { Toolchain } from "./python/toolchain.ts";
import { uvEnvironment } from "./python/uv.ts";
import { StagingFolders } from "./staging.ts";
import type { ControlPlane, ControlPlaneOptions } from "./start.ts";
import { createTimetables } from "./timetables.ts";
import { EditableFiles } from "./workspace-files.ts";
import { ProjectEnvironments } from "./workspace/project-environments.ts";
import { typescriptTasks } from "./workspace/typescript-tasks.ts";
import { WorkspaceProcessor } from "./workspace/workspace-processor.ts";

const TASK_GRACE_MS = 2_000;
const TICK_MS = 5_000;
const MINUTE_MS = 60_000;
const STAGING_MS = 10 * MINUTE_MS;

/**
 * Puts the parts together and starts them: the database must be migrated, Python installed. Everything long-lived that Lite
 * has is made here and nowhere else.
 */
export async function startControlPlane(options: ControlPlaneOptions): Promise<ControlPlane> {
  keepLittleGarbage();
  const { kit, config, paths, python } = options;
  const { multi_team: multiTeam = false } = config;
  const database = openDatabase(options.database);
  const { db } = database;
  const bus = new EventBus();
  const versions = new VersionCache(db);
  const graph = async (id: string) => (await versions.get(id)).graph;
  const secrets = fernet(config.fernet_key);
  bus.on("dag", ({ dagId }) => versions.forgetDag(dagId));
  const timetables = createTimetables(versions, () => runtime);

  const executionDeps = {
    database,
    bus,
    secrets,
    graph,
    createDagRun,
    manualDataInterval: (versionId: string, runAfter: Instant) => timetables.manualDataInterval(versionId, runAfter),
  };
  const executionConfig = { deferral: "park", multiTeam, teamSecrets: teamSecrets() } as const;
  const execution = createTaskExecution(kit, executionDeps, executionConfig);
  const watchers = new AssetWatchers(createExecutionContext(kit, executionDeps, { multiTeam }));
  const deferredTasks = new DeferredTasks(createExecutionContext(kit, executionDeps, { multiTeam }), {
    onEvent: async (triggerId, payload) => {
      if (!(await callbacks.onEvent(triggerId, payload))) await watchers.onEvent(triggerId, payload);
    },
    onFailure: async (triggerId, reason) => void (await callbacks.onFailure(triggerId, reason)),
  });
  const airflowHome = join(paths.home, "airflow");
  mkdirSync(airflowHome, { recursive: true, mode: 0o700 });
  const pythonEnv: Record<string, string> = {
    ...pythonEnvironment(airflowHome, multiTeam),
    LEOFLOW_STAGING_ROOT: paths.staging,
  };
  const staging = new StagingFolders(kit, db, paths.staging);
  const runtime = new PythonRuntime(
    kit,
    { execution, parseHandler: (message) => execution.handle("", message) },
    {
      runtimeDir: paths.runtime,
      socketDir: null,
      logsDir: paths.logs,
      workspace: config.workspace,
      environments: (name) => (name === "default" ? python.executable : join(paths.projectVenvs, name, "bin/python")),
      versionDir: (digest) => join(paths.versions, digest),
      env: pythonEnv,
      idleSeconds: 60,
      graceMs: TASK_GRACE_MS,
      heartbeatMs: 5_000,
    },
  );
  const callbacks = createCallbacks(kit, {
    db,
    bus,
    secrets,
    host: runtime,
    triggersChanged: () => void triggerFeeder?.refresh(),
  });
  const triggerer = new Triggerer(
    kit,
    {
      spawn: (environment, version) => runtime.startTriggers(environment, version),
      handle: (message) => execution.handle("", message),
      outcomes: deferredTasks,
    },
    {
      ...DEFAULT_TRIGGERER,
      logsDir: paths.logs,
      versionDir: (digest) => join(paths.versions, digest),
      workspace: config.workspace,
    },
  );
  const { parallelism = PARALLELISM, agentLostSeconds } = readEnvironment();
  const local = new LocalExecutor(kit, { runner: runtime }, { parallelism });
  const lostAfterMs = agentLostSeconds === undefined ? AGENT_LOST_MS : agentLostSeconds * 1000;
  const agents = new AgentExecutor(kit, database, { lostMs: lostAfterMs });
  const executor = new QueueRouter(local, agents);
  bus.on("kill", ({ ids, reason }) => executor.terminate(ids, reason));

  const runCreator = new RunCreator(kit, { db, bus, versions, askTimetable: timetables.ask });
  const assetRuns = new AssetRunCreator(kit, { db, bus, versions });
  const backfillFinisher = new BackfillFinisher(kit, { db, bus });
  const scheduler = new Scheduler(
    kit,
    {
      db,
      bus,
      versions,
      executor,
      startFromTrigger: (start) => deferredTasks.start(start),
      runFinished: (dagId) => {
        runCreator.refresh(dagId);
        assetRuns.runFinished(dagId);
        backfillFinisher.check();
        staging.runFinished(dagId);
      },
    },
    { parallelism, retryMs: 250, multiTeam },
  );
  const reaper = new Reaper(
    kit,
    {
      db,
      held: () => local.held(),
      agents: {
        serves: (queue) => agents.serves(queue),
        take: (id) => takeFromAgent(database.pool, id),
        lostMs: lostAfterMs,
      },
      settle: (id, exit) => execution.exited(id, exit),
      logEnd: (ti, reason) =>
        appendToTaskLog(
          kit,
          paths.logs,
          { dagId: ti.dag_id, runId: ti.run_id, taskId: ti.task_id, mapIndex: ti.map_index, tryNumber: ti.try_number },
          reason,
        ),
      requeue: (id, dagRunId) => scheduler.requeue(id, dagRunId),
    },
    { heartbeatTimeoutMs: 30_000, queuedTimeoutMs: 10_000 },
  );
  const toolchain = new Toolchain(paths, silentProgress);
  const lockFile = join(paths.program, "python/requirements.lock");
  const bundles: DagBundles = new DagBundles(
    kit,
    { changeFolder: (folder, change) => workspace.changeFolder(folder, change) },
    { bundles: options.bundles, workspace: config.workspace, mirrorsFolder: paths.bundles },
  );
  const pushed: PushedDags = new PushedDags(
    kit,
    {
      db,
      events: bus,
      bundles,
      changeFolder: (folder, change) => workspace.changeFolder(folder, change),
      whenIdle: () => workspace.whenIdle(),
    },
    { workspace: config.workspace },
  );
  const workspace = new WorkspaceProcessor(
    kit,
    {
      db,
      events: bus,
      bundles: pushed,
      parse: (request) => runtime.parseFile(request),
      buildTasks: typescriptTasks({
        queues: typescriptQueues(pythonEnv),
        sdk: paths.taskSdk,
      }),
      environments: new ProjectEnvironments(kit, () => toolchain.uv(), {
        folder: paths.projectVenvs,
        basePython: python.executable,
        lockFile,
        uvEnvironment,
      }),
    },
    {
      workspace: config.workspace,
      versionsFolder: paths.versions,
      pausedAtCreation: true,
      runtime: runtimeIdentity(paths),
      keepUnused: options.isTrial ?? false,
    },
  );

  const app = createApp(
    {
      kit,
      db,
      bus,
      secrets,
      graph,
      askTimetable: timetables.ask,
      logsDir: paths.logs,
      workspace: config.workspace,
      files: new EditableFiles({ workspace: config.workspace }),
      pushed,
      staging: (dagId, runId) => staging.find(dagId, runId),
      openDagFile: dagFileOpener({ workspace, bundles }, config.workspace),
      airflowPackageDir: python.sitePackages,
      reparse: (relPath) => workspace.reparse(relPath),
      python: (request) => runtime.request(request),
      agents: { pool: database.pool, execution, executor: agents, versionsDir: paths.versions, lostAfterMs },
      execution: createExecutionContext(kit, executionDeps, executionConfig),
      parallelism,
      multiTeam,
    },
    {
      adminEmail: config.admin_email,
      adminPasswordHash: currentPasswordHash(paths, config, kit.logger),
      jwtSecret: config.jwt_secret,
      cacheDir: join(paths.home, "cache"),
      webDir: join(paths.program, "dist/web"),
    },
  );
  const inputTimeouts = new InputTimeouts(kit, { db, bus });
  const metrics = new MetricsServer(
    kit,
    {
      scheduler: () => scheduler.counts(),
      executor: () => ({ queued: 0, running: local.held().size }),
      agents: () => agents.counts(),
    },
    METRICS_PORT,
  );

  const plugins = new PluginsFolder(pythonEnv["AIRFLOW__CORE__PLUGINS_FOLDER"] ?? join(airflowHome, "plugins"), () => {
    void runtime.renew().then(() => {
      runCreator.pluginsChanged();
      workspace.reparseAll();
    });
  });
  const host = hostname();
  const jobs: number[] = [];
  const triggererJobs: number[] = [];
  let triggerFeeder: TriggerFeeder | undefined;
  const tick = new SlowTick(kit, [
    { name: "scheduler", everyMs: TICK_MS, run: () => scheduler.tick() },
    { name: "run creator", everyMs: TICK_MS, run: () => runCreator.check() },
    { name: "full DAGs", everyMs: TICK_MS, run: () => assetRuns.check() },
    { name: "updated assets", everyMs: MINUTE_MS, run: () => assetRuns.runOnce() },
    { name: "backfills", everyMs: TICK_MS, run: () => backfillFinisher.runOnce() },
    { name: "agents", everyMs: TICK_MS, run: () => agents.runOnce() },
    { name: "reaper", everyMs: TICK_MS, run: () => reaper.runOnce() },
    { name: "callbacks", everyMs: TICK_MS, run: () => callbacks.runner.runOnce() },
    { name: "answers", everyMs: TICK_MS, run: () => inputTimeouts.runOnce() },
    { name: "deadlines", everyMs: TICK_MS, run: () => callbacks.deadlines.runOnce() },
    { name: "triggers", everyMs: TICK_MS, run: () => triggerFeeder?.runOnce() },
    { name: "staging folders", everyMs: STAGING_MS, run: () => staging.runOnce() },
    { name: "plugins", everyMs: TICK_MS, run: () => plugins.runOnce() },
    { name: "jobs", everyMs: TICK_MS, run: () => heartbeatJobs(db, jobs) },
    // Airflow's triggerer gives no sign of life either while its runner gives none.
    {
      name: "triggerer job",
      everyMs: TICK_MS,
      run: () => (triggerer.isHealthy() ? heartbeatJobs(db, triggererJobs) : undefined),
    },
  ]);

  // What was started is stopped in the opposite order, also when a later part fails to start.
  const started: { stop(): Promise<void> }[] = [];
  const stop = async () => {
    for (const part of started.splice(0).reverse()) {
      await part.stop().catch((error: unknown) => kit.logger.error({ err: error }, "a part did not stop cleanly"));
    }
  };
  const start = async (part: { start(): Promise<void>; stop(): Promise<void> }) => {
    started.push(part);
    await part.start();
  };
  started.push({ stop: () => database.close() });
  try {
    // Before anybody is answered: a DAG's team is that of its bundle.
    await assignBundles(db, options.bundleTeams);
    await closeAbandonedJobs(db, host);
    const unixname = userInfo().username;
    jobs.push(
      await registerJob(db, { type: "SchedulerJob", hostname: host, unixname, executorClass: "LocalExecutor" }),
      await registerJob(db, { type: "DagProcessorJob", hostname: host, unixname }),
    );
    const triggererJob = await registerJob(db, { type: "TriggererJob", hostname: host, unixname });
    triggererJobs.push(triggererJob);
    started.push({ stop: () => endJobs(db, [...jobs, ...triggererJobs], "success") });
    await start(runtime);
    await start(triggerer);
    triggerFeeder = new TriggerFeeder(
      kit,
      {
        database,
        bus,
        versions,
        host: triggerer,
        timeOut: (ids) => deferredTasks.timeOut(ids),
        others: async () => [...(await callbacks.triggers()), ...(await watchers.triggers())],
      },
      { jobId: triggererJob, startGraceSeconds: 5 },
    );
    await start(local);
    await start(agents);
    await app.listen({ port: options.port, host: options.host });
    started.push({ stop: () => app.close() });
    await start(scheduler);
    const { lost, requeued } = await reaper.adoptAfterRestart();
    if (lost + requeued > 0) kit.logger.info({ lost, requeued }, "took up the tasks of a Leoflow that ended");
    await start(callbacks.runner);
    await start(callbacks.deadlines);
    await start(inputTimeouts);
    await start(triggerFeeder);
    const watching = new Rounds<"all">(async () => {
      if (await watchers.any()) await triggerFeeder?.refresh();
    });
    bus.on("dag", () => watching.ask("all"));
    await start(backfillFinisher);
    await start(runCreator);
    await start(assetRuns);
    await plugins.runOnce();
    void staging.runOnce();
    await bundles.prepare();
    await pushed.prepare();
    await start(workspace);
    await start(bundles);
    if (!options.isTrial) await start(metrics);
    await start(tick);
  } catch (error) {
    await stop();
    throw error;
  }
  const { port } = app.server.address() as AddressInfo;
  return { url: `http://${options.host}:${port}`, stop };
}

/** The user's own environment, as tasks under Airflow see it; what belongs to Leoflow itself is kept from them. */
function pythonEnvironment(airflowHome: string, multiTeam: boolean): Record<string, string> {
  const env = childEnvironment({
    ...(multiTeam ? { [MULTI_TEAM_VARIABLE]: "True" } : {}),
    // Tasks are given those of their own team when they ask.
    ...(multiTeam ? Object.fromEntries([...teamSecrets().keys()].map((name) => [name, undefined])) : {}),
    AIRFLOW_HOME: airflowHome,
    // Airflow's own code finds the one bundle it is given (compat.py), and may not have the classes of the others.
    AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST: undefined,
  });
  // The UI's configuration page shows what is no secret, unless the user says otherwise.
  env["AIRFLOW__API__EXPOSE_CONFIG"] ??= "non-sensitive-only";
  return env;
}
