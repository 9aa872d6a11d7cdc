import { Type } from "typebox";
import { userOf, type ApiContext, type TypedApp } from "../context.ts";
import { ApiError, notFound } from "../errors.ts";
import { leoflowPlugin } from "../leoflow/pages.ts";
import { pageOf, pageQuery } from "../query.ts";
import { wantsText } from "./dag-versions.ts";

interface Plugin {
  name: string;
  [field: string]: unknown;
}

interface Plugins {
  plugins: Plugin[];
  import_errors: { source: string; error: string }[];
}

interface Provider {
  package_name: string;
  description: string;
  version: string;
  documentation_url: string | null;
}

interface AirflowConfig {
  /** `[api] expose_config` as it is set. */
  expose_config: string;
  sections: { name: string; options: { key: string; value: string }[] }[];
}

/** What the Python side has installed and how it is configured: `/plugins`, `/providers`, `/config`. */
export function installationRoutes(app: TypedApp, context: ApiContext): void {
  const page = { schema: { querystring: Type.Object(pageQuery) } };
  // Asked once per process: plugins, providers and airflow.cfg are read when Airflow starts, too.
  const plugins = askedOnce<Plugins>(context, "plugins");
  const providers = askedOnce<Provider[] | { providers: Provider[] }>(context, "providers");
  const config = askedOnce<AirflowConfig>(context, "airflow_config");

  app.get("/plugins", page, async (request) => {
    const { limit, offset } = pageOf(request.query);
    const ours = leoflowPlugin(context, userOf(request));
    const all = [...(await plugins()).plugins, ours].sort(byText((plugin) => plugin.name));
    return { plugins: all.slice(offset, offset + limit), total_entries: all.length };
  });

  app.get("/plugins/importErrors", async () => {
    const { import_errors: errors } = await plugins();
    return { import_errors: errors, total_entries: errors.length };
  });

  app.get("/providers", page, async ({ query }) => {
    const { limit, offset } = pageOf(query);
    const answer = await providers();
    const all = [...(Array.isArray(answer) ? answer : answer.providers)].sort(byText((one) => one.package_name));
    return { providers: all.slice(offset, offset + limit), total_entries: all.length };
  });

  app.get(
    "/config",
    { schema: { querystring: Type.Object({ section: Type.Optional(Type.String()) }) } },
    async ({ query, headers }, reply) => {
      const asText = wantsText(headers.accept);
      const { sections } = await exposed();
      const wanted = query.section ? sections.filter(({ name }) => name === query.section) : sections;
      if (query.section && wanted.length === 0) throw notFound(`Section ${query.section} not found.`);
      return asText ? await reply.type("text/plain; charset=utf-8").send(asIni(wanted)) : { sections: wanted };
    },
  );

  app.get(
    "/config/section/:section/option/:option",
    { schema: { params: Type.Object({ section: Type.String(), option: Type.String() }) } },
    async ({ params: { section, option }, headers }, reply) => {
      const asText = wantsText(headers.accept);
      const { sections } = await exposed();
      const found = sections
        .find(({ name }) => name === section.toLowerCase())
        ?.options.find(({ key }) => key === option.toLowerCase());
      if (!found) throw notFound(`Option [${section}/${option}] not found.`);
      const wanted = [{ name: section, options: [{ key: option, value: found.value }] }];
      return asText ? await reply.type("text/plain; charset=utf-8").send(asIni(wanted)) : { sections: wanted };
    },
  );

  async function exposed(): Promise<AirflowConfig> {
    const answer = await config();
    if (!/^(true|t|1|non-sensitive-only)$/i.test(answer.expose_config)) {
      throw new ApiError(
        403,
        "Your Airflow administrator chose not to expose the configuration, most likely for security reasons.",
      );
    }
    return answer;
  }
}

function asIni(sections: AirflowConfig["sections"]): string {
  return sections
    .map(({ name, options }) => `[${name}]\n${options.map(({ key, value }) => `${key} = ${value}`).join("\n")}\n`)
    .join("\n");
}

/** Remembers the answer, but not a failure. */
function askedOnce<T>(context: ApiContext, kind: string): () => Promise<T> {
  let answer: Promise<T> | undefined;
  return () => {
    answer ??= (context.python({ kind }) as Promise<T>).catch((error: unknown) => {
      answer = undefined;
      throw error;
    });
    return answer;
  };
}

function byText<T>(text: (item: T) => string) {
  return (a: T, b: T) => (text(a) < text(b) ? -1 : text(a) > text(b) ? 1 : 0);
}
