import { followTheme } from "../frame/theme.ts";

followTheme();
