import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { typed, type ApiContext, type TypedApp } from "../context.ts";
import { ApiError } from "../errors.ts";
import { Dist, sendFile } from "../static-ui.ts";
import { fileRunRoutes } from "./file-runs.ts";
import { fileRoutes } from "./files.ts";
import { PAGES, type Page } from "./pages.ts";
import { pushedDagRoutes } from "./pushed-dags.ts";
import { whyRoutes } from "./why.ts";

type RouteGroup = (app: TypedApp, context: ApiContext) => void;

/** Routes of our own; their paths are written below `/api/leoflow`. */
const GROUPS: readonly RouteGroup[] = [fileRoutes, pushedDagRoutes, fileRunRoutes, whyRoutes];

/** What Leoflow adds to Airflow: pages inside its UI, and the routes they ask. */
export function leoflowRoutes(
  app: FastifyInstance,
  context: ApiContext,
  config: { webDir: string; packedDir: string },
): void {
  void app.register(
    async (scope) => {
      for (const register of GROUPS) register(typed(scope), context);
    },
    { prefix: "/api/leoflow" },
  );
  const web = new Dist(config.webDir, config.packedDir, { rebuilt: true });
  app.get<{ Params: { "*": string } }>("/leoflow/web/*", { config: { role: "public" } }, (request, reply) =>
    sendFile(web, request, reply),
  );
  for (const page of PAGES) {
    const { name, role } = page;
    app.get(`/leoflow/${name}`, { config: { role }, errorHandler: toLogin }, async (_request, reply) => {
      const [script, style] = [`${name}.js`, `${name}.css`].map((file) => web.find(file));
      if (!script || !style || page.isAvailable?.(context) === false) throw new ApiError(404, "Not Found");
      return await reply
        .type("text/html; charset=utf-8")
        .header("cache-control", "no-cache")
        .header("content-security-policy", securityPolicy(page))
        .send(shell(page, { script: script.tag, style: style.tag }));
    });
  }
}

/** Opened by somebody who is not signed in: a page, not JSON, is what a browser wants. */
function toLogin(error: unknown, request: FastifyRequest, reply: FastifyReply): void {
  if (!(error instanceof ApiError) || error.status !== 401) throw error;
  const next = `${request.protocol}://${request.host}${request.url}`;
  void reply
    .code(307)
    .header("location", `/api/v2/auth/login?${new URLSearchParams({ next }).toString()}`)
    .send();
}

function shell({ name, title }: Page, tags: { script: string; style: string }): string {
  return `<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8" />
    <meta name="viewport" content="width=device-width" />
    <title>${title}</title>
    <link rel="icon" href="/static/pin_32.png" />
    <link rel="stylesheet" href="/leoflow/web/${name}.css?v=${tags.style}" />
    <script type="module" src="/leoflow/web/${name}.js?v=${tags.script}"></script>
  </head>
  <body></body>
</html>
`;
}

function securityPolicy({ inlineStyles }: Page): string {
  return [
    "default-src 'none'",
    "script-src 'self'",
    `style-src 'self'${inlineStyles ? " 'unsafe-inline'" : ""}`,
    "font-src 'self'",
    "img-src 'self' data:",
    "connect-src 'self'",
    "worker-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'self'",
  ].join("; ");
}
