// Records what Airflow makes of the DAGs beside this file: `node test/script.mjs test/e2e/schedules/record.ts && npx prettier --write test/e2e/schedules/story.json`
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { sleep } from "../../../bench/client.ts";
import { airflowPython, startAirflow } from "../../conformance/airflow.ts";
import { STORY_DAGS, tellStory } from "./story.ts";

declare const SCRIPT_FOLDER: string;
const PORT = 18580;

const folder = mkdtempSync(join(tmpdir(), "leoflow-schedules-reference-"));
const [dags, plugins] = [join(folder, "dags"), join(folder, "plugins")];
for (const each of [dags, plugins]) mkdirSync(each);
cpSync(join(SCRIPT_FOLDER, "story.py"), join(dags, "story.py"));
cpSync(join(SCRIPT_FOLDER, "timetables.py"), join(plugins, "timetables.py"));
const airflow = await startAirflow(await airflowPython(), folder, dags, PORT, {
  AIRFLOW__CORE__PLUGINS_FOLDER: plugins,
});
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.once(signal, () => void airflow.stop().then(() => process.exit(1)));
}
try {
  for (const dagId of STORY_DAGS) {
    const path = `/api/v2/dags/${dagId}`;
    for (let attempt = 0; ; attempt++) {
      if (
        await airflow.client.call("GET", path).then(
          () => true,
          () => false,
        )
      )
        break;
      if (attempt === 120) throw new Error(`${dagId} does not come`);
      await sleep(1000);
    }
  }
  const story = await tellStory(airflow.client, {
    pollMs: 500,
    patienceMs: 900_000,
    onStep: ({ step, came }) => console.log(step, JSON.stringify(came)),
  });
  writeFileSync(join(SCRIPT_FOLDER, "story.json"), `${JSON.stringify(story, null, 1)}\n`);
} finally {
  await airflow.stop();
}
rmSync(folder, { recursive: true });
