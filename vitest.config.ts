import { defineConfig } from "vitest/config";
import { BaseSequencer, type TestSpecification } from "vitest/node";

/** Tests by how long they take, minutes first: one of those that began last would run alone, on half of the machine. */
const LONGEST = [
  "test/browser/",
  "test/conformance/",
  "test/e2e/upgrade",
  "src/lite/docker-volume",
  "src/lite/postgres/major-upgrade",
  "test/e2e/",
  "src/lite/",
  "test/release/",
  "src/cli/",
];

class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const rank = ({ moduleId }: TestSpecification) => {
      const at = LONGEST.findIndex((part) => moduleId.includes(`/${part}`));
      return at < 0 ? LONGEST.length : at;
    };
    return (await super.sort(files)).sort((a, b) => rank(a) - rank(b));
  }
}

export default defineConfig({
  test: {
    include: ["src/**/*.test.ts", "sdk/**/*.test.ts", "test/**/*.test.ts", "bench/**/*.test.ts"],
    globalSetup: ["test/support/global-setup.ts"],
    testTimeout: 120_000,
    hookTimeout: 120_000,
    pool: "forks",
    // Tests wait for processes as often as they work: three share two cores.
    maxWorkers: 3,
    sequence: { sequencer: LongestFirst },
  },
});
