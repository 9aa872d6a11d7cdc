import { announceMissingProgram } from "./cli/missing-program.ts";

announceMissingProgram("leoflow-agent", "the worker for Kubernetes");
