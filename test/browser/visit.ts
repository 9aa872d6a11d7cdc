import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { chromium, type Browser, type Page, type Request } from "playwright-core";
import { ensureChromium } from "../support/chromium.ts";

/** Without these Chromium asks for hosts of its maker at every start, and shares /dev/shm that containers keep small. */
const FLAGS = [
  "--no-sandbox",
  "--headless",
  "--disable-gpu",
  "--disable-quic",
  "--disable-dev-shm-usage",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

export const WINDOW = { width: 1280, height: 800 };

export interface Visit {
  page: Page;
  baseUrl: string;
  /** Loads a path of the UI and waits until nothing is loading any more. */
  open(path: string): Promise<void>;
  /** The same by the UI's own navigation, as its links do: what it knows already is not asked for again. */
  go(path: string): Promise<void>;
  settle(): Promise<void>;
  screenshot(name: string): Promise<void>;
  /** What went wrong since the last call: failed requests, console errors, uncaught errors. */
  problems(): string[];
  close(): Promise<void>;
}

export interface VisitOptions {
  baseUrl: string;
  /** Where pictures of the pages go; none are taken without it. */
  screenshots?: string | undefined;
  /** How many times slower the pages' own code runs: shows which checks hope for speed. */
  slowness?: number | undefined;
}

// Pages with a live run ask again every second; that is quiet enough.
const QUIET_MS = 150;
const LOADING_LIMIT_MS = 20_000;
/** The page has nothing left to do: what it was given is rendered. Until then its old buttons are there, and what they open goes with them. */
const HAS_RENDERED = `new Promise((done) => requestIdleCallback(() => done(), { timeout: ${LOADING_LIMIT_MS} }))`;

/**
 * A check inside the Monaco of Airflow's wheel, rarely met: the colours it kept of a line are of another text. It only reports that,
 * from a timer, and goes on; its files are the wheel's, so there is nothing here to mend.
 */
const isOfAirflowsMonaco = ({ message, stack = "" }: Error): boolean =>
  message.startsWith("Token length and text length do not match!") && (message + stack).includes("/static/assets/");

/** False for a question to a page that was left before its answer; every other failure is one. */
const isOfLeftPage = (error: unknown): boolean => {
  if (String(error).includes("Execution context was destroyed")) return false;
  throw error;
};

/** Starts a browser that records every failed request and every error of the pages it opens. */
export async function startVisit(options: VisitOptions): Promise<Visit> {
  const executablePath = await ensureChromium();
  if (!executablePath) throw new Error("there is no Chromium and none could be installed");
  const browser: Browser = await chromium.launch({ executablePath, args: FLAGS });
  const context = await browser.newContext({
    baseURL: options.baseUrl,
    viewport: WINDOW,
    locale: "en-US",
    timezoneId: "UTC",
  });
  const page = await context.newPage();
  if (options.slowness) {
    const session = await context.newCDPSession(page);
    await session.send("Emulation.setCPUThrottlingRate", { rate: options.slowness });
  }
  const found: string[] = [];
  const pending = new Set<Request>();
  let lastChange = Date.now();
  const touch = () => (lastChange = Date.now());
  page.on("request", (request) => {
    // A worker's script from memory tells of no end.
    if (!request.url().startsWith("blob:")) pending.add(request);
    touch();
  });
  page.on("requestfinished", (request) => {
    pending.delete(request);
    touch();
  });
  page.on("requestfailed", (request) => {
    pending.delete(request);
    touch();
    const reason = request.failure()?.errorText ?? "unknown";
    // A page that is left, or a query that is replaced, aborts what it had asked for.
    if (reason !== "net::ERR_ABORTED") found.push(`${request.method()} ${request.url()}: ${reason}`);
  });
  page.on("response", (response) => {
    if (response.status() >= 400) {
      found.push(`${response.request().method()} ${response.url()}: ${response.status()}`);
    }
  });
  page.on("console", (message) => {
    if (message.type() === "error") found.push(`console: ${message.text()} (${message.location().url})`);
  });
  page.on("pageerror", (error) => {
    if (!isOfAirflowsMonaco(error)) found.push(`page error: ${error.message}`);
  });

  const settle = async () => {
    const limit = Date.now() + LOADING_LIMIT_MS;
    for (;;) {
      while (pending.size > 0 || Date.now() - lastChange < QUIET_MS) {
        if (Date.now() > limit) {
          const urls = [...pending].map((request) => request.url()).join(", ");
          throw new Error(`${page.url()} is still loading: ${urls}`);
        }
        await page.waitForTimeout(50);
      }
      const change = lastChange;
      const rendered = await page.evaluate(HAS_RENDERED).then(() => true, isOfLeftPage);
      if (rendered && pending.size === 0 && change === lastChange) return;
    }
  };
  return {
    page,
    baseUrl: options.baseUrl,
    settle,
    async open(path) {
      await page.goto(path, { waitUntil: "load" });
      await settle();
    },
    async go(path) {
      touch();
      await page.evaluate(
        `history.pushState(null, "", ${JSON.stringify(path)}); dispatchEvent(new PopStateEvent("popstate"))`,
      );
      await settle();
    },
    async screenshot(name) {
      if (!options.screenshots) return;
      mkdirSync(options.screenshots, { recursive: true });
      await page.screenshot({ path: join(options.screenshots, `${name}.png`) });
    },
    problems: () => found.splice(0),
    close: () => browser.close(),
  };
}
