import { announceMissingProgram } from "./cli/missing-program.ts";

announceMissingProgram("leoflow-server", "the control plane for Kubernetes");
